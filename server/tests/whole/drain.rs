//! SIGTERM under load: every request that reached the server is answered, and whoever comes later finds the port closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use shoal_oci::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Registry, content};
use crate::process::Server;

/// What one client has seen.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicUsize,
    /// Requests without a good answer, in words.
    failed: std::sync::Mutex<Vec<String>>,
    /// The port was closed.
    refused: AtomicBool,
}

/// An answer as far as this test looks at it.
struct Answer {
    status: u16,
    closes: bool,
}

/// Sends a request and reads its answer to the end.
async fn exchange(stream: &mut TcpStream, head: &str, body: &[u8]) -> Result<Answer, String> {
    let head = format!("{head}\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.map_err(|error| format!("write: {error}"))?;
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = whole(&bytes, head.starts_with("HEAD")) {
            return Ok(answer);
        }
        let read = stream.read_buf(&mut bytes).await.map_err(|error| format!("read: {error}"))?;
        if read == 0 {
            return Err(format!("{head:?} ended after {} bytes of an answer", bytes.len()));
        }
    }
}

/// The answer, if all of it is there.
fn whole(bytes: &[u8], is_head: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_ascii_lowercase();
    let status = head[9..12].parse().unwrap();
    let len = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |len| len.parse().unwrap());
    let body = if is_head || status == 204 { 0 } else { len };
    (bytes.len() >= end + 4 + body).then(|| Answer { status, closes: head.contains("connection: close") })
}

/// Requests in turn until the port is closed; `keeps` its connection as long as the server does.
async fn client(
    address: SocketAddr,
    number: usize,
    keeps: bool,
    requests: Arc<Vec<String>>,
    seen: Arc<Seen>,
) {
    let mut kept: Option<TcpStream> = None;
    for round in 0.. {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(_refused) => return seen.refused.store(true, Ordering::SeqCst),
            },
        };
        let blob = format!("{number} {round}").into_bytes();
        let push = format!("POST /v2/team/app/blobs/uploads/?digest={} HTTP/1.1", Digest::sha256(&blob));
        let (head, body) = match requests.get(round % (requests.len() + 1)) {
            Some(head) => (head.as_str(), &[][..]),
            None => (push.as_str(), blob.as_slice()),
        };
        match exchange(&mut stream, head, body).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                seen.answered.fetch_add(1, Ordering::SeqCst);
                kept = (keeps && !answer.closes).then_some(stream);
            }
            Ok(answer) => seen.failed.lock().unwrap().push(format!("{head}: {}", answer.status)),
            Err(error) => seen.failed.lock().unwrap().push(error),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_fails_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let address = server.ready.registry;
    let layer = content(1, 400_000);
    Registry::at(address, "team/app").push_image("v1", &layer).await;
    let requests = Arc::new(vec![
        "GET /v2/team/app/manifests/v1 HTTP/1.1".to_owned(),
        format!("GET /v2/team/app/blobs/{} HTTP/1.1", Digest::sha256(&layer)),
        format!("HEAD /v2/team/app/blobs/{} HTTP/1.1", Digest::sha256(b"{}")),
        "POST /v2/team/app/blobs/uploads/ HTTP/1.1".to_owned(),
    ]);
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..24)
        .map(|number| {
            tokio::spawn(client(address, number, number % 2 == 0, Arc::clone(&requests), Arc::clone(&seen)))
        })
        .collect();
    let slow = tokio::spawn(slow_push(address));
    while seen.answered.load(Ordering::SeqCst) < 500 {
        tokio::task::yield_now().await;
    }
    server.signal();
    slow.await.unwrap();
    for client in clients {
        client.await.unwrap();
    }
    assert!(server.wait(), "the server ends well");
    let failed = std::mem::take(&mut *seen.failed.lock().unwrap());
    assert!(failed.is_empty(), "{} of {:?}: {failed:?}", failed.len(), seen.answered);
    assert!(seen.refused.load(Ordering::SeqCst));
}

/// A push whose body takes longer than it takes the others to leave.
async fn slow_push(address: SocketAddr) {
    let layer = content(2, 300_000);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v2/team/app/blobs/uploads/?digest={} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        Digest::sha256(&layer),
        layer.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in layer.chunks(10_000) {
        stream.write_all(part).await.unwrap();
        // The body is meant to be slow.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let mut bytes = Vec::new();
    while whole(&bytes, false).is_none() {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "cut");
    }
    assert_eq!(whole(&bytes, false).unwrap().status, 201);
}
