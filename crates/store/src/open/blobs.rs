//! What becomes of the files under `blobs/`: all of them at start, in a cache; each of them when it is first asked for, in a durable
//! store that is still counting, or that has met it and found it odd.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use shoal_oci::{Algorithm, Digest};
use shoal_swarm_types::{Metainfo, MetainfoHead};

use super::listing::{Parts, list, list_shards};
use super::{Recovery, remove};
use crate::blob::{derive_metainfo, read_metainfo};
use crate::demote::demote_unknown;
use crate::disk::{self, Staged};
use crate::error::{Error, Result};
use crate::index::Pin;
use crate::paths::{ALGORITHMS, Part};
use crate::space::Class;
use crate::store::Shared;

/// Finds, repairs and indexes every blob.
pub(super) fn recover(shared: &Shared, recovery: &mut Recovery) -> Result<()> {
    let mut blobs = Vec::new();
    for algorithm in ALGORITHMS {
        for first in list_shards(&shared.paths.blobs(algorithm), recovery)? {
            recover_shard(shared, algorithm, first, &mut blobs, recovery)?;
        }
    }
    index(shared, blobs, recovery);
    Ok(())
}

/// A complete blob that was found, with the times of its last use and of its data.
struct FoundBlob {
    used: SystemTime,
    modified: SystemTime,
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

/// Looks for one blob on the disk, repairs it if need be, and enters it.
pub(crate) fn find(shared: &Shared, digest: &Digest) -> Result<Option<Pin>> {
    let parts = Parts {
        data: look(&shared.paths.blob(digest, Part::Data))?,
        have: None,
        metainfo: look(&shared.paths.blob(digest, Part::Metainfo))?,
    };
    if parts.data.is_none() {
        return Ok(None);
    }
    let mut recovery = Recovery::default();
    let Some(FoundBlob { size, modified, .. }) = recover_blob(shared, digest, &parts, &mut recovery)? else {
        return Ok(None);
    };
    let _stripe = shared.stripes.hold(digest);
    if let Some(pin) = shared.index.pin(digest) {
        return Ok(Some(pin));
    }
    if disk::is_absent(&shared.paths.blob(digest, Part::Data)) {
        return Ok(None);
    }
    shared.space.found(Class::Blob, size);
    Ok(Some(shared.index.insert_found(*digest, size, modified)))
}

/// A regular file of this name.
fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata).filter(Metadata::is_file)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("look for", path, source)),
    }
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
        return repair(shared, digest, data, recovery);
    }
    let used =
        parts.metainfo.as_ref().and_then(|file| file.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Some(FoundBlob { used, modified: modified(data), digest: *digest, size: data.len() }))
}

fn modified(file: &Metadata) -> SystemTime {
    file.modified().unwrap_or(SystemTime::UNIX_EPOCH)
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
/// have the digest, the metainfo is made again. Otherwise a sound metainfo can still tell the good pieces from the bad ones. The
/// bytes are read without a lock; what follows from them is done only if nobody else has changed the blob meanwhile.
fn repair(
    shared: &Shared,
    digest: &Digest,
    file: &Metadata,
    recovery: &mut Recovery,
) -> Result<Option<FoundBlob>> {
    let data = shared.paths.blob(digest, Part::Data);
    let metainfo_path = shared.paths.blob(digest, Part::Metainfo);
    if let Some(metainfo) = derive_metainfo(&data, digest)? {
        if !restore(shared, &metainfo)? {
            return Ok(None);
        }
        recovery.rederived += 1;
        let (used, modified) = (SystemTime::UNIX_EPOCH, modified(file));
        return Ok(Some(FoundBlob { used, modified, digest: *digest, size: file.len() }));
    }
    match read_metainfo(&metainfo_path)?.filter(|metainfo| metainfo.digest() == digest) {
        Some(metainfo) => {
            tracing::warn!(%digest, size = file.len(), "a blob's data has the wrong size; it becomes a download");
            recovery.demoted += usize::from(demote_unknown(shared, &metainfo)?);
        }
        None => {
            tracing::warn!(%digest, "a file does not have the digest that it is named by, and is removed");
            let _stripe = shared.stripes.hold(digest);
            if is_unknown(shared, digest) {
                remove(&data, recovery);
                remove(&metainfo_path, recovery);
            }
        }
    }
    Ok(None)
}

/// Whether the data is there and nobody has entered it yet. The caller holds the stripe.
fn is_unknown(shared: &Shared, digest: &Digest) -> bool {
    shared.index.size(digest).is_none() && !disk::is_absent(&shared.paths.blob(digest, Part::Data))
}

/// Writes the metainfo of a blob whose bytes have just been checked; false when the blob has gone.
fn restore(shared: &Shared, metainfo: &Metainfo) -> Result<bool> {
    let digest = metainfo.digest();
    let durable = shared.options.is_durable();
    if durable {
        // The commit may have been cut off before it came to this.
        let data = shared.paths.blob(digest, Part::Data);
        shared.sync_content(&disk::open_for_writing(&data, false)?, &data)?;
    }
    let staged = Staged::write(&shared.paths, &metainfo.encode(), durable)?;
    let _stripe = shared.stripes.hold(digest);
    if !is_unknown(shared, digest) {
        return Ok(shared.index.size(digest).is_some());
    }
    staged.rename(&shared.paths.blob(digest, Part::Metainfo))?;
    if durable {
        disk::sync_dir(&shared.paths.shard_of(digest))?;
    }
    Ok(true)
}

/// Enters the blobs in the order of their last use.
fn index(shared: &Shared, mut blobs: Vec<FoundBlob>, recovery: &mut Recovery) {
    blobs.sort_unstable_by_key(|blob| (blob.used, blob.digest));
    for FoundBlob { digest, size, modified, .. } in blobs {
        shared.index.insert_found(digest, size, modified);
        shared.space.found(Class::Blob, size);
        recovery.blobs += 1;
        recovery.bytes += size;
    }
}
