//! The door of Harbor's Kraken preheat driver: `POST /registry/notifications` in front of the registry.
//!
//! Harbor posts a push event in Docker's notification format for every image that is to be fetched beforehand, and looks at the
//! status only. (Its other question, `GET /health`, is answered by the probes of every listener.) The image is looked up here, with
//! everything below an index, and handed to [`Preheat`]. Non-goal: fetching from Harbor; what this registry does not have is a 404.

mod image;
mod jobs;
mod notification;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use shoal_api::audit::{Audit, AuditAction, AuditRecord};
use shoal_api::caller::{Caller, RequestId};
use shoal_api::preheat::Preheat;
use shoal_api::tags::Tags;
use shoal_http::{Body, Connection, Handler, Request, Response, json};
use shoal_telemetry::EventsMetrics;
use shoal_telemetry::rooms::events::PreheatResult;
use tokio::sync::Semaphore;

pub use jobs::{PreheatJob, PreheatJobs};

use image::Unresolved;
use notification::Wanted;

/// Where notifications are posted: Kraken's path.
pub const NOTIFICATIONS_PATH: &str = "/registry/notifications";

/// Longest notification in bytes. Harbor's has one event and some 500 bytes; a registry's own webhook may gather more.
const BODY_LEN_MAX: usize = 1024 * 1024;
/// Notifications that are worked on at once; more are told to come back. Each reads a few manifests.
const WORKING_MAX: usize = 4;
/// What a client that is told to come back waits, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// Decides who may ask for preheating.
#[async_trait]
pub trait PreheatGate: Send + Sync + 'static {
    /// The name of whoever asks, when they may pull all of `repositories`; else the answer to give.
    async fn admit(
        &self,
        request: &http::request::Parts,
        peer: SocketAddr,
        repositories: &[shoal_oci::Repository],
    ) -> Result<String, Response>;
}

/// Answers notifications itself and hands everything else to the handler behind it.
pub struct PreheatHandler {
    inner: Arc<dyn Handler>,
    tags: Arc<dyn Tags>,
    preheat: Arc<dyn Preheat>,
    gate: Option<Arc<dyn PreheatGate>>,
    audit: Arc<dyn Audit>,
    jobs: PreheatJobs,
    metrics: EventsMetrics,
    turns: Semaphore,
}

/// The answer to a notification.
#[derive(Serialize)]
struct Answer {
    jobs: Vec<PreheatJob>,
}

impl PreheatHandler {
    /// Notifications over `tags` and `preheat`, in front of `inner`. What was done is kept in `jobs`.
    pub fn new(
        inner: Arc<dyn Handler>,
        tags: Arc<dyn Tags>,
        preheat: Arc<dyn Preheat>,
        audit: Arc<dyn Audit>,
        jobs: PreheatJobs,
        metrics: EventsMetrics,
    ) -> Self {
        let turns = Semaphore::new(WORKING_MAX);
        Self { inner, tags, preheat, gate: None, audit, jobs, metrics, turns }
    }

    /// Asks `gate` first. Without it everybody who reaches the listener may ask for preheating.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn PreheatGate>) -> Self {
        self.gate = Some(gate);
        self
    }

    async fn notified(&self, request: Request, peer: SocketAddr) -> Response {
        if request.method() != Method::POST {
            let mut answer = json::error(StatusCode::METHOD_NOT_ALLOWED, "notifications are sent with POST");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return answer;
        }
        let begun = Instant::now();
        let (head, body) = request.into_parts();
        let mut actor = String::new();
        let (wanted, answer) = self.work(&head, body, peer, &mut actor).await;
        if self.audit.is_on() {
            let caller = caller(&head, peer, actor);
            let first = wanted.first();
            let denied = matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            // Nothing was changed that a missing record would have to undo.
            _ = self
                .audit
                .write(AuditRecord {
                    caller,
                    action: AuditAction::Preheat,
                    repository: first.map(|wanted| wanted.repository.to_string()),
                    reference: first.map(|wanted| wanted.reference.to_string()),
                    digest: None,
                    bytes: 0,
                    status: answer.status().as_u16(),
                    denied: denied.then(|| "no right to pull".to_owned()),
                    duration: begun.elapsed(),
                })
                .await;
        }
        answer
    }

    /// What was asked for, and the answer.
    async fn work(
        &self,
        head: &http::request::Parts,
        body: Body,
        peer: SocketAddr,
        actor: &mut String,
    ) -> (Vec<Wanted>, Response) {
        let Ok(_turn) = self.turns.try_acquire() else {
            self.metrics.preheats.of(PreheatResult::Unavailable).inc();
            return (Vec::new(), busy());
        };
        let refused = |answer| {
            self.metrics.preheats.of(PreheatResult::Refused).inc();
            answer
        };
        let document = match json::read::<serde_json::Value>(body, BODY_LEN_MAX).await {
            Ok(document) => document,
            Err(answer) => return (Vec::new(), refused(answer)),
        };
        let wanted = match notification::wanted(&document) {
            Ok(wanted) => wanted,
            Err(why) => return (Vec::new(), refused(json::error(StatusCode::BAD_REQUEST, why))),
        };
        if let Some(gate) = &self.gate {
            let mut repositories: Vec<_> = wanted.iter().map(|wanted| wanted.repository.clone()).collect();
            repositories.sort_unstable();
            repositories.dedup();
            match gate.admit(head, peer, &repositories).await {
                Ok(name) => *actor = name,
                Err(answer) => return (wanted, refused(answer)),
            }
        }
        let answer = self.preheat_all(&wanted).await;
        (wanted, answer)
    }

    async fn preheat_all(&self, wanted: &[Wanted]) -> Response {
        let mut jobs = Vec::new();
        let mut unavailable = false;
        for one in wanted {
            match image::resolve(&*self.tags, one).await {
                Ok(resolved) => {
                    let mut done = self.preheat.preheat(&resolved.image).await;
                    done.missing += resolved.missing;
                    let result =
                        if done.missing == 0 { PreheatResult::Ready } else { PreheatResult::Partial };
                    self.metrics.preheats.of(result).inc();
                    jobs.push(self.jobs.record(one, &resolved.image, done));
                }
                Err(Unresolved::NotFound) => {
                    self.metrics.preheats.of(PreheatResult::NotFound).inc();
                }
                Err(Unresolved::Unavailable) => {
                    self.metrics.preheats.of(PreheatResult::Unavailable).inc();
                    unavailable = true;
                }
            }
        }
        if unavailable {
            return busy();
        }
        if jobs.is_empty() && !wanted.is_empty() {
            return json::error(
                StatusCode::NOT_FOUND,
                "the image is not in this registry; push it here first",
            );
        }
        json::response(StatusCode::OK, &Answer { jobs })
    }
}

#[async_trait]
impl Handler for PreheatHandler {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        if request.uri().path() == NOTIFICATIONS_PATH {
            self.notified(request, peer).await
        } else {
            self.inner.handle(request, peer).await
        }
    }
}

fn busy() -> Response {
    let mut answer = json::error(StatusCode::SERVICE_UNAVAILABLE, "too much to do just now; ask again");
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    answer
}

fn caller(head: &http::request::Parts, peer: SocketAddr, actor: String) -> Caller {
    Caller {
        request: RequestId(fastrand::u64(..)),
        address: peer,
        host: text(&head.headers, &header::HOST),
        method: head.method.to_string(),
        user_agent: text(&head.headers, &header::USER_AGENT),
        actor,
        secure: head.extensions.get::<Connection>().is_some_and(|connection| connection.secure),
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
