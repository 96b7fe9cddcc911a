//! The metrics of each room, as structs that the room is handed. `register` is called once per program; `Default` gives metrics
//! that nobody scrapes, for tests and tools.

pub mod collect;
pub mod events;
pub mod http;
pub mod mirror;
pub mod registry;
pub mod store;
pub mod swarm;
pub mod tracker;
pub mod upstream;

use crate::metrics::Metrics;
use crate::names::Name;

/// Makes a metric and adds it to `metrics`.
fn registered<M: prometheus_client::registry::Metric + Clone + Default>(metrics: &Metrics, name: &Name) -> M {
    let metric = M::default();
    metrics.register(name, metric.clone());
    metric
}

/// Metrics that belong to no program.
fn detached() -> Metrics {
    Metrics::new("detached", "0")
}
