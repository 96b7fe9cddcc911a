//! What the agent tells about itself on its admin port, beside the probes: `GET /status` in JSON.

use std::net::SocketAddr;

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::Serialize;
use shoal_http::{Handler, Request, Response, json};
use shoal_store::Store;
use shoal_swarm::{BlobStatus, Swarm};

/// Answers `GET /status`.
pub struct AdminHandler {
    swarm: Swarm,
    store: Store,
}

/// The state of the agent at one moment.
#[derive(Debug, Serialize)]
struct Status {
    program: &'static str,
    version: &'static str,
    cache: CacheStatus,
    blobs: Vec<BlobStatus>,
}

#[derive(Debug, Serialize)]
struct CacheStatus {
    bytes: u64,
    capacity_bytes: Option<u64>,
    blobs: usize,
    partial_bytes: u64,
    evictions: u64,
}

impl AdminHandler {
    /// A handler over the swarm and the cache.
    pub fn new(swarm: Swarm, store: Store) -> Self {
        Self { swarm, store }
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
            blobs: self.swarm.status().await,
        }
    }
}

#[async_trait]
impl Handler for AdminHandler {
    async fn handle(&self, request: Request, _peer: SocketAddr) -> Response {
        match (request.uri().path(), request.method()) {
            ("/status", &Method::GET | &Method::HEAD) => json::response(StatusCode::OK, &self.status().await),
            ("/status", _) => json::error(StatusCode::METHOD_NOT_ALLOWED, "the status is read with GET"),
            _ => json::error(StatusCode::NOT_FOUND, "known here: /status /livez /readyz /health /metrics"),
        }
    }
}
