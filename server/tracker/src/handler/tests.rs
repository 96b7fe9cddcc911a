//! The tracker's HTTP words.

use serde_json::{Value, json as object};
use shoal_http::Body;

use super::*;
use crate::announce::tests::{FakeSource, tracker};

fn handler() -> TrackerHandler {
    TrackerHandler::for_operators(Arc::new(tracker(&FakeSource::with(&[b"a layer"]))))
}

async fn send(
    handler: &TrackerHandler,
    method: Method,
    path: &str,
    body: impl Into<Body>,
) -> (StatusCode, Value) {
    let request = http::Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let answer = handler.handle(request, ([10, 0, 0, 1], 40_000).into()).await;
    let status = answer.status();
    let body = answer.into_body().collect(1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn announce(digest: &Digest) -> String {
    let item = object!({"digest": digest, "event": "started", "complete": false, "need_metainfo": true});
    object!({"peer_id": "01".repeat(20), "port": 16001, "items": [item]}).to_string()
}

#[tokio::test]
async fn announces_and_lists() {
    let (handler, digest) = (handler(), Digest::sha256(b"a layer"));
    let (status, answer) = send(&handler, Method::POST, "/announce", announce(&digest)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(answer["items"][0]["ok"]["metainfo"].is_string(), "{answer}");
    let (status, answer) =
        send(&handler, Method::POST, "/announce", announce(&Digest::sha256(b"other"))).await;
    assert_eq!((status, &answer["items"][0]["error"]["code"]), (StatusCode::OK, &object!("not_found")));
    let (_, list) = send(&handler, Method::GET, "/swarms", "").await;
    let line = object!({"digest": digest, "complete": 0, "incomplete": 1});
    assert_eq!(list, object!({"swarms": 1, "peers": 1, "largest": [line]}));
    let (_, list) = send(&handler, Method::GET, "/swarms?n=0", "").await;
    assert_eq!(list["largest"], object!([]));
    let (_, agents) = send(&handler, Method::GET, "/agents", "").await;
    assert_eq!(agents["agents"][0]["addr"], "10.0.0.1:16001");
}

#[tokio::test]
async fn bad_requests_are_counted_and_explained() {
    let handler = handler();
    for (method, path, body, want) in [
        (Method::POST, "/announce", "{".to_owned(), StatusCode::BAD_REQUEST),
        (
            Method::POST,
            "/announce",
            announce(&Digest::sha256(b"x")).replace("16001", "0"),
            StatusCode::BAD_REQUEST,
        ),
        (
            Method::POST,
            "/announce",
            announce(&Digest::sha256(b"x")).replace("16001", "70000"),
            StatusCode::BAD_REQUEST,
        ),
        (
            Method::POST,
            "/announce",
            announce(&Digest::sha256(b"x")).replace("sha256", "md5"),
            StatusCode::BAD_REQUEST,
        ),
        (Method::POST, "/announce", " ".repeat(REQUEST_LEN_MAX + 1), StatusCode::PAYLOAD_TOO_LARGE),
        (Method::GET, "/announce", String::new(), StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/swarms", String::new(), StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/swarms?n=x", String::new(), StatusCode::BAD_REQUEST),
        (Method::GET, "/", String::new(), StatusCode::NOT_FOUND),
    ] {
        let (status, answer) = send(&handler, method, path, body).await;
        assert_eq!(status, want, "{path}");
        assert!(answer["error"].is_string());
    }
    assert_eq!(handler.tracker.metrics().announces.of(TrackerResult::Invalid).get(), 5);
}

#[tokio::test]
async fn members_see_no_lists() {
    let tracker = Arc::new(tracker(&FakeSource::with(&[b"a layer"])));
    let handler = TrackerHandler::new(tracker);
    let digest = Digest::sha256(b"a layer");
    let (status, _) = send(&handler, Method::POST, "/announce", announce(&digest)).await;
    assert_eq!(status, StatusCode::OK);
    for path in ["/swarms", "/agents", "/swarms?n=1"] {
        let (status, answer) = send(&handler, Method::GET, path, "").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
        assert!(!answer.to_string().contains("sha256"), "{answer}");
    }
}

#[tokio::test]
async fn a_flood_is_429_and_says_when_to_come_again() {
    let handler = handler();
    let item = object!({"digest": Digest::sha256(b"x"), "event": "completed", "complete": true});
    let items: Vec<_> = (0..256).map(|_| item.clone()).collect();
    let body = object!({"peer_id": "01".repeat(20), "port": 16001, "items": items}).to_string();
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let request = http::Request::builder().method(Method::POST).uri("/announce");
        let request = request.body(Body::from(body.clone())).unwrap();
        let answer = handler.handle(request, ([10, 0, 0, 1], 40_000).into()).await;
        let wait = answer.headers().get(header::RETRY_AFTER).cloned();
        assert_eq!(wait.is_some(), answer.status() == StatusCode::TOO_MANY_REQUESTS);
        statuses.push(answer.status());
    }
    assert!(statuses.contains(&StatusCode::OK) && statuses.contains(&StatusCode::TOO_MANY_REQUESTS));
    let (other, _) = send(&handler, Method::GET, "/swarms", "").await;
    assert_eq!(other, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let handler = handler();
    let (sender, body) = Body::channel(1024);
    let request = http::Request::builder().method(Method::POST).uri("/announce").body(body).unwrap();
    let answer = handler.handle(request, ([10, 0, 0, 1], 40_000).into()).await;
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    drop(sender);
}
