//! What readers see of a blob: which pieces are there, where to read them, and whether more will come.
//!
//! The actor writes it, readers watch it. It changes from partial to complete under the readers' hands, and they need not care.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use shoal_store::{Blob, FileRange, Partial};
use shoal_swarm_types::{Bitfield, Metainfo, PieceIndex};
use tokio::sync::watch;

use crate::error::ReadError;

/// Where the bytes of a blob are.
#[derive(Clone)]
pub(crate) enum Storage {
    /// A download under way.
    Partial(Partial),
    /// All of it; the handle keeps it from being evicted.
    Blob(Blob),
}

impl Storage {
    /// A piece, verified. Blocks on the disk.
    pub(crate) fn read_piece(&self, index: PieceIndex) -> shoal_store::Result<Bytes> {
        match self {
            Self::Partial(partial) => partial.read_piece(index),
            Self::Blob(blob) => blob.read_piece(index),
        }
    }

    /// The beginning of `range`, verified, of which no more than one piece. Blocks on the disk.
    pub(crate) fn read_range(&self, range: Range<u64>) -> shoal_store::Result<Bytes> {
        match self {
            Self::Blob(blob) => blob.read_range(range),
            Self::Partial(partial) => {
                let index = partial.metainfo().layout().piece_at(range.start);
                let piece = partial.read_piece(index)?;
                let start = partial.metainfo().layout().piece_range(index).start;
                let at = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX).min(piece.len());
                Ok(piece.slice(at(range.start)..at(range.end)))
            }
        }
    }

    /// Where the bytes of `range` are, if this process has verified them all and may send them as they are.
    pub(crate) fn file_range(&self, range: Range<u64>) -> Option<FileRange> {
        match self {
            Self::Partial(partial) => partial.file_range(range),
            Self::Blob(blob) => blob.file_range(range),
        }
    }

    /// Where a piece is, for a peer, who verifies what it gets: as [`Self::file_range`], and once for what this process has written itself.
    pub(crate) fn piece_to_send(&self, index: PieceIndex) -> Option<FileRange> {
        match self {
            Self::Partial(partial) => partial.file_range(partial.metainfo().layout().piece_range(index)),
            Self::Blob(blob) => blob.piece_to_send(index),
        }
    }

    /// The blob's metainfo.
    pub(crate) fn metainfo(&self) -> &Metainfo {
        match self {
            Self::Partial(partial) => partial.metainfo(),
            Self::Blob(blob) => blob.metainfo(),
        }
    }

    /// The pieces that are there.
    pub(crate) fn have(&self) -> Bitfield {
        match self {
            Self::Partial(partial) => partial.have(),
            Self::Blob(blob) => Bitfield::full(blob.metainfo().layout().piece_count()),
        }
    }
}

/// Where a piece came from, as this process saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was on this machine's disk before.
    Disk,
    /// An owner gave the whole blob in one answer, or the tracker did.
    Whole,
    /// Another agent.
    Peer,
    /// An owner, as a peer.
    Owner,
    /// An owner's HTTP range.
    Web,
}

/// The state of a blob as its readers see it.
pub(crate) struct View {
    /// Where to read.
    pub(crate) storage: Storage,
    /// Which pieces may be read.
    pub(crate) have: Bitfield,
    /// Where each piece came from; what is not in it was on the disk.
    pub(crate) from: BTreeMap<PieceIndex, Origin>,
    /// Where the pieces came from that were there when the view was made.
    pub(crate) found: Origin,
    /// Why no more pieces will come, when that is so.
    pub(crate) end: Option<ReadError>,
}

impl View {
    /// What `storage` holds, with more to come unless it is complete.
    pub(crate) fn of(storage: Storage) -> Self {
        Self::found(storage, Origin::Disk)
    }

    /// The same, of what came from `found`.
    pub(crate) fn found(storage: Storage, found: Origin) -> Self {
        let have = storage.have();
        Self { storage, have, from: BTreeMap::new(), found, end: None }
    }

    /// Where a piece came from.
    pub(crate) fn origin(&self, index: PieceIndex) -> Origin {
        self.from.get(&index).copied().unwrap_or(self.found)
    }

    /// The same blob, read from elsewhere from now on.
    pub(crate) fn moved(&mut self, storage: Storage) {
        (self.have, self.end) = (storage.have(), None);
        self.storage = storage;
    }

    /// A view of a complete blob, which never changes.
    pub(crate) fn complete(blob: Blob) -> watch::Receiver<Self> {
        watch::channel(Self::of(Storage::Blob(blob))).1
    }
}
