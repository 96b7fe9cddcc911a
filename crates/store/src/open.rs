//! Recovery at start: every state that a crash, a power failure or a bad disk may have left becomes one that the other rooms know.
//!
//! | found | becomes |
//! |---|---|
//! | data and metainfo that agree | a complete blob |
//! | data, metainfo missing, damaged or of another size | a blob again, if the bytes have the digest (they are read once) |
//! | the same, but the bytes do not, and the metainfo is sound | an unfinished download, whose pieces are verified at resumption |
//! | the same, and the metainfo is not sound | removed |
//! | metainfo without data | removed: a commit that did not happen, or a removal that did |
//! | download with data and metainfo | an unfinished download |
//! | download of a blob that is complete, or without data or metainfo | removed |
//! | upload with data and label | an upload, at the length of its data |
//! | upload without one of them | removed |
//! | anything in `tmp/` | removed |
//!
//! Names that the store would not give are foreign: they are counted and left alone. A damaged file is never a reason to fail; a
//! directory that cannot be read is, because taking its blobs for lost would be worse.

use std::collections::HashMap;
use std::fs::{self, DirEntry, File, Metadata, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use shoal_oci::{Algorithm, Digest};
use shoal_swarm_types::{Bitfield, Metainfo, MetainfoHead};

use crate::blob::{derive_metainfo, read_metainfo};
use crate::disk::{self, Staged};
use crate::error::{Error, Result};
use crate::id::UploadId;
use crate::options::Options;
use crate::paths::{ALGORITHMS, Part, Paths, parse_digest_file, parse_shard, parse_upload_file};
use crate::space::Class;
use crate::store::Shared;

/// What was found when the store was opened, for the log.
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
    /// Files removed because they were part of nothing whole.
    pub removed: usize,
    /// Entries left alone because the store would not give such a name.
    pub foreign: usize,
}

impl std::fmt::Display for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { blobs, bytes, partials, uploads, rederived, demoted, removed, foreign } = self;
        write!(
            f,
            "{blobs} blobs ({bytes} bytes), {partials} unfinished downloads, {uploads} unfinished uploads; "
        )?;
        write!(
            f,
            "{rederived} metainfos made again, {demoted} blobs to complete, {removed} files removed, {foreign} foreign"
        )
    }
}

/// Locks and recovers the directory.
pub(crate) fn open(root: &Path, options: Options) -> Result<(Arc<Shared>, Recovery)> {
    let paths = Paths::new(root);
    create_root(root, options.is_durable())?;
    let lock = lock(&paths)?;
    create_directories(&paths, options.is_durable())?;
    let shared = Arc::new(Shared::new(paths, options, lock));
    let mut recovery = Recovery::default();
    empty_tmp(&shared, &mut recovery)?;
    let mut blobs = Vec::new();
    for algorithm in ALGORITHMS {
        for first in list_shards(&shared.paths.blobs(algorithm), &mut recovery)? {
            recover_shard(&shared, algorithm, first, &mut blobs, &mut recovery)?;
        }
    }
    index_blobs(&shared, blobs, &mut recovery);
    for algorithm in ALGORITHMS {
        recover_partials(&shared, algorithm, &mut recovery)?;
    }
    recover_uploads(&shared, &mut recovery)?;
    // The limits may have been lowered since. What cannot be evicted stays, and new bytes are refused.
    if let Err(error) = shared.reserve(Class::Blob, 0) {
        tracing::warn!(%error, "the store is fuller than its limits allow");
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

/// The shards that exist.
fn list_shards(dir: &Path, recovery: &mut Recovery) -> Result<Vec<u8>> {
    let fail = |source| Error::io("read", dir, source);
    let mut shards = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_dir = entry.file_type().map_err(fail)?.is_dir();
        match parse_shard(&entry.file_name()).filter(|_| is_dir) {
            Some(first) => shards.push(first),
            None => recovery.foreign += 1,
        }
    }
    Ok(shards)
}

/// Calls `each` with every regular file in a directory. Everything else is foreign, and so is what `each` answers `None` to.
fn for_each_file(
    dir: &Path,
    recovery: &mut Recovery,
    mut each: impl FnMut(&DirEntry, Metadata) -> Option<()>,
) -> Result<()> {
    let fail = |source| Error::io("read", dir, source);
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // Does not follow symbolic links.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(fail(source)),
        };
        if !metadata.is_file() || each(&entry, metadata).is_none() {
            recovery.foreign += 1;
        }
    }
    Ok(())
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

fn remove(path: &Path, recovery: &mut Recovery) {
    match disk::remove(path) {
        Ok(true) => recovery.removed += 1,
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "a stray file stays on the disk"),
    }
}

/// The files found under one digest.
#[derive(Default)]
struct Parts {
    data: Option<Metadata>,
    have: Option<Metadata>,
    metainfo: Option<Metadata>,
}

impl Parts {
    fn of(&mut self, part: Part) -> &mut Option<Metadata> {
        match part {
            Part::Data => &mut self.data,
            Part::Have => &mut self.have,
            Part::Metainfo => &mut self.metainfo,
        }
    }
}

fn list(
    dir: &Path,
    algorithm: Algorithm,
    belongs: impl Fn(&Digest) -> bool,
    recovery: &mut Recovery,
) -> Result<HashMap<Digest, Parts>> {
    let mut found: HashMap<Digest, Parts> = HashMap::new();
    for_each_file(dir, recovery, |entry, metadata| {
        let (digest, part) =
            parse_digest_file(algorithm, &entry.file_name()).filter(|(digest, _)| belongs(digest))?;
        *found.entry(digest).or_default().of(part) = Some(metadata);
        Some(())
    })?;
    Ok(found)
}

/// A complete blob that was found, with the time of its last use.
struct FoundBlob {
    used: SystemTime,
    digest: Digest,
    size: u64,
}

fn recover_shard(
    shared: &Shared,
    algorithm: Algorithm,
    first: u8,
    blobs: &mut Vec<FoundBlob>,
    recovery: &mut Recovery,
) -> Result<()> {
    let dir = shared.paths.shard(algorithm, first);
    let found = list(&dir, algorithm, |digest| digest.as_bytes().first() == Some(&first), recovery)?;
    for (digest, parts) in found {
        if parts.have.is_some() {
            remove(&shared.paths.blob(&digest, Part::Have), recovery);
        }
        match recover_blob(shared, &digest, &parts, recovery) {
            Ok(Some(blob)) => blobs.push(blob),
            Ok(None) => {}
            // What cannot be read now may be readable at the next start: it is neither served nor removed.
            Err(error) => tracing::error!(%digest, %error, "a blob is left out"),
        }
    }
    Ok(())
}

fn recover_blob(
    shared: &Shared,
    digest: &Digest,
    parts: &Parts,
    recovery: &mut Recovery,
) -> Result<Option<FoundBlob>> {
    let metainfo_path = shared.paths.blob(digest, Part::Metainfo);
    let Some(data) = &parts.data else {
        remove(&metainfo_path, recovery);
        return Ok(None);
    };
    let head = match &parts.metainfo {
        Some(file) => {
            read_head(&metainfo_path)?.filter(|head| head.digest == *digest && head.encoded_len == file.len())
        }
        None => None,
    };
    if head.is_none_or(|head| head.layout.size != data.len()) {
        return repair(shared, digest, data.len(), recovery);
    }
    let used =
        parts.metainfo.as_ref().and_then(|file| file.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Some(FoundBlob { used, digest: *digest, size: data.len() }))
}

/// The size that a metainfo states, without reading its piece digests: they are checked when the blob is opened.
fn read_head(path: &Path) -> Result<Option<MetainfoHead>> {
    let mut head = Vec::with_capacity(MetainfoHead::LEN_MAX);
    let read =
        File::open(path).and_then(|file| file.take(MetainfoHead::LEN_MAX as u64).read_to_end(&mut head));
    read.map_err(|source| Error::io("read", path, source))?;
    Ok(MetainfoHead::decode(&head).ok())
}

/// Decides about data that has no metainfo, a damaged one, or one that states another size. The bytes have the first word: when they
/// have the digest, the metainfo is made again. Otherwise a sound metainfo can still tell the good pieces from the bad ones.
fn repair(shared: &Shared, digest: &Digest, size: u64, recovery: &mut Recovery) -> Result<Option<FoundBlob>> {
    let data = shared.paths.blob(digest, Part::Data);
    let metainfo_path = shared.paths.blob(digest, Part::Metainfo);
    if let Some(metainfo) = derive_metainfo(&data, digest)? {
        restore(shared, &metainfo)?;
        recovery.rederived += 1;
        return Ok(Some(FoundBlob { used: SystemTime::UNIX_EPOCH, digest: *digest, size }));
    }
    match read_metainfo(&metainfo_path)?.filter(|metainfo| metainfo.digest() == digest) {
        Some(metainfo) => {
            tracing::warn!(%digest, size, "a blob's data has the wrong size; it becomes a download");
            demote(shared, &metainfo)?;
            recovery.demoted += 1;
        }
        None => {
            tracing::warn!(%digest, "a file does not have the digest that it is named by, and is removed");
            remove(&data, recovery);
            remove(&metainfo_path, recovery);
        }
    }
    Ok(None)
}

/// Writes the metainfo of a blob whose bytes have just been checked.
fn restore(shared: &Shared, metainfo: &Metainfo) -> Result<()> {
    let digest = metainfo.digest();
    let durable = shared.options.is_durable();
    if durable {
        // The commit may have been cut off before it came to this.
        let data = shared.paths.blob(digest, Part::Data);
        shared.sync_content(&disk::open_for_writing(&data, false)?, &data)?;
    }
    let staged = Staged::write(&shared.paths, &metainfo.encode(), durable)?;
    staged.rename(&shared.paths.blob(digest, Part::Metainfo))?;
    if durable { disk::sync_dir(&shared.paths.shard_of(digest)) } else { Ok(()) }
}

/// Moves a blob to the downloads, claiming every piece: resuming verifies them.
fn demote(shared: &Shared, metainfo: &Metainfo) -> Result<()> {
    let digest = metainfo.digest();
    shared.describe_partial(metainfo, &Bitfield::full(metainfo.layout().piece_count()))?;
    disk::rename(&shared.paths.blob(digest, Part::Data), &shared.paths.partial(digest, Part::Data))?;
    disk::remove_leftover(&shared.paths.blob(digest, Part::Metainfo));
    Ok(())
}

/// Enters the blobs in the order of their last use.
fn index_blobs(shared: &Shared, mut blobs: Vec<FoundBlob>, recovery: &mut Recovery) {
    blobs.sort_unstable_by_key(|blob| (blob.used, blob.digest));
    for FoundBlob { digest, size, .. } in blobs {
        shared.index.insert(digest, size);
        shared.space.found(Class::Blob, size);
        recovery.blobs += 1;
        recovery.bytes += size;
    }
}

fn recover_partials(shared: &Shared, algorithm: Algorithm, recovery: &mut Recovery) -> Result<()> {
    for (digest, parts) in list(&shared.paths.partials(algorithm), algorithm, |_| true, recovery)? {
        let size = match shared.index.size(&digest) {
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
        shared.uploads.add(id, &label, size);
        recovery.uploads += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
