//! Metrics of the store. The store itself reports numbers; the program that owns it copies them here.

use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, Gauge, names};

/// Metrics of the store.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// Bytes of complete blobs.
    pub bytes: Gauge,
    /// Bytes it may hold; 0 without a limit.
    pub capacity_bytes: Gauge,
    /// Complete blobs.
    pub blobs: Gauge,
    /// Blobs evicted.
    pub evictions: Counter,
}

impl StoreMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            bytes: registered(metrics, &names::STORE_BYTES),
            capacity_bytes: registered(metrics, &names::STORE_CAPACITY_BYTES),
            blobs: registered(metrics, &names::STORE_BLOBS),
            evictions: registered(metrics, &names::STORE_EVICTIONS),
        }
    }

    /// Shows the store's numbers of this moment.
    pub fn set_usage(&self, bytes: u64, capacity: Option<u64>, blobs: usize) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.capacity_bytes.set(i64::try_from(capacity.unwrap_or(0)).unwrap_or(i64::MAX));
        self.blobs.set(i64::try_from(blobs).unwrap_or(i64::MAX));
    }
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}
