//! The agent's admin port, beside the probes: `GET /status`, and `GET` and `PUT /limits`, in JSON.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::Serialize;
use shoal_http::{Handler, Request, Response, json};
use shoal_oci::Digest;
use shoal_store::Store;
use shoal_swarm::{BlobStatus, Shaper, Swarm};

use crate::limits::RateSettings;

/// The longest body of `PUT /limits` in bytes.
const LIMITS_LEN_MAX: usize = 4096;

/// Answers the operator beside the agent.
pub struct AdminHandler {
    swarm: Swarm,
    store: Store,
    shaper: Arc<Shaper>,
}

/// The state of the agent at one moment.
#[derive(Debug, Serialize)]
struct Status {
    program: &'static str,
    version: &'static str,
    cache: CacheStatus,
    swarm: Vec<DownloadStatus>,
}

#[derive(Debug, Serialize)]
struct CacheStatus {
    bytes: u64,
    capacity_bytes: Option<u64>,
    blobs: usize,
    partial_bytes: u64,
    evictions: u64,
}

/// One blob that this agent fetches, or serves from memory of it.
#[derive(Debug, Serialize)]
struct DownloadStatus {
    digest: Digest,
    phase: String,
    size: u64,
    pieces: u32,
    pieces_present: u32,
    peers: u32,
    readers: u32,
    received_from_owners_bytes: u64,
    received_from_peers_bytes: u64,
    received_from_web_seeds_bytes: u64,
    sent_bytes: u64,
    duplicate_pieces: u64,
    corrupt_pieces: u64,
}

impl From<BlobStatus> for DownloadStatus {
    fn from(blob: BlobStatus) -> Self {
        Self {
            digest: blob.digest,
            phase: format!("{:?}", blob.phase).to_lowercase(),
            size: blob.size,
            pieces: blob.count,
            pieces_present: blob.have,
            peers: blob.peers,
            readers: blob.readers,
            received_from_owners_bytes: blob.received.owner_bytes,
            received_from_peers_bytes: blob.received.peer_bytes,
            received_from_web_seeds_bytes: blob.received.web_bytes,
            sent_bytes: blob.sent_bytes,
            duplicate_pieces: blob.duplicate_pieces,
            corrupt_pieces: blob.corrupt_pieces,
        }
    }
}

impl AdminHandler {
    /// A handler over the swarm, what slows it down, and the cache.
    pub const fn new(swarm: Swarm, store: Store, shaper: Arc<Shaper>) -> Self {
        Self { swarm, store, shaper }
    }

    /// What holds now.
    fn limits(&self) -> Response {
        json::response(StatusCode::OK, &RateSettings::from(self.shaper.limits()))
    }

    /// Other limits until the next start. What the body does not name is not limited.
    async fn set_limits(&self, request: Request) -> Response {
        let limits: RateSettings = match json::read(request.into_body(), LIMITS_LEN_MAX).await {
            Ok(limits) => limits,
            Err(answer) => return answer,
        };
        if let [key, ..] = limits.too_small()[..] {
            let why = format!("{key} is too slow for pieces to arrive in time; 64KiB/s is the least");
            return json::error(StatusCode::BAD_REQUEST, why);
        }
        self.shaper.set(limits.into());
        tracing::info!(?limits, "other limits hold until the next start");
        self.limits()
    }

    async fn status(&self) -> Status {
        let usage = self.store.usage();
        Status {
            program: "shoal-agent",
            version: env!("CARGO_PKG_VERSION"),
            cache: CacheStatus {
                bytes: usage.bytes,
                capacity_bytes: usage.capacity,
                blobs: usage.blobs,
                partial_bytes: usage.partial_bytes,
                evictions: usage.evictions,
            },
            swarm: self.swarm.status().await.into_iter().map(DownloadStatus::from).collect(),
        }
    }
}

#[async_trait]
impl Handler for AdminHandler {
    async fn handle(&self, request: Request, _peer: SocketAddr) -> Response {
        match (request.uri().path(), request.method()) {
            ("/status", &Method::GET | &Method::HEAD) => json::response(StatusCode::OK, &self.status().await),
            ("/limits", &Method::GET | &Method::HEAD) => self.limits(),
            ("/limits", &Method::PUT) => self.set_limits(request).await,
            ("/limits", _) => {
                json::error(StatusCode::METHOD_NOT_ALLOWED, "limits are read with GET and set with PUT")
            }
            ("/status", _) => json::error(StatusCode::METHOD_NOT_ALLOWED, "the status is read with GET"),
            _ => json::error(
                StatusCode::NOT_FOUND,
                "known here: /status /limits /livez /readyz /health /metrics",
            ),
        }
    }
}
