//! Webhooks: events in the notification format of Docker's registry, posted to every endpoint that wants them.
//!
//! Events wait in the metadata engine's queue, written with the change that they tell of. Each endpoint has a position in that queue
//! and goes through it alone, so that one that does not answer holds up nobody else; an event leaves the queue when every
//! endpoint is past it. Price: an endpoint that is down for long keeps its events for all, until the queue's bound drops the oldest.

mod backoff;
mod bell;
mod courier;
mod endpoint;
mod event;
mod positions;
mod pulls;
mod sweeper;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use shoal_api::caller::Caller;
use shoal_api::events::{Action, Event, Events};
use shoal_http::Shutdown;
use shoal_metadata::Outbox;
use shoal_telemetry::EventsMetrics;
use tokio::task::JoinSet;

pub use courier::EndpointStatus;
pub use endpoint::{EndpointOptions, Filter, Header};

use crate::error::EventsError;
use bell::Bell;
use courier::{Courier, Progress};
use event::Source;
use positions::Positions;
use pulls::Pulls;
use sweeper::Sweeper;

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Who is told.
    pub endpoints: Vec<EndpointOptions>,
    /// Scheme and host of the URLs in events, for example `https://registry.example.com`. Unset: what the client asked for.
    pub url: Option<String>,
    /// Whether events of manifests list what these name.
    pub include_references: bool,
    /// The address that events give as their source.
    pub source: String,
    /// The file of the endpoints' positions. It belongs beside the queue: with another queue the positions mean nothing.
    pub positions: PathBuf,
}

/// The webhooks of this process. Clones share them.
#[derive(Clone)]
pub struct Webhooks(Arc<Shared>);

struct Shared {
    filters: Vec<Filter>,
    url: Option<String>,
    include_references: bool,
    source: Source,
    bell: Bell,
    pulls: Pulls,
    outbox: Arc<dyn Outbox>,
    progress: Vec<Arc<Progress>>,
    metrics: EventsMetrics,
}

/// How the webhooks are.
#[derive(Clone, Debug, Serialize)]
pub struct WebhooksStatus {
    /// Events that wait for at least one endpoint.
    pub waiting: u64,
    /// Events dropped since the start.
    pub dropped: u64,
    /// Every endpoint.
    pub endpoints: Vec<EndpointStatus>,
}

impl Webhooks {
    /// Starts to deliver what waits in `outbox` and what will come. The tasks end with `shutdown`; what is not delivered by then
    /// stays in the queue.
    ///
    /// # Errors
    /// [`EventsError`] when an endpoint cannot be used as configured, or the queue cannot be read.
    pub async fn start(
        options: WebhookOptions,
        outbox: Arc<dyn Outbox>,
        metrics: EventsMetrics,
        shutdown: &Shutdown,
    ) -> Result<(Self, JoinSet<()>), EventsError> {
        let names = options.endpoints.iter().map(|endpoint| endpoint.name.clone());
        let positions = Arc::new(Positions::open(options.positions, names.collect(), &*outbox).await?);
        let bell = Bell::default();
        let (mut tasks, mut couriers) = (JoinSet::new(), JoinSet::new());
        let mut progress = Vec::new();
        let filters = options.endpoints.iter().map(|endpoint| endpoint.filter.clone()).collect();
        for endpoint in options.endpoints {
            let courier =
                Courier::new(endpoint, Arc::clone(&outbox), Arc::clone(&positions), bell.clone(), &metrics)?;
            progress.push(courier.progress());
            couriers.spawn(courier.run(shutdown.clone()));
        }
        let sweeper = Sweeper::new(Arc::clone(&outbox), positions, metrics.clone());
        tasks.spawn(sweeper.run(shutdown.clone(), couriers));
        let (pulls, writer) = pulls::channel(Arc::clone(&outbox), bell.clone(), metrics.clone());
        tasks.spawn(writer.run(shutdown.clone()));
        let source = Source::new(options.source);
        let shared = Shared {
            filters,
            url: options.url,
            include_references: options.include_references,
            source,
            bell,
            pulls,
            outbox,
            progress,
            metrics,
        };
        Ok((Self(Arc::new(shared)), tasks))
    }

    /// How the webhooks are now.
    pub fn status(&self) -> WebhooksStatus {
        WebhooksStatus {
            waiting: self.0.outbox.outbox_len().waiting,
            dropped: self.0.metrics.dropped.get(),
            endpoints: self.0.progress.iter().map(|progress| progress.status()).collect(),
        }
    }

    /// The event as it is delivered; `None` when no endpoint wants it.
    fn payload(&self, event: &Event, caller: &Caller) -> Option<Bytes> {
        let Shared { filters, url, include_references, source, .. } = &*self.0;
        let media_type = event::media_type(&event.subject);
        let wanted = filters
            .iter()
            .any(|filter| filter.wants(event.action.as_str(), media_type, event.repository.as_str()));
        wanted.then(|| event::payload(event, caller, source, url.as_deref(), *include_references))
    }
}

impl Events for Webhooks {
    fn wants(&self, action: Action) -> bool {
        self.0.filters.iter().any(|filter| filter.wants_action(action.as_str()))
    }

    fn payloads(&self, event: Event, caller: &Caller) -> Vec<Bytes> {
        let payload = self.payload(&event, caller);
        if payload.is_some() {
            self.0.bell.ring();
        }
        payload.into_iter().collect()
    }

    fn pulled(&self, event: Event, caller: &Caller) {
        if let Some(payload) = self.payload(&event, caller) {
            self.0.pulls.push(payload);
        }
    }
}
