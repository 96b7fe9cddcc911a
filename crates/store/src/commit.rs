//! Bytes become a blob: staged (the data is synced, the metainfo written beside), then placed (two renames and a directory sync).
//!
//! The metainfo is renamed first and the data last, so the data's rename is the one moment at which a blob begins to exist. A crash
//! before it leaves a metainfo without data, which the next start removes, and the source (upload or partial) as it was; a crash
//! after it leaves the whole blob. Durable: nothing is acknowledged, and nothing is visible in this process, before the directory
//! is synced.

use std::fs::{self, File};
use std::path::Path;

use shoal_oci::Digest;
use shoal_swarm_types::Metainfo;

use crate::disk::{self, Staged};
use crate::error::{Error, Result};
use crate::index::Pin;
use crate::paths::Part;
use crate::space::Class;
use crate::steps::{Step, passed};
use crate::store::Shared;

/// What [`Shared::place`] did. The pin keeps the blob from eviction until the caller is done.
pub(crate) enum Placed {
    /// The data file has become the blob.
    New(Pin),
    /// The blob was there before; the data file is still where it was, and still counted.
    Present(Pin),
}

impl Shared {
    /// Makes the content of a data file durable, in a durable store. Takes as long as the disk needs; no lock is held.
    ///
    /// When this fails the file is lost: the kernel reports a failed write once and then calls the pages clean, so a second try
    /// would succeed without the bytes being on the disk. The caller throws the file away.
    pub(crate) fn sync_content(&self, data: &File, path: &Path) -> Result<()> {
        if self.options.is_durable() {
            data.sync_data().map_err(|source| Error::io("sync", path, source))?;
        }
        Ok(())
    }

    /// Writes the metainfo where it can be renamed from.
    pub(crate) fn stage(&self, metainfo: &Metainfo) -> Result<Staged> {
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
        let _stripe = self.stripes.hold(digest);
        if let Some(pin) = self.index.pin(digest) {
            return Ok(Placed::Present(pin));
        }
        self.make_shard(digest)?;
        staged.rename(&self.paths.blob(digest, Part::Metainfo))?;
        passed(Step::MetainfoPlaced);
        if let Err(error) = self.place_data(data, digest) {
            disk::remove_leftover(&self.paths.blob(digest, Part::Metainfo));
            return Err(error);
        }
        self.space.transfer(class, Class::Blob, metainfo.size());
        Ok(Placed::New(self.index.insert(*digest, metainfo.size())))
    }

    /// Makes the directory of a first byte, once. The caller holds the stripe, which all blobs of that byte share, so nobody uses
    /// the directory before its own name is durable.
    fn make_shard(&self, digest: &Digest) -> Result<()> {
        let shard = self.paths.shard_of(digest);
        if shard.is_dir() {
            return Ok(());
        }
        fs::create_dir(&shard).map_err(|source| Error::io("create", &shard, source))?;
        if !self.options.is_durable() {
            return Ok(());
        }
        let synced = disk::sync_dir(&self.paths.blobs(digest.algorithm()));
        if synced.is_err() {
            // Lest the next commit take it for durable. It is empty; should it stay all the same, the next start syncs it.
            drop(fs::remove_dir(&shard));
        }
        synced
    }

    /// The moment of truth. When it cannot be made durable it is undone, so that the caller may try again.
    fn place_data(&self, data: &Path, digest: &Digest) -> Result<()> {
        let place = self.paths.blob(digest, Part::Data);
        disk::rename(data, &place)?;
        passed(Step::DataPlaced);
        if !self.options.is_durable() {
            return Ok(());
        }
        if let Err(error) = disk::sync_dir(&self.paths.shard_of(digest)) {
            disk::rename(&place, data)?;
            return Err(error);
        }
        passed(Step::DirectorySynced);
        Ok(())
    }

    /// Stores small content in one call.
    pub(crate) fn put(&self, expected: &Digest, bytes: &[u8]) -> Result<Metainfo> {
        let got = Digest::of(expected.algorithm(), bytes);
        if got != *expected {
            return Err(Error::DigestMismatch { expected: Box::new(*expected), got: Box::new(got) });
        }
        let metainfo = Metainfo::of(*expected, bytes);
        if self.index.size(expected).is_some() {
            return Ok(metainfo);
        }
        self.reserve(Class::Upload, metainfo.size())?;
        let placed = self.put_reserved(&metainfo, bytes);
        if !matches!(placed, Ok(Placed::New(_))) {
            self.space.give_back(Class::Upload, metainfo.size());
        }
        placed.map(|_| metainfo)
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
