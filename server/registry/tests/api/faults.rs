//! Damaged disks, full disks, stalled clients, abandoned uploads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_http::Body;
use shoal_oci::Digest;
use shoal_registry::RegistryOptions;
use shoal_store::{Durability, Options};

use crate::images::{OCI_MANIFEST, document, image};
use crate::world::{World, noise};

/// The one file of `size` bytes below `directory`.
fn file_of_size(directory: &Path, size: u64) -> PathBuf {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.len() == size {
                found.push(entry.path());
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn flip_byte(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

const SIZE: usize = 300_007;

#[tokio::test]
async fn damage_in_the_middle_cuts_the_connection_and_a_second_push_repairs() {
    let world = World::new();
    let content = noise(1, SIZE);
    let path = format!("/v2/a/blobs/{}", world.push("a", content.clone()).await);
    flip_byte(&file_of_size(world.directory(), SIZE as u64), 200_000);
    let reply = world.get(&path).await;
    reply.expect(200);
    assert!(reply.body.is_err(), "a damaged blob was sent whole");
    // It is not offered any more, so clients do not skip it when they push the image again.
    world.head(&path).await.expect(404);
    world.push("a", content.clone()).await;
    assert_eq!(world.get(&path).await.expect(200).body(), &content);
}

#[tokio::test]
async fn damage_at_the_beginning_is_an_error_and_no_body() {
    let world = World::new();
    let content = noise(2, SIZE);
    let digest = world.push("a", content.clone()).await;
    flip_byte(&file_of_size(world.directory(), SIZE as u64), 0);
    let request = http::Request::get(format!("/v2/a/blobs/{digest}")).body(Body::empty()).unwrap();
    let response = shoal_http::Handler::handle(&world.registry, request, ([192, 0, 2, 1], 1).into()).await;
    assert_eq!(response.status(), 500);
    let text = String::from_utf8(response.into_body().collect(10_000).await.unwrap().to_vec()).unwrap();
    assert!(text.contains("UNKNOWN") && !text.contains(world.directory().to_str().unwrap()), "{text}");
}

#[tokio::test]
async fn damage_after_many_pulls_is_found_by_the_next_one() {
    let world = World::new();
    let content = noise(12, SIZE);
    let path = format!("/v2/a/blobs/{}", world.push("a", content.clone()).await);
    for _ in 0..5 {
        assert_eq!(world.get(&path).await.expect(200).body(), &content);
        let part = world.call("GET", &path).header("range", "bytes=70000-290000").send(Body::empty()).await;
        assert_eq!(part.expect(206).body(), &content.slice(70_000..290_001));
    }
    flip_byte(&file_of_size(world.directory(), SIZE as u64), 200_000);
    let reply = world.get(&path).await;
    assert!(reply.body.is_err(), "a damaged blob was sent whole");
    world.push("a", content.clone()).await;
    assert_eq!(world.get(&path).await.expect(200).body(), &content);
}

#[tokio::test]
async fn bytes_outside_the_damage_can_still_be_read() {
    let world = World::new();
    let content = noise(3, SIZE);
    let path = format!("/v2/a/blobs/{}", world.push("a", content.clone()).await);
    flip_byte(&file_of_size(world.directory(), SIZE as u64), 200_000);
    let reply = world.call("GET", &path).header("range", "bytes=0-131071").send(Body::empty()).await;
    assert_eq!(reply.expect(206).body(), &content.slice(..131_072));
}

#[tokio::test]
async fn a_manifest_over_a_lost_blob_is_refused() {
    let world = World::new();
    let digest = world.push("a", "layer").await;
    world.push("a", "{}").await;
    world.store.remove(&digest).unwrap();
    world.head(format!("/v2/a/blobs/{digest}")).await.expect(404);
    let bytes = document(&image(b"{}", &[b"layer"]));
    let put = || world.put_manifest("/v2/a/manifests/v1", OCI_MANIFEST, &bytes);
    put().await.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    world.push("a", "layer").await;
    put().await.expect(201);
}

#[tokio::test]
async fn who_sends_other_bytes_gets_no_link_to_what_others_have() {
    let world = World::new();
    let digest = world.push("a", "layer").await;
    for _ in 0..2 {
        let reply = world.post(format!("/v2/b/blobs/uploads/?digest={digest}"), "other").await;
        reply.expect_error(400, "DIGEST_INVALID");
        world.head(format!("/v2/b/blobs/{digest}")).await.expect(404);
    }
    world.push("b", "layer").await;
    world.head(format!("/v2/b/blobs/{digest}")).await.expect(200);
}

#[tokio::test]
async fn a_full_store_refuses_pushes_and_serves_pulls() {
    let storage = Options { durability: Durability::Durable, capacity: Some(1024 * 1024), free_min: 0 };
    let world = World::with(storage, RegistryOptions::default());
    let kept = noise(4, 500_000);
    let path = format!("/v2/a/blobs/{}", world.push("a", kept.clone()).await);
    let content = noise(5, 3 * 1024 * 1024);
    let digest = Digest::sha256(&content);
    let reply = world.post(format!("/v2/a/blobs/uploads/?digest={digest}"), content.clone()).await;
    reply.expect_error(503, "UNAVAILABLE");
    assert!(reply.header("retry-after").parse::<u64>().is_ok());
    let session = world.session("a").await;
    world.patch(&session, content.clone()).await.expect_error(503, "UNAVAILABLE");
    world.put(format!("{session}?digest={digest}"), content).await.expect_error(503, "UNAVAILABLE");
    assert_eq!(world.get(&path).await.expect(200).body(), &kept);
    // Once the client gives up there is room again.
    world.delete(&session).await.expect(204);
    world.push("a", noise(6, 400_000)).await;
}

#[tokio::test]
async fn a_stalled_body_is_given_up_and_what_came_of_it_counts() {
    let options = RegistryOptions { body_stall_max: Duration::from_millis(20), ..RegistryOptions::default() };
    let world = World::with(Options::durable(), options);
    let session = world.session("a").await;
    let (sender, body) = Body::channel(2);
    sender.send("abc".into()).await.unwrap();
    let reply = world.patch(&session, body).await;
    reply.expect_error(408, "SIZE_INVALID");
    assert_eq!((reply.header("range"), reply.header("connection")), ("0-2", "close"));
    let (sender, body) = Body::channel(2);
    sender.send("{".into()).await.unwrap();
    world.put("/v2/a/manifests/v1", body).await.expect(408);
    assert_eq!(world.get(&session).await.header("range"), "0-2");
    world.put(format!("{session}?digest={}", Digest::sha256(b"abc")), Body::empty()).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_trickles_in_is_given_up_after_its_time() {
    let world = World::new();
    let (sender, body) = Body::channel(1);
    let begun = tokio::time::Instant::now();
    let trickle = tokio::spawn(async move {
        // Never long enough without a byte to count as stalled.
        while sender.send(" ".into()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
    });
    let reply = world.put("/v2/a/manifests/v1", body).await;
    reply.expect_error(408, "SIZE_INVALID");
    assert_eq!(reply.header("connection"), "close");
    assert_eq!(begun.elapsed().as_secs(), 60);
    trickle.await.unwrap();
}

#[tokio::test]
async fn an_upload_goes_on_when_the_client_is_gone() {
    let world = World::new();
    let session = world.session("a").await;
    let (sender, body) = Body::channel(1);
    let registry = world.registry.clone();
    let request = http::Request::patch(&session).body(body).unwrap();
    let task = tokio::spawn(async move {
        shoal_http::Handler::handle(&registry, request, ([192, 0, 2, 1], 1).into()).await
    });
    for chunk in ["ab", "cd", "ef"] {
        sender.send(chunk.into()).await.unwrap();
    }
    // The connection breaks: the server drops the handler's future, and the body ends badly.
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    sender.abort();
    let digest = Digest::sha256(b"abcdef");
    // The session is free as soon as the bytes are written.
    loop {
        let reply = world.put(format!("{session}?digest={digest}"), Body::empty()).await;
        if reply.status != 409 {
            reply.expect(201);
            break;
        }
    }
}

#[tokio::test]
async fn abandoned_uploads_are_swept() {
    let options = RegistryOptions { upload_idle_max: Duration::ZERO, ..RegistryOptions::default() };
    let world = World::with(Options::durable(), options);
    let session = world.session("a").await;
    world.patch(&session, "abc").await.expect(202);
    assert_eq!(world.registry.sweep().await, 1);
    world.get(&session).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(world.store.usage().upload_bytes, 0);
    assert_eq!(world.registry.sweep().await, 0);
}
