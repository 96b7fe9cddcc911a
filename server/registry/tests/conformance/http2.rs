//! The same over HTTP/2 (by prior knowledge; over TLS it is chosen by ALPN): many requests on one connection.

use bytes::Bytes;
use http::{HeaderMap, Request};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shoal_http::Body;
use shoal_oci::Digest;

use crate::documents::{IMAGE, bytes, image};
use crate::talk::{Talk, content};

type Sender = SendRequest<Body>;

async fn connect(talk: &Talk) -> Sender {
    let stream = tokio::net::TcpStream::connect(talk.served.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn send(
    sender: &Sender,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> (u16, HeaderMap, Bytes) {
    let mut request = Request::builder().method(method).uri(format!("http://registry.example.com{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.clone().send_request(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    assert_eq!(head.version, http::Version::HTTP_2);
    assert!(!head.headers.contains_key("connection"));
    (head.status.as_u16(), head.headers, Body::from(body).collect(64 << 20).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_pushes_and_pulls_an_image() {
    let talk = Talk::start().await;
    let sender = connect(&talk).await;
    let layer = content(1, 3_000_000);
    for blob in [Bytes::from_static(b"{}"), layer.clone()] {
        let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&blob));
        assert_eq!(send(&sender, "POST", &path, &[], blob).await.0, 201);
    }
    let (status, headers, _) = send(&sender, "POST", "/v2/a/blobs/uploads/", &[], Bytes::new()).await;
    assert_eq!(status, 202);
    let session = headers["location"].to_str().unwrap().to_owned();
    assert_eq!(send(&sender, "PATCH", &session, &[], content(2, 100_000)).await.0, 202);
    let path = format!("{session}?digest={}", Digest::sha256(&content(2, 100_000)));
    assert_eq!(send(&sender, "PUT", &path, &[], Bytes::new()).await.0, 201);
    let document = bytes(&image(&[&layer]));
    let kind = [("content-type", IMAGE)];
    assert_eq!(send(&sender, "PUT", "/v2/a/manifests/v1", &kind, document.clone()).await.0, 201);
    assert_eq!(send(&sender, "GET", "/v2/a/manifests/v1", &[], Bytes::new()).await.2, document);
    let path = format!("/v2/a/blobs/{}", Digest::sha256(&layer));
    assert_eq!(send(&sender, "GET", &path, &[], Bytes::new()).await.2, layer);
    let (status, headers, part) =
        send(&sender, "GET", &path, &[("range", "bytes=10-19")], Bytes::new()).await;
    assert_eq!((status, part), (206, layer.slice(10..20)));
    assert_eq!(headers["content-range"], "bytes 10-19/3000000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_answers_many_requests_of_one_connection_at_once() {
    let talk = Talk::start().await;
    let digest = talk.push("a", content(3, 1000)).await;
    let sender = connect(&talk).await;
    let requests: Vec<_> = (0..100)
        .map(|number| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let blob = Bytes::from(format!("blob {number}"));
                let push = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&blob));
                let pushed = send(&sender, "POST", &push, &[], blob).await.0;
                let pulled = send(&sender, "GET", &format!("/v2/a/blobs/{digest}"), &[], Bytes::new()).await;
                (pushed, pulled.0, pulled.2)
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), (201, 200, content(3, 1000)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_errors_have_the_specified_form() {
    let talk = Talk::start().await;
    let sender = connect(&talk).await;
    for (method, path, expected) in [
        ("GET", "/v2/a/manifests/v1", 404),
        ("GET", "/nowhere", 404),
        ("PATCH", "/v2/", 405),
        ("GET", "/v2/A/tags/list", 400),
        ("PUT", "/v2/a/manifests/v1", 400),
    ] {
        let (status, headers, body) = send(&sender, method, path, &[], Bytes::new()).await;
        assert_eq!((status, &headers["content-type"]), (expected, &"application/json".parse().unwrap()));
        assert!(body.starts_with(br#"{"errors":[{"code":"#), "{body:?}");
    }
    let large = vec![b' '; (8 << 20) + 1];
    let (status, _, body) = send(&sender, "PUT", "/v2/a/manifests/v1", &[], large.into()).await;
    assert!(status == 413 && body.starts_with(br#"{"errors":[{"code":"SIZE_INVALID""#), "{status} {body:?}");
}
