//! A foreign registry that does what a test tells it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode};
use shoal_http::{Body, Handler, Limits, Listener, Request, Response, Shutdown, Tls, TlsFiles};
use shoal_oci::Repository;
use shoal_telemetry::UpstreamMetrics;
use shoal_upstream::{ProxyChoice, ProxyEnvironment, RegistryName, Upstream, UpstreamOptions, Upstreams};
use tokio::task::JoinHandle;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Answers a request; the number says how many came before it.
pub(crate) type Script = Box<dyn Fn(&Asked, usize) -> Response + Send + Sync>;

/// A running registry.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    shutdown: Shutdown,
    _task: JoinHandle<()>,
}

struct Face {
    script: Script,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[async_trait]
impl Handler for Face {
    async fn handle(&self, request: Request, _: SocketAddr) -> Response {
        let (head, body) = request.into_parts();
        let body = body.collect(1 << 20).await.unwrap();
        let asked = Asked {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let number = {
            let mut all = self.asked.lock().unwrap();
            all.push(asked.clone());
            all.len() - 1
        };
        let response = (self.script)(&asked, number);
        if response.status() == StatusCode::IM_A_TEAPOT {
            std::future::pending::<()>().await;
        }
        response
    }
}

impl Fake {
    pub(crate) async fn start(script: impl Fn(&Asked, usize) -> Response + Send + Sync + 'static) -> Self {
        Self::start_with(None, Box::new(script)).await
    }

    pub(crate) async fn start_with(tls: Option<Tls>, script: Script) -> Self {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let addr = listener.local_addr();
        let listener = match tls {
            Some(tls) => listener.with_tls(tls),
            None => listener,
        };
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let shutdown = Shutdown::new();
        let limits = Limits { drain_timeout: Duration::ZERO, ..Limits::default() };
        let face = Arc::new(Face { script, asked: Arc::clone(&asked) });
        let task = tokio::spawn(listener.serve(face, limits, shutdown.clone()));
        Self { addr, asked, shutdown, _task: task }
    }

    /// What was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Options for a client of it, over plain HTTP.
    pub(crate) fn options(&self) -> UpstreamOptions {
        let mut options = UpstreamOptions::new("r.example".parse().unwrap());
        options.endpoint = Some(format!("http://{}", self.addr));
        options.plain_http = true;
        options.proxy = ProxyChoice::Direct;
        options.timeouts.head = Duration::from_secs(2);
        options
    }

    pub(crate) fn client(&self) -> Upstream {
        client(self.options())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// The registry `r.example` under these options.
pub(crate) fn client(options: UpstreamOptions) -> Upstream {
    client_with(options, UpstreamMetrics::default())
}

pub(crate) fn client_with(options: UpstreamOptions, metrics: UpstreamMetrics) -> Upstream {
    let upstreams = Upstreams::new(vec![options], ProxyEnvironment::default(), metrics).unwrap();
    upstreams.get(&RegistryName::of(&"r.example".parse().unwrap())).unwrap().1
}

pub(crate) fn repository() -> Repository {
    "team/app".parse().unwrap()
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// No answer at all, for ever.
pub(crate) fn never() -> Response {
    answer(418, &[], "")
}

/// A body of which only the beginning comes, and then the connection breaks.
pub(crate) fn broken(status: u16, headers: &[(&str, &str)], begin: &[u8]) -> Response {
    let (sender, body) = Body::channel(1);
    let begin = begin.to_vec();
    tokio::spawn(async move {
        _ = sender.send(begin.into()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        sender.abort();
    });
    answer(status, headers, body)
}

/// A certificate for 127.0.0.1, and the file of its authority.
pub(crate) fn tls(directory: &std::path::Path) -> (Tls, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = TlsFiles { certificate: certificate.clone(), key, client_ca: None, client_required: false };
    (Tls::server(files).unwrap(), certificate)
}
