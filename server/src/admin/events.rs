//! `GET /events` of the admin port: how webhooks, the audit log and preheating are.

use serde::Serialize;
use shoal_events::{AuditLog, AuditStatus, PreheatJob, PreheatJobs, Webhooks, WebhooksStatus};

/// What is asked.
pub(crate) struct EventsAdmin {
    pub(crate) webhooks: Option<Webhooks>,
    pub(crate) audit: Option<AuditLog>,
    pub(crate) preheat: PreheatJobs,
}

/// The answer. What is not configured is `null`.
#[derive(Debug, Serialize)]
pub(crate) struct EventsStatus {
    webhooks: Option<WebhooksStatus>,
    audit: Option<AuditStatus>,
    /// The last jobs, the newest last.
    preheat: Vec<PreheatJob>,
}

impl EventsAdmin {
    pub(crate) fn status(&self) -> EventsStatus {
        EventsStatus {
            webhooks: self.webhooks.as_ref().map(Webhooks::status),
            audit: self.audit.as_ref().map(AuditLog::status),
            preheat: self.preheat.list(),
        }
    }
}
