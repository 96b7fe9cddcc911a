//! What happened, told to others: webhooks, the audit log, and the notifications by which others ask for preheating.
//!
//! Goals: an event that was promised is delivered, at least once and in order, whatever is killed in between; a record of the audit
//! log is in the file before its answer is sent; nobody who does not answer holds up a push. Non-goals: deciding what may be done
//! (the listener's gate), and storing events (the metadata engine's queue). The registry meets this room through
//! [`shoal_api::events`], [`shoal_api::audit`] and [`shoal_api::preheat`].

mod audit;
mod clock;
mod error;
mod preheat;
mod webhooks;

pub use audit::{AuditLog, AuditOptions, AuditStatus};
pub use error::EventsError;
pub use preheat::{NOTIFICATIONS_PATH, PreheatGate, PreheatHandler, PreheatJob, PreheatJobs};
pub use webhooks::{
    EndpointOptions, EndpointStatus, Filter, Header, WebhookOptions, Webhooks, WebhooksStatus,
};
