//! Carries the core's numbers over to the metrics. The core counts, so that the simulator and a real process count alike.

use shoal_swarm_protocol::{AnnounceError, BlobPhase, BlobStatus, Totals};
use shoal_telemetry::SwarmMetrics;
use shoal_telemetry::rooms::swarm::{AnnounceResult, BlobState, PieceResult, Source, To};

/// The metrics, and what of the core's totals they hold already.
pub(crate) struct Gauges {
    metrics: SwarmMetrics,
    counted: Totals,
}

impl Gauges {
    /// Nothing counted yet.
    pub(crate) fn new(metrics: SwarmMetrics) -> Self {
        Self { metrics, counted: Totals::default() }
    }

    /// Counts one answer of the tracker.
    pub(crate) fn announced(&self, error: Option<AnnounceError>) {
        let result = match error {
            None => AnnounceResult::Ok,
            Some(AnnounceError::NotFound) => AnnounceResult::NotFound,
            Some(AnnounceError::Unavailable) => AnnounceResult::Unavailable,
        };
        self.metrics.announces.of(result).inc();
    }

    /// Counts a blob that came in one go, of which the core knows nothing.
    pub(crate) fn arrived(&self, source: Source, len: usize) {
        self.metrics.received_bytes.of(source).inc_by(len as u64);
    }

    /// Adds what the core has counted since the last time.
    pub(crate) fn count(&mut self, now: Totals) {
        let (metrics, was) = (&self.metrics, &self.counted);
        let received = &metrics.received_bytes;
        received.of(Source::Owner).inc_by(now.received.owner_bytes.saturating_sub(was.received.owner_bytes));
        received.of(Source::Peer).inc_by(now.received.peer_bytes.saturating_sub(was.received.peer_bytes));
        received.of(Source::Web).inc_by(now.received.web_bytes.saturating_sub(was.received.web_bytes));
        let sent = &metrics.sent_bytes;
        sent.of(To::Peer).inc_by(now.sent_to_peers_bytes.saturating_sub(was.sent_to_peers_bytes));
        sent.of(To::Owner).inc_by(now.sent_to_owners_bytes.saturating_sub(was.sent_to_owners_bytes));
        let pieces = &metrics.pieces;
        pieces.of(PieceResult::Stored).inc_by(now.stored_pieces.saturating_sub(was.stored_pieces));
        pieces.of(PieceResult::Duplicate).inc_by(now.duplicate_pieces.saturating_sub(was.duplicate_pieces));
        pieces.of(PieceResult::Corrupt).inc_by(now.corrupt_pieces.saturating_sub(was.corrupt_pieces));
        metrics.banned_peers.inc_by(now.banned_peers.saturating_sub(was.banned_peers));
        metrics.connections.set(i64::from(now.connections));
        self.counted = now;
    }

    /// Shows how many blobs there are of each kind.
    pub(crate) fn show(&self, blobs: &[BlobStatus]) {
        let downloading = blobs
            .iter()
            .filter(|blob| matches!(blob.phase, BlobPhase::Starting | BlobPhase::Downloading))
            .count();
        self.metrics.blobs.of(BlobState::Downloading).set(gauge(downloading));
        self.metrics.blobs.of(BlobState::Seeding).set(gauge(blobs.len() - downloading));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
