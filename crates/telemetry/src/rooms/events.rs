//! Metrics of webhooks, the audit log and preheating.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use crate::labels::{PerLabel, label};
use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, Gauge, names};

label! {
    /// What became of a record of the audit log.
    AuditResult = "result" {
        /// In the file.
        Written = "written",
        /// Lost: the file could not be written.
        Lost = "lost",
    }
}

label! {
    /// How a preheat request was answered.
    PreheatResult = "result" {
        /// Everything that the image names is ready.
        Ready = "ready",
        /// Some of it is not here.
        Partial = "partial",
        /// There is no such image.
        NotFound = "not_found",
        /// The request was refused: malformed, too large, or without the right.
        Refused = "refused",
        /// The server was busy or at fault.
        Unavailable = "unavailable",
    }
}

/// An endpoint of webhooks, by its name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Endpoint {
    endpoint: String,
}

/// Metrics of webhooks, the audit log and preheating.
#[derive(Clone, Debug)]
pub struct EventsMetrics {
    /// Events that wait for at least one endpoint.
    pub waiting: Gauge,
    /// Age of the oldest of them, in seconds.
    pub oldest_seconds: Gauge,
    /// Events dropped because the queue was full.
    pub dropped: Counter,
    delivered: Family<Endpoint, Counter>,
    failures: Family<Endpoint, Counter>,
    /// Audit records by result.
    pub audit_records: PerLabel<AuditResult, Counter>,
    /// Preheat requests by result.
    pub preheats: PerLabel<PreheatResult, Counter>,
}

impl EventsMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            waiting: registered(metrics, &names::EVENTS_WAITING),
            oldest_seconds: registered(metrics, &names::EVENTS_OLDEST_SECONDS),
            dropped: registered(metrics, &names::EVENTS_DROPPED),
            delivered: registered(metrics, &names::EVENTS_DELIVERED),
            failures: registered(metrics, &names::EVENTS_FAILURES),
            audit_records: PerLabel::register(metrics, &names::AUDIT_RECORDS),
            preheats: PerLabel::register(metrics, &names::PREHEAT_REQUESTS),
        }
    }

    /// Events that `endpoint` has accepted.
    pub fn delivered(&self, endpoint: &str) -> Counter {
        self.delivered.get_or_create_owned(&Endpoint { endpoint: endpoint.to_owned() })
    }

    /// Attempts that `endpoint` did not accept.
    pub fn failures(&self, endpoint: &str) -> Counter {
        self.failures.get_or_create_owned(&Endpoint { endpoint: endpoint.to_owned() })
    }
}

impl Default for EventsMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_counted_apart() {
        let metrics = Metrics::new("test", "0");
        let events = EventsMetrics::register(&metrics);
        events.delivered("one").inc();
        events.failures("two").inc();
        let text = metrics.encode();
        assert!(text.contains(r#"shoal_events_delivered_total{endpoint="one"} 1"#), "{text}");
        assert!(text.contains(r#"shoal_events_failures_total{endpoint="two"} 1"#), "{text}");
    }
}
