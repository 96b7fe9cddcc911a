//! A mount is a read of where it takes from.

use shoal_http::Body;

use super::{Secured, basic};

#[tokio::test]
async fn a_mount_needs_the_right_to_pull_from_there() {
    let secured = Secured::new();
    let secret = secured.push_blob("boss", "secret/a", "secret").await;
    let shared = secured.push_blob("boss", "other/a", "shared").await;
    let mount = async |name: &str, digest, from: &str| {
        let path = format!("/v2/team/a/blobs/uploads/?mount={digest}{from}");
        secured.send(name, "POST", &path, Body::empty()).await.status
    };
    assert_eq!(mount("pusher", secret, "&from=secret/a").await, 202);
    assert_eq!(secured.refused.last(), "pusher pull secret/a mount");
    assert_eq!(mount("pusher", secret, "").await, 202);
    assert_eq!(mount("creator", shared, "&from=other/a").await, 202);
    assert_eq!(mount("creator", shared, "").await, 202);
    let blob = |digest| format!("/v2/team/a/blobs/{digest}");
    secured.get("pusher", &blob(secret)).await.expect(404);
    secured.get("pusher", &blob(shared)).await.expect(404);
    assert_eq!(mount("pusher", shared, "&from=other/a").await, 201);
    assert_eq!(mount("boss", secret, "").await, 201);
    secured.get("pusher", &blob(shared)).await.expect(200);
}

#[tokio::test]
async fn with_a_token_an_unnamed_mount_looks_where_the_token_says() {
    let secured = Secured::new();
    let shared = secured.push_blob("boss", "other/a", "shared").await;
    let mount = async |scope: &str| {
        let token = secured.token("pusher", scope).await;
        let call = secured.world.call("POST", format!("/v2/team/a/blobs/uploads/?mount={shared}"));
        call.header("authorization", format!("Bearer {token}")).send(Body::empty()).await.status
    };
    assert_eq!(mount("repository:team/a:pull,push").await, 202);
    assert_eq!(mount("repository:team/a:pull,push repository:other/b:pull").await, 202);
    assert_eq!(mount("repository:team/a:pull,push repository:other/a:pull").await, 201);
}

#[tokio::test]
async fn a_blob_is_read_only_through_a_repository_that_has_it() {
    let secured = Secured::new();
    let secret = secured.push_blob("boss", "secret/a", "secret").await;
    secured.push_blob("boss", "team/a", "something").await;
    for method in ["GET", "HEAD"] {
        for repository in ["team/a", "public/a"] {
            let path = format!("/v2/{repository}/blobs/{secret}");
            secured.send("pusher", method, &path, Body::empty()).await.expect(404);
        }
    }
    // Nor by a manifest that claims to have it.
    let manifest = crate::images::document(&crate::images::image(b"secret", &[]));
    let reply = secured
        .world
        .call("PUT", "/v2/team/a/manifests/latest")
        .header("authorization", basic("pusher"))
        .header("content-type", crate::images::OCI_MANIFEST)
        .send(manifest)
        .await;
    assert!([400, 404].contains(&reply.status), "{reply:?}");
    // Finishing an upload that is gone does not tell either.
    let path = format!("/v2/team/a/blobs/uploads/0123456789abcdef0123456789abcdef?digest={secret}");
    secured.send("pusher", "PUT", &path, Body::empty()).await.expect(404);
}
