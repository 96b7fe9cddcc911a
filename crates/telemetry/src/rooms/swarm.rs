//! Metrics of the swarm.

use crate::labels::{PerLabel, label};
use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, Gauge, names};

label! {
    /// Where a piece came from.
    Source = "source" {
        /// Another agent.
        Peer = "peer",
        /// An owner over the swarm protocol.
        Owner = "owner",
        /// An owner over HTTP.
        Web = "web",
        /// The tracker's answer.
        Tracker = "tracker",
    }
}

label! {
    /// Who a piece was sent to.
    To = "to" {
        /// An agent.
        Peer = "peer",
        /// An owner.
        Owner = "owner",
    }
}

label! {
    /// What became of a piece that arrived.
    PieceResult = "result" {
        /// Verified and written.
        Stored = "stored",
        /// It was there already.
        Duplicate = "duplicate",
        /// It did not match its digest.
        Corrupt = "corrupt",
    }
}

label! {
    /// State of a blob in the swarm.
    BlobState = "state" {
        /// Pieces are still arriving.
        Downloading = "downloading",
        /// Complete, and announced to others.
        Seeding = "seeding",
    }
}

label! {
    /// How an announce ended.
    AnnounceResult = "result" {
        /// Answered.
        Ok = "ok",
        /// The tracker knows no owner of the blob.
        NotFound = "not_found",
        /// The tracker could not be reached or did not answer.
        Unavailable = "unavailable",
    }
}

/// Metrics of the swarm.
#[derive(Clone, Debug)]
pub struct SwarmMetrics {
    /// Bytes of verified pieces that arrived.
    pub received_bytes: PerLabel<Source, Counter>,
    /// Bytes of pieces sent.
    pub sent_bytes: PerLabel<To, Counter>,
    /// Pieces that arrived.
    pub pieces: PerLabel<PieceResult, Counter>,
    /// Peers banned.
    pub banned_peers: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// Blobs by state.
    pub blobs: PerLabel<BlobState, Gauge>,
    /// Announces by result.
    pub announces: PerLabel<AnnounceResult, Counter>,
}

impl SwarmMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            received_bytes: PerLabel::register(metrics, &names::SWARM_RECEIVED_BYTES),
            sent_bytes: PerLabel::register(metrics, &names::SWARM_SENT_BYTES),
            pieces: PerLabel::register(metrics, &names::SWARM_PIECES),
            banned_peers: registered(metrics, &names::SWARM_BANNED_PEERS),
            connections: registered(metrics, &names::SWARM_CONNECTIONS),
            blobs: PerLabel::register(metrics, &names::SWARM_BLOBS),
            announces: PerLabel::register(metrics, &names::SWARM_ANNOUNCES),
        }
    }
}

impl Default for SwarmMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_exists_at_zero_and_counts_apart() {
        let metrics = Metrics::new("test", "0");
        let swarm = SwarmMetrics::register(&metrics);
        swarm.received_bytes.of(Source::Owner).inc_by(7);
        let text = metrics.encode();
        assert!(text.contains(r#"shoal_swarm_received_bytes_total{source="owner"} 7"#), "{text}");
        assert!(text.contains(r#"shoal_swarm_received_bytes_total{source="peer"} 0"#), "{text}");
        assert!(text.contains(r#"shoal_swarm_blobs{state="seeding"} 0"#), "{text}");
    }
}
