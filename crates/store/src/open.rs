//! Recovery at start: every state that a crash, a power failure or a bad disk may have left becomes one that the other rooms know.
//!
//! | found | becomes |
//! |---|---|
//! | data and metainfo that agree | a complete blob |
//! | data, metainfo missing, damaged or of another size | a blob again, if the bytes have the digest (they are read once) |
//! | the same, but the bytes do not, and the metainfo is sound | an unfinished download, whose pieces are verified at resumption |
//! | the same, and the metainfo is not sound | removed |
//! | metainfo without data | a cache removes it: a commit that did not happen, or a removal that did. A durable store keeps it: by it a lost blob is got back |
//! | download with data and metainfo | an unfinished download |
//! | download of a blob that is complete, or without data or metainfo | removed |
//! | upload with data and label | an upload, at the length of its data |
//! | upload without one of them | removed |
//! | anything in `tmp/` | removed |
//!
//! A cache looks at every blob at start. A durable store may have a million: there the pack is loaded from its summaries, see
//! [`crate::pack`], and the rows about blobs hold from the moment that somebody asks for one, see [`crate::counting`].
//!
//! Names that the store would not give are foreign: they are counted and left alone. A damaged file is never a reason to fail; a
//! directory that cannot be read is, because taking its blobs for lost would be worse.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use shoal_oci::{Algorithm, Digest};

use crate::blob::read_metainfo;
use crate::disk;
use crate::error::{Error, Result};
use crate::id::UploadId;
use crate::options::Options;
use crate::pack::Limits;
use crate::paths::{ALGORITHMS, Part, Paths, parse_upload_file};
use crate::space::{Class, Space};
use crate::store::Shared;

pub(crate) use self::blobs::find;
pub(crate) use self::listing::{Parts, for_each_file, list, list_shards};

mod blobs;
mod listing;
#[cfg(test)]
mod tests;

/// What was found when the store was opened, or when its files were counted afterwards, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Complete blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Unfinished downloads.
    pub partials: usize,
    /// Unfinished uploads.
    pub uploads: usize,
    /// Blobs whose lost or damaged metainfo was made again from their bytes; they count in `blobs`.
    pub rederived: usize,
    /// Blobs whose data had the wrong size; they count in `partials`.
    pub demoted: usize,
    /// Bytes cut off the torn end of the pack: what was being written and was not acknowledged.
    pub cut_bytes: u64,
    /// Places in the pack that are damaged. The blobs there have left the store.
    pub damaged: usize,
    /// Files removed because they were part of nothing whole.
    pub removed: usize,
    /// Entries left alone because the store would not give such a name.
    pub foreign: usize,
}

impl std::ops::Add for Recovery {
    type Output = Self;

    /// What was found at two times, or in two places.
    fn add(self, other: Self) -> Self {
        Self {
            blobs: self.blobs + other.blobs,
            bytes: self.bytes + other.bytes,
            partials: self.partials + other.partials,
            uploads: self.uploads + other.uploads,
            rederived: self.rederived + other.rederived,
            demoted: self.demoted + other.demoted,
            cut_bytes: self.cut_bytes + other.cut_bytes,
            damaged: self.damaged + other.damaged,
            removed: self.removed + other.removed,
            foreign: self.foreign + other.foreign,
        }
    }
}

impl std::fmt::Display for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            blobs,
            bytes,
            partials,
            uploads,
            rederived,
            demoted,
            cut_bytes,
            damaged,
            removed,
            foreign,
        } = self;
        write!(
            f,
            "{blobs} blobs ({bytes} bytes), {partials} unfinished downloads, {uploads} unfinished uploads; "
        )?;
        write!(
            f,
            "{rederived} metainfos made again, {demoted} blobs to complete, {cut_bytes} torn bytes cut off, {damaged} places damaged, \
             {removed} files removed, {foreign} foreign"
        )
    }
}

/// Locks and recovers the directory.
pub(crate) fn open(root: &Path, options: Options, limits: Limits) -> Result<(Arc<Shared>, Recovery)> {
    let paths = Paths::new(root);
    create_root(root, options.is_durable())?;
    let lock = lock(&paths)?;
    create_directories(&paths, options.is_durable())?;
    let mut recovery = Recovery::default();
    let space = Arc::new(Space::new(paths.root(), &options));
    let shared = Shared::new(paths, options, lock, space);
    empty_tmp(&shared, &mut recovery)?;
    let shared = Arc::new(shared.with_pack(limits, &mut recovery)?);
    shared.recover_quarantine()?;
    if !options.is_durable() {
        blobs::recover(&shared, &mut recovery)?;
    }
    for algorithm in ALGORITHMS {
        recover_partials(&shared, algorithm, &mut recovery)?;
    }
    recover_uploads(&shared, &mut recovery)?;
    // The limits may have been lowered since. What cannot be evicted stays, and new bytes are refused.
    if let Err(error) = shared.reserve(Class::Blob, 0) {
        tracing::warn!(%error, "the store is fuller than its limits allow");
    }
    if options.is_durable() {
        shared.counting.start(&shared)?;
    }
    Ok((shared, recovery))
}

fn create_root(root: &Path, durable: bool) -> Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(root).map_err(|source| Error::io("create", root, source))?;
    match root.parent() {
        // A relative path of one part has the empty path as its parent.
        Some(parent) if durable && !parent.as_os_str().is_empty() => disk::sync_dir(parent),
        _ => Ok(()),
    }
}

fn lock(paths: &Paths) -> Result<File> {
    let path = paths.lock();
    let file = disk::open_for_writing(&path, true)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(paths.root().to_owned())),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", &path, source)),
    }
}

fn create_directories(paths: &Paths, durable: bool) -> Result<()> {
    for path in paths.directories() {
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::io("create", &path, source)),
        }
        // Also when it was there: whoever made it, or a shard in it, may have been cut off before syncing.
        if durable {
            disk::sync_dir(&path)?;
        }
    }
    if durable { disk::sync_dir(paths.root()) } else { Ok(()) }
}

fn empty_tmp(shared: &Shared, recovery: &mut Recovery) -> Result<()> {
    let mut stray = Vec::new();
    for_each_file(&shared.paths.tmp(), recovery, |entry, _| {
        let id: UploadId = entry.file_name().to_str()?.parse().ok()?;
        stray.push(shared.paths.tmp_file(&id));
        Some(())
    })?;
    stray.iter().for_each(|path| remove(path, recovery));
    Ok(())
}

/// Removes a file that is part of nothing whole.
pub(crate) fn remove(path: &Path, recovery: &mut Recovery) {
    match disk::remove(path) {
        Ok(true) => recovery.removed += 1,
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "a stray file stays on the disk"),
    }
}

fn recover_partials(shared: &Shared, algorithm: Algorithm, recovery: &mut Recovery) -> Result<()> {
    for (digest, parts) in list(&shared.paths.partials(algorithm), algorithm, |_| true, recovery)? {
        // One that was a blob of the wrong size until just now.
        if shared.partials.has(&digest) {
            recovery.partials += 1;
            continue;
        }
        let size = match shared.size(&digest)? {
            Some(_) => None,
            None => stored_size(shared, &digest)?,
        };
        let Some((data, size)) = parts.data.zip(size) else {
            for part in [Part::Data, Part::Have, Part::Metainfo] {
                remove(&shared.paths.partial(&digest, part), recovery);
            }
            continue;
        };
        // stat(2) counts blocks in units of 512 bytes.
        shared.found_partial(digest, size, data.blocks().saturating_mul(512));
        recovery.partials += 1;
    }
    Ok(())
}

/// Size of the blob that a download is of; `None` when its metainfo is of no use.
fn stored_size(shared: &Shared, digest: &Digest) -> Result<Option<u64>> {
    let metainfo = read_metainfo(&shared.paths.partial(digest, Part::Metainfo))?;
    Ok(metainfo.filter(|metainfo| metainfo.digest() == digest).map(|metainfo| metainfo.size()))
}

fn recover_uploads(shared: &Shared, recovery: &mut Recovery) -> Result<()> {
    let mut found: HashMap<UploadId, Option<u64>> = HashMap::new();
    for_each_file(&shared.paths.uploads(), recovery, |entry, metadata| {
        let (id, is_data) = parse_upload_file(&entry.file_name())?;
        let size = found.entry(id).or_default();
        if is_data {
            *size = Some(metadata.len());
        }
        Some(())
    })?;
    for (id, size) in found {
        let Some((size, label)) = size.zip(shared.read_upload_label(&id)) else {
            remove(&shared.paths.upload_data(&id), recovery);
            remove(&shared.paths.upload_label(&id), recovery);
            continue;
        };
        shared.space.found(Class::Upload, size);
        shared.uploads.add(id, &label, Some(size));
        recovery.uploads += 1;
    }
    Ok(())
}
