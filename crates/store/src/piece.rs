//! Reading pieces out of a file so that nothing unverified ever leaves it.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use shoal_swarm_types::{Bitfield, Metainfo, PieceIndex};

use crate::disk;
use crate::error::{Error, Result};

/// The pieces of a blob, as indices.
pub(crate) fn indices(metainfo: &Metainfo) -> impl Iterator<Item = PieceIndex> + use<> {
    (0..metainfo.layout().piece_count()).map(PieceIndex)
}

pub(crate) fn check_index(metainfo: &Metainfo, index: PieceIndex) -> Result<()> {
    if index.0 < metainfo.layout().piece_count() {
        return Ok(());
    }
    Err(Error::NoSuchPiece { digest: *metainfo.digest(), index })
}

/// Reads one piece and checks it. A piece that cannot be read because the file is short or the disk is bad counts as corrupt:
/// the remedy, fetching it again, is the same.
pub(crate) fn read(file: &File, path: &Path, metainfo: &Metainfo, index: PieceIndex) -> Result<Bytes> {
    check_index(metainfo, index)?;
    let corrupt = || Error::CorruptPiece { digest: *metainfo.digest(), index };
    let len = metainfo.layout().piece_len(index) as usize;
    match disk::read_exact_at(file, metainfo.layout().piece_range(index).start, len) {
        Ok(piece) if metainfo.verify(index, &piece) => Ok(piece.into()),
        Ok(_) => Err(corrupt()),
        Err(error) if is_damage(&error) => Err(corrupt()),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Those of `wanted` that are in the file and verify.
///
/// # Errors
/// Only when the file cannot be read for a reason that says nothing about its bytes.
pub(crate) fn verified(file: &File, path: &Path, metainfo: &Metainfo, wanted: &Bitfield) -> Result<Bitfield> {
    let mut good = Bitfield::empty(metainfo.layout().piece_count());
    for index in wanted.iter() {
        match read(file, path, metainfo, index) {
            Ok(_) => {
                good.set(index);
            }
            Err(Error::CorruptPiece { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(good)
}

pub(crate) fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}
