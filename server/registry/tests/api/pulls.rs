//! What counts as a pull of a tag: retention keeps tags that somebody still uses.

use shoal_metadata::{Embedded, Upkeep};
use shoal_oci::Digest;

use crate::world::World;

/// Whether a request for `v1` with this method, and with its digest as `If-None-Match` when it is `known`, is remembered.
async fn counts(method: &str, known: bool) -> bool {
    let world = World::new();
    let (_, digest) = world.push_image("a", "v1").await;
    ask(&world, method, known.then_some(digest)).await;
    let directory = world.stop();
    let metadata = Embedded::open(&directory.path().join("metadata")).unwrap();
    let tags = metadata.walk_tags(&"a".parse().unwrap(), None, 10).await.unwrap().items;
    tags[0].pulled_at.is_some()
}

async fn ask(world: &World, method: &str, known: Option<Digest>) {
    let call = world.call(method, "/v2/a/manifests/v1");
    match known {
        Some(digest) => call.header("if-none-match", format!("\"{digest}\"")).send("").await.expect(304),
        None => call.send("").await.expect(200),
    };
}

#[tokio::test]
async fn a_get_is_a_pull_also_when_the_client_has_it_already() {
    // Agents ask for a tag that they know in this way, and nobody else may ask for it for months.
    assert!(counts("GET", false).await && counts("GET", true).await);
}

#[tokio::test]
async fn a_head_of_a_tag_is_a_pull() {
    // containerd resolves a tag by HEAD, and asks for the digest only when it lacks it.
    assert!(counts("HEAD", false).await && counts("HEAD", true).await);
}
