//! Snapshots for status pages and counters.

use shoal_oci::Digest;
use shoal_swarm_types::Metainfo;

use super::Core;
use crate::blob::Blob;
use crate::io::ConnId;
use crate::stats::{BlobPhase, BlobStatus, Received, Totals};

impl Core {
    /// Numbers about one blob.
    pub fn status(&self, digest: &Digest) -> Option<BlobStatus> {
        match self.blobs.get(digest) {
            Some(blob) => Some(of_blob(*digest, blob)),
            None => self.announcers.contains_key(digest).then(|| idle(*digest)),
        }
    }

    /// Numbers about every blob, in the order of their digests.
    pub fn statuses(&self) -> Vec<BlobStatus> {
        let mut digests: Vec<&Digest> = self.blobs.keys().chain(self.announcers.keys()).collect();
        digests.sort_unstable();
        digests.dedup();
        digests.into_iter().filter_map(|digest| self.status(digest)).collect()
    }

    /// Whether the other end of a connection owns a blob, as far as it has said.
    pub fn is_owner(&self, digest: &Digest, conn: ConnId) -> bool {
        let blob = self.blobs.get(digest);
        blob.and_then(|blob| blob.members.get(&conn)).is_some_and(|member| member.owner)
    }

    /// Totals since the start.
    pub fn totals(&self) -> Totals {
        Totals { connections: u32::try_from(self.peers.len()).unwrap_or(u32::MAX), ..self.totals }
    }
}

fn of_blob(digest: Digest, blob: &Blob) -> BlobStatus {
    let phase = match (&blob.download, blob.is_downloading()) {
        (None, _) => BlobPhase::Starting,
        (Some(_), true) => BlobPhase::Downloading,
        (Some(_), false) => BlobPhase::Seeding,
    };
    BlobStatus {
        digest,
        phase,
        size: blob.metainfo.as_ref().map_or(0, Metainfo::size),
        have: blob.download.as_ref().map_or(0, |download| download.present().count()),
        count: blob.piece_count(),
        peers: u32::try_from(blob.members.len()).unwrap_or(u32::MAX),
        readers: u32::try_from(blob.readers.len()).unwrap_or(u32::MAX),
        received: blob.received,
        sent_bytes: blob.sent_bytes,
        duplicate_pieces: blob.duplicates,
        corrupt_pieces: blob.corrupt,
    }
}

/// A blob that is announced but not in memory.
const fn idle(digest: Digest) -> BlobStatus {
    BlobStatus {
        digest,
        phase: BlobPhase::Idle,
        size: 0,
        have: 0,
        count: 0,
        peers: 0,
        readers: 0,
        received: Received { owner_bytes: 0, peer_bytes: 0, web_bytes: 0 },
        sent_bytes: 0,
        duplicate_pieces: 0,
        corrupt_pieces: 0,
    }
}
