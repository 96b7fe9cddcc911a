//! Bytes become a blob: staged (the data is synced, the metainfo written beside), then placed (two renames and a directory sync).
//!
//! Three syncs are needed for that, of data, metainfo and directory, and two of them are waited for: data and metainfo are independent
//! of each other, so an upload syncs them at the same time, which journalling file systems make one transaction. The metainfo's
//! could be left out, because a blob without metainfo is read again at start; but after a power failure that would be everything
//! that was pushed in the last half minute. The directory's cannot come earlier or be shared: a name must not be durable before what
//! it leads to.
//!
//! The metainfo is renamed first and the data last, so the data's rename is the one moment at which a blob begins to exist. A crash
//! before it leaves a metainfo without data, which the next start removes, and the source (upload or partial) as it was; a crash
//! after it leaves the whole blob. Durable: nothing is acknowledged, and nothing is visible in this process, before the directory
//! is synced.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use shoal_oci::Digest;
use shoal_swarm_types::Metainfo;

use crate::disk::{self, Staged};
use crate::error::{Error, Result};
use crate::faults::Op;
use crate::index::Pin;
use crate::paths::Part;
use crate::space::Class;
use crate::steps::{Step, passed};
use crate::store::Shared;
use crate::verified::Identity;
use crate::writer::Pending;

/// What [`Shared::place`] did. The pin keeps the blob from eviction until the caller is done.
pub(crate) enum Placed {
    /// The data file has become the blob.
    New(Pin),
    /// The blob was there before, in a file or in the pack; the data file is still where it was, and still counted.
    Present(Option<Pin>),
}

impl Shared {
    /// Makes the content of a data file durable, in a durable store. Takes as long as the disk needs; no lock is held.
    ///
    /// When this fails the file is lost: the kernel reports a failed write once and then calls the pages clean, so a second try
    /// would succeed without the bytes being on the disk. The caller throws the file away.
    pub(crate) fn sync_content(&self, data: &File, path: &Path) -> Result<()> {
        if self.options.is_durable() {
            let tried = self.faults.check(Op::Sync).and_then(|()| data.sync_data());
            tried.map_err(|source| Error::io("sync", path, source))?;
        }
        Ok(())
    }

    /// Begins [`Self::sync_content`] beside whatever the caller does next.
    pub(crate) fn start_sync(&self, data: &Arc<File>) -> Pending {
        if !self.options.is_durable() {
            return Pending::Done((0, Ok(())));
        }
        let (data, faults) = (data.clone(), self.faults.clone());
        self.writers.start(move || (0, faults.check(Op::Sync).and_then(|()| data.sync_data())))
    }

    /// Writes the metainfo where it can be renamed from.
    pub(crate) fn stage(&self, metainfo: &Metainfo) -> Result<Staged> {
        self.attempt(Op::Create, "create a file in", &self.paths.tmp())?;
        let staged = Staged::write(&self.paths, &metainfo.encode(), self.options.is_durable())?;
        passed(Step::MetainfoStaged);
        Ok(staged)
    }

    /// Makes the blob exist, from a data file that is staged and counted under `class`.
    pub(crate) fn place(
        &self,
        staged: Staged,
        metainfo: &Metainfo,
        data: &Path,
        class: Class,
    ) -> Result<Placed> {
        let digest = metainfo.digest();
        if self.pack.as_ref().is_some_and(|pack| pack.size(digest).is_some()) {
            return Ok(Placed::Present(None));
        }
        // So that the index knows what is on the disk.
        drop(self.pin(digest)?);
        let _stripe = self.stripes.hold(digest);
        if let Some(pin) = self.index.pin(digest) {
            return Ok(Placed::Present(Some(pin)));
        }
        self.make_shard(digest)?;
        let metainfo_place = self.paths.blob(digest, Part::Metainfo);
        self.attempt(Op::Rename, "rename a file to", &metainfo_place)?;
        staged.rename(&metainfo_place)?;
        passed(Step::MetainfoPlaced);
        if let Err(error) = self.place_data(data, digest) {
            disk::remove_leftover(&metainfo_place);
            return Err(error);
        }
        self.space.transfer(class, Class::Blob, metainfo.size());
        // A damaged copy has no use any more.
        self.forget_quarantined(digest);
        Ok(Placed::New(self.index.insert(*digest, metainfo.size())))
    }

    /// A push has become a blob: each of its pieces may go out once before it was read. A change by somebody else in the same tick of the
    /// file system's clock as the commit goes unseen.
    pub(crate) fn note_pushed(&self, data: &File, metainfo: &Metainfo) {
        if let Ok(identity) = Identity::of(data)
            && identity.size() == metainfo.size()
        {
            let count = metainfo.layout().piece_count();
            self.verified.note_pushed(metainfo.digest(), &identity, count, Instant::now());
        }
    }

    /// Makes the directory of a first byte, once. The caller holds the stripe, which all blobs of that byte share, so nobody uses
    /// the directory before its own name is durable.
    pub(crate) fn make_shard(&self, digest: &Digest) -> Result<()> {
        let shard = self.paths.shard_of(digest);
        if shard.is_dir() {
            return Ok(());
        }
        self.attempt(Op::Create, "create", &shard)?;
        fs::create_dir(&shard).map_err(|source| Error::io("create", &shard, source))?;
        if !self.options.is_durable() {
            return Ok(());
        }
        let parent = self.paths.blobs(digest.algorithm());
        let synced = self.attempt(Op::SyncDir, "sync", &parent).and_then(|()| disk::sync_dir(&parent));
        if synced.is_err() {
            // Lest the next commit take it for durable. It is empty; should it stay all the same, the next start syncs it.
            drop(fs::remove_dir(&shard));
        }
        synced
    }

    /// The moment of truth. When it cannot be made durable it is undone, so that the caller may try again.
    fn place_data(&self, data: &Path, digest: &Digest) -> Result<()> {
        let place = self.paths.blob(digest, Part::Data);
        self.attempt(Op::Rename, "rename a file to", &place)?;
        disk::rename(data, &place)?;
        passed(Step::DataPlaced);
        if !self.options.is_durable() {
            return Ok(());
        }
        let shard = self.paths.shard_of(digest);
        let synced = self.attempt(Op::SyncDir, "sync", &shard).and_then(|()| disk::sync_dir(&shard));
        if let Err(error) = synced {
            disk::rename(&place, data)?;
            return Err(error);
        }
        passed(Step::DirectorySynced);
        Ok(())
    }

    /// Whether a change to the disk may be tried; always so outside of tests.
    pub(crate) fn attempt(&self, op: Op, doing: &'static str, path: &Path) -> Result<()> {
        self.faults.check(op).map_err(|source| Error::io(doing, path, source))
    }

    /// Stores small content in one call.
    pub(crate) fn put(&self, expected: &Digest, bytes: &[u8]) -> Result<Metainfo> {
        let got = Digest::of(expected.algorithm(), bytes);
        if got != *expected {
            return Err(Error::DigestMismatch { expected: Box::new(*expected), got: Box::new(got) });
        }
        let metainfo = Metainfo::of(*expected, bytes);
        if self.packs(metainfo.size()) && self.pin(expected)?.is_none() {
            self.put_packed(&metainfo, bytes)?;
        } else {
            self.put_file(&metainfo, bytes)?;
        }
        Ok(metainfo)
    }

    /// Stores content whose digest was checked in a file of its own.
    pub(crate) fn put_file(&self, metainfo: &Metainfo, bytes: &[u8]) -> Result<()> {
        if self.size(metainfo.digest())?.is_some() {
            return Ok(());
        }
        self.reserve(Class::Upload, metainfo.size())?;
        let placed = self.put_reserved(metainfo, bytes);
        if !matches!(placed, Ok(Placed::New(_))) {
            self.space.give_back(Class::Upload, metainfo.size());
        }
        placed.map(drop)
    }

    fn put_reserved(&self, metainfo: &Metainfo, bytes: &[u8]) -> Result<Placed> {
        let mut content = Staged::write(&self.paths, bytes, self.options.is_durable())?;
        passed(Step::ContentWritten);
        let staged = self.stage(metainfo)?;
        let placed = self.place(staged, metainfo, content.path(), Class::Upload)?;
        if matches!(placed, Placed::New(_)) {
            content.keep();
        }
        Ok(placed)
    }
}
