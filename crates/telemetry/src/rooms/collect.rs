//! Metrics of collection and scrub.

use crate::labels::{PerLabel, label};
use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, names};

label! {
    /// What became of a damaged blob.
    ScrubOutcome = "outcome" {
        /// Its bad pieces were fetched again.
        Repaired = "repaired",
        /// It lies in quarantine.
        Quarantined = "quarantined",
        /// It is where it was.
        Left = "left",
    }
}

/// Metrics of collection and scrub.
#[derive(Clone, Debug)]
pub struct CollectMetrics {
    /// Collections that ended.
    pub runs: Counter,
    /// Blobs collected.
    pub blobs: Counter,
    /// Bytes collected.
    pub bytes: Counter,
    /// Things passed over.
    pub faults: Counter,
    /// Blobs verified again.
    pub scrubbed_blobs: Counter,
    /// Bytes verified again.
    pub scrubbed_bytes: Counter,
    /// Damaged blobs found.
    pub damaged: PerLabel<ScrubOutcome, Counter>,
}

impl CollectMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            runs: registered(metrics, &names::COLLECT_RUNS),
            blobs: registered(metrics, &names::COLLECT_BLOBS),
            bytes: registered(metrics, &names::COLLECT_BYTES),
            faults: registered(metrics, &names::COLLECT_FAULTS),
            scrubbed_blobs: registered(metrics, &names::SCRUB_BLOBS),
            scrubbed_bytes: registered(metrics, &names::SCRUB_BYTES),
            damaged: PerLabel::register(metrics, &names::SCRUB_DAMAGED_BLOBS),
        }
    }
}

impl Default for CollectMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}
