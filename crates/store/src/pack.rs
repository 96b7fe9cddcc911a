//! Small content in append-only segments, so that a push of it costs a share of one write and one sync instead of two files.

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Metainfo, PieceIndex};

use crate::error::Result;
use crate::index::Pin;
use crate::store::Shared;

/// A packed blob, open for reading.
pub(crate) struct PackedBlob {
    metainfo: Metainfo,
}

impl PackedBlob {
    pub(crate) const fn metainfo(&self) -> &Metainfo {
        &self.metainfo
    }

    pub(crate) fn read_piece(&self, _index: PieceIndex) -> Result<Bytes> {
        Ok(Bytes::new())
    }
}

impl Shared {
    pub(crate) fn open_packed(&self, _digest: &Digest) -> Result<Option<PackedBlob>> {
        Ok(None)
    }

    pub(crate) fn remove_packed(&self, _digest: &Digest) -> Result<bool> {
        Ok(false)
    }

    /// Whether content of this size goes into the pack.
    pub(crate) const fn packs(&self, _size: u64) -> bool {
        false
    }

    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        self.index.size(digest)
    }

    pub(crate) fn pin(&self, digest: &Digest) -> Result<Option<Pin>> {
        Ok(self.index.pin(digest))
    }
}
