//! Metrics of the upstreams, the foreign registries that are asked. Their label is what the configuration says, never what a client says.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use crate::labels::{Label, label};
use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, Gauge, names};

label! {
    /// What was asked for.
    UpstreamKind = "kind" {
        /// A blob.
        Blob = "blob",
        /// A manifest.
        Manifest = "manifest",
    }
}

label! {
    /// What became of it.
    UpstreamResult = "result" {
        /// It was answered.
        Ok = "ok",
        /// There is no such thing.
        NotFound = "not_found",
        /// The credentials do not give it.
        Denied = "denied",
        /// The upstream asked for a pause, now or before.
        Paused = "paused",
        /// It could not be reached, or failed.
        Unavailable = "unavailable",
        /// Not asked or not taken, by our own rules.
        Refused = "refused",
    }
}

label! {
    /// Where the meaning of a reference to an upstream came from.
    ResolutionSource = "source" {
        /// It never changes, or is not old enough to ask.
        Kept = "kept",
        /// The upstream said that nothing has changed.
        Revalidated = "revalidated",
        /// The upstream sent it.
        Fetched = "fetched",
        /// The upstream could not be asked; what was last known.
        Stale = "stale",
        /// Nowhere.
        Miss = "miss",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    upstream: String,
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resolved {
    upstream: String,
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    upstream: String,
}

/// Metrics of the upstreams.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    requests: Family<Asked, Counter>,
    resolutions: Family<Resolved, Counter>,
    received_bytes: Family<Named, Counter>,
    quota: Family<Named, Gauge>,
}

impl UpstreamMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            requests: registered(metrics, &names::UPSTREAM_REQUESTS),
            resolutions: registered(metrics, &names::UPSTREAM_RESOLUTIONS),
            received_bytes: registered(metrics, &names::UPSTREAM_RECEIVED_BYTES),
            quota: registered(metrics, &names::UPSTREAM_QUOTA_REMAINING),
        }
    }

    /// Counts one question.
    pub fn request(&self, upstream: &str, kind: UpstreamKind, result: UpstreamResult) {
        let asked = Asked { upstream: upstream.to_owned(), kind: kind.as_str(), result: result.as_str() };
        self.requests.get_or_create_owned(&asked).inc();
    }

    /// Counts one reference that was to be resolved.
    pub fn resolution(&self, upstream: &str, source: ResolutionSource) {
        let resolved = Resolved { upstream: upstream.to_owned(), source: source.as_str() };
        self.resolutions.get_or_create_owned(&resolved).inc();
    }

    /// Bytes of manifests and blobs that came from an upstream.
    pub fn received_bytes(&self, upstream: &str) -> Counter {
        self.received_bytes.get_or_create_owned(&Named { upstream: upstream.to_owned() })
    }

    /// What an upstream said of the quota that is left.
    pub fn set_quota(&self, upstream: &str, remaining: i64) {
        self.quota.get_or_create_owned(&Named { upstream: upstream.to_owned() }).set(remaining);
    }
}

impl Default for UpstreamMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_counted_apart() {
        let metrics = Metrics::new("test", "0");
        let upstream = UpstreamMetrics::register(&metrics);
        upstream.request("docker.io", UpstreamKind::Manifest, UpstreamResult::Paused);
        upstream.resolution("docker.io", ResolutionSource::Stale);
        upstream.received_bytes("*.example.com").inc_by(7);
        upstream.set_quota("docker.io", 76);
        let text = metrics.encode();
        for line in [
            r#"shoal_upstream_requests_total{upstream="docker.io",kind="manifest",result="paused"} 1"#,
            r#"shoal_upstream_resolutions_total{upstream="docker.io",source="stale"} 1"#,
            r#"shoal_upstream_received_bytes_total{upstream="*.example.com"} 7"#,
            r#"shoal_upstream_quota_remaining{upstream="docker.io"} 76"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
