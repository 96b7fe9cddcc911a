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
async fn kills_in_the_middle_of_many_pushes_lose_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let server = Server::start(dir.path());
        assert_all(&server, &acknowledged).await;
        acknowledged.extend(push_until_killed(server, round).await);
    }
    let server = Server::start(dir.path());
    assert!(acknowledged.len() >= 8, "each round has at least two");
    assert_all(&server, &acknowledged).await;
}

fn layer(number: u64) -> Vec<u8> {
    content(100 + number, 150_000)
}

/// Pushes from several clients at once, kills the server at some moment after the second acknowledgement, and returns the numbers
/// of the images that were acknowledged.
async fn push_until_killed(server: Server, round: u64) -> Vec<u64> {
    let registry = Registry::at(server.ready.registry, "team/app");
    let (done, mut acknowledged) = tokio::sync::mpsc::channel(1000);
    let pushers: Vec<_> = (0..3)
        .map(|pusher| {
            let (registry, done) = (registry.clone(), done.clone());
            tokio::spawn(async move {
                for number in (0..1000).map(|count| round * 10_000 + pusher * 1000 + count) {
                    registry.push_image(&format!("v{number}"), &layer(number)).await;
                    done.send(number).await.unwrap();
                }
            })
        })
        .collect();
    drop(done);
    let mut numbers = vec![acknowledged.recv().await.unwrap(), acknowledged.recv().await.unwrap()];
    // Not to wait for anything: the moment of the kill is meant to fall anywhere in a push.
    tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(0..150))).await;
    server.kill();
    for pusher in pushers {
        assert!(pusher.await.is_err(), "a push to a dead server fails");
    }
    while let Some(number) = acknowledged.recv().await {
        numbers.push(number);
    }
    numbers
}

/// Every acknowledged image is whole, and so is every image that can be seen at all.
async fn assert_all(server: &Server, acknowledged: &[u64]) {
    let registry = Registry::at(server.ready.registry, "team/app");
    let (_, list) = registry.get("/tags/list").await;
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    let tags: Vec<_> =
        list["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().unwrap()).collect();
    for number in acknowledged {
        assert!(tags.contains(&format!("v{number}").as_str()), "v{number} was acknowledged");
    }
    for tag in tags {
        registry.assert_image(tag, &layer(tag[1..].parse().unwrap())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_requests() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let registry = Registry::at(server.ready.registry, "team/app");
    let _open = push_half(&registry, &content(5, 700_000)).await;
    let start = std::time::Instant::now();
    server.signal();
    server.until_unready().await;
    server.signal();
    assert!(server.wait(), "ends well, only sooner");
    assert!(start.elapsed() < shoal_http::Limits::default().drain_timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_metadata_does_not_start_over_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let registry = Registry::at(server.ready.registry, "team/app");
    registry.push_image("v1", &content(5, 100_000)).await;
    assert!(server.terminate());
    let (database, aside) = (dir.path().join("data/metadata/metadata.db"), dir.path().join("aside"));
    std::fs::copy(&database, &aside).unwrap();
    std::fs::write(&database, "").unwrap();
    for _ in ["empty", "missing"] {
        let why = Server::refusal(dir.path());
        assert!(why.contains("restore it from a backup"), "{why}");
        let _ = std::fs::remove_file(&database);
    }
    std::fs::rename(&aside, &database).unwrap();
    let server = Server::start(dir.path());
    Registry::at(server.ready.registry, "team/app").assert_image("v1", &content(5, 100_000)).await;
    assert!(server.terminate());
}
