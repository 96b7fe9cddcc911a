//! What only a real connection can do wrong: break off inside a body, or be still sending when the answer comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shoal_http::{Limits, Listener, Shutdown};
use shoal_oci::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::World;

/// Far longer than it takes.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

async fn serve(world: &World) -> SocketAddr {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(listener.serve(Arc::new(world.registry.clone()), Limits::default(), Shutdown::new()));
    address
}

/// Sends a request's head and `body`, and reads until the server closes. With `break_off` nothing more can come.
async fn send(address: SocketAddr, head: String, body: &[u8], break_off: bool) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    if break_off {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Waits until the server has noticed the break and kept what came before it, then finishes the session.
async fn finish(world: &World, session: &str, content: &[u8]) {
    let range = format!("0-{}", content.len() - 1);
    while world.get(session).await.header("range") != range {}
    world.put(format!("{session}?digest={}", Digest::sha256(content)), "").await.expect(201);
}

#[tokio::test]
async fn bodies_that_break_off_are_not_taken_for_whole() {
    let world = World::new();
    let address = serve(&world).await;
    for (framing, body, received) in [
        ("Content-Length: 1000", &b"abc"[..], &b"abc"[..]),
        ("Transfer-Encoding: chunked", b"5\r\nabcde\r\n", b"abcde"),
        ("Transfer-Encoding: chunked", b"5\r\nfghij\r\nnot hex\r\n", b"fghij"),
        ("Transfer-Encoding: chunked", b"5\r\nklmno\r\nffffffffffffffffff\r\nx", b"klmno"),
    ] {
        let session = world.session("a").await;
        let answer = send(address, format!("PATCH {session} HTTP/1.1\r\n{framing}"), body, true).await;
        // The server may have noticed that nobody is there to be answered.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{framing}: {answer}");
        let finished = tokio::time::timeout(NOTICED_WITHIN, finish(&world, &session, received)).await;
        assert!(finished.is_ok(), "{framing}: what came before the break is lost");
    }
    let digest = Digest::sha256(b"xyz");
    let session = world.session("a").await;
    for path in
        [format!("PUT {session}?digest={digest}"), format!("POST /v2/a/blobs/uploads/?digest={digest}")]
    {
        let answer = send(address, format!("{path} HTTP/1.1\r\nContent-Length: 4"), b"xyz", true).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        world.head(format!("/v2/a/blobs/{digest}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_gets_to_see_why_it_is_refused() {
    let world = World::new();
    let address = serve(&world).await;
    let body = vec![b'x'; 9 << 20];
    let head = format!("PUT /v2/a/manifests/v1 HTTP/1.1\r\nContent-Length: {}", body.len());
    let answer = send(address, head, &body, false).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("SIZE_INVALID"), "{answer}");
    let head =
        format!("PATCH /v2/a/blobs/uploads/{} HTTP/1.1\r\nContent-Length: {}", "0".repeat(32), body.len());
    let answer = send(address, head, &body, false).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("BLOB_UPLOAD_UNKNOWN"), "{answer}");
}
