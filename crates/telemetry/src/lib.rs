//! What a program says about itself: metrics, health and log lines.
//!
//! Goals: every metric name in one file ([`names`]) so that documentation and dashboards can be checked against it; no global
//! registry, so that several nodes in one test process do not share counters; series exist with the value zero from the start, so
//! that rates are right from the first scrape. Non-goals: pushing metrics anywhere, tracing spans.
//! The price: a room takes its metrics struct as an argument.

pub mod health;
pub mod labels;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod rooms;

pub use health::{Check, Health};
pub use labels::{Label, PerLabel};
pub use logging::{LogFormat, init_logging};
pub use metrics::Metrics;
pub use prometheus_client::metrics::histogram::Histogram;
pub use rooms::collect::CollectMetrics;
pub use rooms::events::EventsMetrics;
pub use rooms::http::HttpMetrics;
pub use rooms::mirror::MirrorMetrics;
pub use rooms::registry::RegistryMetrics;
pub use rooms::store::StoreMetrics;
pub use rooms::swarm::SwarmMetrics;
pub use rooms::tracker::TrackerMetrics;
pub use rooms::upstream::UpstreamMetrics;

/// A number that only grows while the process lives.
pub type Counter = prometheus_client::metrics::counter::Counter;

/// A number that goes up and down.
pub type Gauge = prometheus_client::metrics::gauge::Gauge;
