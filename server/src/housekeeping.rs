//! What the server does from time to time, on no request: show gauges, look at the room for pushes, forget abandoned uploads.

use std::time::Duration;

use shoal_http::Shutdown;
use shoal_registry::Registry;
use shoal_store::Store;
use shoal_telemetry::{Check, Health, StoreMetrics};

/// How often gauges are brought up to date: below the 15 s at which most scrapers come.
const GAUGE_PERIOD: Duration = Duration::from_secs(5);

/// How often abandoned uploads are looked for. They are a day old by then; minutes do not matter.
const SWEEP_PERIOD: Duration = Duration::from_secs(10 * 60);

/// The health check that says whether there is room for pushes.
const STORE_CHECK: &str = "store";

/// Keeps the store's gauges and its check until `shutdown`.
pub(crate) async fn gauges(store: Store, metrics: StoreMetrics, health: Health, shutdown: Shutdown) {
    let mut period = tokio::time::interval(GAUGE_PERIOD);
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            _ = period.tick() => {
                let usage = store.usage();
                metrics.set_usage(usage.bytes, usage.capacity, usage.blobs);
                let (store, health) = (store.clone(), health.clone());
                // A disk that does not answer blocks this task, and nobody else.
                _ = tokio::task::spawn_blocking(move || check_room(&store, &health)).await;
            }
        }
    }
}

/// Brings the check up to date. A change is one line in the log.
fn check_room(store: &Store, health: &Health) {
    let why = match store.shortage() {
        Ok(None) => None,
        Ok(Some(shortage)) => Some(format!(
            "{shortage}; pulls go on, pushes are refused until there is room (store.capacity, store.free_min)"
        )),
        Err(error) => Some(error.to_string()),
    };
    let was_short = matches!(health.check(STORE_CHECK), Some(Check::Degraded(_)));
    match why {
        Some(why) => {
            if !was_short {
                tracing::warn!(why, "the store is short of room");
            }
            health.degraded(STORE_CHECK, why);
        }
        None => {
            if was_short {
                tracing::info!("the store has room again");
            }
            health.set(STORE_CHECK, Ok(()));
        }
    }
}

/// Forgets abandoned uploads until `shutdown`.
pub(crate) async fn sweeps(registry: Registry, shutdown: Shutdown) {
    let mut period = tokio::time::interval(SWEEP_PERIOD);
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            _ = period.tick() => drop(registry.sweep().await),
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_oci::Digest;
    use shoal_store::Options;

    use super::*;

    #[test]
    fn a_full_store_is_degraded_until_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { capacity: Some(100), ..Options::durable() };
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let health = Health::new();
        check_room(&store, &health);
        assert_eq!(health.report().status, "ok");
        let blob = [7; 100];
        store.put(&Digest::sha256(&blob), &blob).unwrap();
        check_room(&store, &health);
        assert!(health.is_ready());
        assert!(
            matches!(health.check(STORE_CHECK), Some(Check::Degraded(why)) if why.contains("store.capacity"))
        );
        store.remove(&Digest::sha256(&blob)).unwrap();
        check_room(&store, &health);
        assert_eq!(health.report().status, "ok");
    }
}
