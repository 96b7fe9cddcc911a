//! A blob that comes in order from one source which named its digest and its size, and that others may have piece by piece meanwhile.
//!
//! It is a download (see `partial`) of which the piece digests are not known beforehand: they are made of the bytes, in the same pass as the
//! blob's own digest, and a piece counts as present, as in every download, once its bytes are written and its digest is known. The last
//! piece is the exception: it counts, and its digest is told, when the blob's own digest was right. So nobody ever has the whole of a
//! blob that turns out to be another one.
//!
//! The bytes go through the page cache, because others want them at once. After a restart nothing is known about them any more, so what
//! an ended process has left is removed by the next.

use std::sync::Arc;

use shoal_oci::{Digest, Digester};
use shoal_swarm_types::{Metainfo, PieceDigester};

use crate::arriving::PieceWriter;
use crate::blob::{self, Blob};
use crate::error::{Error, Result};
use crate::partial::Partial;
use crate::partials;
use crate::store::Shared;

/// Bytes that go through both hashes and to the file before the next ones: they are still in the processor's cache.
const STRIDE_LEN: usize = 64 * 1024;

/// A blob that is coming in. Dropped before [`Inflow::commit`], it leaves nothing.
pub struct Inflow {
    shared: Arc<Shared>,
    partial: Partial,
    digester: Digester,
    pieces: PieceDigester,
    /// The place of the piece that is coming in.
    writer: Option<PieceWriter>,
    /// The blob's digest was right.
    is_judged: bool,
    is_committed: bool,
}

impl Inflow {
    /// Begins one, unless there is a download of this blob already.
    pub(crate) fn begin(shared: &Arc<Shared>, digest: &Digest, size: u64) -> Result<Self> {
        let metainfo = Metainfo::growing(*digest, size);
        let partial = partials::open(shared, &metainfo)?;
        if !partial.metainfo().is_same(&metainfo) {
            return Err(Error::MetainfoConflict(*digest));
        }
        Ok(Self {
            shared: shared.clone(),
            partial,
            digester: Digester::new(digest.algorithm()),
            pieces: PieceDigester::for_size(size),
            writer: None,
            is_judged: false,
            is_committed: false,
        })
    }

    /// The download, for those who want the pieces that have come.
    pub const fn partial(&self) -> &Partial {
        &self.partial
    }

    /// Bytes written so far; the next byte goes here.
    pub const fn size(&self) -> u64 {
        self.pieces.size()
    }

    /// Appends bytes. Each piece that is whole with them is present when this returns, unless it is the last one.
    ///
    /// # Errors
    /// The disk's error, or [`Error::SizeExceeded`] for bytes beyond the end: nothing more can be written then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let layout = *self.partial.metainfo().layout();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = self.size();
            if at >= layout.size {
                return Err(Error::SizeExceeded { digest: *self.partial.digest(), size: layout.size });
            }
            let index = layout.piece_at(at);
            let left = usize::try_from(layout.piece_range(index).end - at).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(left).min(STRIDE_LEN));
            if self.writer.is_none() {
                self.writer = self.partial.begin_piece(index)?;
            }
            let writer = self.writer.as_ref().ok_or(Error::MetainfoConflict(*self.partial.digest()))?;
            if !writer.write(now)? {
                return Err(Error::MetainfoConflict(*self.partial.digest()));
            }
            self.digester.update(now);
            self.pieces.update(now);
            if now.len() == left && self.size() < layout.size {
                self.tell(index.0)?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Says whether the bytes are the blob. If they are, its last piece is present and its metainfo whole from now on; if not, nothing
    /// of it remains.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`]; [`Error::Incomplete`] when bytes are missing, which may still come.
    pub fn judge(&mut self) -> Result<()> {
        let (expected, layout) = (*self.partial.digest(), *self.partial.metainfo().layout());
        if self.size() < layout.size {
            let missing = layout.piece_count() - self.partial.metainfo().known_count();
            return Err(Error::Incomplete { digest: expected, missing });
        }
        let got = self.digester.clone().finish();
        if got != expected {
            self.writer = None;
            self.partial.discard();
            return Err(Error::DigestMismatch { expected: Box::new(expected), got: Box::new(got) });
        }
        let whole = self.pieces.clone().finish(expected);
        let conflict = |_| Error::MetainfoConflict(expected);
        self.partial.metainfo().absorb(&whole).map_err(conflict)?;
        if let Some(writer) = self.writer.take() {
            writer.claim()?;
        }
        self.is_judged = true;
        Ok(())
    }

    /// Makes it a blob: durable, in a durable store. What was not judged is judged first.
    ///
    /// # Errors
    /// Those of [`Self::judge`], and the disk's: nothing of it remains then.
    pub fn commit(mut self) -> Result<Blob> {
        if !self.is_judged {
            self.judge()?;
        }
        let digest = *self.partial.digest();
        let _placed = self.partial.commit_judged()?;
        self.is_committed = true;
        blob::open(&self.shared, &digest)
    }

    /// A piece is whole: its digest is known from now on, and then it is present.
    fn tell(&mut self, index: u32) -> Result<()> {
        let known = self.pieces.known().get(index as usize..).unwrap_or_default();
        let conflict = |_| Error::MetainfoConflict(*self.partial.digest());
        self.partial.metainfo().learn(index, known).map_err(conflict)?;
        match self.writer.take() {
            Some(writer) => writer.claim().map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        if !self.is_committed {
            self.writer = None;
            self.partial.discard();
        }
    }
}

impl std::fmt::Debug for Inflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inflow({}, {} bytes)", self.partial.digest(), self.size())
    }
}

#[cfg(test)]
mod tests;
