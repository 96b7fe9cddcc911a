//! The client against good and bad servers, over real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shoal_http::{Body, BodyError, Client, ClientError, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(10);

/// A server that treats each connection with `script`, given its number.
async fn server<F, R>(script: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(usize, TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(counted.fetch_add(1, Ordering::SeqCst), stream));
        }
    });
    (addr, count)
}

/// Reads one request's header; `false` when the client closed.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut header = Vec::new();
    let mut byte = [0];
    while !header.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => header.push(byte[0]),
            _ => return false,
        }
    }
    true
}

async fn answer(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

fn get(addr: SocketAddr) -> Request {
    http::Request::get(format!("http://{addr}/x")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn connections_are_reused() {
    let (addr, connections) = server(|_, mut stream| async move {
        while read_request(&mut stream).await {
            answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let client = Client::default();
    for _ in 0..5 {
        assert_eq!(client.get_bytes(&format!("http://{addr}/"), 10, SOON).await.unwrap(), "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stale_pooled_connection_is_replaced_for_requests_that_may_be_repeated() {
    // The first connection answers once and then hangs up on the next request, as a server that restarts does.
    let (addr, _) = server(|number, mut stream| async move {
        let mut answered = 0;
        while read_request(&mut stream).await {
            if number == 0 && answered == 1 {
                return;
            }
            answered += 1;
            answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let client = Client::default();
    let url = format!("http://{addr}/");
    assert_eq!(client.get_bytes(&url, 10, SOON).await.unwrap(), "ok");
    assert_eq!(client.get_bytes(&url, 10, SOON).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_post_is_not_repeated_unless_it_is_marked() {
    let (addr, connections) = server(|_, mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    let client = Client::default();
    let url = format!("http://{addr}/");
    let error = client.post_json::<u8>(&url, &1, SOON).await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    client.post_json_idempotent::<u8>(&url, &1, SOON).await.unwrap_err();
    assert_eq!(connections.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let (addr, _) = server(|_, mut stream| async move {
        read_request(&mut stream).await;
        tokio::time::sleep(SOON * 6).await;
    })
    .await;
    let started = Instant::now();
    let error = Client::default().send(get(addr), Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }) && error.is_retryable(), "{error:?}");
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn a_body_that_stalls_is_a_timeout_of_the_whole_exchange() {
    let (addr, _) = server(|_, mut stream| async move {
        read_request(&mut stream).await;
        answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123").await;
        tokio::time::sleep(SOON * 6).await;
    })
    .await;
    let url = format!("http://{addr}/");
    let error = Client::default().get_bytes(&url, 100, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_a_connect_error() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Client::default().send(get(free), SOON).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Connect { authority, .. } if *authority == free.to_string()),
        "{error:?}"
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_short_body_is_broken_and_a_long_one_refused() {
    let (addr, _) = server(|number, mut stream| async move {
        read_request(&mut stream).await;
        let rest = if number == 0 { "123" } else { "1234567890" };
        answer(&mut stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{rest}")).await;
    })
    .await;
    let url = format!("http://{addr}/");
    let short = Client::default().get_bytes(&url, 100, SOON).await.unwrap_err();
    assert!(matches!(short, ClientError::Body { source: BodyError::Connection(_), .. }), "{short:?}");
    assert!(short.is_retryable());
    let long = Client::default().get_bytes(&url, 9, SOON).await.unwrap_err();
    assert!(matches!(long, ClientError::Body { source: BodyError::TooLong { limit: 9 }, .. }), "{long:?}");
    assert!(!long.is_retryable());
}

#[tokio::test]
async fn error_answers_carry_status_and_reason() {
    let (addr, _) = server(|_, mut stream| async move {
        read_request(&mut stream).await;
        answer(&mut stream, "HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\ntry later").await;
    })
    .await;
    let url = format!("http://{addr}/");
    let error = Client::default().get_json::<u8>(&url, SOON).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert!(
        error.is_retryable() && error.to_string().ends_with("503 Service Unavailable: try later"),
        "{error}"
    );
}

#[tokio::test]
async fn a_streamed_request_body_arrives_and_a_cut_one_does_not() {
    let (addr, _) = server(|_, mut stream| async move {
        let mut all = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(len) => all.extend_from_slice(&buffer[..len]),
            }
            if all.ends_with(b"0\r\n\r\n") {
                return answer(&mut stream, "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    for (well, wanted) in [(true, Some(StatusCode::CREATED)), (false, None)] {
        let (sender, body) = Body::channel(2);
        let request = http::Request::put(format!("http://{addr}/")).body(body).unwrap();
        tokio::spawn(async move {
            sender.send("data".into()).await.unwrap();
            if well {
                sender.finish().await.unwrap();
            } else {
                sender.abort();
            }
        });
        let status = Client::default().send(request, SOON).await.ok().map(|response| response.status());
        assert_eq!(status, wanted);
    }
}
