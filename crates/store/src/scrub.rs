//! Reading a stored blob only to see whether it is still right.
//!
//! Past the page cache where the file system allows it: what counts is what the disk has, and nothing that readers want is pushed
//! out of memory. One pass computes the blob's own digest and its piece digests, so a good blob with a damaged description is told
//! from a damaged blob. Non-goals: when to scrub, how fast (the caller's `each` may take its time), and what to do about damage.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use shoal_oci::{Digest, Digester};
use shoal_swarm_types::{Bitfield, Layout, Metainfo, PieceDigester, PieceIndex};

use crate::blob::read_metainfo;
use crate::direct::{self, BUFFER_LEN};
use crate::disk;
use crate::error::{Error, Result};
use crate::paths::Part;
use crate::piece;
use crate::store::{Shared, Store};

/// What a scrub has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// Data and metainfo are right.
    Intact,
    /// The data is right; the metainfo was lost or damaged and has been made again.
    Restored,
    /// The data is damaged.
    Damaged {
        /// Pieces that are not what they were; all of them when nothing is left to tell by.
        pieces: Vec<PieceIndex>,
    },
}

impl Store {
    /// Reads a blob from the disk and checks it against its digest and its metainfo, which is made again if it is bad. Damage is told
    /// and nothing is done about it: see [`Store::quarantine`] and [`Store::demote`].
    ///
    /// # Errors
    /// [`Error::BlobNotFound`]; the disk's error when it says nothing about the bytes.
    pub fn scrub(&self, digest: &Digest) -> Result<Scrubbed> {
        self.scrub_paced(digest, |_| {})
    }

    /// As [`Store::scrub`]; `each` is called with the number of bytes after each read of up to a megabyte, and may take its time.
    ///
    /// # Errors
    /// As [`Store::scrub`].
    pub fn scrub_paced(&self, digest: &Digest, mut each: impl FnMut(u64)) -> Result<Scrubbed> {
        let shared = self.shared();
        if let Some(packed) = shared.open_packed(digest)? {
            return scrub_packed(&packed);
        }
        let pin = shared.pin(digest)?.ok_or(Error::BlobNotFound(*digest))?;
        let path = |part| shared.paths.blob(digest, part);
        let checked = check(shared, &path(Part::Data), &path(Part::Metainfo), digest, &mut each);
        let (found, metainfo) = match checked {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::BlobNotFound(*digest));
            }
            other => other?,
        };
        if let (Scrubbed::Restored, Some(metainfo)) = (&found, metainfo) {
            shared.write_metainfo(pin.entry(), &metainfo)?;
        }
        Ok(found)
    }
}

fn scrub_packed(packed: &crate::pack::PackedBlob) -> Result<Scrubbed> {
    for index in piece::indices(packed.metainfo()) {
        match packed.read_piece(index) {
            Ok(_) => {}
            Err(Error::CorruptPiece { .. }) => return Ok(Scrubbed::Damaged { pieces: vec![index] }),
            Err(error) => return Err(error),
        }
    }
    Ok(Scrubbed::Intact)
}

/// Checks the two files of a blob. Gives the metainfo that the data has, unless the data is damaged.
pub(crate) fn check(
    shared: &Shared,
    data: &Path,
    metainfo: &Path,
    digest: &Digest,
    each: &mut dyn FnMut(u64),
) -> Result<(Scrubbed, Option<Metainfo>)> {
    let stored = read_metainfo(metainfo)?.filter(|stored| stored.digest() == digest);
    let mut digester = Digester::new(digest.algorithm());
    let mut pieces = PieceDigester::new();
    let read = read_through(shared, data, &mut |bytes| {
        digester.update(bytes);
        pieces.update(bytes);
        each(bytes.len() as u64);
    });
    match read {
        Ok(()) => {}
        Err(error) if piece::is_damage(&error) => {
            return damaged(data, stored, digest).map(|found| (found, None));
        }
        Err(source) => return Err(Error::io("read", data, source)),
    }
    let found = pieces.finish(*digest);
    if digester.finish() == *digest {
        let result = if stored.as_ref() == Some(&found) { Scrubbed::Intact } else { Scrubbed::Restored };
        return Ok((result, Some(found)));
    }
    damaged(data, stored, digest).map(|found| (found, None))
}

/// Finds the bad pieces, one by one. Without a metainfo, or when it vouches for wrong bytes, all are bad.
fn damaged(data: &Path, stored: Option<Metainfo>, digest: &Digest) -> Result<Scrubbed> {
    let fail = |source| Error::io("open", data, source);
    let file = match disk::open_for_reading(data) {
        Ok(file) => file,
        Err(error) if piece::is_damage(&error) => {
            let count = stored.map_or(0, |stored| stored.layout().piece_count());
            return Ok(Scrubbed::Damaged { pieces: (0..count).map(PieceIndex).collect() });
        }
        Err(error) => return Err(fail(error)),
    };
    let Some(stored) = stored else {
        let layout = Layout::for_size(file.metadata().map_err(fail)?.len());
        return Ok(Scrubbed::Damaged { pieces: (0..layout.piece_count()).map(PieceIndex).collect() });
    };
    let all = Bitfield::full(stored.layout().piece_count());
    let good = piece::verified(&file, data, &stored, &all)?;
    let mut pieces: Vec<_> = good.iter_missing().collect();
    if pieces.is_empty() {
        tracing::error!(%digest, "a metainfo describes other content than its digest");
        pieces = all.iter().collect();
    }
    Ok(Scrubbed::Damaged { pieces })
}

/// Calls `each` with the content of a file, as the disk has it.
fn read_through(shared: &Shared, path: &Path, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let Some(mut buffer) = shared.buffers.take(0) else {
        // All buffers are in use: pushes have the disk anyway.
        return disk::read_file(path, true, each);
    };
    if !shared.buffers.is_direct() {
        return disk::read_file(path, true, each);
    }
    let file = Arc::new(direct::open_for_reading(path)?);
    let mut offset = 0;
    loop {
        match file.read_at(buffer.aligned_mut(), offset) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                each(&buffer.aligned_mut()[..len]);
                offset += len as u64;
                if len < BUFFER_LEN && !len.is_multiple_of(direct::BLOCK_LEN) {
                    // Only the end of a file lies within a block.
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if direct::is_refusal(&error) && offset == 0 => {
                return disk::read_file(path, true, each);
            }
            Err(error) => return Err(error),
        }
    }
}
