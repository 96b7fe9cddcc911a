//! What a status page shows of one blob: a snapshot, cheap to take.

use shoal_oci::Digest;

/// State of one blob in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobPhase {
    /// Waiting for the metainfo, or for the store to be ready.
    Starting,
    /// Pieces are missing.
    Downloading,
    /// Complete, and held in memory because peers ask for it.
    Seeding,
    /// Complete, announced, not in memory.
    Idle,
}

/// Numbers about one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobStatus {
    /// The blob.
    pub digest: Digest,
    /// What is going on.
    pub phase: BlobPhase,
    /// Size in bytes; 0 while unknown.
    pub size: u64,
    /// Pieces present.
    pub have: u32,
    /// Pieces in all; 0 while unknown.
    pub count: u32,
    /// Connected peers that take part.
    pub peers: u32,
    /// Readers that want pieces of it.
    pub readers: u32,
    /// Bytes of pieces received and stored.
    pub received: Received,
    /// Bytes of pieces sent to peers.
    pub sent_bytes: u64,
    /// Pieces received that were not needed any more.
    pub duplicate_pieces: u64,
    /// Pieces received that did not verify.
    pub corrupt_pieces: u64,
}

/// Bytes of pieces that were received, by the kind of source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// From owners, over the peer protocol.
    pub owner_bytes: u64,
    /// From other agents.
    pub peer_bytes: u64,
    /// From owners' HTTP ranges.
    pub web_bytes: u64,
}

/// Totals since the core was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes received and stored.
    pub received: Received,
    /// Bytes of pieces sent to agents.
    pub sent_to_peers_bytes: u64,
    /// Bytes of pieces sent to owners.
    pub sent_to_owners_bytes: u64,
    /// Pieces stored.
    pub stored_pieces: u64,
    /// Pieces received that were not needed any more.
    pub duplicate_pieces: u64,
    /// Pieces received that did not verify.
    pub corrupt_pieces: u64,
    /// Peers banned.
    pub banned_peers: u64,
    /// Connections that stand now.
    pub connections: u32,
}
