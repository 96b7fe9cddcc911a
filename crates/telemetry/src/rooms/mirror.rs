//! Metrics of the mirror, the agent's OCI face.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use crate::labels::{Label, label};
use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, Histogram, names};

label! {
    /// What was asked for.
    RequestKind = "kind" {
        /// A blob.
        Blob = "blob",
        /// A manifest.
        Manifest = "manifest",
        /// Anything else below `/v2/`.
        Other = "other",
    }
}

label! {
    /// Where the answer came from.
    AnswerSource = "source" {
        /// This machine's disk.
        Cache = "cache",
        /// The swarm.
        Swarm = "swarm",
        /// The Shoal server.
        Server = "server",
        /// Nowhere: the client was told to look elsewhere.
        Miss = "miss",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindSource {
    kind: &'static str,
    source: &'static str,
}

/// Upper bounds in seconds: from a warm manifest on loopback to the longest pull worth telling apart.
const SECONDS_BUCKETS: [f64; 14] =
    [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];

/// Metrics of the mirror.
#[derive(Clone, Debug)]
pub struct MirrorMetrics {
    requests: Family<KindSource, Counter>,
    /// Bytes given to clients.
    pub sent_bytes: Counter,
    /// Time to the first verified byte of a blob.
    pub first_byte_seconds: Histogram,
    /// Time to the last byte of a blob.
    pub blob_seconds: Histogram,
    /// Bodies cut short.
    pub aborted_bodies: Counter,
}

impl MirrorMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        let first_byte_seconds = Histogram::new(SECONDS_BUCKETS);
        let blob_seconds = Histogram::new(SECONDS_BUCKETS);
        metrics.register(&names::MIRROR_FIRST_BYTE_SECONDS, first_byte_seconds.clone());
        metrics.register(&names::MIRROR_BLOB_SECONDS, blob_seconds.clone());
        let mirror = Self {
            requests: registered(metrics, &names::MIRROR_REQUESTS),
            sent_bytes: registered(metrics, &names::MIRROR_SENT_BYTES),
            first_byte_seconds,
            blob_seconds,
            aborted_bodies: registered(metrics, &names::MIRROR_ABORTED_BODIES),
        };
        for kind in RequestKind::ALL {
            for source in AnswerSource::ALL {
                // Made here so that the series starts at zero.
                drop(mirror.requests.get_or_create(&KindSource::of(*kind, *source)));
            }
        }
        mirror
    }

    /// Counts one answered request.
    pub fn request(&self, kind: RequestKind, source: AnswerSource) {
        self.requests.get_or_create(&KindSource::of(kind, source)).inc();
    }

    /// How many requests of `kind` were answered from `source`.
    pub fn requests(&self, kind: RequestKind, source: AnswerSource) -> u64 {
        self.requests.get_or_create(&KindSource::of(kind, source)).get()
    }
}

impl KindSource {
    fn of(kind: RequestKind, source: AnswerSource) -> Self {
        Self { kind: kind.as_str(), source: source.as_str() }
    }
}

impl Default for MirrorMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_start_at_zero_and_count() {
        let metrics = Metrics::new("test", "0");
        let mirror = MirrorMetrics::register(&metrics);
        mirror.request(RequestKind::Blob, AnswerSource::Swarm);
        assert_eq!(mirror.requests(RequestKind::Blob, AnswerSource::Swarm), 1);
        let text = metrics.encode();
        assert!(text.contains(r#"shoal_mirror_requests_total{kind="blob",source="cache"} 0"#), "{text}");
        assert!(text.contains(r#"shoal_mirror_first_byte_seconds_bucket{le="0.001"} 0"#), "{text}");
    }
}
