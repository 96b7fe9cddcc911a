//! end-4, end-5 and end-6: the ways to push a blob.

use bytes::Bytes;
use shoal_oci::Digest;

use crate::talk::{Talk, content, sha512};

/// Sizes on both sides of the limits inside: nothing, packed, a file, several batches.
const SIZES: [usize; 5] = [0, 1, 65_536, 65_537, 2_500_000];

async fn assert_blob(talk: &Talk, location: &str, bytes: &Bytes) {
    assert_eq!(&talk.get(location).await.expect(200).body, bytes);
}

#[tokio::test]
async fn end_4a_a_session_has_a_location_of_its_own() {
    let talk = Talk::start().await;
    let (one, other) = (talk.session("a").await, talk.session("a").await);
    assert_ne!(one, other);
    let reply = talk.post("/v2/a/blobs/uploads/", "").await;
    assert_eq!((reply.header("range"), reply.header("content-length")), ("0-0", "0"));
    assert!(reply.header("location").ends_with(reply.header("docker-upload-uuid")));
}

#[tokio::test]
async fn end_4b_one_request_pushes_a_blob() {
    let talk = Talk::start().await;
    for (seed, size) in (0..).zip(SIZES) {
        let bytes = content(seed, size);
        for digest in [Digest::sha256(&bytes), sha512(&bytes)] {
            let reply = talk.post(format!("/v2/a/blobs/uploads/?digest={digest}"), bytes.clone()).await;
            assert_eq!(reply.expect(201).header("docker-content-digest"), digest.to_string());
            assert_blob(&talk, reply.header("location"), &bytes).await;
        }
    }
}

#[tokio::test]
async fn end_4b_a_digest_that_does_not_match_is_400_and_leaves_nothing() {
    let talk = Talk::start().await;
    for size in SIZES {
        let (bytes, wrong) = (content(1, size), Digest::sha256(b"something else"));
        let path = format!("/v2/a/blobs/uploads/?digest={wrong}");
        talk.post(path, bytes.clone()).await.expect_error(400, "DIGEST_INVALID");
        talk.head(format!("/v2/a/blobs/{wrong}")).await.expect(404);
        talk.head(format!("/v2/a/blobs/{}", Digest::sha256(&bytes))).await.expect(404);
    }
}

#[tokio::test]
async fn end_4c_a_session_may_name_its_algorithm_and_need_not() {
    let talk = Talk::start().await;
    let bytes = content(4, 100_000);
    for query in ["", "?digest-algorithm=sha512", "?digest-algorithm=sha256"] {
        let opened = talk.post(format!("/v2/a/blobs/uploads/{query}"), "").await;
        let session = opened.expect(202).header("location").to_owned();
        talk.patch(&session, bytes.clone()).await.expect(202);
        let reply = talk.put(format!("{session}?digest={}", sha512(&bytes)), "").await;
        assert_blob(&talk, reply.expect(201).header("location"), &bytes).await;
    }
    talk.post("/v2/a/blobs/uploads/?digest-algorithm=md5", "").await.expect_error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn end_5_a_stream_without_content_range_appends() {
    let talk = Talk::start().await;
    for (seed, size) in (0..).zip(SIZES) {
        let bytes = content(seed, size);
        let session = talk.session("a").await;
        let reply = talk.patch(&session, bytes.clone()).await;
        assert_eq!(reply.expect(202).header("range"), format!("0-{}", size.saturating_sub(1)));
        let reply =
            talk.put(format!("{}?digest={}", reply.header("location"), Digest::sha256(&bytes)), "").await;
        assert_blob(&talk, reply.expect(201).header("location"), &bytes).await;
    }
}

#[tokio::test]
async fn end_5_chunks_are_taken_in_order() {
    let talk = Talk::start().await;
    let bytes = content(5, 300_000);
    let session = talk.session("a").await;
    let (first, second) = (bytes.slice(..100_000), bytes.slice(100_000..));
    assert_eq!(talk.chunk("PATCH", &session, "0-99999", &first).await.expect(202).header("range"), "0-99999");
    talk.chunk("PATCH", &session, "100000-299999", &second).await.expect(202);
    let reply = talk.put(format!("{session}?digest={}", Digest::sha256(&bytes)), "").await;
    assert_blob(&talk, reply.expect(201).header("location"), &bytes).await;
}

#[tokio::test]
async fn end_5_a_chunk_out_of_order_is_416_and_the_session_goes_on() {
    let talk = Talk::start().await;
    let bytes = content(6, 3000);
    let session = talk.session("a").await;
    talk.chunk("PATCH", &session, "0-999", &bytes.slice(..1000)).await.expect(202);
    for range in ["2000-2999", "0-999", "500-1499"] {
        let reply = talk.chunk("PATCH", &session, range, &bytes.slice(2000..3000)).await;
        reply.expect_error(416, "RANGE_INVALID");
        assert_eq!((reply.header("range"), reply.header("location")), ("0-999", session.as_str()));
    }
    assert_eq!(talk.get(&session).await.expect(204).header("range"), "0-999");
    talk.chunk("PATCH", &session, "1000-2999", &bytes.slice(1000..)).await.expect(202);
    talk.put(format!("{session}?digest={}", Digest::sha256(&bytes)), "").await.expect(201);
}

#[tokio::test]
async fn end_5_a_content_range_that_does_not_fit_the_body_is_refused() {
    let talk = Talk::start().await;
    let session = talk.session("a").await;
    for (range, status) in [("0-9", 400), ("0-1", 400), ("bytes 0-2/3", 400), ("2-0", 400), ("a-b", 400)] {
        talk.chunk("PATCH", &session, range, &"abc".into()).await.expect(status);
    }
    assert_eq!(talk.get(&session).await.expect(204).header("range"), "0-0");
    talk.chunk("PATCH", &session, "0-2", &"abc".into()).await.expect(202);
}

#[tokio::test]
async fn end_6_a_put_with_everything_is_a_push() {
    let talk = Talk::start().await;
    for (seed, size) in (10..).zip(SIZES) {
        let bytes = content(seed, size);
        for digest in [Digest::sha256(&bytes), sha512(&bytes)] {
            let session = talk.session("a").await;
            let reply = talk.put(format!("{session}?digest={digest}"), bytes.clone()).await;
            assert_eq!(reply.expect(201).header("docker-content-digest"), digest.to_string());
            assert_blob(&talk, reply.header("location"), &bytes).await;
            talk.get(&session).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        }
    }
}

#[tokio::test]
async fn end_6_the_last_chunk_may_come_with_the_put() {
    let talk = Talk::start().await;
    for split in [0, 10, 100_000] {
        let bytes = content(7, 150_000);
        let session = talk.session("a").await;
        talk.patch(&session, bytes.slice(..split)).await.expect(202);
        let path = format!("{session}?digest={}", Digest::sha256(&bytes));
        let reply = talk.chunk("PUT", path, &format!("{split}-149999"), &bytes.slice(split..)).await;
        assert_blob(&talk, reply.expect(201).header("location"), &bytes).await;
    }
}

#[tokio::test]
async fn end_6_a_last_chunk_out_of_order_is_416_and_the_session_goes_on() {
    let talk = Talk::start().await;
    let bytes = content(8, 1000);
    for begun in [0_usize, 100] {
        let session = talk.session("a").await;
        if begun > 0 {
            talk.patch(&session, bytes.slice(..begun)).await.expect(202);
        }
        let path = format!("{session}?digest={}", Digest::sha256(&bytes));
        talk.chunk("PUT", &path, "500-999", &bytes.slice(500..)).await.expect_error(416, "RANGE_INVALID");
        talk.chunk("PUT", &path, &format!("{begun}-999"), &bytes.slice(begun..)).await.expect(201);
    }
}

#[tokio::test]
async fn end_6_a_put_needs_a_digest_that_matches() {
    let talk = Talk::start().await;
    let wrong = Digest::sha256(b"something else");
    for size in SIZES {
        let session = talk.session("a").await;
        talk.put(&session, content(9, size)).await.expect_error(400, "DIGEST_INVALID");
        talk.put(format!("{session}?digest={wrong}"), content(9, size))
            .await
            .expect_error(400, "DIGEST_INVALID");
        talk.head(format!("/v2/a/blobs/{wrong}")).await.expect(404);
        let session = talk.session("a").await;
        talk.patch(&session, content(9, size)).await.expect(202);
        talk.put(format!("{session}?digest={wrong}"), "").await.expect_error(400, "DIGEST_INVALID");
    }
    let session = talk.session("a").await;
    for bad in ["sha256:baddigeststring", "md5:00", "x", ""] {
        talk.put(format!("{session}?digest={bad}"), "x").await.expect_error(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn end_6_a_put_that_is_repeated_after_its_answer_was_lost_is_201() {
    let talk = Talk::start().await;
    for bytes in [content(1, 100), content(1, 100_000)] {
        let session = talk.session("a").await;
        let path = format!("{session}?digest={}", Digest::sha256(&bytes));
        talk.put(&path, bytes.clone()).await.expect(201);
        talk.put(&path, bytes.clone()).await.expect(201);
        talk.put(format!("{session}?digest={}", Digest::sha256(b"other")), bytes).await.expect(404);
    }
}
