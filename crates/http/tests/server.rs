//! The listener against good and bad clients, over real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shoal_http::{Body, Handler, Limits, Listener, Request, Response, Shutdown, StatusCode, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Far more than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers a handful of paths. `/held` waits for a permit of `gate` and adds one to `entered` before.
struct Paths {
    entered: Semaphore,
    gate: Semaphore,
}

#[async_trait]
impl Handler for Paths {
    async fn handle(&self, request: Request, _: SocketAddr) -> Response {
        match request.uri().path() {
            "/held" => {
                self.entered.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
                json::text(StatusCode::OK, "held")
            }
            "/echo" => match request.into_body().collect(1 << 20).await {
                Ok(bytes) => json::with_type(StatusCode::OK, json::TEXT, bytes),
                Err(_) => json::text(StatusCode::BAD_REQUEST, "broken"),
            },
            "/sized-abort" => streamed(Some("10"), &["1234"], false).await,
            "/chunked-abort" => streamed(None, &["1234"], false).await,
            "/sized" => streamed(Some("8"), &["1234", "5678"], true).await,
            "/chunked" => streamed(None, &["1234", "5678"], true).await,
            "/head-only" => {
                let mut response = Response::new(Body::empty());
                response.headers_mut().insert("content-length", "12345".parse().unwrap());
                response
            }
            "/endless" => {
                let (sender, body) = Body::channel(1);
                tokio::spawn(async move { while sender.send(vec![0; 65536].into()).await.is_ok() {} });
                Response::new(body)
            }
            _ => json::text(StatusCode::OK, "ok"),
        }
    }
}

async fn streamed(len: Option<&str>, chunks: &[&'static str], well: bool) -> Response {
    let (sender, body) = Body::channel(4);
    for chunk in chunks {
        sender.send((*chunk).into()).await.unwrap();
    }
    if well {
        sender.finish().await.unwrap();
    } else {
        sender.abort();
    }
    let mut response = Response::new(body);
    if let Some(len) = len {
        response.headers_mut().insert("content-length", len.parse().unwrap());
    }
    response
}

struct Server {
    addr: SocketAddr,
    paths: Arc<Paths>,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

async fn start(limits: Limits) -> Server {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr();
    let paths = Arc::new(Paths { entered: Semaphore::new(0), gate: Semaphore::new(0) });
    let shutdown = Shutdown::new();
    let handler: Arc<dyn Handler> = paths.clone();
    let task = tokio::spawn(listener.serve(handler, limits, shutdown.clone()));
    Server { addr, paths, shutdown, task }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Sends `bytes` and reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn stopped(self) {
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// Everything until the end of the connection, however it ends.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("the server hangs") {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&all).into_owned(),
            Ok(len) => all.extend_from_slice(&buffer[..len]),
        }
    }
}

/// One answer with `Content-Length`, leaving the connection open.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut all = String::new();
    let mut byte = [0];
    while !all.ends_with("\r\n\r\n") {
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
        all.push(char::from(byte[0]));
    }
    let len = all
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut body)).await.unwrap().unwrap();
    all + &String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn a_tls_client_hello_gets_an_http_400() {
    let server = start(Limits::default()).await;
    // Record header of TLS 1.0 and the start of a ClientHello.
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.extend((0..505).map(|index| (index * 7) as u8));
    let answer = server.exchange(&hello).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn garbage_gets_a_400_and_the_listener_goes_on() {
    let server = start(Limits::default()).await;
    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
    ] {
        let answer = server.exchange(garbage).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer}");
    }
    let answer = server.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn a_header_that_is_too_long_gets_a_431() {
    let server = start(Limits { header_len_max: 8192, ..Limits::default() }).await;
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(9000));
    let answer = server.exchange(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_slow_header_is_cut_though_bytes_trickle() {
    let server = start(Limits { header_timeout: Duration::from_millis(300), ..Limits::default() }).await;
    let mut stream = server.connect().await;
    let trickle = async {
        for byte in b"GET / HTTP/1.1\r\nhost: x\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.expect("the server lets the header trickle for ever");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout_and_not_the_idle_timeout() {
    let limits = Limits {
        header_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = start(limits).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_answer(&mut stream).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(read_answer(&mut stream).await.ends_with("ok"));
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let limits = Limits { stall_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = start(limits).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The server's task for the connection ends, so a drain has nothing to wait for.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.shutdown.trigger();
    let stopped = tokio::time::timeout(Duration::from_secs(5), server.stopped());
    stopped.await.expect("the stalled connection is still there");
}

#[tokio::test]
async fn a_slow_handler_is_no_stall() {
    let limits = Limits { stall_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(limits).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.paths.gate.add_permits(1);
    assert!(read_answer(&mut stream).await.ends_with("held"));
}

#[tokio::test]
async fn an_aborted_body_never_looks_whole() {
    let server = start(Limits::default()).await;
    let sized = server.exchange(b"GET /sized-abort HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(sized.contains("content-length: 10\r\n") && sized.ends_with("\r\n\r\n1234"), "{sized}");
    let chunked = server.exchange(b"GET /chunked-abort HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(chunked.contains("1234") && !chunked.ends_with("0\r\n\r\n"), "{chunked}");
}

#[tokio::test]
async fn a_finished_body_is_whole_and_keeps_the_connection() {
    let server = start(Limits::default()).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /sized HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(read_answer(&mut stream).await.ends_with("\r\n\r\n12345678"));
    }
    let chunked = server.exchange(b"GET /chunked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(chunked.ends_with("4\r\n1234\r\n4\r\n5678\r\n0\r\n\r\n"), "{chunked}");
}

#[tokio::test]
async fn head_keeps_the_length_that_the_handler_set() {
    let server = start(Limits::default()).await;
    let mut stream = server.connect().await;
    for (path, len) in [("/head-only", "12345"), ("/", "2"), ("/sized", "8")] {
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            tokio::time::timeout(PATIENCE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains(&format!("content-length: {len}\r\n")),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_closes_the_rest_at_once() {
    let server = start(Limits::default()).await;
    let fresh = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_answer(&mut idle).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.paths.entered.acquire().await.unwrap().forget();
    server.shutdown.trigger();
    for mut stream in [fresh, idle] {
        assert_eq!(read_to_end(&mut stream).await, "");
    }
    assert!(!server.task.is_finished());
    server.paths.gate.add_permits(1);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.ends_with("held") && answer.contains("connection: close"), "{answer}");
    let addr = server.addr;
    server.stopped().await;
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn who_connected_just_before_the_port_closes_is_answered() {
    let server = start(Limits::default()).await;
    // The server has asked for connections before, so the runtime takes the queue for empty until it polls for events.
    server.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    // All without giving way: the server's task runs for the first time when it has been told to stop.
    let mut queued: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(server.addr).unwrap()).collect();
    for stream in &mut queued {
        std::io::Write::write_all(stream, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    }
    server.shutdown.trigger();
    for stream in queued {
        stream.set_nonblocking(true).unwrap();
        let answer = read_to_end(&mut TcpStream::from_std(stream).unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
    server.stopped().await;
}

#[tokio::test]
async fn a_drain_ends_after_its_timeout() {
    let server = start(Limits { drain_timeout: Duration::from_millis(200), ..Limits::default() }).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.paths.entered.acquire().await.unwrap().forget();
    server.shutdown.trigger();
    server.stopped().await;
    assert_eq!(read_to_end(&mut busy).await, "");
}

#[tokio::test]
async fn beyond_the_connection_limit_clients_wait_their_turn() {
    let server = start(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    server.paths.entered.acquire().await.unwrap().forget();
    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(200), second.read(&mut byte)).await;
    assert!(early.is_err(), "answered beyond the limit");
    server.paths.gate.add_permits(1);
    assert!(read_to_end(&mut first).await.ends_with("held"));
    assert!(read_to_end(&mut second).await.ends_with("ok"));
}

#[tokio::test]
async fn a_body_cut_by_the_client_is_an_error_for_the_handler() {
    let server = start(Limits::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n1234").await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_producer_learns_that_the_client_went_away() {
    let (sender, body) = Body::channel(1);
    let response = std::sync::Mutex::new(Some(Response::new(body)));
    struct Once(std::sync::Mutex<Option<Response>>);
    #[async_trait]
    impl Handler for Once {
        async fn handle(&self, _: Request, _: SocketAddr) -> Response {
            self.0.lock().unwrap().take().unwrap()
        }
    }
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
    tokio::spawn(listener.serve(Arc::new(Once(response)), Limits::default(), Shutdown::new()));
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sender.send("first".into()).await.unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    drop(stream);
    tokio::time::timeout(PATIENCE, sender.closed()).await.expect("the producer never learns");
}

#[test]
fn a_listener_outlives_the_lack_of_file_descriptors() {
    // The limit holds for a whole process, so the test runs again in one of its own.
    let script = "ulimit -n 64 && exec \"$0\" --exact with_few_descriptors --ignored";
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("sh").arg("-c").arg(script).arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by a_listener_outlives_the_lack_of_file_descriptors"]
async fn with_few_descriptors() {
    let metrics = shoal_telemetry::HttpMetrics::default().listener("test");
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap().with_metrics(metrics.clone());
    let addr = listener.local_addr();
    let paths = Arc::new(Paths { entered: Semaphore::new(0), gate: Semaphore::new(0) });
    let shutdown = Shutdown::new();
    let server = Server {
        addr,
        paths: paths.clone(),
        shutdown: shutdown.clone(),
        task: tokio::spawn(listener.serve(paths, Limits::default(), shutdown)),
    };
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect(addr).await {
        held.push(stream);
    }
    // The last descriptor went to a client, so the listener cannot take what waits for it.
    let waits = async {
        while metrics.accept_errors.get() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("no accept failed");
    drop(held);
    let answer = server.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let server = start(Limits::default()).await;
    for _ in 0..5 {
        let stream = server.connect().await;
        let (mut reading, mut writing) = stream.into_split();
        let send = tokio::spawn(async move { send_slowly(&mut writing).await });
        // A client that reads only when it has sent all, or cannot send any more.
        send.await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
    }
}

/// A request of 8 MiB, or as much of it as the server takes.
async fn send_slowly(writing: &mut OwnedWriteHalf) {
    let head = format!("POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 8 << 20);
    writing.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..128 {
        if writing.write_all(&[0; 65536]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
