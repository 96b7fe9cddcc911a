//! Cross-repository mount.

use shoal_http::Body;
use shoal_oci::Digest;

use crate::world::World;

async fn mount(world: &World, query: &str) -> u16 {
    let reply = world.post(format!("/v2/target/blobs/uploads/?{query}"), Body::empty()).await;
    if reply.status == 202 {
        // The fallback is an ordinary session.
        let session = reply.header("location").to_owned();
        world.get(&session).await.expect(204);
        world.delete(&session).await.expect(204);
    }
    reply.status
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_it_is() {
    let world = World::new();
    let digest = world.push("source/app", "content").await;
    let reply = world
        .post(format!("/v2/target/blobs/uploads/?mount={digest}&from=source%2Fapp"), Body::empty())
        .await;
    reply.expect(201);
    assert_eq!(reply.header("location"), format!("/v2/target/blobs/{digest}"));
    assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    assert_eq!(world.get(format!("/v2/target/blobs/{digest}")).await.expect(200).body(), "content");
    // Deleting it at the source does not take it away here.
    world.delete(format!("/v2/source/app/blobs/{digest}")).await.expect(202);
    world.head(format!("/v2/target/blobs/{digest}")).await.expect(200);
}

#[tokio::test]
async fn an_anonymous_mount_finds_the_blob_anywhere() {
    let world = World::new();
    let digest = world.push("source", "content").await;
    assert_eq!(mount(&world, &format!("mount={digest}")).await, 201);
    world.head(format!("/v2/target/blobs/{digest}")).await.expect(200);
}

#[tokio::test]
async fn a_mount_that_cannot_be_done_opens_a_session() {
    let world = World::new();
    let digest = world.push("source", "content").await;
    world.push("other", "something").await;
    let missing = Digest::sha256(b"nobody has this");
    for query in [
        format!("mount={missing}"),
        format!("mount={missing}&from=source"),
        format!("mount={digest}&from=other"),
        format!("mount={digest}&from=nowhere&origin=registry.example.com"),
        format!("mount={digest}&from=Not%20A%20Name"),
        format!("mount={digest}&from=..%2F..%2Fetc"),
    ] {
        assert_eq!(mount(&world, &query).await, 202, "{query}");
    }
    world.head(format!("/v2/target/blobs/{digest}")).await.expect(404);
    assert_eq!(mount(&world, "mount=sha256:bad&from=source").await, 400);
}

#[tokio::test]
async fn a_failed_mount_with_a_digest_and_a_body_is_a_push() {
    let world = World::new();
    let digest = Digest::sha256(b"content");
    let path = format!("/v2/target/blobs/uploads/?mount={digest}&from=nowhere&digest={digest}");
    world.post(path, "content").await.expect(201);
    world.head(format!("/v2/target/blobs/{digest}")).await.expect(200);
}
