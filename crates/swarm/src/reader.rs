//! Reading a blob, in order or anywhere, while it is still arriving.
//!
//! A reader sees pieces, each of them verified: when it arrived, or when it is read. A piece that is not there yet is
//! waited for, and the swarm is told that this reader needs it and its successors next. A piece that the disk gives back damaged
//! is fetched again behind the reader's back, a few times. Dropping a reader, or one of its futures, at any point is harmless; the
//! download itself goes on.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_store::{ErrorKind, FileRange};
use shoal_swarm_protocol::ReaderId;
use shoal_swarm_types::{Layout, PieceIndex};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::desk::Wish;
use crate::error::ReadError;
use crate::event::Command;
use crate::limits::{DEMAND_BYTES_MAX, HEALS_MAX, WINDOW_BYTES, WINDOW_PIECES_MIN};
use crate::swarm::Swarm;
use crate::view::{Origin, Storage, View};

/// Verified bytes of a blob.
#[derive(Clone, Debug)]
pub enum Part {
    /// In the blob's file.
    File(FileRange),
    /// In memory.
    Bytes(Bytes),
}

impl Part {
    /// How many bytes there are.
    pub const fn len(&self) -> u64 {
        match self {
            Self::File(range) => range.len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads one blob.
pub struct BlobReader {
    id: ReaderId,
    digest: Digest,
    layout: Layout,
    swarm: Swarm,
    /// Whether the swarm has heard of this reader.
    wished: AtomicBool,
    /// Replaced when the blob had to be fetched again.
    view: Mutex<watch::Receiver<View>>,
    /// The bytes that were asked for in a row.
    run: Mutex<Range<u64>>,
}

impl BlobReader {
    pub(crate) fn new(id: ReaderId, digest: Digest, swarm: Swarm, view: watch::Receiver<View>) -> Self {
        let layout = *view.borrow().storage.metainfo().layout();
        Self {
            id,
            digest,
            layout,
            swarm,
            wished: AtomicBool::new(false),
            view: Mutex::new(view),
            run: Mutex::new(0..0),
        }
    }

    /// The blob's digest.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The blob's size in bytes.
    pub const fn size(&self) -> u64 {
        self.layout.size
    }

    /// How the blob is cut into pieces.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the piece at `offset` came from, as far as it is there.
    pub fn origin_at(&self, offset: u64) -> Origin {
        let index = self.layout.piece_at(offset.min(self.layout.size.saturating_sub(1)));
        self.view().borrow().origin(index)
    }

    /// The verified bytes of one piece; waits until it has arrived. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`] when the piece cannot be had. Pieces that are there can still be read; to try again for the others, open the
    /// blob again.
    ///
    /// An index beyond the last piece gives no bytes.
    pub async fn read_piece(&self, index: PieceIndex) -> Result<Bytes, ReadError> {
        if index.0 >= self.layout.piece_count() {
            return Ok(Bytes::new());
        }
        self.read((index, self.layout.piece_count(), false), move |storage| storage.read_piece(index)).await
    }

    /// The verified bytes from `offset` to the end of the piece that holds it; none at or beyond the end. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::read_piece`].
    pub async fn chunk_at(&self, offset: u64) -> Result<Bytes, ReadError> {
        if offset >= self.layout.size {
            return Ok(Bytes::new());
        }
        let index = self.layout.piece_at(offset);
        let mut piece = self.read_piece(index).await?;
        // Less than a piece's length, which fits.
        let skip = usize::try_from(offset - self.layout.piece_range(index).start).unwrap_or(usize::MAX);
        Ok(piece.split_off(skip.min(piece.len())))
    }

    /// The beginning of `range`, verified, at most to the end of a piece: where it lies in the file if this process has verified it
    /// already, so that it can be sent without being read; else its bytes. Waits until it has arrived; empty at or beyond the end.
    /// Pieces beyond the range are not asked for: whoever wants 64 KiB out of the middle does not hold up others with what comes behind.
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::read_piece`].
    pub async fn part_at(&self, range: Range<u64>) -> Result<Part, ReadError> {
        if range.start >= range.end.min(self.layout.size) {
            return Ok(Part::Bytes(Bytes::new()));
        }
        let demand = self.is_demand(&range);
        let index = self.layout.piece_at(range.start);
        let end = self.layout.piece_at(range.end.min(self.layout.size) - 1).0 + 1;
        let range = range.start..range.end.min(self.layout.piece_range(index).end);
        let storage = self.arrival(index, end, demand).await?;
        if let Some(known) = storage.file_range(range.clone()) {
            return Ok(Part::File(known));
        }
        self.read((index, end, demand), move |storage| storage.read_range(range.clone()))
            .await
            .map(Part::Bytes)
    }

    /// Reads something of a piece on a disk worker, and has the piece fetched again when it is damaged. The reader goes on until before the
    /// piece `end`.
    async fn read(
        &self,
        (index, end, demand): (PieceIndex, u32, bool),
        read: impl Fn(&Storage) -> shoal_store::Result<Bytes> + Clone + Send + 'static,
    ) -> Result<Bytes, ReadError> {
        for _ in 0..=HEALS_MAX {
            let (storage, read) = (self.arrival(index, end, demand).await?, read.clone());
            let reading = self.swarm.disk().run(move |_| read(&storage));
            match reading.await.ok_or(ReadError::Unavailable)? {
                Ok(bytes) => return Ok(bytes),
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    warn!(digest = %self.digest, piece = index.0, %error, "a piece is lost; fetching it again");
                    self.heal(index).await?;
                }
                Err(error) => return Err(ReadError::Io(error.to_string())),
            }
        }
        Err(ReadError::Corrupt)
    }

    /// Waits until the whole blob is complete in the store. Cancel-safe. For callers that want it on disk rather than in hand.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be had, or when nothing arrives for [`crate::Times::stall`].
    pub async fn complete(&self) -> Result<(), ReadError> {
        let _noted = Prefetch::begin(self);
        let mut view = self.view();
        loop {
            {
                let now = view.borrow_and_update();
                if let Storage::Blob(_) = now.storage {
                    return Ok(());
                }
                if let Some(end) = &now.end {
                    return Err(end.clone());
                }
            }
            self.change(&mut view).await?;
        }
    }

    /// Waits for the next sign of progress.
    async fn change(&self, view: &mut watch::Receiver<View>) -> Result<(), ReadError> {
        match timeout(self.swarm.times().stall, view.changed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ReadError::Unavailable),
            Err(_) => Err(ReadError::Stalled),
        }
    }

    /// Waits until a piece is there, and says where to read it.
    async fn arrival(&self, index: PieceIndex, end: u32, demand: bool) -> Result<Storage, ReadError> {
        self.want(index, end, demand);
        let mut view = self.view();
        loop {
            {
                let now = view.borrow_and_update();
                if now.have.has(index) {
                    return Ok(now.storage.clone());
                }
                if let Some(end) = &now.end {
                    return Err(end.clone());
                }
            }
            self.change(&mut view).await?;
        }
    }

    /// Has a damaged piece fetched again.
    async fn heal(&self, index: PieceIndex) -> Result<(), ReadError> {
        let metainfo = self.view().borrow().storage.metainfo().clone();
        let (reply, answer) = oneshot::channel();
        self.swarm
            .tell(Command::Heal { metainfo, index, reply })
            .await
            .map_err(|_| ReadError::Unavailable)?;
        let view = answer.await.unwrap_or(Err(ReadError::Unavailable))?;
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(())
    }

    /// Whether somebody waits for these bytes and nothing else: few, and not the whole blob. What was read in a row so far counts, so the
    /// end of a stream is a part of that stream.
    fn is_demand(&self, range: &Range<u64>) -> bool {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = run.end == range.end && run.contains(&range.start);
        if !goes_on {
            *run = range.clone();
        }
        let len = run.end - run.start;
        len <= DEMAND_BYTES_MAX && len < self.layout.size
    }

    /// Tells the swarm what this reader needs next, unless all of that is there.
    fn want(&self, index: PieceIndex, end: u32, demand: bool) {
        let mut window = window(&self.layout, index);
        window.end = window.end.min(end);
        let present = {
            let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
            let now = view.borrow();
            window.clone().all(|index| now.have.has(PieceIndex(index)))
        };
        if !present {
            self.wished.store(true, Ordering::Relaxed);
            let wish = if demand { Wish::Demand(window) } else { Wish::Pieces(window) };
            self.swarm.desk().leave(self.id, self.digest, wish);
        }
    }

    fn view(&self) -> watch::Receiver<View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// While a blob is fetched that nobody reads yet.
struct Prefetch<'a>(&'a BlobReader);

impl<'a> Prefetch<'a> {
    fn begin(reader: &'a BlobReader) -> Self {
        reader.swarm.desk().prefetch(reader.digest, true);
        Self(reader)
    }
}

impl Drop for Prefetch<'_> {
    fn drop(&mut self) {
        self.0.swarm.desk().prefetch(self.0.digest, false);
    }
}

impl Drop for BlobReader {
    fn drop(&mut self) {
        if self.wished.load(Ordering::Relaxed) {
            self.swarm.desk().leave(self.id, self.digest, Wish::Gone);
        }
    }
}

/// The pieces that a reader at `index` needs next.
fn window(layout: &Layout, index: PieceIndex) -> Range<u32> {
    let ahead = WINDOW_BYTES / u64::from(layout.piece_length.get());
    let ahead = u32::try_from(ahead).unwrap_or(u32::MAX).max(WINDOW_PIECES_MIN);
    index.0..index.0.saturating_add(ahead).min(layout.piece_count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_a_few_megabytes_within_the_blob() {
        let small = Layout::for_size(10 * 1024 * 1024);
        assert_eq!(window(&small, PieceIndex(0)), 0..64);
        assert_eq!(window(&small, PieceIndex(150)), 150..160);
        let large = Layout::for_size(4 * 1024 * 1024 * 1024);
        assert_eq!(window(&large, PieceIndex(7)), 7..11);
    }
}
