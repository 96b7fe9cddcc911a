//! Metrics of the tracker.

use crate::labels::{PerLabel, label};
use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, Gauge, names};

label! {
    /// How the tracker answered one announced blob.
    TrackerResult = "result" {
        /// With peers or owners.
        Ok = "ok",
        /// No owner has the blob.
        NotFound = "not_found",
        /// The owners could not be asked.
        Unavailable = "unavailable",
        /// The request was malformed or too large.
        Invalid = "invalid",
    }
}

/// Metrics of the tracker.
#[derive(Clone, Debug)]
pub struct TrackerMetrics {
    /// Announces by result.
    pub announces: PerLabel<TrackerResult, Counter>,
    /// Peers known, per swarm.
    pub peers: Gauge,
    /// Blobs with a peer.
    pub swarms: Gauge,
}

impl TrackerMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            announces: PerLabel::register(metrics, &names::TRACKER_ANNOUNCES),
            peers: registered(metrics, &names::TRACKER_PEERS),
            swarms: registered(metrics, &names::TRACKER_SWARMS),
        }
    }
}

impl Default for TrackerMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}
