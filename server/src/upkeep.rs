//! The collector and the scrubber, put together: which rooms they work in, and who is asked before something goes.

use std::sync::Arc;

use async_trait::async_trait;
use shoal_api::audit::Audit;
use shoal_api::events::Events;
use shoal_api::leases::Leases;
use shoal_collect::{Collector, Immutable, Parts, Repair, Scrubber};
use shoal_http::Shutdown;
use shoal_metadata::Upkeep as Records;
use shoal_oci::Digest;
use shoal_origin::Origin;
use shoal_store::Store;
use shoal_telemetry::CollectMetrics;
use shoal_tracker::Tracker;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Config;
use crate::copies;

/// The file in the data directory that remembers how far the scrub came.
const SCRUB_STATE: &str = "scrub.json";

/// The rooms that upkeep works in.
pub(crate) struct Rooms {
    pub(crate) records: Arc<dyn Records>,
    pub(crate) store: Store,
    pub(crate) leases: Leases,
    pub(crate) immutable: Immutable,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) origin: Origin,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) metrics: CollectMetrics,
}

/// Collects and scrubs.
#[derive(Clone)]
pub(crate) struct Upkeep {
    pub(crate) collector: Collector,
    pub(crate) scrubber: Scrubber,
}

impl Upkeep {
    pub(crate) fn new(config: &Config, rooms: Rooms) -> Self {
        let Rooms { records, store, leases, immutable, events, audit, origin, tracker, metrics } = rooms;
        let uploads = store.clone();
        let uploading =
            move || uploads.upload_labels().iter().filter_map(|label| label.parse().ok()).collect();
        let parts = Parts {
            upkeep: records,
            store: store.clone(),
            leases,
            uploading: Box::new(uploading),
            immutable,
            kept: copies::kept(&config.upstreams),
            events,
            audit,
            metrics: metrics.clone(),
        };
        let collector = Collector::new(parts, config.collect.options(&config.retention));
        let state = config.data_directory.join(SCRUB_STATE);
        let agents = Arc::new(Agents { origin, tracker });
        let scrubber = Scrubber::new(store, agents, metrics, config.scrub.options(state));
        Self { collector, scrubber }
    }

    /// Runs both from time to time until `shutdown`, and lets what is under way come to a safe point.
    pub(crate) fn spawn(&self, tasks: &mut JoinSet<()>, shutdown: &Shutdown) {
        let (upkeep, stopped) = (self.clone(), shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stopped.wait() => {}
                () = upkeep.collector.run() => {}
            }
            upkeep.collector.stop().await;
        });
        let (upkeep, stopped) = (self.clone(), shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stopped.wait() => {}
                () = upkeep.scrubber.run() => {}
            }
            upkeep.scrubber.stop().await;
        });
    }
}

/// The agents that have a blob, for the scrubber.
struct Agents {
    origin: Origin,
    tracker: Arc<Tracker>,
}

#[async_trait]
impl Repair for Agents {
    async fn repair(&self, digest: &Digest) -> bool {
        let holders = self.tracker.holders(digest, Instant::now());
        match self.origin.mend(digest, holders).await {
            Ok(whole) => whole,
            Err(error) => {
                tracing::warn!(%digest, %error, "a damaged blob could not be mended");
                false
            }
        }
    }
}
