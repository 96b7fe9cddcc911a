//! Why the cluster's memory did not answer, as one type for every engine.

use std::path::PathBuf;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The change contradicts what is there.
    Conflict,
    /// Not now; the same request may succeed later.
    Unavailable,
    /// A fault on our side, or of the machine, that needs an operator.
    Internal,
}

/// A question that got no answer, or a change that was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store was written by a newer program.
    #[error(
        "{path} has schema version {found}, this program knows versions up to {supported}; start the newer program again, or \
         restore the backup that was made before the upgrade"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that we know.
        supported: i64,
    },
    /// The file is a database, but not ours.
    #[error("{path} is not a metadata store of this program; give it a directory of its own")]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("{path} is in use by another process; two servers cannot share a data directory")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file or directory could not be made or opened.
    #[error("cannot {what} {path}: {why}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
    /// The database refused.
    #[error("the metadata store failed: {message}")]
    Database {
        /// What a caller can do about it.
        kind: ErrorKind,
        /// SQLite's words.
        message: String,
    },
    /// The same content was linked before with another size.
    #[error("{digest} is linked with {linked} bytes, and cannot have {offered}")]
    SizeConflict {
        /// The content.
        digest: shoal_oci::Digest,
        /// What is known.
        linked: u64,
        /// What was said now.
        offered: u64,
    },
    /// A stored row does not read back as what was written.
    #[error("the metadata store holds a damaged {what}; restore it from a backup")]
    Damaged {
        /// What the row should have held.
        what: &'static str,
    },
    /// A value that no store can hold.
    #[error("{what} is too large to be stored")]
    TooLarge {
        /// Which value.
        what: &'static str,
    },
    /// No answer in time: the disk is too slow for the requests, or stuck.
    #[error("the metadata store did not answer within {seconds} s; the disk is overloaded or stuck")]
    Timeout {
        /// How long was waited.
        seconds: u64,
    },
    /// The store's threads have ended.
    #[error("the metadata store is closed")]
    Closed,
}

impl Error {
    /// What a caller can do about it.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Database { kind, .. } => *kind,
            Self::SizeConflict { .. } => ErrorKind::Conflict,
            Self::Timeout { .. } | Self::Closed => ErrorKind::Unavailable,
            Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Locked { .. }
            | Self::Io { .. }
            | Self::Damaged { .. }
            | Self::TooLarge { .. } => ErrorKind::Internal,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let kind = match error.sqlite_error_code() {
            Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::DiskFull | Code::OutOfMemory) => {
                ErrorKind::Unavailable
            }
            Some(Code::SystemIoFailure | Code::ReadOnly | Code::CannotOpen) => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        Self::Database { kind, message: error.to_string() }
    }
}
