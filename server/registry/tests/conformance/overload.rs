//! More requests than the registry wants to take: bounded, said so in the protocol's form, and the other direction goes on.

use std::sync::Arc;
use std::time::Duration;

use shoal_http::Body;
use shoal_oci::Digest;
use shoal_registry::RegistryOptions;

use crate::talk::{Talk, content};

fn options() -> RegistryOptions {
    RegistryOptions { wait_max: Duration::from_millis(100), ..RegistryOptions::default() }
}

/// Requests that hold a place each until they are let go.
struct Held {
    senders: Vec<shoal_http::BodySender>,
    tasks: Vec<tokio::task::JoinHandle<crate::talk::Reply>>,
    sessions: Vec<String>,
}

/// Opens `count` sessions and sends the beginning of a body to each.
async fn hold(talk: &Arc<Talk>, count: usize) -> Held {
    let mut held = Held { senders: Vec::new(), tasks: Vec::new(), sessions: Vec::new() };
    for _ in 0..count {
        let session = talk.session("a").await;
        let (sender, body) = Body::channel(1);
        let (to, path) = (Arc::clone(talk), session.clone());
        held.tasks.push(tokio::spawn(async move { to.send("PATCH", path, &[], body).await }));
        sender.send("abc".into()).await.unwrap();
        // It is being served once its session has a writer.
        while talk.chunk("PATCH", &session, "100-100", &"x".into()).await.status == 404 {}
        held.senders.push(sender);
        held.sessions.push(session);
    }
    held
}

/// A push whose body goes on until its sender ends it.
async fn begin(talk: &Arc<Talk>) -> (shoal_http::BodySender, tokio::task::JoinHandle<crate::talk::Reply>) {
    let session = talk.session("a").await;
    let (sender, body) = Body::channel(1);
    let to = Arc::clone(talk);
    let task = tokio::spawn(async move { to.send("PATCH", session, &[], body).await });
    sender.send("abc".into()).await.unwrap();
    (sender, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saturated_pushes_are_told_to_come_again_and_pulls_go_on() {
    let talk = Arc::new(Talk::with(RegistryOptions { pushes_max: 3, ..options() }).await);
    let digest = talk.push("a", "x").await;
    let held = hold(&talk, 2).await;
    // One place is left.
    talk.push("a", "y").await;
    let mut more = begin(&talk).await;
    let refused = loop {
        let reply = talk.post("/v2/a/blobs/uploads/", "").await;
        if reply.status != 202 {
            break reply;
        }
        // The last place may have been taken by that very request, and this one refused.
        if more.1.is_finished() {
            more = begin(&talk).await;
        }
    };
    refused.expect_error(503, "UNAVAILABLE");
    talk.get(format!("/v2/a/blobs/{digest}")).await.expect(200);
    talk.head(format!("/v2/a/blobs/{digest}")).await.expect(200);
    talk.get("/v2/a/tags/list").await.expect(200);
    more.0.finish().await.unwrap();
    more.1.await.unwrap().expect(202);
    for (sender, task) in held.senders.into_iter().zip(held.tasks) {
        sender.finish().await.unwrap();
        task.await.unwrap().expect(202);
    }
    talk.push("a", "z").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_of_memory_is_shared_and_large_pushes_still_pass_one_after_the_other() {
    let options = RegistryOptions {
        upload_memory_max: 300_000,
        wait_max: Duration::from_secs(20),
        ..RegistryOptions::default()
    };
    let talk = Arc::new(Talk::with(options).await);
    let pushes: Vec<_> = (0..6)
        .map(|seed| {
            let talk = Arc::clone(&talk);
            tokio::spawn(async move {
                let bytes = content(seed, 3_000_000);
                let digest = talk.push("a", bytes.clone()).await;
                assert_eq!(talk.get(format!("/v2/a/blobs/{digest}")).await.body, bytes);
            })
        })
        .collect();
    for push in pushes {
        push.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_a_push_is_told_to_come_again_and_pulls_go_on() {
    let talk = Arc::new(Talk::with(RegistryOptions { upload_memory_max: 1000, ..options() }).await);
    let digest = talk.push("a", "x").await;
    // A manifest is held in memory until it is whole.
    let (sender, body) = Body::channel(1);
    let to = Arc::clone(&talk);
    let task = tokio::spawn(async move { to.send("PUT", "/v2/a/manifests/v1", &[], body).await });
    sender.send(content(1, 1000)).await.unwrap();
    let wanted = Digest::sha256(b"abc");
    let refused = loop {
        let reply = talk.post(format!("/v2/a/blobs/uploads/?digest={wanted}"), "abc").await;
        if reply.status != 201 {
            break reply;
        }
    };
    refused.expect_error(503, "UNAVAILABLE");
    assert_eq!(refused.header("connection"), "close");
    talk.get(format!("/v2/a/blobs/{digest}")).await.expect(200);
    sender.finish().await.unwrap();
    task.await.unwrap().expect_error(400, "MANIFEST_INVALID");
    talk.push("a", "abc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_slower_than_the_rate_is_cut_and_what_came_of_it_counts() {
    let options = RegistryOptions {
        body_stall_max: Duration::from_millis(200),
        body_rate_min: 1_000_000,
        ..RegistryOptions::default()
    };
    let talk = Arc::new(Talk::with(options).await);
    let session = talk.session("a").await;
    let (sender, body) = Body::channel(1);
    let (to, path) = (Arc::clone(&talk), session.clone());
    let task = tokio::spawn(async move { to.send("PATCH", path, &[], body).await });
    // Never long enough without a byte to count as stalled.
    while sender.send("a".into()).await.is_ok() && !task.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reply = task.await.unwrap();
    reply.expect_error(408, "SIZE_INVALID");
    assert_ne!(reply.header("range"), "0-0");
    assert_eq!(talk.get(&session).await.expect(204).header("range"), reply.header("range"));
}
