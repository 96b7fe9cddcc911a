//! Upload sessions: every way in which clients push a blob, and what happens when they do it badly.

use bytes::Bytes;
use shoal_http::Body;
use shoal_oci::Digest;

use crate::images::sha512;
use crate::world::{World, broken, chunked, noise};

/// The blob is there, whole, by GET and HEAD.
async fn assert_blob(world: &World, repository: &str, digest: &Digest, content: &Bytes) {
    let path = format!("/v2/{repository}/blobs/{digest}");
    let head = world.head(&path).await;
    head.expect(200);
    assert_eq!(head.header("content-length"), content.len().to_string());
    assert_eq!(head.header("docker-content-digest"), digest.to_string());
    let get = world.get(&path).await;
    get.expect(200);
    assert_eq!(get.body(), content);
    assert_eq!(get.header("docker-content-digest"), digest.to_string());
}

#[tokio::test]
async fn docker_and_podman_push_a_stream_without_content_range() {
    let world = World::new();
    // More than one batch, and pieces of odd lengths.
    let content = noise(1, 3 * 1024 * 1024 + 17);
    let digest = Digest::sha256(&content);
    let session = world.session("team/app").await;
    let chunks = content.chunks(70_001).map(Bytes::copy_from_slice).collect();
    let patched = world.patch(&session, chunked(chunks)).await;
    patched.expect(202);
    assert_eq!(patched.header("range"), format!("0-{}", content.len() - 1));
    assert_eq!(patched.header("location"), session);
    assert!(session.ends_with(patched.header("docker-upload-uuid")));
    let put = world.put(format!("{session}?digest={digest}"), Body::empty()).await;
    put.expect(201);
    assert_eq!(put.header("location"), format!("/v2/team/app/blobs/{digest}"));
    assert_eq!(put.header("docker-content-digest"), digest.to_string());
    assert_blob(&world, "team/app", &digest, &content).await;
    world.get(&session).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn containerd_pushes_a_monolithic_put() {
    let world = World::new();
    let content = noise(2, 2 * 1024 * 1024);
    let digest = Digest::sha256(&content);
    let session = world.session("a").await;
    world.put(format!("{session}?digest={digest}"), content.clone()).await.expect(201);
    assert_blob(&world, "a", &digest, &content).await;
}

#[tokio::test]
async fn chunks_with_content_range_are_taken_in_order_only() {
    let world = World::new();
    let content = noise(3, 3000);
    let digest = Digest::sha256(&content);
    let session = world.session("a").await;
    let chunk = |from: usize, to: usize| {
        world
            .call("PATCH", &session)
            .header("content-range", format!("{from}-{}", to - 1))
            .send(content.slice(from..to))
    };
    chunk(0, 1000).await.expect(202);
    for reply in [chunk(2000, 3000).await, chunk(0, 1000).await] {
        reply.expect_error(416, "RANGE_INVALID");
        assert_eq!((reply.header("range"), reply.header("location")), ("0-999", session.as_str()));
    }
    let status = world.get(&session).await;
    status.expect(204);
    assert_eq!((status.header("range"), status.header("location")), ("0-999", session.as_str()));
    chunk(1000, 2000).await.expect(202);
    let put = |range: &str| {
        let path = format!("{session}?digest={digest}");
        world.call("PUT", path).header("content-range", range).send(content.slice(2000..))
    };
    put("1000-1999").await.expect_error(416, "RANGE_INVALID");
    put("2000-2999").await.expect(201);
    assert_blob(&world, "a", &digest, &content).await;
}

#[tokio::test]
async fn a_chunk_must_be_as_long_as_its_content_range() {
    let world = World::new();
    let session = world.session("a").await;
    let patch =
        |range: &str, body: Body| world.call("PATCH", &session).header("content-range", range).send(body);
    patch("0-99", "short".into()).await.expect_error(400, "SIZE_INVALID");
    patch("0-1", "too long".into()).await.expect_error(400, "SIZE_INVALID");
    assert_eq!(world.get(&session).await.header("range"), "0-0");
    // Without a stated length this shows only while reading: nothing beyond the range is taken.
    patch("0-1", chunked(vec!["a".into(), "bcd".into()])).await.expect_error(400, "SIZE_INVALID");
    assert_eq!(world.get(&session).await.header("range"), "0-1");
    patch("2-9", chunked(vec!["cd".into()])).await.expect_error(400, "SIZE_INVALID");
    assert_eq!(world.get(&session).await.header("range"), "0-3");
    let digest = Digest::sha256(b"abcd");
    assert_eq!(patch("4-5", chunked(vec!["ef".into()])).await.status, 202);
    world.put(format!("{session}?digest={digest}"), Body::empty()).await.expect_error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_malformed_content_range_is_refused_and_the_session_survives() {
    let world = World::new();
    let session = world.session("a").await;
    for bad in [
        "",
        "x",
        "-",
        "0-",
        "-5",
        "5-0",
        "0-18446744073709551615",
        "99999999999999999999-5",
        "0-1-2",
        "bytes",
    ] {
        let reply = world.call("PATCH", &session).header("content-range", bad).send("ab").await;
        assert!(matches!(reply.status, 400 | 416), "{bad}: {reply:?}");
    }
    let twice = world.call("PATCH", &session).header("content-range", "0-1").header("content-range", "2-3");
    twice.send("ab").await.expect(400);
    world.call("PATCH", &session).header("content-range", b"0-1\xff").send("ab").await.expect(400);
    world.call("PATCH", &session).header("content-range", "0-1").send("ab").await.expect(202);
}

#[tokio::test]
async fn empty_blobs_are_blobs() {
    let world = World::new();
    let digest = Digest::sha256(b"");
    let session = world.session("a").await;
    world.put(format!("{session}?digest={digest}"), Body::empty()).await.expect(201);
    assert_blob(&world, "a", &digest, &Bytes::new()).await;
    world.push("b", "").await;
    assert_blob(&world, "b", &digest, &Bytes::new()).await;
    let session = world.session("c").await;
    world.patch(&session, Body::empty()).await.expect(202);
    world.put(format!("{session}?digest={digest}"), Body::empty()).await.expect(201);
}

#[tokio::test]
async fn one_request_pushes_a_blob_of_any_size() {
    let world = World::new();
    for (seed, len) in [(4, 10), (5, 1024 * 1024), (6, 2 * 1024 * 1024 + 1)] {
        let content = noise(seed, len);
        let digest = Digest::sha256(&content);
        let reply = world.post(format!("/v2/a/blobs/uploads/?digest={digest}"), content.clone()).await;
        reply.expect(201);
        assert_eq!(reply.header("location"), format!("/v2/a/blobs/{digest}"));
        assert_blob(&world, "a", &digest, &content).await;
    }
    assert_eq!(world.store.usage().upload_bytes, 0);
}

#[tokio::test]
async fn sha512_works_in_every_way_to_push() {
    let world = World::new();
    let content = noise(7, 2000);
    let digest = sha512(&content);
    let reply = world.post(format!("/v2/a/blobs/uploads/?digest={digest}"), content.clone()).await;
    reply.expect(201);
    assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    assert_blob(&world, "a", &digest, &content).await;
    let content = noise(8, 2000);
    let digest = sha512(&content);
    let opened = world.post("/v2/a/blobs/uploads/?digest-algorithm=sha512", Body::empty()).await;
    let session = opened.expect(202).header("location").to_owned();
    world.patch(&session, content.slice(..1000)).await.expect(202);
    world.put(format!("{session}?digest={digest}"), content.slice(1000..)).await.expect(201);
    assert_blob(&world, "a", &digest, &content).await;
    let unknown = world.post("/v2/a/blobs/uploads/?digest-algorithm=md5", Body::empty()).await;
    unknown.expect_error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn bytes_that_do_not_match_their_digest_are_never_visible() {
    let world = World::new();
    let wrong = Digest::sha256(b"something else");
    world
        .post(format!("/v2/a/blobs/uploads/?digest={wrong}"), "content")
        .await
        .expect_error(400, "DIGEST_INVALID");
    let large = noise(9, 1024 * 1024 + 1);
    world
        .post(format!("/v2/a/blobs/uploads/?digest={wrong}"), large)
        .await
        .expect_error(400, "DIGEST_INVALID");
    let session = world.session("a").await;
    world.put(format!("{session}?digest={wrong}"), "content").await.expect_error(400, "DIGEST_INVALID");
    let session = world.session("a").await;
    world.patch(&session, "content").await.expect(202);
    world.put(format!("{session}?digest={wrong}"), Body::empty()).await.expect_error(400, "DIGEST_INVALID");
    world.get(&session).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    for digest in [wrong, Digest::sha256(b"content")] {
        world.get(format!("/v2/a/blobs/{digest}")).await.expect_error(404, "BLOB_UNKNOWN");
    }
    assert_eq!(world.store.usage().upload_bytes, 0);
}

#[tokio::test]
async fn a_put_needs_exactly_one_good_digest() {
    let world = World::new();
    let session = world.session("a").await;
    let (a, b) = (Digest::sha256(b"ab"), Digest::sha256(b"b"));
    for query in ["", "?digest=", "?digest=sha256:bad", "?digest=md5:00", &format!("?digest={a}&digest={b}")]
    {
        world.put(format!("{session}{query}"), "ab").await.expect_error(400, "DIGEST_INVALID");
    }
    // None of that touched the session.
    world.put(format!("{session}?digest={a}&digest={a}"), "ab").await.expect(201);
    let twice = world.post(format!("/v2/a/blobs/uploads/?digest={a}&digest={b}"), "ab").await;
    twice.expect_error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn what_arrived_before_a_break_counts() {
    let world = World::new();
    let content = noise(10, 2 * 1024 * 1024);
    let digest = Digest::sha256(&content);
    let session = world.session("a").await;
    let at = 1_500_000;
    let body = broken(content.slice(..at).chunks(100_000).map(Bytes::copy_from_slice).collect());
    let reply = world.patch(&session, body).await;
    reply.expect_error(400, "SIZE_INVALID");
    assert_eq!(reply.header("range"), format!("0-{}", at - 1));
    assert_eq!(world.get(&session).await.header("range"), format!("0-{}", at - 1));
    let rest = world.call("PATCH", &session).header("content-range", format!("{at}-{}", content.len() - 1));
    rest.send(content.slice(at..)).await.expect(202);
    world.put(format!("{session}?digest={digest}"), Body::empty()).await.expect(201);
    assert_blob(&world, "a", &digest, &content).await;
}

#[tokio::test]
async fn a_body_shorter_than_its_content_length_is_not_taken_for_whole() {
    let world = World::new();
    let digest = Digest::sha256(b"abc");
    let session = world.session("a").await;
    let short = || chunked(vec!["abc".into()]);
    let put = world.call("PUT", format!("{session}?digest={digest}")).header("content-length", "10");
    put.send(short()).await.expect_error(400, "SIZE_INVALID");
    let post =
        world.call("POST", format!("/v2/a/blobs/uploads/?digest={digest}")).header("content-length", "10");
    post.send(short()).await.expect_error(400, "SIZE_INVALID");
    world.get(format!("/v2/a/blobs/{digest}")).await.expect_error(404, "BLOB_UNKNOWN");
    assert_eq!(world.get(&session).await.header("range"), "0-2");
}

#[tokio::test]
async fn a_broken_final_request_makes_nothing_visible() {
    let world = World::new();
    let content = noise(11, 1024 * 1024 + 5);
    let digest = Digest::sha256(&content);
    let session = world.session("a").await;
    // Everything arrived, but not the end of the body.
    world.put(format!("{session}?digest={digest}"), broken(vec![content.clone()])).await.expect(400);
    world
        .post(format!("/v2/a/blobs/uploads/?digest={digest}"), broken(vec![content.clone()]))
        .await
        .expect(400);
    world.head(format!("/v2/a/blobs/{digest}")).await.expect(404);
    // Only the session that the client knows keeps its bytes.
    assert_eq!(world.store.usage().upload_bytes, content.len() as u64);
    world.put(format!("{session}?digest={digest}"), Body::empty()).await.expect(201);
}

#[tokio::test]
async fn a_session_has_one_writer_at_a_time() {
    let world = World::new();
    let session = world.session("a").await;
    let (sender, body) = Body::channel(1);
    let first = world.patch(&session, body);
    let second = async {
        // The second chunk fits into the channel only when the first was taken: by then the session is open.
        sender.send("ab".into()).await.unwrap();
        sender.send("cd".into()).await.unwrap();
        sender.send("ef".into()).await.unwrap();
        world.patch(&session, "xx").await.expect_error(409, "BLOB_UPLOAD_INVALID");
        let counted = world.call("PATCH", &session).header("content-range", "0-1").send("xx").await;
        counted.expect_error(416, "RANGE_INVALID");
        let digest = Digest::sha256(b"xx");
        world.put(format!("{session}?digest={digest}"), "xx").await.expect_error(409, "BLOB_UPLOAD_INVALID");
        world.delete(&session).await.expect_error(409, "BLOB_UPLOAD_INVALID");
        sender.finish().await.unwrap();
    };
    let (first, ()) = tokio::join!(first, second);
    first.expect(202);
    assert_eq!(first.header("range"), "0-5");
    let digest = Digest::sha256(b"abcdef");
    world.put(format!("{session}?digest={digest}"), Body::empty()).await.expect(201);
}

#[tokio::test]
async fn a_session_belongs_to_one_repository() {
    let world = World::new();
    let session = world.session("mine").await;
    world.patch(&session, "ab").await.expect(202);
    let stolen = session.replace("/mine/", "/yours/");
    let digest = Digest::sha256(b"ab");
    world.get(&stolen).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    world.patch(&stolen, "cd").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    world
        .put(format!("{stolen}?digest={digest}"), Body::empty())
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    world.delete(&stolen).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    world.put(format!("{session}?digest={digest}"), Body::empty()).await.expect(201);
}

#[tokio::test]
async fn a_cancelled_session_is_gone() {
    let world = World::new();
    let session = world.session("a").await;
    world.patch(&session, "ab").await.expect(202);
    world.delete(&session).await.expect(204);
    world.get(&session).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    world.patch(&session, "cd").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    world.delete(&session).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(world.store.usage().upload_bytes, 0);
}

#[tokio::test]
async fn a_put_that_is_sent_again_after_its_success_succeeds_again() {
    let world = World::new();
    let session = world.session("a").await;
    let path = format!("{session}?digest={}", Digest::sha256(b"ab"));
    world.put(&path, "ab").await.expect(201);
    world.put(&path, "ab").await.expect(201);
    // For this blob only: the session itself is gone.
    let other = format!("{session}?digest={}", Digest::sha256(b"x"));
    world.put(other, "x").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn two_pushes_of_the_same_blob_at_once_both_succeed() {
    let world = World::new();
    let content = noise(12, 2 * 1024 * 1024);
    let digest = Digest::sha256(&content);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let (one, two) = tokio::join!(world.post(&path, content.clone()), world.post(&path, content.clone()));
    one.expect(201);
    two.expect(201);
    assert_blob(&world, "a", &digest, &content).await;
}

#[tokio::test]
async fn acknowledged_blobs_and_open_sessions_survive_a_restart() {
    let world = World::new();
    let content = noise(13, 200_000);
    let digest = world.push("a", content.clone()).await;
    let (manifest, _) = world.push_image("a", "v1").await;
    let session = world.session("a").await;
    world.patch(&session, "ab").await.expect(202);
    let world = world.restart();
    assert_blob(&world, "a", &digest, &content).await;
    assert_eq!(world.get("/v2/a/manifests/v1").await.body(), &manifest);
    assert_eq!(world.get(&session).await.header("range"), "0-1");
    world.put(format!("{session}?digest={}", Digest::sha256(b"abcd")), "cd").await.expect(201);
}
