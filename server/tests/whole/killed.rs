//! SIGKILL at any moment of a push: what was acknowledged is there afterwards, what was not leaves no visible trace.

use http::{Method, StatusCode};
use shoal_http::Body;
use shoal_oci::Digest;

use crate::client::{Registry, content};
use crate::process::Server;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_pushes_survive_and_others_leave_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, half) = (content(3, 700_000), content(4, 700_000));
    let server = Server::start(dir.path());
    let registry = Registry::at(server.ready.registry, "team/app");
    registry.push_image("kept", &kept).await;
    let _open = push_half(&registry, &half).await;
    server.kill();

    let server = Server::start(dir.path());
    let registry = Registry::at(server.ready.registry, "team/app");
    registry.assert_image("kept", &kept).await;
    let (status, _) = registry.get(&format!("/blobs/{}", Digest::sha256(&half))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(registry.get("/tags/list").await.1, r#"{"name":"team/app","tags":["kept"]}"#);
    // The same push can be made now.
    registry.push_image("half", &half).await;
    registry.assert_image("half", &half).await;
    assert!(server.terminate());
}

/// Begins a push whose body never ends, and returns once the server has read some of it.
async fn push_half(registry: &Registry, content: &[u8]) -> tokio::task::JoinHandle<()> {
    let started = registry.send(Method::POST, "/blobs/uploads/", "", "").await;
    assert_eq!(started.status(), StatusCode::ACCEPTED);
    let location = started.headers()["location"].to_str().unwrap().to_owned();
    let path = location.split_once("/team/app").unwrap().1.to_owned();
    let (sender, body) = Body::channel(1);
    let registry = registry.clone();
    let task = tokio::spawn(async move {
        // The answer never comes: the server is killed.
        let request = http::Request::patch(registry.url(&path)).body(body).unwrap();
        let _ = registry.http.send(request, crate::client::TIMEOUT).await;
    });
    // A channel of one chunk takes the third only when the first has left for the network.
    for part in content[..600_000].chunks(100_000) {
        sender.send(part.to_vec().into()).await.unwrap();
    }
    tokio::spawn(async move {
        let _held = sender;
        task.await.unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_many_pushes_lose_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, Vec<u8>)> = Vec::new();
    for round in 0..4_u64 {
        let server = Server::start(dir.path());
        let registry = Registry::at(server.ready.registry, "team/app");
        for (number, layer) in &acknowledged {
            registry.assert_image(&format!("v{number}"), layer).await;
        }
        for number in 0..3 {
            let number = round * 10 + number;
            let layer = content(100 + number, 150_000);
            registry.push_image(&format!("v{number}"), &layer).await;
            acknowledged.push((number, layer));
        }
        server.kill();
    }
    let server = Server::start(dir.path());
    let registry = Registry::at(server.ready.registry, "team/app");
    for (number, layer) in &acknowledged {
        registry.assert_image(&format!("v{number}"), layer).await;
    }
}
