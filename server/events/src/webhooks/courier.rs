//! Takes events to one endpoint: one after the other, each until it is accepted.
//!
//! An endpoint accepts with any 2xx. Everything else, redirects included, is a failure and the same events are sent again, for ever:
//! the queue's bound is what ends a hopeless case, and the metrics are what shows it.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use serde::Serialize;
use shoal_http::{Body, Client, ClientOptions, ClientTls, ClientTlsFiles, Idempotent, Shutdown};
use shoal_metadata::{Message, Outbox};
use shoal_telemetry::{Counter, EventsMetrics};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::bell::Bell;
use super::endpoint::EndpointOptions;
use super::event::{self, ENVELOPE_TYPE};
use super::positions::Positions;
use crate::error::EventsError;

/// Events read from the queue at once.
const PAGE: usize = 256;
/// Longest answer that is read, so that the connection can be used again; what it says does not matter.
const ANSWER_LEN_MAX: usize = 64 * 1024;
/// Longest error that is kept for the operator.
const ERROR_LEN_MAX: usize = 300;
/// Wait after the queue itself could not be read.
const QUEUE_WAIT: Duration = Duration::from_secs(1);

/// The courier of one endpoint.
pub(super) struct Courier {
    options: EndpointOptions,
    http: Client,
    outbox: Arc<dyn Outbox>,
    positions: Arc<Positions>,
    bell: Bell,
    backoff: Backoff,
    progress: Arc<Progress>,
    delivered: Counter,
    failures: Counter,
}

/// How an endpoint is.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where events are posted.
    pub url: String,
    /// Events that it accepted since the start.
    pub delivered: u64,
    /// Attempts in a row that it did not accept.
    pub failures: u32,
    /// Why the last of them failed.
    pub error: Option<String>,
    /// Seconds until the next attempt, while it counts as down.
    pub retry_in_s: Option<u64>,
}

/// What a courier tells about itself.
pub(super) struct Progress {
    name: String,
    url: String,
    delivered: Counter,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    failures: u32,
    error: Option<String>,
    retry_at: Option<Instant>,
}

/// An attempt that failed.
struct Failure {
    why: String,
    /// What the endpoint asked for with `Retry-After`.
    wish: Option<Duration>,
}

impl Progress {
    pub(super) fn status(&self) -> EndpointStatus {
        let trouble = self.trouble();
        EndpointStatus {
            name: self.name.clone(),
            url: self.url.clone(),
            delivered: self.delivered.get(),
            failures: trouble.failures,
            error: trouble.error.clone(),
            retry_in_s: trouble.retry_at.map(|at| at.saturating_duration_since(Instant::now()).as_secs()),
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Courier {
    pub(super) fn new(
        options: EndpointOptions,
        outbox: Arc<dyn Outbox>,
        positions: Arc<Positions>,
        bell: Bell,
        metrics: &EventsMetrics,
    ) -> Result<Self, EventsError> {
        let tls = options.url.starts_with("https://").then(|| {
            let files = ClientTlsFiles { ca: options.ca.clone(), ..ClientTlsFiles::default() };
            ClientTls::new(files)
                .map_err(|source| EventsError::Tls { endpoint: options.name.clone(), source })
        });
        let http = Client::new(&ClientOptions { tls: tls.transpose()?, ..ClientOptions::default() });
        let backoff =
            Backoff { threshold: options.threshold, wait: options.backoff, wait_max: options.backoff_max };
        let (delivered, failures) = (metrics.delivered(&options.name), metrics.failures(&options.name));
        let progress = Arc::new(Progress {
            name: options.name.clone(),
            url: options.url.clone(),
            delivered: delivered.clone(),
            trouble: Mutex::default(),
        });
        Ok(Self { options, http, outbox, positions, bell, backoff, progress, delivered, failures })
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Delivers until `shutdown`. A post that is under way then is finished, which takes no longer than its timeout; what is not
    /// accepted by then is delivered after the next start.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let mut bell = self.bell.listen();
        while !shutdown.is_triggered() {
            let position = self.positions.of(&self.options.name);
            match self.outbox.outbox_after(position, PAGE).await {
                Ok(page) if page.is_empty() => tokio::select! {
                    () = bell.wait() => {}
                    () = shutdown.wait() => return,
                },
                Ok(page) => {
                    if self.deliver(page, &shutdown).await.is_break() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(endpoint = self.options.name, %error, "the queue of events cannot be read");
                    tokio::time::sleep(QUEUE_WAIT).await;
                }
            }
        }
    }

    /// Delivers a page of the queue in its order, and passes over what the endpoint does not want. Breaks off with `shutdown`.
    async fn deliver(&self, page: Vec<Message>, shutdown: &Shutdown) -> ControlFlow<()> {
        let mut batch = Vec::new();
        let mut last = None;
        for message in page {
            last = Some(message.id);
            if self.wants(&message.payload) {
                batch.push(message.payload);
            }
            if batch.len() >= self.options.batch {
                self.post(&batch, shutdown).await?;
                batch.clear();
                self.positions.advance(&self.options.name, message.id);
                if shutdown.is_triggered() {
                    return ControlFlow::Break(());
                }
            }
        }
        if !batch.is_empty() {
            self.post(&batch, shutdown).await?;
        }
        if let Some(last) = last {
            self.positions.advance(&self.options.name, last);
        }
        ControlFlow::Continue(())
    }

    /// Whether the endpoint is to be told. A message that is no event of ours is passed over: nobody could read it.
    fn wants(&self, payload: &Bytes) -> bool {
        match serde_json::from_slice::<event::Label>(payload) {
            Ok(label) => {
                self.options.filter.wants(&label.action, &label.target.media_type, &label.target.repository)
            }
            Err(error) => {
                tracing::error!(endpoint = self.options.name, %error, "a queued event is not understood");
                false
            }
        }
    }

    /// Posts events until they are accepted, or breaks off with `shutdown` after an attempt.
    async fn post(&self, payloads: &[Bytes], shutdown: &Shutdown) -> ControlFlow<()> {
        let Some(body) = event::envelope(payloads) else { return ControlFlow::Continue(()) };
        let mut failures = 0_u32;
        loop {
            match self.attempt(body.clone()).await {
                Ok(()) => break,
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    self.failures.inc();
                    tokio::select! {
                        () = self.pause(failures, failure) => {}
                        () = shutdown.wait() => return ControlFlow::Break(()),
                    }
                }
            }
        }
        self.delivered.inc_by(payloads.len() as u64);
        if failures > 0 {
            *self.progress.trouble() = Trouble::default();
            tracing::info!(endpoint = self.options.name, failures, "events are accepted again");
        }
        ControlFlow::Continue(())
    }

    async fn pause(&self, failures: u32, failure: Failure) {
        let wait = self.backoff.after(failures, failure.wish);
        let why: String = failure.why.chars().take(ERROR_LEN_MAX).collect();
        // Every doubling: often enough to be seen, seldom enough not to fill a log over night.
        if failures.is_power_of_two() {
            tracing::warn!(endpoint = self.options.name, failures, why, "events are not accepted");
        }
        let retry_at = Some(Instant::now() + wait);
        *self.progress.trouble() = Trouble { failures, error: Some(why), retry_at };
        tokio::time::sleep(wait).await;
    }

    async fn attempt(&self, body: Bytes) -> Result<(), Failure> {
        let failed = |why: String| Failure { why, wish: None };
        let mut request = http::Request::post(&self.options.url).header(header::CONTENT_TYPE, ENVELOPE_TYPE);
        for own in &self.options.headers {
            request = request.header(&own.name, &own.value);
        }
        let mut request = request.body(Body::from(body)).map_err(|error| failed(error.to_string()))?;
        // Delivered at least once: a connection that has gone stale is replaced at once.
        request.extensions_mut().insert(Idempotent);
        let exchange = async {
            let response = self.http.send(request, self.options.timeout).await;
            let response = response.map_err(|error| failed(error.to_string()))?;
            let (status, wish) = (response.status(), retry_after(&response));
            // The status counts, whatever becomes of the body.
            _ = response.into_body().collect(ANSWER_LEN_MAX).await;
            if status.is_success() { Ok(()) } else { Err(Failure { why: refusal(status), wish }) }
        };
        let late = |_| failed(format!("no answer within {:?}", self.options.timeout));
        tokio::time::timeout(self.options.timeout, exchange).await.map_err(late)?
    }
}

fn refusal(status: StatusCode) -> String {
    if status.is_redirection() {
        format!("it answered {status}; redirects are not followed, configure the final URL")
    } else {
        format!("it answered {status}")
    }
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3); a date is not worth a calendar here.
fn retry_after(response: &shoal_http::Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_secs)
}
