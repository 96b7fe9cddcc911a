//! Takes events out of the queue that every endpoint is done with, and keeps the queue's gauges.

use std::sync::Arc;
use std::time::Duration;

use shoal_http::Shutdown;
use shoal_metadata::{Outbox, UnixMillis, clock};
use shoal_telemetry::EventsMetrics;
use tokio::task::JoinSet;

use super::positions::Positions;

/// Events removed at once.
const PAGE: usize = 1000;
/// How often the gauges are brought up to date: below the 15 s at which most scrapers come.
const GAUGE_PERIOD: Duration = Duration::from_secs(5);
/// How long positions gather before they are written: a crash repeats the deliveries of this long.
const LINGER: Duration = Duration::from_millis(50);

pub(super) struct Sweeper {
    outbox: Arc<dyn Outbox>,
    positions: Arc<Positions>,
    metrics: EventsMetrics,
    /// What the queue itself has dropped, as far as it is counted.
    dropped: u64,
}

impl Sweeper {
    pub(super) fn new(outbox: Arc<dyn Outbox>, positions: Arc<Positions>, metrics: EventsMetrics) -> Self {
        Self { outbox, positions, metrics, dropped: 0 }
    }

    /// Runs until `shutdown`, and to the end of `couriers`, whose last positions are kept.
    pub(super) async fn run(mut self, shutdown: Shutdown, mut couriers: JoinSet<()>) {
        let mut period = tokio::time::interval(GAUGE_PERIOD);
        // A new endpoint's position is kept from the start, so that a crash does not make it new again.
        self.sweep().await;
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                _ = period.tick() => self.gauge().await,
                () = self.positions.moved.notified() => {
                    tokio::time::sleep(LINGER).await;
                    self.sweep().await;
                }
            }
        }
        while let Some(ended) = couriers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a courier ended early");
            }
        }
        self.sweep().await;
    }

    /// First the positions, then the queue: the other way round a crash would be harmless too, but the positions would lie.
    async fn sweep(&self) {
        let positions = Arc::clone(&self.positions);
        let saved = tokio::task::spawn_blocking(move || positions.save()).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, "the positions of webhooks cannot be written; a restart will deliver events again");
        }
        let reached = self.positions.reached_by_all();
        if let Err(error) = self.remove(reached).await {
            tracing::warn!(%error, "delivered events cannot be taken out of the queue");
        }
    }

    async fn remove(&self, reached: u64) -> shoal_metadata::Result<()> {
        loop {
            let page = self.outbox.outbox_after(0, PAGE).await?;
            let done: Vec<u64> =
                page.iter().map(|message| message.id).take_while(|id| *id <= reached).collect();
            let more = done.len() == page.len();
            if done.is_empty() {
                return Ok(());
            }
            self.outbox.outbox_done(done).await?;
            if !more {
                return Ok(());
            }
        }
    }

    async fn gauge(&mut self) {
        let len = self.outbox.outbox_len();
        self.metrics.waiting.set(i64::try_from(len.waiting).unwrap_or(i64::MAX));
        self.metrics.dropped.inc_by(len.dropped.saturating_sub(self.dropped));
        self.dropped = len.dropped;
        if let Ok(oldest) = self.outbox.outbox_oldest().await {
            let age = oldest.map_or(0, |queued_at: UnixMillis| clock::now().saturating_sub(queued_at) / 1000);
            self.metrics.oldest_seconds.set(i64::try_from(age).unwrap_or(i64::MAX));
        }
    }
}
