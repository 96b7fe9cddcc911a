//! HTTP/2: by prior knowledge and by ALPN, with clients that flood, stall and cancel.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::Method;
use shoal_http::server::SocketOptions;
use shoal_http::{ClientTls, ClientTlsFiles, Limits, StatusCode, Tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::authority::Authority;
use super::harness::{FILE_LEN, Site, assert_same, rest, soon};

/// A client and the task that drives its connection.
struct Client {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// Windows of this client for streams and the connection; small ones make the server wait.
async fn client_over<S>(stream: S, windows: (u32, u32)) -> Client
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(windows.0).initial_connection_window_size(windows.1);
    let (requests, connection) = builder.handshake(stream).await.unwrap();
    Client { requests, connection: tokio::spawn(connection) }
}

const LARGE: (u32, u32) = (4 << 20, 16 << 20);

async fn client(site: &Site) -> Client {
    client_over(site.connect().await, LARGE).await
}

fn request(method: Method, path: &str) -> http::Request<()> {
    http::Request::builder().method(method).uri(format!("http://localhost{path}")).body(()).unwrap()
}

impl Client {
    async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), h2::Error> {
        let mut ready = self.requests.clone().ready().await?;
        let (response, _) = ready.send_request(request(Method::GET, path), true)?;
        let (head, body) = response.await?.into_parts();
        Ok((head.status, whole(body).await?))
    }
}

async fn whole(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await.transpose()? {
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}

#[tokio::test]
async fn prior_knowledge_serves_files_bytes_and_many_streams() {
    let site = Site::plain(Limits::default()).await;
    let client = client(&site).await;
    let mut streams = tokio::task::JoinSet::new();
    for index in 0..40_usize {
        let mut client =
            Client { requests: client.requests.clone(), connection: tokio::spawn(async { Ok(()) }) };
        let content = site.paths.content.clone();
        streams.spawn(async move {
            let len = 10_000 + index * 20_011;
            let path = if index % 2 == 0 {
                format!("/file?offset={index}&len={len}")
            } else {
                format!("/bytes?len={len}")
            };
            let start = if index % 2 == 0 { index } else { 0 };
            let (status, body) = client.get(&path).await.unwrap();
            assert_eq!(status, StatusCode::OK);
            assert_same(&body, &content[start..start + len], &path);
        });
    }
    while let Some(outcome) = soon(streams.join_next()).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn handlers_see_the_same_target_and_host_by_all_versions() {
    let site = Site::plain(Limits::default()).await;
    let (_, got) = soon(client(&site).await.get("/target?a=b")).await.unwrap();
    assert_eq!(got, "localhost /target?a=b");
    for request in [
        "GET /target?a=b HTTP/1.1\r\nhost: localhost",
        "GET http://localhost/target?a=b HTTP/1.1\r\nhost: other",
    ] {
        let got = site.exchange(format!("{request}\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(got.ends_with(b"\r\n\r\nlocalhost /target?a=b"), "{}", String::from_utf8_lossy(&got));
    }
}

#[tokio::test]
async fn alpn_chooses_http2_over_tls() {
    let authority = Authority::new();
    let tls = Tls::server(authority.server("server")).unwrap();
    let site = Site::start(Limits::default(), SocketOptions::default(), Some(tls)).await;
    let files = ClientTlsFiles { ca: Some(authority.ca()), identity: None };
    let connector = ClientTls::with_protocols(files, &[b"h2"]).unwrap().connector();
    let stream = connector.connect("localhost".try_into().unwrap(), site.connect().await).await.unwrap();
    let mut client = client_over(stream, LARGE).await;
    let (_, who) = soon(client.get("/who")).await.unwrap();
    assert_eq!(who, "Connection { secure: true, certificate: None }");
    let (_, body) = soon(client.get("/file")).await.unwrap();
    assert_same(&body, &site.paths.content, "file over h2 and TLS");
}

#[tokio::test]
async fn an_upload_arrives_whole() {
    let site = Site::plain(Limits::default()).await;
    let client = client(&site).await;
    let mut ready = client.requests.clone().ready().await.unwrap();
    let (response, mut body) = ready.send_request(request(Method::PUT, "/echo"), false).unwrap();
    let mut left = site.paths.content.clone();
    while !left.is_empty() {
        body.reserve_capacity(left.len().min(100_000));
        let granted = soon(std::future::poll_fn(|cx| body.poll_capacity(cx))).await.unwrap().unwrap();
        let part = left.split_to(granted.min(left.len()));
        body.send_data(part, left.is_empty()).unwrap();
    }
    let echoed = soon(async { whole(response.await.unwrap().into_body()).await }).await.unwrap();
    assert_same(&echoed, &site.paths.content, "upload");
}

#[tokio::test]
async fn methods_that_begin_like_the_preface_are_http1() {
    let site = Site::plain(Limits::default()).await;
    for method in ["P", "PR", "PRI", "PUT", "PROPFIND"] {
        let request = format!("{method} / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let got = site.exchange(request.as_bytes()).await;
        assert!(got.starts_with(b"HTTP/1.1 200 "), "{method}: {}", String::from_utf8_lossy(&got));
    }
}

#[tokio::test]
async fn half_a_preface_is_cut() {
    let limits = Limits { header_timeout: Duration::from_millis(300), ..Limits::default() };
    let site = Site::plain(limits).await;
    assert!(site.exchange(b"PRI * HTTP/2.0\r\n\r\nS").await.is_empty());
}

#[tokio::test]
async fn a_cut_body_is_a_reset_and_the_connection_goes_on() {
    let site = Site::plain(Limits::default()).await;
    let mut client = client(&site).await;
    let error = soon(client.get("/cut?len=200000")).await.unwrap_err();
    assert!(error.is_reset() && error.reason() == Some(Reason::INTERNAL_ERROR), "{error:?}");
    let short = format!("/file?offset={}&len=9000", FILE_LEN - 100);
    let error = soon(client.get(&short)).await.unwrap_err();
    assert!(error.is_reset(), "{error:?}");
    assert_eq!(soon(client.get("/")).await.unwrap().1, "ok");
}

#[tokio::test]
async fn a_drain_finishes_requests_and_says_goaway() {
    let site = Site::plain(Limits::default()).await;
    let mut client = client(&site).await;
    let mut ready = client.requests.clone().ready().await.unwrap();
    let (held, _) = ready.send_request(request(Method::GET, "/held"), true).unwrap();
    soon(site.paths.entered.acquire()).await.unwrap().forget();
    site.shutdown.trigger();
    // Requests that cross the first GOAWAY are still served.
    let early = soon(client.get("/")).await;
    assert!(early.is_ok() || early.is_err_and(|error| error.is_go_away()));
    site.paths.gate.add_permits(1);
    let body = soon(async { whole(held.await.unwrap().into_body()).await }).await.unwrap();
    assert_eq!(body, "held");
    soon(client.connection).await.unwrap().unwrap();
    site.stopped().await;
}

#[tokio::test]
async fn no_request_fails_while_servers_drain_one_after_another() {
    for _ in 0..5 {
        let site = Site::plain(Limits::default()).await;
        let client = client(&site).await;
        let mut served = 0;
        loop {
            // Without a connection nothing was asked, and a client asks the next server.
            let Ok(mut ready) = soon(client.requests.clone().ready()).await else { break };
            let get = request(Method::GET, "/file?len=100000");
            let Ok((response, _)) = ready.send_request(get, true) else { break };
            match soon(async { whole(response.await?.into_body()).await }).await {
                Ok(body) => assert_same(&body, &site.paths.content[..100_000], "drain"),
                // Refused before it was begun.
                Err(error) if error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM) => break,
                Err(error) => panic!("{error:?} after {served}"),
            }
            served += 1;
            if served == 20 {
                site.shutdown.trigger();
            }
        }
        assert!(served >= 20);
        site.stopped().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let limits = Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let site = Site::plain(limits).await;
    let mut client = client(&site).await;
    assert_eq!(soon(client.get("/")).await.unwrap().1, "ok");
    soon(client.connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_client_that_does_not_hear_is_cut() {
    let limits = Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let site = Site::plain(limits).await;
    let mut stream = site.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // It never answers the ping of the farewell, nor anything else.
    rest(&mut stream).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_others_go_on() {
    let limits = Limits { stall_timeout: Duration::from_millis(300), ..Limits::default() };
    let site = Site::plain(limits).await;
    let mut client = client_over(site.connect().await, (200_000, 16 << 20)).await;
    let mut ready = client.requests.clone().ready().await.unwrap();
    let (response, _) = ready.send_request(request(Method::GET, "/file"), true).unwrap();
    // The window of this stream is never opened again.
    let mut body = soon(response).await.unwrap().into_body();
    let until = tokio::time::Instant::now() + Duration::from_millis(1500);
    while tokio::time::Instant::now() < until {
        assert_eq!(soon(client.get("/")).await.unwrap().1, "ok");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let end = async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    let error = soon(end).await.unwrap().unwrap_err();
    assert!(error.is_reset(), "{error:?}");
}

#[tokio::test]
async fn windows_of_one_byte_do_not_hold_a_stream_for_ever() {
    let limits = Limits { stall_timeout: Duration::from_millis(200), ..Limits::default() };
    let site = Site::plain(limits).await;
    // SETTINGS with an initial window of 1.
    let mut stream = site.connect().await;
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1]);
    hello.extend_from_slice(&headers_frame(1, "/file"));
    stream.write_all(&hello).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let drip = tokio::spawn(async move {
        // One more byte for the stream, again and again.
        while writing.write_all(&[0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 1]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut frame = [0; 9];
    loop {
        soon(reading.read_exact(&mut frame)).await.unwrap();
        let len = usize::from(frame[1]) << 8 | usize::from(frame[2]);
        let mut payload = vec![0; len];
        soon(reading.read_exact(&mut payload)).await.unwrap();
        // RST_STREAM.
        if frame[3] == 3 {
            break;
        }
    }
    drip.abort();
}

/// HEADERS of a GET, with END_STREAM and END_HEADERS.
fn headers_frame(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x41, 1, b'x', 0x44, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    let mut frame = vec![0, 0, block.len() as u8, 1, 5];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&block);
    frame
}

#[tokio::test]
async fn the_end_of_an_answer_that_is_not_taken_is_cut() {
    let limits = Limits { stall_timeout: Duration::from_millis(300), ..Limits::default() };
    let site = Site::plain(limits).await;
    let client = client_over(site.connect().await, (100, 16 << 20)).await;
    let mut ready = client.requests.clone().ready().await.unwrap();
    // All of it is with the server's side of HTTP/2 at once, and waits for the window.
    let (response, _) = ready.send_request(request(Method::GET, "/bytes?len=5000"), true).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    let _ = soon(client.connection).await.unwrap();
    while let Some(part) = body.data().await {
        if part.is_err() {
            return;
        }
    }
    panic!("half an answer looks whole");
}

#[tokio::test]
async fn a_client_that_never_reads_its_socket_is_cut() {
    let limits = Limits { stall_timeout: Duration::from_millis(300), ..Limits::default() };
    let site = Site::start(limits, SocketOptions { send_buffer: Some(4096) }, None).await;
    let mut stream = site.connect().await;
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Windows that never end: SETTINGS and WINDOW_UPDATE of 2^30.
    hello.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x40, 0, 0, 0]);
    hello.extend_from_slice(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x40, 0, 0, 0]);
    hello.extend_from_slice(&headers_frame(1, "/endless"));
    stream.write_all(&hello).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    soon(site.stopped()).await;
    drop(stream);
}

#[tokio::test]
async fn a_reset_drops_the_handler() {
    let site = Site::plain(Limits::default()).await;
    let client = client(&site).await;
    let mut ready = client.requests.clone().ready().await.unwrap();
    let (response, mut body) = ready.send_request(request(Method::PUT, "/held"), false).unwrap();
    soon(site.paths.entered.acquire()).await.unwrap().forget();
    body.send_reset(Reason::CANCEL);
    drop(response);
    soon(site.paths.dropped.acquire()).await.unwrap().forget();
    // So does a connection that breaks.
    let mut ready = client.requests.clone().ready().await.unwrap();
    let (_response, _) = ready.send_request(request(Method::GET, "/held"), true).unwrap();
    soon(site.paths.entered.acquire()).await.unwrap().forget();
    client.connection.abort();
    soon(site.paths.dropped.acquire()).await.unwrap().forget();
}

#[tokio::test]
async fn a_drain_timeout_ends_requests_in_service() {
    let limits = Limits { drain_timeout: Duration::from_millis(200), ..Limits::default() };
    let site = Site::plain(limits).await;
    let client = client(&site).await;
    let mut ready = client.requests.clone().ready().await.unwrap();
    let (held, _) = ready.send_request(request(Method::GET, "/held"), true).unwrap();
    soon(site.paths.entered.acquire()).await.unwrap().forget();
    let dropped = site.paths.dropped.clone();
    site.stopped().await;
    soon(dropped.acquire()).await.unwrap().forget();
    soon(held).await.unwrap_err();
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let site = Site::plain(Limits::default()).await;
    let mut stream = site.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let flood = async move {
        for index in 0..1_000_000_u32 {
            let id = index * 2 + 1;
            let mut frames = headers_frame(id, "/held");
            frames.extend_from_slice(&[0, 0, 4, 3, 0]);
            frames.extend_from_slice(&id.to_be_bytes());
            frames.extend_from_slice(&8_u32.to_be_bytes());
            if writing.write_all(&frames).await.is_err() {
                return;
            }
        }
        panic!("a million resets");
    };
    let reads = async { while reading.read_u8().await.is_ok() {} };
    soon(async { tokio::join!(flood, reads) }).await;
    assert!(site.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ends_with(b"ok"));
}

#[tokio::test]
async fn a_client_that_cancels_everything_after_it_began_loses_its_connection() {
    let site = Site::plain(Limits::default()).await;
    let mut client = client(&site).await;
    let cancel = async {
        loop {
            let Ok(mut ready) = client.requests.clone().ready().await else { return };
            let Ok((response, mut body)) = ready.send_request(request(Method::PUT, "/held"), false) else {
                return;
            };
            // Only when the handler has begun, which no limit on unseen streams notices.
            tokio::select! {
                entered = site.paths.entered.acquire() => entered.unwrap().forget(),
                _ = &mut client.connection => return,
            }
            body.send_reset(Reason::CANCEL);
            drop(response);
        }
    };
    soon(cancel).await;
    assert!(site.paths.dropped.available_permits() >= 128);
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let site = Site::plain(Limits::default()).await;
    let mut stream = site.connect().await;
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // HEADERS without END_HEADERS.
    hello.extend_from_slice(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]);
    stream.write_all(&hello).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let flood = async move {
        let mut frame = vec![0, 0x40, 0, 9, 0, 0, 0, 0, 1];
        // A literal field of 16 KiB less its own head, never indexed.
        let mut block = vec![0x10, 1, b'x', 0x7f, 0x80 | 0x7f, 0x7e];
        block.resize(0x4000, b'a');
        frame.extend_from_slice(&block);
        for _ in 0..10_000 {
            if writing.write_all(&frame).await.is_err() {
                return;
            }
        }
        panic!("160 MB of header");
    };
    let reads = async { while reading.read_u8().await.is_ok() {} };
    soon(async { tokio::join!(flood, reads) }).await;
}

#[tokio::test]
async fn a_header_that_is_too_long_is_a_431() {
    let site = Site::plain(Limits { header_len_max: 8192, ..Limits::default() }).await;
    let mut client = client(&site).await;
    let mut ready = client.requests.clone().ready().await.unwrap();
    let mut long = request(Method::GET, "/");
    long.headers_mut().insert("x", "a".repeat(9000).parse().unwrap());
    let (response, _) = ready.send_request(long, true).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(soon(client.get("/")).await.unwrap().1, "ok");
}
