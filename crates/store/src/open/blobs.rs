//! What becomes of the files under `blobs/` at start.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use shoal_oci::{Algorithm, Digest};
use shoal_swarm_types::{Bitfield, Metainfo, MetainfoHead};

use super::listing::{Parts, list, list_shards};
use super::{Recovery, remove};
use crate::blob::{derive_metainfo, read_metainfo};
use crate::disk::{self, Staged};
use crate::error::{Error, Result};
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
fn index(shared: &Shared, mut blobs: Vec<FoundBlob>, recovery: &mut Recovery) {
    blobs.sort_unstable_by_key(|blob| (blob.used, blob.digest));
    for FoundBlob { digest, size, .. } in blobs {
        shared.index.insert(digest, size);
        shared.space.found(Class::Blob, size);
        recovery.blobs += 1;
        recovery.bytes += size;
    }
}
