//! What a client of the server has of an upstream while it comes: blobs, and lists.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use shoal_http::{Body, BodySender, Handler, Limits, Listener, Request, Response, Shutdown};
use shoal_oci::Digest;
use shoal_oci::media_type::{OCI_INDEX, OCI_MANIFEST};

use crate::client::{TIMEOUT, content};
use crate::upstreams::{at, header, through, upstream};

/// An upstream with one blob, whose bodies a test feeds, and with lists of two pages.
struct Far {
    size: usize,
    bodies: Mutex<Vec<Body>>,
}

#[async_trait]
impl Handler for Far {
    async fn handle(&self, request: Request, _: SocketAddr) -> Response {
        let answer = http::Response::builder();
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default());
        let second = query.contains("page=2%2B");
        if path.ends_with("/tags/list") {
            let tags = if second { r#"{"tags":["b","UPPER ","c"]}"# } else { r#"{"tags":["a"]}"# };
            let link = r#"</v2/team/app/tags/list?page=2%2B&n=1>; rel="next""#;
            let answer = if second { answer } else { answer.header("link", link) };
            return answer.body(Body::from(tags)).unwrap();
        }
        if path.ends_with(&format!("/manifests/{}", Digest::sha256(b"signed").to_string().replace(':', "-")))
        {
            return answer.header("content-type", OCI_INDEX).body(Body::from(signatures())).unwrap();
        }
        let given = match *request.method() {
            Method::GET if path.contains("/blobs/") => self.bodies.lock().unwrap().pop(),
            _ => None,
        };
        match given {
            Some(body) => answer.header("content-length", self.size).body(body).unwrap(),
            None => answer.status(404).body(Body::empty()).unwrap(),
        }
    }
}

/// What clients keep under a tag of an upstream that does not know referrers.
fn signatures() -> String {
    let entry = |kind: &str| {
        let digest = Digest::sha256(kind.as_bytes());
        serde_json::json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 7, "artifactType": kind})
    };
    let entries = [entry("a/signature"), entry("a/bill")];
    serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string()
}

async fn far(size: usize, bodies: Vec<Body>) -> (String, Shutdown) {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let (addr, shutdown) = (listener.local_addr(), Shutdown::new());
    let limits = Limits { drain_timeout: Duration::ZERO, ..Limits::default() };
    let far = Arc::new(Far { size, bodies: Mutex::new(bodies) });
    tokio::spawn(listener.serve(far, limits, shutdown.clone()));
    (format!("http://{addr}"), shutdown)
}

async fn feed(sender: &BodySender, bytes: &[u8]) {
    for part in bytes.chunks(50_000) {
        sender.send(Bytes::copy_from_slice(part)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_a_blob_while_it_comes_and_never_the_end_of_a_wrong_one() {
    for is_right in [true, false] {
        let here = tempfile::tempdir().unwrap();
        let bytes = content(67, 1_000_000);
        let digest = Digest::sha256(&bytes);
        let mut sent = bytes.clone();
        sent[999_999] ^= u8::from(!is_right);
        let (sender, body) = Body::channel(64);
        let (url, shutdown) = far(bytes.len(), vec![body]).await;
        let near = through(here.path(), upstream(url)).await;
        let copy = at(&near, "up.example/team/app");
        feed(&sender, &sent[..500_000]).await;
        let path = format!("/blobs/{digest}");
        let answer = copy.send(Method::GET, &path, "", "").await;
        assert_eq!((answer.status(), header(&answer, "content-length")), (StatusCode::OK, "1000000"));
        let (mut body, mut got) = (answer.into_body(), Vec::new());
        // Seven whole pieces have come.
        while got.len() < 7 * 65_536 {
            let frame = tokio::time::timeout(TIMEOUT, body.frame_data()).await.unwrap();
            got.extend_from_slice(&frame.unwrap().unwrap());
        }
        feed(&sender, &sent[500_000..]).await;
        sender.finish().await.unwrap();
        let is_whole = loop {
            match tokio::time::timeout(TIMEOUT, body.frame_data()).await.unwrap() {
                Some(Ok(frame)) => got.extend_from_slice(&frame),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        assert_eq!((is_whole, got == bytes), (is_right, is_right), "{} bytes", got.len());
        assert!(bytes.starts_with(&got), "all but the last piece is as it came");
        let again = copy.send(Method::GET, &path, "", "").await.status();
        assert_eq!(again, if is_right { StatusCode::OK } else { StatusCode::NOT_FOUND });
        near.shutdown().await;
        shutdown.trigger();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_the_upstreams_page_by_page_and_what_is_remembered_while_it_is_down() {
    let here = tempfile::tempdir().unwrap();
    let (url, shutdown) = far(0, Vec::new()).await;
    let near = through(here.path(), upstream(url.clone())).await;
    let copy = at(&near, "up.example/team/app");
    let first = copy.send(Method::GET, "/tags/list?n=1", "", "").await;
    assert_eq!((header(&first, "shoal-freshness"), header(&first, "age")), ("revalidated", "0"));
    let link = header(&first, "link").to_owned();
    let (_, query) = link.split_once('?').unwrap();
    let next = format!("/tags/list?{}", query.split_once('>').unwrap().0);
    let tags = async |path: &str| {
        let (status, bytes) = copy.get(path).await;
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        (status.as_u16(), value["name"].as_str().unwrap_or_default().to_owned(), value["tags"].clone())
    };
    let name = "up.example/team/app".to_owned();
    assert_eq!(tags("/tags/list?n=1").await, (200, name.clone(), serde_json::json!(["a"])));
    let second = copy.send(Method::GET, &next, "", "").await;
    assert_eq!(header(&second, "link"), "", "{link}");
    assert_eq!(tags(&next).await, (200, name.clone(), serde_json::json!(["b", "c"])));
    shutdown.trigger();
    // The upstream is asked each time here, and answers nothing from now on.
    let gone = async || std::net::TcpStream::connect(url.trim_start_matches("http://")).is_err();
    while !gone().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stale = copy.send(Method::GET, &next, "", "").await;
    assert_eq!((stale.status(), header(&stale, "shoal-freshness")), (StatusCode::OK, "stale"));
    assert!(header(&stale, "age").parse::<u64>().is_ok());
    assert_eq!(tags(&next).await.2, serde_json::json!(["b", "c"]));
    // Nobody has asked for this page before, and nothing of the repository is here.
    let unknown = copy.send(Method::GET, "/tags/list?n=7", "", "").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    near.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_the_upstreams_also_where_it_keeps_them_under_a_tag() {
    let here = tempfile::tempdir().unwrap();
    let (url, shutdown) = far(0, Vec::new()).await;
    let near = through(here.path(), upstream(url)).await;
    let copy = at(&near, "up.example/team/app");
    let listed = async |subject: &[u8], query: &str| {
        let path = format!("/referrers/{}{query}", Digest::sha256(subject));
        let answer = copy.send(Method::GET, &path, "", "").await;
        assert_eq!((answer.status(), header(&answer, "shoal-freshness")), (StatusCode::OK, "revalidated"));
        let applied = header(&answer, "oci-filters-applied").to_owned();
        let bytes = answer.into_body().collect(1 << 20).await.unwrap();
        let index: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let kinds = index["manifests"].as_array().unwrap().iter();
        (kinds.map(|entry| entry["artifactType"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), applied)
    };
    assert_eq!(listed(b"signed", "").await.0, ["a/signature", "a/bill"]);
    let filtered = listed(b"signed", "?artifactType=a/bill").await;
    assert_eq!(filtered, (vec!["a/bill".to_owned()], "artifactType".to_owned()));
    assert!(listed(b"unsigned", "").await.0.is_empty());
    near.shutdown().await;
    shutdown.trigger();
}
