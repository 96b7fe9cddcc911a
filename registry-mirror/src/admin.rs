//! The agent's admin port, beside the probes: what it does, why, and what an operator can have it do. JSON, and no question who asks.

mod control;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use shoal_http::query::value;
use shoal_http::{Handler, Request, Response, json};
use shoal_oci::Digest;
use shoal_store::Store;
use shoal_swarm::{Shaper, Swarm};

use crate::announcer::TrackerAnnouncer;
use crate::drain::Drain;
use crate::limits::RateSettings;
use crate::pins::Pins;
use crate::preheat::Preheats;
use crate::resolve::Resolver;
use crate::trace::TraceId;
use crate::why::Journal;

/// The longest body of `PUT /limits` in bytes.
const LIMITS_LEN_MAX: usize = 4096;

/// Records of pulls that are shown unless more are asked for.
const RECORDS_SHOWN: usize = 20;

/// What is known here, for whoever asks for something else.
const PATHS: &str =
    "known here: /status /limits /why /pins /evict /drain /preheat /livez /readyz /health /metrics";

/// Answers the operator beside the agent.
pub struct AdminHandler {
    pub(crate) swarm: Swarm,
    pub(crate) store: Store,
    pub(crate) shaper: Arc<Shaper>,
    pub(crate) journal: Journal,
    pub(crate) pins: Pins,
    pub(crate) preheats: Preheats,
    pub(crate) resolver: Resolver,
    pub(crate) drain: Drain,
    pub(crate) announcer: TrackerAnnouncer,
}

impl AdminHandler {
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

    /// Why pulls went as they did: the newest first, of one digest, of one trace, or of everything.
    fn why(&self, query: Option<&str>) -> Response {
        let digest = value(query, "digest").map(|text| text.parse::<Digest>());
        let trace = value(query, "trace").map(|text| text.parse::<TraceId>());
        let count = value(query, "n").map(|text| text.parse::<usize>());
        let (digest, trace, count) = match (digest.transpose(), trace.transpose(), count.transpose()) {
            (Err(error), ..) => return refuse(&error),
            (_, Err(error), _) => return refuse(&error),
            (_, _, Err(error)) => return refuse(&error),
            (Ok(digest), Ok(trace), Ok(count)) => (digest, trace, count.unwrap_or(RECORDS_SHOWN)),
        };
        let found = self.journal.find(count, |record| {
            digest.is_none_or(|digest| record.digest == Some(digest))
                && trace.is_none_or(|trace| record.trace == trace)
        });
        json::response(StatusCode::OK, &found)
    }
}

fn refuse(error: &dyn std::error::Error) -> Response {
    json::error(StatusCode::BAD_REQUEST, error.to_string())
}

#[async_trait]
impl Handler for AdminHandler {
    async fn handle(&self, request: Request, _peer: SocketAddr) -> Response {
        let (path, method) = (request.uri().path().to_owned(), request.method().clone());
        let query = request.uri().query().map(str::to_owned);
        let query = query.as_deref();
        let get = matches!(method, Method::GET | Method::HEAD);
        match path.as_str() {
            "/status" if get => {
                let status = status::of(&self.swarm, &self.store, self.drain.is_on()).await;
                json::response(StatusCode::OK, &status)
            }
            "/limits" if get => self.limits(),
            "/limits" if method == Method::PUT => self.set_limits(request).await,
            "/why" if get => self.why(query),
            "/pins" => self.pins(&method, query).await,
            "/evict" if method == Method::POST => self.evict(query).await,
            "/drain" => self.drain(&method).await,
            "/preheat" => self.preheat(&method, query).await,
            "/status" | "/why" => not_so("this is read with GET"),
            "/limits" => not_so("limits are read with GET and set with PUT"),
            "/evict" => not_so("blobs are evicted with POST"),
            _ => json::error(StatusCode::NOT_FOUND, PATHS),
        }
    }
}

fn not_so(how: &str) -> Response {
    json::error(StatusCode::METHOD_NOT_ALLOWED, how)
}
