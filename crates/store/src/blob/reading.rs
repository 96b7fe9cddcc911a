//! From a blob's file to a reader: verified once, then remembered (see `verified`), and set aside when it is damaged.
//!
//! What holds for every byte that comes out of here: it was verified in this call, or it was verified before and the file has not
//! changed since, as fstat(2) says before and after the read; only [`Blob::piece_to_send`] gives pieces of a push that nobody has read. For a [`FileRange`] there is no "after": whoever sends it reads the
//! file later. Bytes that somebody else writes into the file in between go out unseen, and so do bytes that the disk gets wrong
//! when the page cache has dropped them and reads them again; the next request finds the file changed, or scrubbing finds the
//! damage. The store itself never writes into the file of a complete blob.

use std::ops::Range;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use shoal_swarm_types::PieceIndex;

use super::{Blob, Opened};
use crate::direct;
use crate::disk;
use crate::error::{Error, Result};
use crate::piece;
use crate::range::FileRange;
use crate::verified::Identity;

/// Bytes read at a time, at most, unless a piece is longer. Handing a read to a thread costs some 20 µs, verifying this much 50; and a
/// reader holds three of them.
const READ_LEN_MAX: u64 = 256 * 1024;

/// Bytes read at a time when a piece is verified and nobody wants its bytes.
const VERIFY_LEN: u64 = 128 * 1024;

/// How far the disk reads ahead of somebody who reads in order.
const AHEAD_LEN: u64 = 4 * 1024 * 1024;

impl Blob {
    /// Where the bytes of `range` are, if every piece of it was verified before and the file has not changed since: they may be sent
    /// without looking at them. `None` for everything else, so read them; that verifies them.
    pub fn file_range(&self, range: Range<u64>) -> Option<FileRange> {
        let opened = self.opened()?;
        if range.is_empty() || range.end > self.size() {
            return None;
        }
        let identity = opened.identity().ok()?;
        if !opened.is_verified(&identity, &range) {
            return None;
        }
        opened.shared.index.note_use(opened.entry());
        Some(FileRange { file: opened.file.clone(), offset: range.start, len: range.end - range.start })
    }

    /// Where a piece is, for a receiver who verifies what it gets: if it may be sent as [`Self::file_range`] says, and, once, if this process
    /// has written it in a push and the file has not changed since. `None` for everything else.
    pub fn piece_to_send(&self, index: PieceIndex) -> Option<FileRange> {
        let range = self.metainfo().layout().piece_range(index);
        self.file_range(range.clone()).or_else(|| self.opened()?.take_pushed(index, &range))
    }

    /// Reads the beginning of `range`, verified: at least one byte unless the range is empty, and not more than 256 KiB or one
    /// piece. The part of the range that lies beyond the blob's end counts for nothing.
    ///
    /// # Errors
    /// As [`Blob::read_piece`].
    pub fn read_range(&self, range: Range<u64>) -> Result<Bytes> {
        let range = range.start..range.end.min(self.size());
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let Some(opened) = self.opened() else {
            let piece = self.read_piece(self.metainfo().layout().piece_at(range.start))?;
            // A packed blob has one piece.
            return Ok(piece.slice(range.start as usize..range.end as usize));
        };
        opened.shared.index.note_use(opened.entry());
        let identity = opened.identity()?;
        let near = range.start..range.end.min(range.start + READ_LEN_MAX);
        if opened.is_verified(&identity, &near)
            && let Some(bytes) = opened.read_known(&identity, &near)?
        {
            return Ok(bytes);
        }
        opened.read_verified(&identity, range)
    }
}

impl Opened {
    fn identity(&self) -> Result<Identity> {
        Identity::of(&self.file).map_err(|source| Error::io("look at", &self.path, source))
    }

    fn is_verified(&self, identity: &Identity, range: &Range<u64>) -> bool {
        let layout = self.metainfo.layout();
        identity.size() == layout.size
            && self.shared.verified.covers(
                self.metainfo.digest(),
                identity,
                layout.pieces_of(range),
                Instant::now(),
            )
    }

    /// A piece that was pushed and that nobody has had.
    fn take_pushed(&self, index: PieceIndex, range: &Range<u64>) -> Option<FileRange> {
        let (identity, metainfo) = (self.identity().ok()?, &self.metainfo);
        let is_whole = identity.size() == metainfo.layout().size && !range.is_empty();
        let verified = &self.shared.verified;
        if !is_whole || !verified.take_pushed(metainfo.digest(), &identity, index, Instant::now()) {
            return None;
        }
        self.shared.index.note_use(self.entry());
        Some(FileRange { file: self.file.clone(), offset: range.start, len: range.end - range.start })
    }

    /// Reads bytes that were verified before; `None` when the file is no longer the same.
    fn read_known(&self, identity: &Identity, range: &Range<u64>) -> Result<Option<Bytes>> {
        let read = disk::read_exact_at(&self.file, range.start, (range.end - range.start) as usize);
        let is_same = self.identity()? == *identity;
        // Whatever is wrong, reading with verification will tell.
        Ok(read.ok().filter(|_| is_same).map(Bytes::from))
    }

    /// Reads and verifies the pieces from the beginning of `range` on, up to 256 KiB of them, and remembers that.
    fn read_verified(&self, before: &Identity, range: Range<u64>) -> Result<Bytes> {
        let layout = self.metainfo.layout();
        let pieces = self.pieces_at(&range);
        let all = layout.piece_range(PieceIndex(pieces.start)).start
            ..layout.piece_range(PieceIndex(pieces.end - 1)).end;
        // When that fails, the pieces one by one will tell which of them cannot be read.
        let read = disk::read_exact_at(&self.file, all.start, (all.end - all.start) as usize);
        let bytes = read.unwrap_or_default();
        let good = self.count_good(&pieces, &bytes);
        if good == 0 {
            let first = self.read_piece(PieceIndex(pieces.start))?;
            let end = range.end.min(layout.piece_range(PieceIndex(pieces.start)).end);
            return Ok(first.slice((range.start - all.start) as usize..(end - all.start) as usize));
        }
        let good = pieces.start..pieces.start + good;
        let end = range.end.min(layout.piece_range(PieceIndex(good.end - 1)).end);
        self.note_verified(before, good);
        if end < range.end {
            direct::read_ahead(&self.file, end, AHEAD_LEN.min(range.end - end));
        }
        Ok(Bytes::from(bytes).slice((range.start - all.start) as usize..(end - all.start) as usize))
    }

    /// The pieces that are read together: those of `range` that fit into a read, but at least the first.
    fn pieces_at(&self, range: &Range<u64>) -> Range<u32> {
        let layout = self.metainfo.layout();
        let wanted = layout.pieces_of(range);
        let fit = (READ_LEN_MAX / u64::from(layout.piece_length.get())).max(1);
        let end = u64::from(wanted.start).saturating_add(fit).min(u64::from(wanted.end));
        wanted.start..u32::try_from(end).unwrap_or(wanted.end)
    }

    /// How many of the pieces verify before the first that does not.
    fn count_good(&self, pieces: &Range<u32>, bytes: &[u8]) -> u32 {
        let len = self.metainfo.layout().piece_length.get() as usize;
        let verified = pieces.clone().map(PieceIndex).zip(bytes.chunks(len));
        verified.take_while(|(index, piece)| self.metainfo.verify(*index, piece)).count() as u32
    }

    /// Remembers pieces that were verified, if the file is still what it was and will not change unnoticed.
    fn note_verified(&self, before: &Identity, pieces: Range<u32>) {
        let (layout, digest) = (self.metainfo.layout(), self.metainfo.digest());
        let is_same = self.identity().is_ok_and(|after| after == *before) && before.size() == layout.size;
        if is_same && before.is_settled(SystemTime::now()) {
            self.shared.verified.note(digest, before, pieces, layout.piece_count(), Instant::now());
        }
    }

    /// Verifies one piece, whatever was known, in portions that stay in the processor's cache.
    pub(super) fn verify_piece(&self, index: PieceIndex) -> Result<()> {
        let before = self.identity()?;
        if let Some(mut check) = self.metainfo.check(index) {
            let range = self.metainfo.layout().piece_range(index);
            let (len, mut at) = (range.end - range.start, range.start);
            while at < range.end {
                let Ok(bytes) =
                    disk::read_exact_at(&self.file, at, (range.end - at).min(VERIFY_LEN) as usize)
                else {
                    break;
                };
                check.update(&bytes);
                at += bytes.len() as u64;
            }
            if check.finish().is_good(index, len) {
                self.note_verified(&before, index.0..index.0 + 1);
                return Ok(());
            }
        }
        // Says what is wrong, and sets aside what is damaged.
        self.read_piece(index).map(drop)
    }

    /// Reads one piece and verifies it, whatever was known.
    pub(super) fn read_piece(&self, index: PieceIndex) -> Result<Bytes> {
        let before = self.identity()?;
        let read = || piece::read(&self.file, &self.path, &self.metainfo, index);
        match read() {
            Ok(piece) => {
                self.note_verified(&before, index.0..index.0.saturating_add(1));
                Ok(piece)
            }
            Err(error @ Error::CorruptPiece { .. }) if self.shared.options.is_durable() => {
                // Perhaps only the copy in memory is bad: drop it, and ask the disk once more.
                let range = self.metainfo.layout().piece_range(index);
                direct::let_go(&self.file, range.start, range.end - range.start);
                let again = read();
                if again.is_ok() {
                    tracing::error!(digest = %self.metainfo.digest(), piece = index.0, "a piece was bad in memory and is good on the disk: check this machine's memory");
                    return again;
                }
                self.set_aside(index);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The blob is damaged: from now on it counts as absent, and a push of it is taken.
    fn set_aside(&self, index: PieceIndex) {
        let digest = self.metainfo.digest();
        match self.shared.quarantine_entry(self.entry()) {
            Ok(true) => {
                tracing::error!(%digest, piece = index.0, "a blob is damaged on the disk and was set aside; push it again, or have it repaired");
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%digest, %error, "a damaged blob could not be set aside"),
        }
    }
}
