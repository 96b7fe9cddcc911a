//! Every metric of the house: its name, unit, labels and meaning. No other file spells a metric name.
//!
//! Names are `shoal_<room>_<noun>_<unit>`, counters end in `_total` (OpenMetrics), units are base units (bytes, seconds).
//! Labels have few values, known beforehand: never a peer's address, a digest or a repository.

/// What kind of series a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution in buckets.
    Histogram,
    /// Constant facts as labels.
    Info,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name as a scrape shows it.
    pub name: &'static str,
    /// What kind of series it is.
    pub kind: Kind,
    /// The unit of its value: `bytes`, `seconds`, or the thing counted.
    pub unit: &'static str,
    /// Its labels in order.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

macro_rules! names {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $unit:literal: $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Name =
                Name { name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help };
        )+
        /// Every metric, in the order of this file.
        pub const ALL: &[Name] = &[$($constant),+];
    };
}

names! {
    BUILD_INFO = Info "shoal_build_info" ["program", "version"] "info": "The running program and its version";

    HTTP_CONNECTIONS = Gauge "shoal_http_connections" ["listener"] "connections": "Open connections of a listener";
    HTTP_ACCEPT_ERRORS = Counter "shoal_http_accept_errors_total" ["listener"] "errors":
        "Failures to take a connection, for example because file descriptors ran out";

    SWARM_RECEIVED_BYTES = Counter "shoal_swarm_received_bytes_total" ["source"] "bytes":
        "Bytes of verified pieces that arrived, by where they came from";
    SWARM_SENT_BYTES = Counter "shoal_swarm_sent_bytes_total" ["to"] "bytes":
        "Bytes of pieces sent to others, by who they are";
    SWARM_PIECES = Counter "shoal_swarm_pieces_total" ["result"] "pieces":
        "Pieces that arrived: stored, already there, or refused because they did not match their digest";
    SWARM_BANNED_PEERS = Counter "shoal_swarm_banned_peers_total" [] "peers":
        "Peers banned because they sent corrupt pieces or broke the protocol";
    SWARM_CONNECTIONS = Gauge "shoal_swarm_connections" [] "connections": "Open connections to other peers";
    SWARM_BLOBS = Gauge "shoal_swarm_blobs" ["state"] "blobs": "Blobs in the swarm of this process, by state";
    SWARM_ANNOUNCES = Counter "shoal_swarm_announces_total" ["result"] "announces":
        "Announces to the tracker, counted per blob, by result";

    STORE_BYTES = Gauge "shoal_store_bytes" [] "bytes": "Bytes of complete blobs on disk";
    STORE_CAPACITY_BYTES = Gauge "shoal_store_capacity_bytes" [] "bytes":
        "Bytes the store may hold; 0 means no limit";
    STORE_BLOBS = Gauge "shoal_store_blobs" [] "blobs": "Complete blobs on disk";
    STORE_EVICTIONS = Counter "shoal_store_evictions_total" [] "blobs": "Blobs evicted to make room";

    MIRROR_REQUESTS = Counter "shoal_mirror_requests_total" ["kind", "source"] "requests":
        "Pull requests to the mirror, by what was asked and where the answer came from";
    MIRROR_SENT_BYTES = Counter "shoal_mirror_sent_bytes_total" [] "bytes": "Bytes of blobs and manifests given to clients";
    MIRROR_FIRST_BYTE_SECONDS = Histogram "shoal_mirror_first_byte_seconds" [] "seconds":
        "Time from a blob request to its first verified byte";
    MIRROR_BLOB_SECONDS = Histogram "shoal_mirror_blob_seconds" [] "seconds":
        "Time from a blob request to the last byte handed to the client's socket";
    MIRROR_ABORTED_BODIES = Counter "shoal_mirror_aborted_bodies_total" [] "responses":
        "Blob bodies cut short because no source could provide the rest";

    UPSTREAM_REQUESTS = Counter "shoal_upstream_requests_total" ["upstream", "kind", "result"] "requests":
        "Questions to foreign registries, by the configured upstream, what was asked for and what became of it";
    UPSTREAM_RESOLUTIONS = Counter "shoal_upstream_resolutions_total" ["upstream", "source"] "manifests":
        "References to manifests of foreign registries that were resolved, by where the answer came from";
    UPSTREAM_RECEIVED_BYTES = Counter "shoal_upstream_received_bytes_total" ["upstream"] "bytes":
        "Bytes of manifests and blobs received from foreign registries";
    UPSTREAM_QUOTA_REMAINING = Gauge "shoal_upstream_quota_remaining" ["upstream"] "manifests":
        "Manifests that a foreign registry said it still gives in its present window (Docker Hub)";

    REGISTRY_REQUESTS = Counter "shoal_registry_requests_total" ["route", "status"] "requests":
        "Requests to the registry, by route and HTTP status";
    REGISTRY_RECEIVED_BYTES = Counter "shoal_registry_received_bytes_total" [] "bytes": "Bytes pushed by clients";
    REGISTRY_SENT_BYTES = Counter "shoal_registry_sent_bytes_total" [] "bytes": "Bytes pulled by clients";
    REGISTRY_UPLOADS = Counter "shoal_registry_uploads_total" ["result"] "uploads":
        "Blob uploads that ended, by how they ended";

    TRACKER_ANNOUNCES = Counter "shoal_tracker_announces_total" ["result"] "announces":
        "Announces answered, counted per blob, by result";
    TRACKER_PEERS = Gauge "shoal_tracker_peers" [] "peers": "Peers known, counted once for each swarm they are in";
    TRACKER_SWARMS = Gauge "shoal_tracker_swarms" [] "swarms": "Blobs with at least one peer";

    EVENTS_WAITING = Gauge "shoal_events_waiting" [] "events": "Events that wait for at least one endpoint";
    EVENTS_OLDEST_SECONDS = Gauge "shoal_events_oldest_seconds" [] "seconds": "Age of the oldest event that waits";
    EVENTS_DELIVERED = Counter "shoal_events_delivered_total" ["endpoint"] "events": "Events that an endpoint accepted";
    EVENTS_FAILURES = Counter "shoal_events_failures_total" ["endpoint"] "attempts":
        "Attempts to deliver that an endpoint did not accept; they are repeated";
    EVENTS_DROPPED = Counter "shoal_events_dropped_total" [] "events":
        "Events dropped because the queue was full, the oldest first, or because too many pulls came at once";
    AUDIT_RECORDS = Counter "shoal_audit_records_total" ["result"] "records":
        "Records of the audit log, by whether the file could be written";
    PREHEAT_REQUESTS = Counter "shoal_preheat_requests_total" ["result"] "requests":
        "Images to preheat, by what became of them";

    COLLECT_RUNS = Counter "shoal_collect_runs_total" [] "runs": "Collections that ended, dry runs not counted";
    COLLECT_BLOBS = Counter "shoal_collect_blobs_total" [] "blobs": "Blobs whose content was collected";
    COLLECT_BYTES = Counter "shoal_collect_bytes_total" [] "bytes": "Bytes of content that was collected";
    COLLECT_FAULTS = Counter "shoal_collect_faults_total" [] "faults":
        "Things that a collection could not read or remove and passed over";
    SCRUB_BLOBS = Counter "shoal_scrub_blobs_total" [] "blobs": "Blobs read again and verified";
    SCRUB_BYTES = Counter "shoal_scrub_bytes_total" [] "bytes": "Bytes read again and verified";
    SCRUB_DAMAGED_BLOBS = Counter "shoal_scrub_damaged_blobs_total" ["outcome"] "blobs":
        "Damaged blobs that the scrub found, by what became of them";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for metric in ALL {
            assert!(metric.name.starts_with("shoal_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(!metric.help.ends_with('.'), "the encoder adds the full stop: {}", metric.name);
            if matches!(metric.unit, "bytes" | "seconds") {
                assert!(metric.name.contains(metric.unit), "{}", metric.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
