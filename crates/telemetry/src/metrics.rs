//! The registry of metrics of one program, and its text form.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::names::{self, Kind, Name};

/// The metrics of one program. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Content type of [`Self::encode`]: OpenMetrics text, which Prometheus reads since 2.5.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// An empty registry that only says which program in which version it belongs to.
    pub fn new(program: &'static str, version: &'static str) -> Self {
        let metrics = Self(Arc::new(Mutex::new(Registry::default())));
        metrics.register(&names::BUILD_INFO, Info::new([("program", program), ("version", version)]));
        metrics
    }

    /// Adds `metric` under `name`. Each name is registered once per program.
    pub fn register(&self, name: &Name, metric: impl Metric) {
        // The encoder appends these suffixes itself.
        let stem = match name.kind {
            Kind::Counter => name.name.trim_end_matches("_total"),
            Kind::Info => name.name.trim_end_matches("_info"),
            Kind::Gauge | Kind::Histogram => name.name,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).register(stem, name.help, metric);
    }

    /// Everything in OpenMetrics text form.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail; an encoder that does leaves a text without its end mark, which a scraper refuses.
        if text::encode(&mut out, &registry).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        out
    }
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counter;

    #[test]
    fn encodes_names_help_and_the_end_mark() {
        let metrics = Metrics::new("shoal-test", "1.2.3");
        let counter = Counter::default();
        metrics.register(&names::STORE_EVICTIONS, counter.clone());
        counter.inc_by(3);
        let text = metrics.encode();
        assert!(text.contains(r#"shoal_build_info{program="shoal-test",version="1.2.3"} 1"#), "{text}");
        assert!(text.contains("shoal_store_evictions_total 3"), "{text}");
        assert!(text.contains("# HELP shoal_store_evictions Blobs evicted to make room."), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
