//! The tracker's HTTP face: `POST /announce` for members on port 15003; `GET /swarms` and `GET /agents` for operators, on the admin port
//! alone, because a digest and an address are what a member without rights lacks.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode, header};
use serde::Serialize;
use shoal_api::Member;
use shoal_api::tracker::{ANNOUNCE_PATH, AnnounceRequest, REQUEST_LEN_MAX};
use shoal_http::{Handler, Request, Response, json, query};
use shoal_oci::Digest;
use shoal_swarm_types::{PeerId, ZoneName};
use shoal_telemetry::rooms::tracker::TrackerResult;
use tokio::time::Instant;

use crate::announce::{InvalidAnnounce, Tracker};

/// Swarms in one summary unless `?n=` asks for another number: what a person reads.
const SUMMARY_LEN: usize = 100;

/// Most swarms in one summary: about 1 MiB of JSON.
const SUMMARY_LEN_MAX: usize = 10_000;

/// HTTP over a [`Tracker`].
pub struct TrackerHandler {
    tracker: Arc<Tracker>,
    /// Whether lists are shown.
    lists: bool,
}

/// Answer to `GET /swarms`.
#[derive(Debug, Serialize)]
struct SwarmList {
    swarms: usize,
    peers: usize,
    largest: Vec<SwarmLine>,
}

#[derive(Debug, Serialize)]
struct SwarmLine {
    digest: Digest,
    complete: usize,
    incomplete: usize,
}

/// Answer to `GET /agents`.
#[derive(Debug, Serialize)]
struct AgentList {
    agents: Vec<AgentLine>,
}

#[derive(Debug, Serialize)]
struct AgentLine {
    peer_id: PeerId,
    addr: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<ZoneName>,
    seen_ms_ago: u128,
}

impl TrackerHandler {
    /// What members may say to `tracker`.
    pub const fn new(tracker: Arc<Tracker>) -> Self {
        Self { tracker, lists: false }
    }

    /// What operators may ask besides: who is there, and what for.
    pub const fn for_operators(tracker: Arc<Tracker>) -> Self {
        Self { tracker, lists: true }
    }

    async fn announce(&self, request: Request, peer: SocketAddr) -> Response {
        let member = Member::of(&request, peer);
        let request: AnnounceRequest = match json::read(request.into_body(), REQUEST_LEN_MAX).await {
            Ok(request) => request,
            Err(answer) => return self.invalid(answer),
        };
        match self.tracker.announce(&request, &member, Instant::now()).await {
            Ok(response) => json::response(StatusCode::OK, &response),
            Err(error) => self.invalid(refusal(error)),
        }
    }

    fn invalid(&self, answer: Response) -> Response {
        self.tracker.metrics().announces.of(TrackerResult::Invalid).inc();
        answer
    }

    fn swarms(&self, request: &Request) -> Response {
        let limit = match query::value(request.uri().query(), "n").map(|text| text.parse::<usize>()) {
            None => SUMMARY_LEN,
            Some(Ok(limit)) => limit.min(SUMMARY_LEN_MAX),
            Some(Err(_)) => {
                return json::error(
                    StatusCode::BAD_REQUEST,
                    "n is the number of swarms to list, as in ?n=20",
                );
            }
        };
        let totals = self.tracker.totals();
        let line = |one: crate::swarms::SwarmSummary| SwarmLine {
            digest: one.digest,
            complete: one.complete,
            incomplete: one.incomplete,
        };
        let largest = self.tracker.summary(limit).into_iter().map(line).collect();
        json::response(StatusCode::OK, &SwarmList { swarms: totals.swarms, peers: totals.peers, largest })
    }

    fn agents(&self) -> Response {
        let now = Instant::now();
        let line = |agent: crate::fleet::Seen| AgentLine {
            peer_id: agent.id,
            addr: agent.addr,
            zone: agent.zone,
            seen_ms_ago: now.duration_since(agent.last).as_millis(),
        };
        json::response(
            StatusCode::OK,
            &AgentList { agents: self.tracker.agents().into_iter().map(line).collect() },
        )
    }
}

#[async_trait]
impl Handler for TrackerHandler {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            ANNOUNCE_PATH if *request.method() == Method::POST => self.announce(request, peer).await,
            ANNOUNCE_PATH => not_allowed("POST"),
            "/swarms" if self.lists && reading => self.swarms(&request),
            "/agents" if self.lists && reading => self.agents(),
            "/swarms" | "/agents" if self.lists => not_allowed("GET, HEAD"),
            _ => json::error(
                StatusCode::NOT_FOUND,
                "the tracker answers POST /announce; swarms and agents are listed on the admin port",
            ),
        }
    }
}

fn refusal(error: InvalidAnnounce) -> Response {
    let InvalidAnnounce::Flood(flood) = error else {
        return json::error(StatusCode::BAD_REQUEST, error.to_string());
    };
    let mut answer = json::error(StatusCode::TOO_MANY_REQUESTS, error.to_string());
    let seconds = flood.retry_after.as_secs() + 1;
    answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    answer
}

fn not_allowed(allowed: &'static str) -> Response {
    let mut answer = json::error(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} here"));
    answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    answer
}

#[cfg(test)]
mod tests;
