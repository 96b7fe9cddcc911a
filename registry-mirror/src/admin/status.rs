//! `GET /status`: the agent at one moment.

use serde::Serialize;
use shoal_oci::Digest;
use shoal_store::Store;
use shoal_swarm::{BlobStatus, Swarm};

/// The state of the agent at one moment.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    program: &'static str,
    version: &'static str,
    drained: bool,
    cache: CacheStatus,
    swarm: Vec<DownloadStatus>,
}

#[derive(Debug, Serialize)]
struct CacheStatus {
    bytes: u64,
    capacity_bytes: Option<u64>,
    blobs: usize,
    partial_bytes: u64,
    evictions: u64,
}

/// One blob that this agent fetches, or serves from memory of it.
#[derive(Debug, Serialize)]
struct DownloadStatus {
    digest: Digest,
    phase: String,
    size: u64,
    pieces: u32,
    pieces_present: u32,
    peers: u32,
    readers: u32,
    received_from_owners_bytes: u64,
    received_from_peers_bytes: u64,
    received_from_web_seeds_bytes: u64,
    sent_bytes: u64,
    duplicate_pieces: u64,
    corrupt_pieces: u64,
}

impl From<BlobStatus> for DownloadStatus {
    fn from(blob: BlobStatus) -> Self {
        Self {
            digest: blob.digest,
            phase: format!("{:?}", blob.phase).to_lowercase(),
            size: blob.size,
            pieces: blob.count,
            pieces_present: blob.have,
            peers: blob.peers,
            readers: blob.readers,
            received_from_owners_bytes: blob.received.owner_bytes,
            received_from_peers_bytes: blob.received.peer_bytes,
            received_from_web_seeds_bytes: blob.received.web_bytes,
            sent_bytes: blob.sent_bytes,
            duplicate_pieces: blob.duplicate_pieces,
            corrupt_pieces: blob.corrupt_pieces,
        }
    }
}

/// The state of the agent now.
pub(super) async fn of(swarm: &Swarm, store: &Store, drained: bool) -> Status {
    let usage = store.usage();
    Status {
        program: "shoal-agent",
        version: env!("CARGO_PKG_VERSION"),
        drained,
        cache: CacheStatus {
            bytes: usage.bytes,
            capacity_bytes: usage.capacity,
            blobs: usage.blobs,
            partial_bytes: usage.partial_bytes,
            evictions: usage.evictions,
        },
        swarm: swarm.status().await.into_iter().map(DownloadStatus::from).collect(),
    }
}
