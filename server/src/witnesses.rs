//! Those who are told what happens: webhooks and the audit log, built from the configuration and ended after everybody else.

use std::sync::Arc;

use anyhow::{Context, Result};
use shoal_api::audit::{Audit, NoAudit};
use shoal_api::events::{Events, NoEvents};
use shoal_auth::Denials;
use shoal_events::{AuditLog, PreheatJobs, WebhookOptions, Webhooks};
use shoal_http::Shutdown;
use shoal_metadata::Embedded;
use shoal_telemetry::EventsMetrics;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::denials::AuditedDenials;

/// The file of the endpoints' positions, in the directory of the queue that they are positions in.
const POSITIONS: &str = "webhooks.json";

/// Webhooks and the audit log, as far as they are configured.
pub(crate) struct Witnesses {
    pub(crate) events: Arc<dyn Events>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) webhooks: Option<Webhooks>,
    pub(crate) audit_log: Option<AuditLog>,
    pub(crate) preheat_jobs: PreheatJobs,
    pub(crate) metrics: EventsMetrics,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
}

impl Witnesses {
    /// Opens the audit log and starts to deliver what waits.
    pub(crate) async fn start(
        config: &Config,
        source: String,
        metadata: &Embedded,
        metrics: EventsMetrics,
    ) -> Result<Self> {
        let mut new = Self {
            events: Arc::new(NoEvents),
            audit: Arc::new(NoAudit),
            webhooks: None,
            audit_log: None,
            preheat_jobs: PreheatJobs::default(),
            metrics: metrics.clone(),
            shutdown: Shutdown::new(),
            tasks: JoinSet::new(),
        };
        if let Some(options) = config.audit.options() {
            let log = AuditLog::open(options, metrics.clone()).context("audit.file")?;
            new.audit = Arc::new(log.clone());
            new.audit_log = Some(log);
        }
        if !config.events.endpoints.is_empty() {
            let options = options(config, source);
            let outbox = Arc::new(metadata.clone());
            let (webhooks, tasks) =
                Webhooks::start(options, outbox, metrics, &new.shutdown).await.context("events.endpoints")?;
            new.events = Arc::new(webhooks.clone());
            new.webhooks = Some(webhooks);
            new.tasks = tasks;
        }
        Ok(new)
    }

    /// Where the gate reports refusals to.
    pub(crate) fn denials(&self) -> Arc<dyn Denials> {
        Arc::new(AuditedDenials(self.audit_log.clone()))
    }

    /// Queues what was told last and ends the deliveries; what is not delivered waits for the next start. Called when no request is
    /// under way any more.
    pub(crate) async fn shutdown(&mut self) {
        self.shutdown.trigger();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the webhooks ended early");
            }
        }
    }
}

fn options(config: &Config, source: String) -> WebhookOptions {
    WebhookOptions {
        // What cannot be used was reported with the rest of the configuration.
        endpoints: config.events.endpoints.iter().filter_map(|endpoint| endpoint.options().ok()).collect(),
        url: config.events.url.clone(),
        include_references: config.events.include_references,
        source,
        positions: config.data_directory.join("metadata").join(POSITIONS),
    }
}
