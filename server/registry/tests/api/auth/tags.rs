//! Making a tag, moving it, and tags that stay.

use shoal_http::Body;
use shoal_oci::Digest;

use super::Secured;

#[tokio::test]
async fn making_a_tag_and_moving_it_are_two_rights() {
    let secured = Secured::new();
    secured.put_manifest("mover", "team/a", "latest", "{}").await.expect_error(403, "DENIED");
    assert_eq!(secured.refused.last(), "mover create team/a policy");
    secured.put_manifest("creator", "team/a", "latest", "{}").await.expect(201);
    // The same again moves nothing.
    secured.put_manifest("creator", "team/a", "latest", "{}").await.expect(201);
    secured.put_manifest("creator", "team/a", "latest", "{\"2\":2}").await.expect_error(403, "DENIED");
    assert_eq!(secured.refused.last(), "creator overwrite team/a overwrite");
    secured.put_manifest("mover", "team/a", "latest", "{\"2\":2}").await.expect(201);
    secured.put_manifest("pusher", "team/a", "latest", "{}").await.expect(201);
    // CVE-2026-31801: several tags at once do not go around it.
    secured.put_manifest("creator", "team/a", "new?tag=latest", "{\"3\":3}").await;
    let tags = secured.get("reader", "/v2/team/a/tags/list").await.json();
    assert_eq!(tags["tags"], serde_json::json!(["latest"]));
}

#[tokio::test]
async fn immutable_tags_stay_for_everybody_but_an_admin() {
    let secured = Secured::new();
    let first = secured.put_manifest("pusher", "team/a", "v1", "{}").await;
    let digest = first.expect(201).header("docker-content-digest").to_owned();
    secured.put_manifest("pusher", "team/a", "v1", "{}").await.expect(201);
    secured.put_manifest("pusher", "team/a", "v1", "{\"2\":2}").await.expect_error(403, "DENIED");
    assert_eq!(secured.refused.last(), "pusher overwrite team/a immutable_tag");
    for reference in ["v1", &digest] {
        let path = format!("/v2/team/a/manifests/{reference}");
        secured.send("remover", "DELETE", &path, Body::empty()).await.expect_error(403, "DENIED");
        assert_eq!(secured.refused.last(), "remover delete team/a immutable_tag");
    }
    // What it consists of stays as well.
    let path = format!("/v2/team/a/blobs/{}", Digest::sha256(b"{}"));
    secured.send("remover", "DELETE", &path, Body::empty()).await.expect_error(403, "DENIED");
    assert_eq!(secured.refused.last(), "remover delete team/a immutable_tag");
    secured.get("reader", &path).await.expect(200);
    // A manifest that no such tag names goes as ever, and its blobs.
    let other = secured.put_manifest("pusher", "team/a", "latest", "{\"3\":3}").await;
    let other = other.expect(201).header("docker-content-digest").to_owned();
    let blob = format!("/v2/team/a/blobs/{}", Digest::sha256(b"{\"3\":3}"));
    for path in [format!("/v2/team/a/manifests/{other}"), blob] {
        secured.send("remover", "DELETE", &path, Body::empty()).await.expect(202);
    }
    // A token for an admin need not name the right: no client asks for it.
    let token = secured.token("boss", "repository:team/a:pull,push,delete").await;
    let path = format!("/v2/team/a/manifests/{digest}");
    let call = secured.world.call("DELETE", path).header("authorization", format!("Bearer {token}"));
    call.send(Body::empty()).await.expect(202);
    secured.put_manifest("boss", "team/a", "v1", "{\"2\":2}").await.expect(201);
    secured.put_manifest("boss", "team/a", "v1", "{\"4\":4}").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_pushes_of_one_new_immutable_tag_one_wins() {
    let secured = Secured::new();
    const CONFIGS: [&str; 4] = ["{\"1\":1}", "{\"2\":2}", "{\"3\":3}", "{\"4\":4}"];
    let push = |config| secured.put_manifest("pusher", "team/a", "v1", config);
    let (one, two, three, four) =
        tokio::join!(push(CONFIGS[0]), push(CONFIGS[1]), push(CONFIGS[2]), push(CONFIGS[3]));
    let mut statuses = [one.status, two.status, three.status, four.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403]);
}
