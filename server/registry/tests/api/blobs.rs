//! Reading and deleting blobs.

use std::time::Duration;

use shoal_http::Body;
use shoal_oci::Digest;
use shoal_registry::RegistryOptions;
use shoal_store::Options;

use crate::world::{World, noise};

/// Five pieces, the last one short.
const SIZE: usize = 300_001;

#[tokio::test]
async fn ranges_are_answered_as_rfc_9110_says() {
    let world = World::new();
    let content = noise(1, SIZE);
    let path = format!("/v2/a/blobs/{}", world.push("a", content.clone()).await);
    for (range, from, to) in [
        ("bytes=500-1499", 500, 1500),
        ("bytes=0-0", 0, 1),
        ("bytes=65535-65536", 65_535, 65_537),
        ("bytes=65536-131071", 65_536, 131_072),
        ("bytes=500-", 500, SIZE),
        ("bytes=-500", SIZE - 500, SIZE),
        ("bytes=-999999999", 0, SIZE),
        ("bytes=300000-999999", 300_000, SIZE),
        ("bytes=0-18446744073709551615", 0, SIZE),
        ("Bytes = 1-2", 1, 3),
    ] {
        let reply = world.call("GET", &path).header("range", range).send(Body::empty()).await;
        reply.expect(206);
        assert_eq!(reply.body(), &content.slice(from..to), "{range}");
        assert_eq!(reply.header("content-range"), format!("bytes {from}-{}/{SIZE}", to - 1));
        assert_eq!(reply.header("content-length"), (to - from).to_string());
        assert_eq!(reply.header("accept-ranges"), "bytes");
    }
    for range in ["bytes=500-0", "bytes=300001-", "bytes=99999999999999999999-", "bytes=-0"] {
        let reply = world.call("GET", &path).header("range", range).send(Body::empty()).await;
        reply.expect_error(416, "RANGE_INVALID");
        assert_eq!(reply.header("content-range"), format!("bytes */{SIZE}"));
    }
    let many = format!("bytes={}", vec!["0-1"; 10_000].join(","));
    for range in ["bytes=0-1,5-6", "bytes=x", "lines=1-2", "bytes", many.as_str()] {
        let reply = world.call("GET", &path).header("range", range).send(Body::empty()).await;
        assert_eq!(reply.expect(200).body(), &content, "{range}");
    }
}

#[tokio::test]
async fn a_conditional_range_is_for_this_content_only() {
    let world = World::new();
    let digest = world.push("a", noise(2, 1000)).await;
    let path = format!("/v2/a/blobs/{digest}");
    let get = |tag: String| {
        world.call("GET", &path).header("range", "bytes=0-9").header("if-range", tag).send(Body::empty())
    };
    get(format!("\"{digest}\"")).await.expect(206);
    get("\"other\"".to_owned()).await.expect(200);
    get("Wed, 21 Oct 2015 07:28:00 GMT".to_owned()).await.expect(200);
}

#[tokio::test]
async fn head_tells_the_whole_size_and_has_no_ranges() {
    let world = World::new();
    let path = format!("/v2/a/blobs/{}", world.push("a", noise(3, 1000)).await);
    let reply = world.call("HEAD", &path).header("range", "bytes=0-9").send(Body::empty()).await;
    reply.expect(200);
    assert_eq!(reply.header("content-length"), "1000");
    assert_eq!(reply.header("content-type"), "application/octet-stream");
}

#[tokio::test]
async fn a_known_blob_is_not_sent_again() {
    let world = World::new();
    let digest = world.push("a", noise(4, 1000)).await;
    let path = format!("/v2/a/blobs/{digest}");
    let tag = world.get(&path).await.header("etag").to_owned();
    let reply = world.call("GET", &path).header("if-none-match", &tag).send(Body::empty()).await;
    assert!(reply.expect(304).body().is_empty());
    assert_eq!(reply.header("etag"), tag);
    world.call("GET", &path).header("if-none-match", "\"x\"").send(Body::empty()).await.expect(200);
}

#[tokio::test]
async fn a_blob_is_visible_only_where_it_was_pushed() {
    let world = World::new();
    let digest = world.push("a", "content").await;
    for path in [format!("/v2/b/blobs/{digest}"), format!("/v2/a/blobs/{}", Digest::sha256(b"other"))] {
        world.get(&path).await.expect_error(404, "BLOB_UNKNOWN");
        world.head(&path).await.expect(404);
    }
}

#[tokio::test]
async fn a_deleted_blob_is_gone_at_once_and_only_there() {
    let world = World::new();
    let digest = world.push("a", "content").await;
    world.push("b", "content").await;
    let path = format!("/v2/a/blobs/{digest}");
    world.delete(&path).await.expect(202);
    world.head(&path).await.expect(404);
    world.get(&path).await.expect_error(404, "BLOB_UNKNOWN");
    world.delete(&path).await.expect_error(404, "BLOB_UNKNOWN");
    world.get(format!("/v2/b/blobs/{digest}")).await.expect(200);
    world.push("a", "content").await;
    world.get(&path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_an_answer_holds_memory_of_a_budget_and_not_more() {
    let wait_max = Duration::from_millis(50);
    let options = RegistryOptions { read_memory_max: 256 << 10, wait_max, ..RegistryOptions::default() };
    let world = World::with(Options::durable(), options);
    let mut paths = Vec::new();
    for seed in 0..3 {
        paths.push(format!("/v2/a/blobs/{}", world.push("a", noise(seed, 3 << 20)).await));
    }
    let read = world.get(&paths[0]).await;
    assert_eq!(read.expect(200).body(), &noise(0, 3 << 20));
    let (status, unread) = world.begin(&paths[1]).await;
    assert_eq!(status, 200);
    let refused = world.get(&paths[2]).await;
    assert_eq!(refused.expect_error(503, "UNAVAILABLE").header("retry-after"), "30");
    // What has been verified comes from the file, and needs no memory.
    world.get(&paths[0]).await.expect(200);
    drop(unread);
    while world.get(&paths[2]).await.status != 200 {}
}
