//! Metrics of the registry role.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use crate::labels::{PerLabel, label};
use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, names};

label! {
    /// How a blob upload ended.
    UploadResult = "result" {
        /// Stored and acknowledged.
        Committed = "committed",
        /// Linked from another repository without a byte sent.
        Mounted = "mounted",
        /// The client gave up.
        Cancelled = "cancelled",
        /// The bytes did not match the digest, or a fault on our side.
        Failed = "failed",
        /// Left alone for too long.
        Expired = "expired",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteStatus {
    route: &'static str,
    status: u16,
}

/// Metrics of the registry role.
#[derive(Clone, Debug)]
pub struct RegistryMetrics {
    requests: Family<RouteStatus, Counter>,
    /// Bytes pushed.
    pub received_bytes: Counter,
    /// Bytes pulled.
    pub sent_bytes: Counter,
    /// Uploads by result.
    pub uploads: PerLabel<UploadResult, Counter>,
}

impl RegistryMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            requests: registered(metrics, &names::REGISTRY_REQUESTS),
            received_bytes: registered(metrics, &names::REGISTRY_RECEIVED_BYTES),
            sent_bytes: registered(metrics, &names::REGISTRY_SENT_BYTES),
            uploads: PerLabel::register(metrics, &names::REGISTRY_UPLOADS),
        }
    }

    /// Counts one answered request. `route` is the name of a route, never a path.
    pub fn request(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&RouteStatus { route, status }).inc();
    }

    /// The counter behind [`Self::request`], for callers that keep it.
    pub fn request_counter(&self, route: &'static str, status: u16) -> Counter {
        self.requests.get_or_create_owned(&RouteStatus { route, status })
    }
}

impl Default for RegistryMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = Metrics::new("test", "0");
        let registry = RegistryMetrics::register(&metrics);
        registry.request("blob", 200);
        registry.request("blob", 200);
        let text = metrics.encode();
        assert!(text.contains(r#"shoal_registry_requests_total{route="blob",status="200"} 2"#), "{text}");
    }
}
