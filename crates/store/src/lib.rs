//! Content-addressed blobs on one disk: upload, partial, complete, evicted. (API skeleton; bodies follow.)

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, Metainfo, PieceIndex};

mod error;
mod options;

pub use error::{Error, ErrorKind, NoSpace, Result};
pub use options::{Durability, Options};
pub use upload::{Upload, UploadId, UploadStatus};

/// Bytes of an upload's label at most.
pub const LABEL_LEN_MAX: usize = 1024;

mod upload {
    use super::*;
    /// Names one upload.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct UploadId([u8; 16]);
    impl std::fmt::Display for UploadId {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&hex::encode(self.0))
        }
    }
    /// Not an upload id.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("an upload id is 32 lower-case hexadecimal characters")]
    pub struct ParseUploadIdError;
    impl std::str::FromStr for UploadId {
        type Err = ParseUploadIdError;
        fn from_str(_: &str) -> std::result::Result<Self, ParseUploadIdError> {
            todo!()
        }
    }
    /// How far an upload is.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct UploadStatus {
        /// Bytes so far.
        pub size: u64,
        /// What `create_upload` was given.
        pub label: String,
    }
    /// An open upload.
    pub struct Upload;
    #[allow(missing_docs, unused_variables)]
    impl Upload {
        pub fn id(&self) -> &UploadId {
            todo!()
        }
        pub fn size(&self) -> u64 {
            todo!()
        }
        pub fn label(&self) -> &str {
            todo!()
        }
        pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
            todo!()
        }
        pub fn suspend(self) {
            todo!()
        }
        pub fn commit(self, expected: &Digest) -> Result<Metainfo> {
            todo!()
        }
        pub fn cancel(self) {
            todo!()
        }
    }
}

/// The store.
#[derive(Clone)]
pub struct Store;
/// Counts of what was found at start.
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
    /// Blobs whose lost metainfo was made again from their bytes.
    pub rederived: usize,
    /// Blobs that turned out short and became unfinished downloads.
    pub demoted: usize,
    /// Stray files removed.
    pub removed: usize,
    /// Files left alone because the store would never write such a name.
    pub foreign: usize,
}
/// Occupancy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All bytes: complete, partial (at full size), uploads.
    pub bytes: u64,
    /// The limit on `bytes`.
    pub capacity: Option<u64>,
    /// Number of complete blobs.
    pub blobs: usize,
    /// Bytes of unfinished downloads, at their full size.
    pub partial_bytes: u64,
    /// Bytes of uploads.
    pub upload_bytes: u64,
    /// Blobs evicted since start.
    pub evictions: u64,
}
#[allow(missing_docs, unused_variables)]
impl Store {
    pub fn open(root: &Path, options: Options) -> Result<(Store, Recovery)> {
        todo!()
    }
    pub fn stat(&self, digest: &Digest) -> Option<u64> {
        todo!()
    }
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        todo!()
    }
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        todo!()
    }
    pub fn digests(&self) -> Vec<Digest> {
        todo!()
    }
    pub fn partials(&self) -> Vec<Digest> {
        todo!()
    }
    pub fn put(&self, expected: &Digest, bytes: &[u8]) -> Result<Metainfo> {
        todo!()
    }
    pub fn usage(&self) -> Usage {
        todo!()
    }
    pub fn create_upload(&self, label: &str) -> Result<UploadId> {
        todo!()
    }
    pub fn upload_status(&self, id: &UploadId) -> Result<UploadStatus> {
        todo!()
    }
    pub fn open_upload(&self, id: &UploadId) -> Result<Upload> {
        todo!()
    }
    pub fn expire_uploads(&self, older_than: Duration, now: SystemTime) -> usize {
        todo!()
    }
    pub fn partial(&self, metainfo: &Metainfo) -> Result<Partial> {
        todo!()
    }
    /// A partial found on disk, without knowing its metainfo.
    pub fn resume(&self, digest: &Digest) -> Result<Partial> {
        todo!()
    }
    pub fn demote(&self, digest: &Digest) -> Result<Partial> {
        todo!()
    }
}
/// What `write_piece` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is new.
    Stored,
    /// It was there already.
    Duplicate,
}
/// An unfinished download.
#[derive(Clone)]
pub struct Partial;
#[allow(missing_docs, unused_variables)]
impl Partial {
    pub fn metainfo(&self) -> &Metainfo {
        todo!()
    }
    pub fn have(&self) -> Bitfield {
        todo!()
    }
    pub fn write_piece(&self, index: PieceIndex, bytes: &[u8]) -> Result<Written> {
        todo!()
    }
    pub fn read_piece(&self, index: PieceIndex) -> Result<Bytes> {
        todo!()
    }
    pub fn commit(&self) -> Result<Blob> {
        todo!()
    }
    pub fn discard(&self) {
        todo!()
    }
}
/// A complete blob.
#[derive(Clone)]
pub struct Blob;
#[allow(missing_docs, unused_variables)]
impl Blob {
    pub fn digest(&self) -> &Digest {
        todo!()
    }
    pub fn size(&self) -> u64 {
        todo!()
    }
    pub fn metainfo(&self) -> &Metainfo {
        todo!()
    }
    pub fn read_piece(&self, index: PieceIndex) -> Result<Bytes> {
        todo!()
    }
}
