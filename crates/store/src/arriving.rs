//! Pieces that are arriving: who may write to the place of a piece, and when.
//!
//! A long piece is written while it arrives, so that a slow sender ties down one buffer and not megabytes; it counts as present only when
//! it has been checked. Until then its place in the file holds bytes that nobody reads. That asks for one rule: bytes go to a piece's
//! place only under its [`Lease`], there is one lease for each piece, and it ends when the piece is present. Somebody with a checked piece
//! in hand displaces somebody who is still receiving, so a trickling sender does not keep a piece from us; nobody displaces the other
//! way. The price: a displaced copy has been written in vain.

use std::sync::{Arc, Mutex};

use shoal_swarm_types::{PieceIndex, PieceVerdict};

use crate::error::{Error, Result};
use crate::locks::hold;
use crate::partial::{Live, Partial, Written};
use crate::steps::{Step, passed};

/// The right to write to the place of a piece. The lock is held while its owner writes.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    place: Mutex<Place>,
}

/// What became of a piece's place under one lease.
#[derive(Debug, Default)]
struct Place {
    /// Bytes written from the beginning on.
    written: u32,
    /// Somebody else has had the whole piece.
    displaced: bool,
}

/// Who had a lease before, if anybody.
pub(crate) struct Former(pub(crate) Option<Arc<Lease>>);

/// A piece that is written while it arrives. Dropped before its end, it leaves the piece missing.
#[derive(Debug)]
pub struct PieceWriter {
    live: Arc<Live>,
    lease: Arc<Lease>,
    index: PieceIndex,
}

impl Partial {
    /// Begins to write a piece whose bytes are still to come. `None` when it is there, or somebody else is writing it.
    ///
    /// # Errors
    /// [`Error::PartialNotFound`] when the download was discarded. [`Error::NoSuchPiece`] beyond the last piece.
    pub fn begin_piece(&self, index: PieceIndex) -> Result<Option<PieceWriter>> {
        let live = self.live();
        let lease = Arc::new(Lease::default());
        let begun = live.lease(index, &lease, false)?;
        Ok(begun.map(|_| PieceWriter { live: live.clone(), lease, index }))
    }

    /// Writes a piece that was checked: its bytes are those in `parts`, one after the other.
    ///
    /// # Errors
    /// As [`Self::write_piece`].
    pub fn write_checked(&self, verdict: &PieceVerdict, parts: &[&[u8]]) -> Result<Written> {
        let index = verdict.index();
        if !verdict.is_good(index, parts.iter().map(|part| part.len() as u64).sum()) {
            return Err(Error::CorruptPiece { digest: *self.digest(), index });
        }
        self.live().put(index, parts)
    }
}

impl PieceWriter {
    /// Which piece it is.
    pub const fn index(&self) -> PieceIndex {
        self.index
    }

    /// Writes the next bytes of the piece. False when somebody else has had the whole piece meanwhile: the rest
    /// is not needed.
    ///
    /// # Errors
    /// The disk's; [`Error::CorruptPiece`] for bytes beyond the end of the piece.
    pub fn write(&self, bytes: &[u8]) -> Result<bool> {
        let mut place = hold(&self.lease.place);
        if place.displaced {
            return Ok(false);
        }
        let room = self.live.metainfo().layout().piece_len(self.index) - place.written;
        let len = u32::try_from(bytes.len()).ok().filter(|len| *len <= room);
        let Some(len) = len else {
            return Err(Error::CorruptPiece { digest: *self.live.metainfo().digest(), index: self.index });
        };
        self.live.write_at(self.index, place.written, bytes)?;
        place.written += len;
        Ok(true)
    }

    /// Ends a piece whose digest was made of the very bytes that were written.
    pub(crate) fn claim(self) -> Result<Written> {
        let (digest, index) = (*self.live.metainfo().digest(), self.index);
        let place = hold(&self.lease.place);
        if place.displaced || place.written != self.live.metainfo().layout().piece_len(index) {
            return Err(Error::PieceMissing { digest, index });
        }
        passed(Step::PieceWritten);
        self.live.claim(index)
    }

    /// Ends a piece, if the bytes that were written are good: from now on it can be read.
    ///
    /// # Errors
    /// [`Error::CorruptPiece`] when the bytes are not that piece; it stays missing. [`Error::PieceMissing`] when somebody else
    /// displaced this copy and failed. Else as [`Partial::write_piece`].
    pub fn finish(self, verdict: &PieceVerdict) -> Result<Written> {
        let (live, digest, index) = (&self.live, *self.live.metainfo().digest(), self.index);
        let place = hold(&self.lease.place);
        if live.has(index)? {
            return Ok(Written::Duplicate);
        }
        if place.displaced {
            return Err(Error::PieceMissing { digest, index });
        }
        if !verdict.is_good(index, place.written.into()) {
            return Err(Error::CorruptPiece { digest, index });
        }
        passed(Step::PieceWritten);
        live.claim(index)
    }
}

impl Drop for PieceWriter {
    fn drop(&mut self) {
        self.live.release(self.index, &self.lease);
    }
}

impl Live {
    /// Writes a piece that was checked, in place of anybody who is still receiving it.
    pub(crate) fn put(&self, index: PieceIndex, parts: &[&[u8]]) -> Result<Written> {
        let lease = Arc::new(Lease::default());
        let _held = hold(&lease.place);
        let Some(Former(former)) = self.lease(index, &lease, true)? else { return Ok(Written::Duplicate) };
        if let Some(former) = former {
            // Waits for a write that is under way.
            hold(&former.place).displaced = true;
        }
        let written = self.put_leased(index, parts);
        self.release(index, &lease);
        written
    }

    fn put_leased(&self, index: PieceIndex, parts: &[&[u8]]) -> Result<Written> {
        // Somebody who had it checked as well may have been first.
        if self.has(index)? {
            return Ok(Written::Duplicate);
        }
        let mut at = 0;
        for part in parts {
            self.write_at(index, at, part)?;
            // Less than a piece's length.
            at += u32::try_from(part.len()).unwrap_or(u32::MAX);
        }
        passed(Step::PieceWritten);
        self.claim(index)
    }
}

#[cfg(test)]
mod tests;
