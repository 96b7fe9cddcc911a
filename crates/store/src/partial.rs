//! An unfinished download: pieces arrive in any order, each is verified before it is written, and the last one makes a blob.
//!
//! The data file is sparse, of the blob's size from the beginning. Beside it, one byte per piece says that the piece is written; it
//! is written after the piece, and both survive the end of the process. Whoever resumes verifies every claimed piece again,
//! because after a power failure the byte may have reached the disk and the piece not. No lock is held while pieces are hashed,
//! written or read, so different pieces are written in parallel.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, Metainfo, PieceIndex};

use crate::arriving::{Former, Lease};
use crate::blob::{self, Blob};
use crate::commit::Placed;
use crate::error::{Error, Result};
use crate::locks::hold;
use crate::partials::{Slot, SlotState};
use crate::paths::Part;
use crate::piece;
use crate::range::FileRange;
use crate::space::Class;
use crate::steps::{Step, passed};
use crate::store::Shared;
use crate::verified::Identity;

/// What [`Partial::write_piece`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The piece is new and can be read from now on.
    Stored,
    /// The piece was there already.
    Duplicate,
}

/// An unfinished download. All handles of one digest share their state; when the last one is dropped the files stay, and the
/// download can be resumed.
#[derive(Clone)]
pub struct Partial {
    live: Arc<Live>,
}

/// What the handles of one download share.
pub(crate) struct Live {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    metainfo: Metainfo,
    path: PathBuf,
    claims_path: PathBuf,
    data: Arc<File>,
    claims: File,
    progress: Mutex<Progress>,
}

struct Progress {
    have: Bitfield,
    /// Who may write to the places of pieces that are not there.
    leases: BTreeMap<PieceIndex, Arc<Lease>>,
    end: Option<End>,
}

/// How a download ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Committed,
    Discarded,
}

impl Partial {
    pub(crate) const fn new(live: Arc<Live>) -> Self {
        Self { live }
    }

    pub(crate) const fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The blob's digest.
    pub fn digest(&self) -> &Digest {
        self.live.metainfo.digest()
    }

    /// What the pieces are checked against.
    pub fn metainfo(&self) -> &Metainfo {
        &self.live.metainfo
    }

    /// The pieces that can be read now.
    pub fn have(&self) -> Bitfield {
        hold(&self.live.progress).have.clone()
    }

    /// Verifies a piece and writes it.
    ///
    /// # Errors
    /// [`Error::CorruptPiece`] when the bytes are not that piece: nothing was written. [`Error::PartialNotFound`] when the download was
    /// discarded. [`Error::NoSuchPiece`], [`Error::NoSpace`], or the disk's error.
    pub fn write_piece(&self, index: PieceIndex, bytes: &[u8]) -> Result<Written> {
        let live = &*self.live;
        piece::check_index(&live.metainfo, index)?;
        if !live.metainfo.verify(index, bytes) {
            return Err(Error::CorruptPiece { digest: *self.digest(), index });
        }
        live.put(index, &[bytes])
    }

    /// Reads one piece and verifies it.
    ///
    /// # Errors
    /// [`Error::PieceMissing`] when the piece is not there. [`Error::CorruptPiece`] when the disk has lost it: it then counts as missing
    /// and can be written again.
    pub fn read_piece(&self, index: PieceIndex) -> Result<Bytes> {
        let live = &*self.live;
        piece::check_index(&live.metainfo, index)?;
        if !live.has(index)? {
            return Err(Error::PieceMissing { digest: *self.digest(), index });
        }
        let read = piece::read(&live.data, &live.path, &live.metainfo, index);
        if matches!(read, Err(Error::CorruptPiece { .. })) {
            live.forget(index);
        }
        read
    }

    /// Where the bytes of `range` are, if every piece of it is there: each was verified when this process stored it or took it over
    /// from an earlier one, and nothing writes there again. So they may be sent without looking at them. `None` for everything
    /// else, also once the download has ended: ask the blob then.
    ///
    /// What this does not see is a change by somebody else: the file changes all the time, so its times tell nothing.
    pub fn file_range(&self, range: Range<u64>) -> Option<FileRange> {
        let live = &*self.live;
        if range.is_empty() || range.end > live.metainfo.size() {
            return None;
        }
        let progress = hold(&live.progress);
        let mut pieces = live.metainfo.layout().pieces_of(&range);
        if progress.end.is_some() || !pieces.all(|piece| progress.have.has(PieceIndex(piece))) {
            return None;
        }
        drop(progress);
        Some(FileRange { file: live.data.clone(), offset: range.start, len: range.end - range.start })
    }

    /// Makes the download a complete blob. Other handles can go on reading. When the store has the blob already, from elsewhere,
    /// this copy is dropped.
    ///
    /// A durable store checks the whole content against the blob's own digest first (one read of the file): what it acknowledges
    /// must be right even if whoever gave the metainfo was wrong.
    ///
    /// # Errors
    /// [`Error::Incomplete`] while pieces are missing. [`Error::DigestMismatch`] when the metainfo belongs to other content than its digest
    /// says: the download is discarded. [`Error::PartialNotFound`] when it was discarded before.
    pub fn commit(&self) -> Result<Blob> {
        let live = &*self.live;
        let missing = {
            let progress = hold(&live.progress);
            progress.have.len() - progress.have.count()
        };
        if missing > 0 {
            return Err(Error::Incomplete { digest: *self.digest(), missing });
        }
        if live.end() == Some(End::Discarded) {
            return Err(Error::PartialNotFound(*self.digest()));
        }
        if live.end().is_none() && live.shared.options.is_durable() {
            self.make_durable()?;
        }
        // Held until the blob is open, lest it be evicted in between.
        let _placed = live.finish()?;
        blob::open(&live.shared, self.digest())
    }

    /// The same for content whose digest was made and compared while it was written. The result keeps the blob from eviction.
    pub(crate) fn commit_judged(&self) -> Result<Option<Placed>> {
        let live = &*self.live;
        let synced = live.shared.sync_content(&live.data, &live.path);
        if synced.is_err() {
            self.discard();
        }
        synced?;
        let placed = live.finish()?;
        if live.shared.options.is_durable() {
            // As of a push: clients get nothing that was not read.
            live.shared.note_pushed(&live.data, &live.metainfo);
        }
        Ok(placed)
    }

    /// Ends the download and removes what it has.
    pub fn discard(&self) {
        let live = &*self.live;
        let mut state = hold(&live.slot.state);
        if matches!(*state, SlotState::Ended) {
            return;
        }
        hold(&live.progress).end = Some(End::Discarded);
        live.shared.remove_partial_files(&live.slot);
        live.shared.partials.end(&live.slot, &mut state);
    }

    fn make_durable(&self) -> Result<()> {
        let live = &*self.live;
        let expected = self.digest();
        let mut digester = shoal_oci::Digester::new(expected.algorithm());
        for index in piece::indices(&live.metainfo) {
            digester.update(&self.read_piece(index)?);
        }
        let got = digester.finish();
        if got != *expected {
            self.discard();
            return Err(Error::DigestMismatch { expected: Box::new(*expected), got: Box::new(got) });
        }
        let synced = live.shared.sync_content(&live.data, &live.path);
        if synced.is_err() {
            self.discard();
        }
        synced
    }
}

impl Live {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        slot: &Arc<Slot>,
        metainfo: Metainfo,
        data: File,
        claims: File,
        have: Bitfield,
    ) -> Self {
        let path = shared.paths.partial(metainfo.digest(), Part::Data);
        let claims_path = shared.paths.partial(metainfo.digest(), Part::Have);
        let progress = Mutex::new(Progress { have, leases: BTreeMap::new(), end: None });
        Self {
            shared: shared.clone(),
            slot: slot.clone(),
            metainfo,
            path,
            claims_path,
            data: Arc::new(data),
            claims,
            progress,
        }
    }

    pub(crate) const fn metainfo(&self) -> &Metainfo {
        &self.metainfo
    }

    fn end(&self) -> Option<End> {
        hold(&self.progress).end
    }

    /// Gives the lease of a piece, also if somebody has it when `displace` is set; `None` when there is none to be had, or none is
    /// needed because the piece is there.
    pub(crate) fn lease(
        &self,
        index: PieceIndex,
        lease: &Arc<Lease>,
        displace: bool,
    ) -> Result<Option<Former>> {
        piece::check_index(&self.metainfo, index)?;
        let mut progress = hold(&self.progress);
        if progress.end == Some(End::Discarded) {
            return Err(Error::PartialNotFound(*self.metainfo.digest()));
        }
        let is_taken = progress.leases.contains_key(&index);
        if progress.end.is_some() || progress.have.has(index) || is_taken && !displace {
            return Ok(None);
        }
        Ok(Some(Former(progress.leases.insert(index, lease.clone()))))
    }

    /// Gives a lease back, unless somebody else has it by now.
    pub(crate) fn release(&self, index: PieceIndex, lease: &Arc<Lease>) {
        let mut progress = hold(&self.progress);
        if progress.leases.get(&index).is_some_and(|held| Arc::ptr_eq(held, lease)) {
            progress.leases.remove(&index);
        }
    }

    /// Writes bytes of a piece whose lease the caller has.
    pub(crate) fn write_at(&self, index: PieceIndex, at: u32, bytes: &[u8]) -> Result<()> {
        let start = self.metainfo.layout().piece_range(index).start + u64::from(at);
        self.data.write_all_at(bytes, start).map_err(|source| Error::io("write", &self.path, source))
    }

    /// A piece is written and checked: from now on it is there.
    pub(crate) fn claim(&self, index: PieceIndex) -> Result<Written> {
        self.write_claim(index, true)?;
        passed(Step::PieceClaimed);
        if !hold(&self.progress).have.set(index) {
            return Ok(Written::Duplicate);
        }
        self.slot.settle(&self.shared.space, u64::from(self.metainfo.layout().piece_len(index)));
        Ok(Written::Stored)
    }

    /// Whether a piece is there, while the download exists.
    pub(crate) fn has(&self, index: PieceIndex) -> Result<bool> {
        let progress = hold(&self.progress);
        if progress.end == Some(End::Discarded) {
            return Err(Error::PartialNotFound(*self.metainfo.digest()));
        }
        Ok(progress.have.has(index))
    }

    fn write_claim(&self, index: PieceIndex, has: bool) -> Result<()> {
        let written = self.claims.write_all_at(&[u8::from(has)], u64::from(index.0));
        written.map_err(|source| Error::io("write", &self.claims_path, source))
    }

    /// A piece that was there no longer verifies. After a commit it is the blob's business, see [`crate::Store::demote`].
    fn forget(&self, index: PieceIndex) {
        {
            let mut progress = hold(&self.progress);
            if progress.end.is_some() || !progress.have.unset(index) {
                return;
            }
        }
        self.slot.promise(&self.shared.space, u64::from(self.metainfo.layout().piece_len(index)));
        // When this fails the claim is false, and the next start finds out.
        if let Err(error) = self.write_claim(index, false) {
            tracing::warn!(%error, "a lost piece stays claimed");
        }
    }

    /// The part of the commit that changes the disk. The result keeps the blob from eviction.
    fn finish(&self) -> Result<Option<Placed>> {
        let staged = self.shared.stage(&self.metainfo)?;
        let mut state = hold(&self.slot.state);
        if matches!(*state, SlotState::Ended) {
            return Ok(None);
        }
        let placed = self.shared.place(staged, &self.metainfo, &self.path, Class::Partial)?;
        match placed {
            Placed::New(_) => self.shared.remove_partial_records(&self.slot),
            Placed::Present(_) => self.shared.remove_partial_files(&self.slot),
        }
        if let Placed::New(_) = placed {
            self.pass_on_verified();
        }
        hold(&self.progress).end = Some(End::Committed);
        self.shared.partials.end(&self.slot, &mut state);
        Ok(Some(placed))
    }
}

impl Live {
    /// The blob's readers need not verify again what was verified when it arrived. A change by somebody else in the same tick of the file
    /// system's clock as the commit goes unseen, as one in the partial would have; kernels since 6.13 have no such ticks.
    fn pass_on_verified(&self) {
        let count = self.metainfo.layout().piece_count();
        if let Ok(identity) = Identity::of(&self.data)
            && identity.size() == self.metainfo.size()
        {
            let digest = self.metainfo.digest();
            self.shared.verified.note(digest, &identity, 0..count, count, Instant::now());
        }
    }
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partial({}, {:?})", self.digest(), hold(&self.live.progress).have)
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Live({})", self.metainfo.digest())
    }
}
