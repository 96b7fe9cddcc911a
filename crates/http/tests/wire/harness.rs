//! A listener with a handful of paths, and clients for it.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_http::server::SocketOptions;
use shoal_http::{
    Body, Connection, Handler, Limits, Listener, Request, Response, Shutdown, StatusCode, Tls, json,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Far more than anything here takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long the file is that `/file` serves.
pub(crate) const FILE_LEN: usize = 6 * 1024 * 1024 + 12_345;

/// Bytes that are never zero, so that a placeholder on the wire cannot be mistaken for content.
pub(crate) fn content(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 | 1
    };
    (0..len).map(|_| next()).collect()
}

static CONTENT: LazyLock<Bytes> = LazyLock::new(|| content(FILE_LEN));

/// A file of `bytes`, without a name.
pub(crate) fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

/// What `/file?offset=&len=` and the others answer.
pub(crate) struct Paths {
    pub(crate) content: Bytes,
    pub(crate) file: Arc<File>,
    pub(crate) entered: Semaphore,
    pub(crate) gate: Semaphore,
    /// Handlers of `/held` that were dropped before they answered.
    pub(crate) dropped: Arc<Semaphore>,
}

struct OnDrop(Arc<Semaphore>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

fn number(request: &Request, name: &str) -> Option<u64> {
    shoal_http::query::value(request.uri().query(), name).and_then(|value| value.parse().ok())
}

#[async_trait]
impl Handler for Paths {
    async fn handle(&self, request: Request, _: SocketAddr) -> Response {
        let len = number(&request, "len").unwrap_or(self.content.len() as u64);
        let offset = number(&request, "offset").unwrap_or(0);
        match request.uri().path() {
            "/file" => {
                let mut response = Response::new(Body::file(Arc::clone(&self.file), offset, len));
                if shoal_http::query::value(request.uri().query(), "chunked").is_some() {
                    response.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
                }
                response
            }
            "/bytes" => Response::new(Body::from(self.content.slice(..len as usize))),
            "/held" => {
                let on_drop = OnDrop(Arc::clone(&self.dropped));
                self.entered.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
                std::mem::forget(on_drop);
                json::text(StatusCode::OK, "held")
            }
            "/echo" => match request.into_body().collect(64 << 20).await {
                Ok(bytes) => json::with_type(StatusCode::OK, json::TEXT, bytes),
                Err(_) => json::text(StatusCode::BAD_REQUEST, "broken"),
            },
            "/cut" => cut(self.content.slice(..len as usize)),
            "/endless" => {
                let (sender, body) = Body::channel(1);
                tokio::spawn(async move { while sender.send(vec![1; 65536].into()).await.is_ok() {} });
                Response::new(body)
            }
            "/empty-400" => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response.headers_mut().insert("connection", "close".parse().unwrap());
                response
            }
            "/target" => {
                let host = request.headers().get("host").unwrap().to_str().unwrap();
                json::text(StatusCode::OK, format!("{host} {}", request.uri()))
            }
            "/who" => {
                let connection = request.extensions().get::<Connection>().unwrap();
                json::text(StatusCode::OK, format!("{connection:?}"))
            }
            _ => json::text(StatusCode::OK, "ok"),
        }
    }
}

/// `bytes`, then a failure.
fn cut(bytes: Bytes) -> Response {
    let (sender, body) = Body::channel(1);
    tokio::spawn(async move {
        let _ = sender.send(bytes).await;
        sender.abort();
    });
    Response::new(body)
}

pub(crate) struct Site {
    pub(crate) addr: SocketAddr,
    pub(crate) paths: Arc<Paths>,
    pub(crate) shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Site {
    pub(crate) async fn plain(limits: Limits) -> Self {
        Self::start(limits, SocketOptions::default(), None).await
    }

    pub(crate) async fn start(limits: Limits, options: SocketOptions, tls: Option<Tls>) -> Self {
        let mut listener = Listener::bind_with(([127, 0, 0, 1], 0).into(), options).await.unwrap();
        if let Some(tls) = tls {
            listener = listener.with_tls(tls);
        }
        let addr = listener.local_addr();
        let content = CONTENT.clone();
        let paths = Arc::new(Paths {
            file: file_of(&content),
            content,
            entered: Semaphore::new(0),
            gate: Semaphore::new(0),
            dropped: Arc::new(Semaphore::new(0)),
        });
        let shutdown = Shutdown::new();
        let handler: Arc<dyn Handler> = paths.clone();
        let task = tokio::spawn(listener.serve(handler, limits, shutdown.clone()));
        Self { addr, paths, shutdown, task }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Sends `bytes` and reads until the server closes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }

    /// Shuts down and waits until everything has ended.
    pub(crate) async fn stopped(self) {
        self.shutdown.trigger();
        soon(self.task).await.unwrap();
    }
}

/// The outcome of something that must not hang.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("hangs")
}

/// Everything until the end of the connection, however it ends.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = soon(stream.read_to_end(&mut all)).await;
    all
}

/// The head of an answer.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        soon(stream.read_exact(&mut byte)).await.unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn content_length(head: &str) -> usize {
    head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap()
}

/// One answer with `Content-Length`, leaving the connection open.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let head = head(stream).await;
    let mut body = vec![0; content_length(&head)];
    soon(stream.read_exact(&mut body)).await.unwrap();
    (head, body)
}

/// Fails with the first place where the two differ, rather than with megabytes.
pub(crate) fn assert_same(got: &[u8], wanted: &[u8], what: &str) {
    if got == wanted {
        return;
    }
    let at = got.iter().zip(wanted).position(|(got, wanted)| got != wanted);
    panic!("{what}: {} bytes instead of {}, the first difference is at {at:?}", got.len(), wanted.len());
}
