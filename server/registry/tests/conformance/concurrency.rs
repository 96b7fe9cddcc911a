//! The same thing at once: one writer of a session, one blob under one digest, answers that are true when they arrive.

use std::sync::Arc;

use shoal_http::Body;
use shoal_oci::Digest;

use crate::talk::{Talk, content};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_patches_at_once_one_is_refused_and_nothing_is_mixed() {
    let talk = Arc::new(Talk::start().await);
    let session = talk.session("a").await;
    // The first holds the session until its body ends.
    let (sender, body) = Body::channel(1);
    let first = tokio::spawn({
        let (talk, session) = (talk.clone(), session.clone());
        async move { talk.send("PATCH", session, &[], body).await }
    });
    for _ in 0..3 {
        sender.send(content(1, 100_000)).await.unwrap();
    }
    // By now the server has taken something of it; the second counts.
    let second = loop {
        let reply = talk.chunk("PATCH", &session, "0-9", &content(2, 10)).await;
        assert_eq!(reply.status, 416, "the session has a writer");
        if reply.header("location") == session {
            break reply;
        }
    };
    second.expect_error(416, "RANGE_INVALID");
    talk.patch(&session, "x").await.expect_error(409, "BLOB_UPLOAD_INVALID");
    sender.finish().await.unwrap();
    first.await.unwrap().expect(202);
    let whole = [content(1, 100_000), content(1, 100_000), content(1, 100_000)].concat();
    talk.put(format!("{session}?digest={}", Digest::sha256(&whole)), "").await.expect(201);
}

/// A PUT on its way; its status.
fn put(talk: &Arc<Talk>, path: &str, bytes: &bytes::Bytes) -> tokio::task::JoinHandle<u16> {
    let (talk, path, bytes) = (Arc::clone(talk), path.to_owned(), bytes.clone());
    tokio::spawn(async move { talk.put(path, bytes).await.status })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_puts_at_once_one_finishes_and_the_blob_is_whole() {
    let talk = Arc::new(Talk::start().await);
    for size in [100, 100_000] {
        for round in 0..10 {
            let bytes = content(round, size);
            let session = talk.session("a").await;
            let path = format!("{session}?digest={}", Digest::sha256(&bytes));
            let (one, other) = (put(&talk, &path, &bytes), put(&talk, &path, &bytes));
            let mut statuses = [one.await.unwrap(), other.await.unwrap()];
            statuses.sort_unstable();
            // The loser came too early (somebody writes), or so late that the blob was there.
            assert!(statuses[0] == 201 && [201, 404, 409].contains(&statuses[1]), "{statuses:?}");
            let path = format!("/v2/a/blobs/{}", Digest::sha256(&bytes));
            assert_eq!(talk.get(path).await.expect(200).body, bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_blob_pushed_by_many_at_once_is_created_for_all() {
    let talk = Arc::new(Talk::start().await);
    for size in [100, 200_000] {
        let bytes = content(9, size);
        let pushes: Vec<_> = (0..8)
            .map(|number| {
                let (talk, bytes) = (talk.clone(), bytes.clone());
                tokio::spawn(async move { talk.push(&format!("r{}", number % 3), bytes).await })
            })
            .collect();
        for push in pushes {
            let digest = push.await.unwrap();
            for repository in ["r0", "r1", "r2"] {
                let reply = talk.get(format!("/v2/{repository}/blobs/{digest}")).await;
                // Another repository's push may still be under way.
                assert!(reply.status == 404 || reply.body == bytes);
            }
        }
        for repository in ["r0", "r1", "r2"] {
            talk.head(format!("/v2/{repository}/blobs/{}", Digest::sha256(&bytes))).await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_never_missing_while_it_moves() {
    let talk = Arc::new(Talk::start().await);
    let (one, _) = talk.push_image("a", "one").await;
    let (two, _) = talk.push_image("a", "two").await;
    let kind = crate::documents::IMAGE;
    talk.put_manifest("/v2/a/manifests/latest", kind, &one).await.expect(201);
    let mover = tokio::spawn({
        let (talk, one, two) = (talk.clone(), one.clone(), two.clone());
        async move {
            for document in [&two, &one].into_iter().cycle().take(40) {
                talk.put_manifest("/v2/a/manifests/latest", kind, document).await.expect(201);
                // Whoever wrote reads it.
                assert_eq!(&talk.get("/v2/a/manifests/latest").await.body, document);
            }
        }
    });
    while !mover.is_finished() {
        let reply = talk.get("/v2/a/manifests/latest").await;
        assert!(reply.body == one || reply.body == two, "{reply:?}");
        assert_eq!(reply.header("docker-content-digest"), Digest::sha256(&reply.body).to_string());
    }
    mover.await.unwrap();
}
