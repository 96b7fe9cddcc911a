//! What can go wrong in the store, as data: each variant has a kind, from which callers make their protocol's answer.
//!
//! Only [`Error::kind`] is meant for decisions; the sentences are for people and name the remedy where there is one.

use std::io;
use std::path::{Path, PathBuf};

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use crate::id::UploadId;

/// The result of every fallible word of the store.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller must tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The blob, partial or upload does not exist (any more).
    NotFound,
    /// Somebody else holds it; try again when they are done.
    Busy,
    /// Bytes on the disk, or bytes that were handed in as a piece, are not what they should be.
    Corrupt,
    /// The content does not have the digest that it was said to have.
    DigestMismatch,
    /// Neither the store's capacity nor the disk has room.
    NoSpace,
    /// The caller asked for something that makes no sense, such as a piece beyond the end.
    Invalid,
    /// The operating system refused.
    Io,
}

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No complete blob under this digest.
    #[error("blob {0} is not in the store")]
    BlobNotFound(Digest),
    /// No unfinished download under this digest.
    #[error("there is no unfinished download of {0} in the store")]
    PartialNotFound(Digest),
    /// No upload of this id: it was committed, cancelled or it expired.
    #[error("upload {0} does not exist; it was finished, cancelled or it expired: start a new one")]
    UploadNotFound(UploadId),
    /// Another handle of the same upload is alive.
    #[error("upload {0} is being written by another request; wait until that one ends")]
    UploadBusy(UploadId),
    /// Another process has the directory.
    #[error("{} is in use by another process; give each process a directory of its own", .0.display())]
    Locked(PathBuf),
    /// More small content waits to be written than the store holds in memory.
    #[error("the disk is behind with small content; try again in a moment")]
    PackBusy,
    /// The bytes of a piece, on disk or handed in, do not match the metainfo.
    #[error("piece {} of {digest} does not match its digest", .index.0)]
    CorruptPiece {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
    },
    /// A blob whose metainfo is lost and whose bytes do not match its digest. It has left the store.
    #[error("blob {0} is damaged on the disk and has left the store; push or fetch it again")]
    CorruptBlob(Digest),
    /// The content has another digest than the one it was committed under.
    #[error("the content has digest {got}, not {expected}; send it again")]
    DigestMismatch {
        /// What the caller stated.
        expected: Box<Digest>,
        /// What the bytes have.
        got: Box<Digest>,
    },
    /// The store may not, or cannot, take more bytes.
    #[error("no space in the store: {0}")]
    NoSpace(NoSpace),
    /// A commit of a download that lacks pieces.
    #[error("the download of {digest} still lacks {missing} pieces")]
    Incomplete {
        /// The blob.
        digest: Digest,
        /// How many pieces are missing.
        missing: u32,
    },
    /// A download does not have this piece yet, or no longer.
    #[error("the download of {digest} does not have piece {} yet", .index.0)]
    PieceMissing {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
    },
    /// A piece index beyond the last piece.
    #[error("{digest} has no piece {}", .index.0)]
    NoSuchPiece {
        /// The blob.
        digest: Digest,
        /// The index asked for.
        index: PieceIndex,
    },
    /// Two metainfos that disagree about one digest; one of them is wrong.
    #[error("two different metainfos claim to describe {0}; the one that came first is in use")]
    MetainfoConflict(Digest),
    /// More bytes than a blob was said to have.
    #[error("{digest} was said to have {size} bytes, and more came")]
    SizeExceeded {
        /// The blob.
        digest: Digest,
        /// What was said.
        size: u64,
    },
    /// An upload label longer than [`crate::LABEL_LEN_MAX`].
    #[error("an upload's label may have {} bytes", crate::LABEL_LEN_MAX)]
    LabelTooLong,
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried, as in "cannot … the file".
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Which limit stands in the way of more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSpace {
    /// The configured capacity.
    #[error("{wanted} bytes do not fit into its capacity; raise the capacity or remove blobs")]
    Capacity {
        /// Bytes asked for.
        wanted: u64,
    },
    /// The configured reserve of free disk.
    #[error("{wanted} bytes would eat into the disk space that has to stay free; make room on the disk")]
    FreeMin {
        /// Bytes asked for.
        wanted: u64,
    },
    /// The disk, or a quota on it, is full.
    #[error("the disk is full; make room on it")]
    Disk,
    /// Too many unfinished uploads.
    #[error("too many unfinished uploads; wait until some are finished or expire")]
    Uploads,
}

impl Error {
    /// What the caller must tell apart.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::BlobNotFound(_)
            | Self::PartialNotFound(_)
            | Self::UploadNotFound(_)
            | Self::PieceMissing { .. } => ErrorKind::NotFound,
            Self::UploadBusy(_) | Self::Locked(_) | Self::PackBusy => ErrorKind::Busy,
            Self::CorruptPiece { .. } | Self::CorruptBlob(_) => ErrorKind::Corrupt,
            Self::DigestMismatch { .. } => ErrorKind::DigestMismatch,
            Self::NoSpace(_) => ErrorKind::NoSpace,
            Self::Incomplete { .. }
            | Self::NoSuchPiece { .. }
            | Self::MetainfoConflict(_)
            | Self::SizeExceeded { .. }
            | Self::LabelTooLong => ErrorKind::Invalid,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// An error of the operating system; a full disk or an exhausted quota becomes [`Error::NoSpace`].
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(NoSpace::Disk),
            _ => Self::Io { doing, path: path.to_owned(), source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_space_and_not_just_io() {
        let of = |errno: nix::errno::Errno| Error::io("write", Path::new("/f"), errno.into());
        assert_eq!(of(nix::errno::Errno::ENOSPC).kind(), ErrorKind::NoSpace);
        assert_eq!(of(nix::errno::Errno::EDQUOT).kind(), ErrorKind::NoSpace);
        assert_eq!(of(nix::errno::Errno::EROFS).kind(), ErrorKind::Io);
        assert!(of(nix::errno::Errno::EROFS).to_string().starts_with("cannot write /f: Read-only"));
    }

    #[test]
    fn an_error_is_small_enough_to_be_returned_everywhere() {
        // Clippy's limit for the error half of a result.
        assert!(size_of::<Error>() < 128, "{}", size_of::<Error>());
    }
}
