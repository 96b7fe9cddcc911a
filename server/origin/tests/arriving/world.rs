//! What the tests stand on: an origin with its HTTP port, agents, and the tracker between them, in one process over real sockets.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_api::arriving::Told;
use shoal_api::origin::web_seed_url;
use shoal_api::{EverybodyMay, OriginClient};
use shoal_http::{BodySender, Client, Limits, Listener, Shutdown};
use shoal_oci::Digest;
use shoal_origin::{Origin, OriginHandler, OriginOptions};
use shoal_store::{Options, Store};
use shoal_swarm::{
    AnnounceError, AnnounceItem, AnnounceReply, Announcer, Ending, Growth, RangeSource, Role, Swarm,
    SwarmOptions,
};
use shoal_swarm_types::{Metainfo, PeerId, PeerInfo, Zone};
use shoal_telemetry::SwarmMetrics;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const KEY: [u8; 32] = [9; 32];

/// Bytes that differ everywhere.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size as u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(size).collect()
}

/// An origin and where it is.
pub(crate) struct Server {
    pub(crate) origin: Origin,
    pub(crate) store: Store,
    pub(crate) http: SocketAddr,
    peer: PeerInfo,
    shutdown: Shutdown,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::durable()).unwrap();
        let swarm = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let id = PeerId(std::array::from_fn(|_| fastrand::u8(..)));
        let addr = swarm.local_addr().unwrap();
        let peer = PeerInfo { id, addr, complete: true, owner: true, zone: Zone::UNKNOWN };
        let options = OriginOptions::new(id, KEY);
        let origin = Origin::start(swarm, options, store.clone(), SwarmMetrics::default());
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (http, shutdown) = (listener.local_addr(), Shutdown::new());
        let handler = Arc::new(OriginHandler::new(origin.clone(), Arc::new(EverybodyMay)));
        tokio::spawn(listener.serve(handler, Limits::default(), shutdown.clone()));
        Self { origin, store, http, peer, shutdown, _dir: dir }
    }

    /// As far as others can see.
    pub(crate) async fn kill(&self) {
        self.shutdown.trigger();
        self.origin.shutdown().await;
    }
}

/// What the agents share: who is there, and which server they are told of.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Mutex<Known>>);

struct Known {
    origin: Origin,
    owner: PeerInfo,
    http: SocketAddr,
    agents: Vec<PeerInfo>,
}

impl Cluster {
    pub(crate) fn of(server: &Server) -> Self {
        let (origin, owner) = (server.origin.clone(), server.peer.clone());
        Self(Arc::new(Mutex::new(Known { origin, owner, http: server.http, agents: Vec::new() })))
    }

    /// The server is another one from now on.
    pub(crate) fn move_to(&self, server: &Server) {
        let mut known = self.0.lock().unwrap();
        (known.origin, known.owner, known.http) = (server.origin.clone(), server.peer.clone(), server.http);
    }

    async fn answer(&self, item: &AnnounceItem, me: &PeerInfo) -> Result<AnnounceReply, AnnounceError> {
        let (origin, peers, http) = {
            let mut known = self.0.lock().unwrap();
            if !known.agents.iter().any(|agent| agent.id == me.id) {
                known.agents.push(me.clone());
            }
            let others = known.agents.iter().filter(|agent| agent.id != me.id).cloned();
            let peers: Vec<_> = std::iter::once(known.owner.clone()).chain(others).collect();
            (known.origin.clone(), peers, known.http)
        };
        let metainfo = origin.metainfo(&item.digest).await.map_err(|_| AnnounceError::Unavailable)?;
        let metainfo = metainfo.ok_or(AnnounceError::NotFound)?;
        // As it comes over the network: the agent's copy learns nothing by itself.
        let metainfo = Metainfo::decode(&metainfo.encode()).unwrap();
        Ok(AnnounceReply {
            metainfo: item.need_metainfo.then_some(metainfo),
            peers,
            web_seeds: vec![web_seed_url("http", &http.to_string(), &item.digest, None)],
            interval_ms: 1000,
            ..AnnounceReply::default()
        })
    }
}

struct Line(Cluster, PeerInfo);

#[async_trait]
impl Announcer for Line {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        let mut answers = Vec::new();
        for item in &items {
            answers.push(self.0.answer(item, &self.1).await);
        }
        answers
    }
}

/// The origin over HTTP, as agents see it.
struct Web(OriginClient);

#[async_trait]
impl RangeSource for Web {
    async fn fetch(&self, url: &str, _digest: &Digest, range: Range<u64>) -> io::Result<Bytes> {
        self.0.read_url(url, range).await.map_err(io::Error::other)
    }

    async fn follow(&self, url: &str, _digest: &Digest, heard: mpsc::Sender<Growth>) -> io::Result<Ending> {
        let Some(mut following) = self.0.follow(url).await.map_err(io::Error::other)? else {
            return Ok(Ending::Gone);
        };
        loop {
            let growth = match following.next().await.map_err(io::Error::other)? {
                Told::Size(size) => Growth::Size(size),
                Told::Digests(digests) => Growth::Digests(digests),
                Told::Alive => Growth::Alive,
                Told::Waiting => continue,
                Told::Whole => return Ok(Ending::Whole),
                Told::Refuted => return Ok(Ending::Refuted),
                Told::Gone => return Ok(Ending::Gone),
            };
            heard.send(growth).await.map_err(io::Error::other)?;
        }
    }
}

pub(crate) struct Agent {
    pub(crate) swarm: Swarm,
    pub(crate) store: Store,
    _dir: TempDir,
}

impl Agent {
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::with(cluster, |_| {}).await
    }

    pub(crate) async fn with(cluster: &Cluster, change: impl FnOnce(&mut SwarmOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::cache(1 << 30)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let id = PeerId(std::array::from_fn(|_| fastrand::u8(..)));
        let addr = listener.local_addr().unwrap();
        let me = PeerInfo { id, addr, complete: false, owner: false, zone: Zone::UNKNOWN };
        let mut options = SwarmOptions::new(id, Role::Agent, KEY);
        change(&mut options);
        let line = Arc::new(Line(cluster.clone(), me));
        let web = Arc::new(Web(OriginClient::new(Client::default())));
        let swarm = Swarm::start(listener, options, store.clone(), line, Some(web), SwarmMetrics::default());
        Self { swarm, store, _dir: dir }
    }

    /// Whether nothing is left on its disk.
    pub(crate) fn is_empty(&self) -> bool {
        let usage = self.store.usage();
        (usage.blobs, usage.partial_bytes) == (0, 0) && self.store.partials().is_empty()
    }
}

/// Gives a body its next bytes.
pub(crate) async fn feed(sender: &BodySender, bytes: &[u8]) {
    for part in bytes.chunks(50_000) {
        sender.send(Bytes::copy_from_slice(part)).await.unwrap();
    }
}

/// Waits until something holds, which no event tells of.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never held");
}
