//! What the server does from time to time, on no request: show gauges, forget abandoned uploads.

use std::time::Duration;

use shoal_http::Shutdown;
use shoal_registry::Registry;
use shoal_store::Store;
use shoal_telemetry::StoreMetrics;

/// How often gauges are brought up to date: below the 15 s at which most scrapers come.
const GAUGE_PERIOD: Duration = Duration::from_secs(5);

/// How often abandoned uploads are looked for. They are a day old by then; minutes do not matter.
const SWEEP_PERIOD: Duration = Duration::from_secs(10 * 60);

/// Keeps the store's gauges until `shutdown`.
pub(crate) async fn gauges(store: Store, metrics: StoreMetrics, shutdown: Shutdown) {
    let mut period = tokio::time::interval(GAUGE_PERIOD);
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            _ = period.tick() => {
                let usage = store.usage();
                metrics.set_usage(usage.bytes, usage.capacity, usage.blobs);
            }
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
