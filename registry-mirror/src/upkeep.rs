//! What the agent does again and again, on no request: show gauges, look at the room of the cache, drop old manifests.

use std::time::Duration;

use shoal_store::Store;
use shoal_telemetry::{Check, Health, StoreMetrics};
use tokio::time::Instant;

use crate::resolve::Resolver;

/// The readiness check that says whether the cache can take more.
const CHECK: &str = "store";

/// How often the cache's occupancy and room are looked at.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);

/// How often manifests and references beyond their limits are dropped: far more often than a machine could pull that many.
const TRIM_INTERVAL: Duration = Duration::from_secs(3600);

/// What is done again and again while the agent runs.
pub(crate) struct Upkeep {
    pub(crate) store: Store,
    pub(crate) resolver: Resolver,
    pub(crate) health: Health,
    pub(crate) metrics: StoreMetrics,
}

impl Upkeep {
    /// Keeps the cache's gauges, its check and the size of the manifests' directories. Never returns.
    pub(crate) async fn run(self) {
        let mut trimmed = Instant::now();
        let mut evictions = 0;
        let mut interval = tokio::time::interval(GAUGE_INTERVAL);
        loop {
            interval.tick().await;
            let usage = self.store.usage();
            self.metrics.set_usage(usage.bytes, usage.capacity, usage.blobs);
            self.metrics.evictions.inc_by(usage.evictions.saturating_sub(evictions));
            evictions = usage.evictions;
            let (store, health) = (self.store.clone(), self.health.clone());
            // A disk that does not answer blocks this task, and nobody else.
            _ = tokio::task::spawn_blocking(move || check_room(&store, &health)).await;
            if trimmed.elapsed() >= TRIM_INTERVAL {
                self.resolver.trim().await;
                trimmed = Instant::now();
            }
        }
    }
}

/// Brings the check up to date. A change is one line in the log. A cache that is full of blobs which may go has room.
fn check_room(store: &Store, health: &Health) {
    let why = match store.shortage() {
        Ok(None) => None,
        Ok(Some(shortage)) => Some(format!(
            "{shortage}; what is cached is served, the rest is not (cache.capacity, cache.free_min)"
        )),
        Err(error) => Some(error.to_string()),
    };
    let was_short = matches!(health.check(CHECK), Some(Check::Degraded(_)));
    match why {
        Some(why) => {
            if !was_short {
                tracing::warn!(why, "the cache is short of room");
            }
            health.degraded(CHECK, why);
        }
        None => {
            if was_short {
                tracing::info!("the cache has room again");
            }
            health.set(CHECK, Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_oci::Digest;
    use shoal_store::Options;

    use super::*;

    #[test]
    fn a_cache_is_degraded_while_nothing_in_it_may_go() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::cache(100)).unwrap();
        let health = Health::new();
        let blob = [7; 100];
        store.put(&Digest::sha256(&blob), &blob).unwrap();
        check_room(&store, &health);
        assert_eq!(health.report().status, "ok");
        let reader = store.blob(&Digest::sha256(&blob)).unwrap();
        check_room(&store, &health);
        assert!(health.is_ready());
        assert!(matches!(health.check(CHECK), Some(Check::Degraded(why)) if why.contains("cache.capacity")));
        drop(reader);
        check_room(&store, &health);
        assert_eq!(health.report().status, "ok");
    }
}
