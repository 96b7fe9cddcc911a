//! The operator's port 15005: `GET /status` in JSON and the words of upkeep, beside the probes and metrics that every listener has.

pub(crate) mod events;
pub(crate) mod inside;
pub(crate) mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use shoal_http::{Handler, Request, Response, json};
use shoal_origin::Origin;
use shoal_store::Store;
use shoal_swarm::BlobPhase;
use shoal_telemetry::Health;
use shoal_tracker::Tracker;

use self::events::EventsAdmin;
use self::inside::Inside;
use self::upkeep::UpkeepAdmin;
use crate::addresses::Addresses;

/// Answers `GET /status`.
pub(crate) struct AdminHandler {
    pub(crate) started: Instant,
    pub(crate) addresses: Addresses,
    pub(crate) health: Health,
    pub(crate) store: Store,
    pub(crate) origin: Origin,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) upkeep: UpkeepAdmin,
    pub(crate) events: EventsAdmin,
    pub(crate) inside: Inside,
}

/// The state of the server at one moment.
#[derive(Debug, Serialize)]
struct Status {
    program: &'static str,
    version: &'static str,
    health: &'static str,
    uptime_s: u64,
    addresses: Addresses,
    store: StoreStatus,
    tracker: TrackerStatus,
    origin: OriginStatus,
}

/// Sizes are in bytes.
#[derive(Debug, Serialize)]
struct StoreStatus {
    blobs: usize,
    bytes: u64,
    capacity_bytes: Option<u64>,
    upload_bytes: u64,
}

#[derive(Debug, Serialize)]
struct TrackerStatus {
    agents: usize,
    swarms: usize,
    peers: usize,
}

/// Blobs that peers ask for now, and bytes sent for them over the swarm port.
#[derive(Debug, Serialize)]
struct OriginStatus {
    seeding: usize,
    sent_bytes: u64,
}

impl AdminHandler {
    async fn status(&self) -> Status {
        let usage = self.store.usage();
        let totals = self.tracker.totals();
        let blobs = self.origin.status().await;
        Status {
            program: "shoal-server",
            version: env!("CARGO_PKG_VERSION"),
            health: self.health.report().status,
            uptime_s: self.started.elapsed().as_secs(),
            addresses: self.addresses,
            store: StoreStatus {
                blobs: usage.blobs,
                bytes: usage.bytes,
                capacity_bytes: usage.capacity,
                upload_bytes: usage.upload_bytes,
            },
            tracker: TrackerStatus {
                agents: self.tracker.agents().len(),
                swarms: totals.swarms,
                peers: totals.peers,
            },
            origin: OriginStatus {
                seeding: blobs.iter().filter(|blob| blob.phase == BlobPhase::Seeding).count(),
                sent_bytes: blobs.iter().map(|blob| blob.sent_bytes).sum(),
            },
        }
    }
}

#[async_trait]
impl Handler for AdminHandler {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        let request = match self.inside.answer(request, peer).await {
            Ok(answer) => return answer,
            Err(request) => request,
        };
        if let Some(answer) = self.upkeep.answer(&request).await {
            return answer;
        }
        match (request.uri().path(), request.method()) {
            ("/status", &Method::GET | &Method::HEAD) => json::response(StatusCode::OK, &self.status().await),
            ("/events", &Method::GET | &Method::HEAD) => {
                json::response(StatusCode::OK, &self.events.status())
            }
            ("/status" | "/events", _) => {
                let mut answer = json::error(StatusCode::METHOD_NOT_ALLOWED, "the status is read with GET");
                answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                answer
            }
            _ => json::error(
                StatusCode::NOT_FOUND,
                "known here: /status /events /swarms /agents /v2/_catalog /collect /scrub /quarantine /livez /readyz /health /metrics",
            ),
        }
    }
}
