//! A server with registry, tracker and origin on one port that does what a test tells it, and an agent that uses it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use shoal_agent::app::App;
use shoal_agent::config::Config;
use shoal_agent::faces::Addresses;
use shoal_api::origin::web_seed_url;
use shoal_api::tracker::{
    AnnounceItem, AnnounceReply, AnnounceRequest, AnnounceResponse, ItemError, ItemErrorCode, ItemReply,
};
use shoal_http::{Body, Client, Handler, Limits, Listener, Request, Response, Shutdown, StatusCode, json};
use shoal_oci::{Digest, Selection, media_type, reply};
use shoal_store::{Durability, Options, Store};
use shoal_swarm_types::Metainfo;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Far more than anything here takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the made-up server knows and does.
#[derive(Default)]
pub(crate) struct State {
    /// By `repository:reference`: media type and bytes.
    pub(crate) manifests: BTreeMap<String, (String, Bytes)>,
    /// What the origin serves.
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
    /// When it is set, blobs are there for whoever names this repository, and for nobody else.
    pub(crate) private: Option<String>,
    /// The origin fails to serve bytes from this offset on.
    pub(crate) blob_end: Option<u64>,
    /// The origin serves bytes from this offset on only when the gate has a permit.
    pub(crate) blob_gate: Option<(u64, Arc<Semaphore>)>,
    /// Nothing is answered any more.
    pub(crate) hangs: bool,
    /// Announces find no tracker; every other path is answered.
    pub(crate) no_tracker: bool,
    /// Stated in place of the true digest of a manifest.
    pub(crate) stated_digest: Option<Digest>,
    /// Paths of registry requests.
    pub(crate) asked: Vec<String>,
    /// Every announced item.
    pub(crate) announced: Vec<AnnounceItem>,
}

struct Server {
    state: Arc<Mutex<State>>,
    addr: SocketAddr,
}

impl Server {
    fn announce(&self, request: AnnounceRequest) -> Response {
        let mut state = self.state.lock().unwrap();
        let may = |item: &AnnounceItem| {
            let named = item.repository.as_ref().map(ToString::to_string);
            item.complete || state.private.is_none() || state.private == named
        };
        let items = request.items.iter().map(|item| match state.blobs.get(&item.digest) {
            Some(bytes) if may(item) => ItemReply::Ok(AnnounceReply {
                metainfo: item.need_metainfo.then(|| Metainfo::of(item.digest, bytes)),
                peers: Vec::new(),
                web_seeds: vec![web_seed_url(
                    "http",
                    &self.addr.to_string(),
                    &item.digest,
                    item.repository.as_ref(),
                )],
                interval_ms: 60_000,
                ..AnnounceReply::default()
            }),
            _ => ItemReply::Error(ItemError::new(ItemErrorCode::NotFound, "no owner has it")),
        });
        let response = AnnounceResponse { items: items.collect(), ..AnnounceResponse::default() };
        state.announced.extend(request.items);
        json::response(StatusCode::OK, &response)
    }

    fn manifest(&self, path: &str, request: &Request) -> Response {
        let mut state = self.state.lock().unwrap();
        state.asked.push(path.to_owned());
        let name = path.trim_start_matches("/v2/").replacen("/manifests/", ":", 1);
        let Some((media_type, bytes)) = state.manifests.get(&name) else {
            return json::text(StatusCode::NOT_FOUND, "no");
        };
        let digest = state.stated_digest.unwrap_or_else(|| Digest::sha256(bytes));
        if request.headers().get("if-none-match").is_some_and(|tag| *tag == *reply::etag(&digest)) {
            return json::text(StatusCode::NOT_MODIFIED, "");
        }
        let mut response = Response::new(Body::from(bytes.clone()));
        response.headers_mut().insert("content-type", media_type.parse().unwrap());
        response.headers_mut().insert("docker-content-digest", digest.to_string().parse().unwrap());
        response
    }

    async fn pass_gate(&self, request: &Request) {
        let range =
            request.headers().get("range").and_then(|range| range.to_str().ok()).unwrap_or("bytes=0-");
        let start: u64 = range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap();
        let gate = self.state.lock().unwrap().blob_gate.clone();
        if let Some((_, gate)) = gate.filter(|(from, _)| start >= *from) {
            drop(gate.acquire().await.unwrap());
        }
    }

    fn blob(&self, path: &str, request: &Request) -> Response {
        let digest: Digest = path.trim_start_matches("/blobs/").parse().unwrap();
        let named = request.uri().query().and_then(|query| query.strip_prefix("repository="));
        let private = self.state.lock().unwrap().private.clone();
        if private.is_some() && private.as_deref() != named {
            return json::text(StatusCode::NOT_FOUND, "no");
        }
        self.blob_of(&digest, request)
    }

    fn blob_of(&self, digest: &Digest, request: &Request) -> Response {
        let state = self.state.lock().unwrap();
        let Some(bytes) = state.blobs.get(digest) else {
            return json::text(StatusCode::NOT_FOUND, "no");
        };
        let range = request.headers().get("range").and_then(|range| range.to_str().ok());
        let size = bytes.len() as u64;
        let head = reply::blob(digest, size, &Selection::of(range, size));
        if state.blob_end.is_some_and(|end| head.body.end > end) {
            return json::text(StatusCode::INTERNAL_SERVER_ERROR, "the disk is on fire");
        }
        let slice = head.body.start as usize..head.body.end as usize;
        let mut response = Response::new(Body::from(bytes.slice(slice)));
        *response.status_mut() = StatusCode::from_u16(head.status).unwrap();
        for (name, value) in head.headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }
}

#[async_trait]
impl Handler for Server {
    async fn handle(&self, request: Request, _: SocketAddr) -> Response {
        if self.state.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/livez" => json::text(StatusCode::OK, "ok"),
            "/announce" if self.state.lock().unwrap().no_tracker => json::text(StatusCode::NOT_FOUND, "no"),
            "/announce" => self.announce(json::read(request.into_body(), 1 << 20).await.unwrap()),
            path if path.starts_with("/blobs/") => {
                self.pass_gate(&request).await;
                self.blob(path, &request)
            }
            path if path.contains("/blobs/sha256:") => {
                // The registry beside the origin, which stalls and fails with it.
                let gate = self.state.lock().unwrap().blob_gate.clone();
                if let Some((_, gate)) = gate {
                    drop(gate.acquire().await.unwrap());
                }
                let (repository, digest) = path.trim_start_matches("/v2/").split_once("/blobs/").unwrap();
                let private = self.state.lock().unwrap().private.clone();
                if private.is_some_and(|private| private != repository) {
                    return json::text(StatusCode::NOT_FOUND, "no");
                }
                self.blob_of(&digest.parse().unwrap(), &request)
            }
            path if path.contains("/manifests/") => self.manifest(path, &request),
            path if path.contains("/missing/") => json::text(StatusCode::NOT_FOUND, "no"),
            path => {
                self.state.lock().unwrap().asked.push(request.uri().to_string());
                list(&request, path)
            }
        }
    }
}

/// A list with a next page, which says for what it was asked.
fn list(request: &Request, path: &str) -> Response {
    let referrers = path.contains("/referrers/");
    let media_type = if referrers { media_type::OCI_INDEX } else { json::JSON };
    let mut response = json::with_type(StatusCode::OK, media_type, format!("{{\"path\":\"{path}\"}}"));
    let filtered = request.uri().query().is_some_and(|query| query.contains("artifactType"));
    if filtered && referrers {
        response.headers_mut().insert("oci-filters-applied", "artifactType".parse().unwrap());
    }
    let page = request.uri().query().and_then(|query| query.split('&').find(|pair| pair.starts_with("n=")));
    let link = format!("<{path}?{}&last=z>; rel=\"next\"", page.unwrap_or("n=100"));
    response.headers_mut().insert("link", link.parse().unwrap());
    response
}

/// The server and one agent.
pub(crate) struct Cluster {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) agent: Addresses,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<()>,
    server: Shutdown,
    server_task: JoinHandle<()>,
    client: Client,
    directory: TempDir,
    config: Config,
}

async fn run(config: &Config) -> (Addresses, Shutdown, JoinHandle<()>) {
    let app = App::build(config).await.unwrap();
    let (agent, shutdown) = (app.addresses(), Shutdown::new());
    (agent, shutdown.clone(), tokio::spawn(app.run(shutdown)))
}

/// How a test wants its agent.
#[derive(Default)]
pub(crate) struct Wish {
    /// Blobs in the cache from the start.
    pub(crate) cached: Vec<Bytes>,
    /// Changes to the configuration.
    pub(crate) config: Option<fn(&mut Config)>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(Wish::default()).await
    }

    pub(crate) async fn start_with(wish: Wish) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any).await.unwrap();
        let addr = listener.local_addr();
        let state = Arc::<Mutex<State>>::default();
        let server = Shutdown::new();
        let limits = Limits { drain_timeout: Duration::ZERO, ..Limits::default() };
        let handler = Arc::new(Server { state: Arc::clone(&state), addr });
        let server_task = tokio::spawn(listener.serve(handler, limits, server.clone()));

        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.registry = format!("http://{addr}");
        config.server.trackers = vec![format!("http://{addr}")];
        (config.registry.listen, config.peer.listen, config.admin.listen) = (any, any, any);
        config.cache.directory = directory.path().to_owned();
        config.cache.free_min = shoal_config::ByteSize(0);
        if let Some(change) = wish.config {
            change(&mut config);
        }
        fill(&directory, &wish.cached);
        let (agent, shutdown, task) = run(&config).await;
        let client = Client::default();
        Self { state, agent, shutdown, task, server, server_task, client, directory, config }
    }

    /// The agent stops, and another process takes its place over the same files.
    pub(crate) async fn restart(&mut self) {
        self.shutdown.trigger();
        tokio::time::timeout(PATIENCE, &mut self.task).await.unwrap().unwrap();
        (self.agent, self.shutdown, self.task) = run(&self.config).await;
    }

    /// The server goes away: connections are refused from now on.
    pub(crate) async fn stop_server(&mut self) {
        self.server.trigger();
        tokio::time::timeout(PATIENCE, &mut self.server_task).await.unwrap().unwrap();
    }

    /// Puts a manifest on the server.
    pub(crate) fn push(&self, name: &str, bytes: &str) -> Digest {
        let digest = Digest::sha256(bytes.as_bytes());
        let manifest = (media_type::OCI_MANIFEST.to_owned(), Bytes::copy_from_slice(bytes.as_bytes()));
        let (repository, _) = name.split_once(':').unwrap();
        let mut state = self.state.lock().unwrap();
        state.manifests.insert(format!("{repository}:{digest}"), manifest.clone());
        state.manifests.insert(name.to_owned(), manifest);
        digest
    }

    /// Puts a blob on the origin.
    pub(crate) fn push_blob(&self, bytes: &Bytes) -> Digest {
        let digest = Digest::sha256(bytes);
        self.state.lock().unwrap().blobs.insert(digest, bytes.clone());
        digest
    }

    /// What the server's registry was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// One request to the mirror.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        self.send_to(self.agent.registry, method, path, headers).await
    }

    /// One request to the admin port.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        answer(self.send_to(self.agent.admin, "GET", path, &[]).await).await
    }

    async fn send_to(
        &self,
        addr: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        let mut request = http::Request::builder().method(method).uri(format!("http://{addr}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.send(request.body(Body::empty()).unwrap(), PATIENCE).await.unwrap()
    }

    /// One GET to the mirror, read to its end.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.send("GET", path, &[]).await).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        answer(self.send("GET", path, headers).await).await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        answer(self.send("HEAD", path, &[]).await).await
    }

    /// URL of the tracker.
    pub(crate) fn tracker(&self) -> String {
        self.config.server.trackers[0].clone()
    }

    /// Where the agent keeps its files.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

/// Puts blobs into the cache of an agent that does not run yet.
fn fill(directory: &TempDir, blobs: &[Bytes]) {
    let root = directory.path().join("blobs");
    std::fs::create_dir_all(&root).unwrap();
    let options = Options { durability: Durability::Cache, capacity: None, free_min: 0 };
    let (store, _) = Store::open(&root, options).unwrap();
    for bytes in blobs {
        store.put(&Digest::sha256(bytes), bytes).unwrap();
    }
}

/// An answer that was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: shoal_http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The code of the first error in an OCI error body.
    pub(crate) fn error_code(&self) -> String {
        self.error_field("code")
    }

    /// What it says to people.
    pub(crate) fn error_message(&self) -> String {
        self.error_field("message")
    }

    fn error_field(&self, name: &str) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"));
        let parsed: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        parsed["errors"][0][name].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn answer(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect(1 << 30)).await.unwrap().unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// Bytes that do not repeat, the same for the same seed.
pub(crate) fn content(len: usize, seed: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes.into()
}

/// Asks until `holds` does.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
