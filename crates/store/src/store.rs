//! The store itself: what all handles share, and the words that callers say. Each word is one call into the room that does it.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::Metainfo;

use crate::blob::{self, Blob};
use crate::demote;
use crate::direct::{Buffer, Buffers};
use crate::error::Result;
use crate::faults::Faults;
use crate::id::UploadId;
use crate::index::Index;
use crate::locks::Stripes;
use crate::open::{self, Recovery};
use crate::options::Options;
use crate::partial::Partial;
use crate::partials::{self, Partials};
use crate::paths::Paths;
use crate::space::{Shortage, Space};
use crate::upload::{Upload, UploadStatus};
use crate::uploads::{self, Uploads};
use crate::writer::Writers;

/// A content-addressed store in one directory. Cheap to clone; the directory stays locked until the last clone and the last handle
/// made from it are dropped. Every word may block on the disk: call it where blocking is allowed.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What the store and all handles share.
pub(crate) struct Shared {
    pub(crate) paths: Paths,
    pub(crate) options: Options,
    pub(crate) space: Space,
    pub(crate) index: Index,
    pub(crate) stripes: Stripes,
    pub(crate) uploads: Uploads,
    pub(crate) partials: Partials,
    /// Held by the one thread that makes room.
    pub(crate) evictor: Mutex<()>,
    pub(crate) evictions: AtomicU64,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) writers: Writers,
    pub(crate) faults: Arc<Faults>,
    /// Locked until the last handle is dropped.
    lock: File,
}

/// Content of at most this many bytes goes into the pack of a durable store: one piece, and about what a disk writes in one go. A
/// larger blob is worth a file of its own.
pub const SMALL_SIZE_MAX: u64 = 64 * 1024;

/// One blob, as [`Store::each_digest`] tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The blob.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// When its bytes came into the store, to the second.
    pub modified: SystemTime,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of complete blobs.
    pub bytes: u64,
    /// Bytes that `bytes`, `partial_bytes` and `upload_bytes` may reach together; `None` = no limit.
    pub capacity: Option<u64>,
    /// Number of complete blobs.
    pub blobs: usize,
    /// Bytes of unfinished downloads, each counted with its full size.
    pub partial_bytes: u64,
    /// Bytes of unfinished uploads.
    pub upload_bytes: u64,
    /// Blobs and idle downloads evicted since the store was opened.
    pub evictions: u64,
    /// Whether the files that were there when the store was opened are still being counted: until then the other figures are too
    /// low. Blobs that were not counted yet can be read all the same.
    pub counting: bool,
    /// Bytes of the pack that belong to no blob any more, until they are compacted.
    pub dead_bytes: u64,
}

impl Shared {
    pub(crate) fn new(paths: Paths, options: Options, lock: File) -> Self {
        Self {
            space: Space::new(paths.root(), &options),
            buffers: Arc::new(Buffers::new(&paths)),
            paths,
            options,
            index: Index::default(),
            stripes: Stripes::new(),
            uploads: Uploads::default(),
            partials: Partials::default(),
            evictor: Mutex::default(),
            evictions: AtomicU64::new(0),
            writers: Writers::default(),
            faults: Arc::default(),
            lock,
        }
    }
}

impl Drop for Shared {
    /// Closing the file may not be enough: a child process that is just being started has a copy of every open file until it runs
    /// its program.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "the store's lock ends with its file");
        }
    }
}

impl Store {
    /// Opens the store in `root`, which is created if need be, and brings what a crash may have left there into order.
    ///
    /// # Errors
    /// [`crate::Error::Locked`] when another process (or another `Store` in this one) has the directory; otherwise the disk's error.
    pub fn open(root: &Path, options: Options) -> Result<(Self, Recovery)> {
        let (shared, recovery) = open::open(root, options)?;
        Ok((Self { shared }, recovery))
    }

    /// Size of a complete blob in bytes. Does not touch the disk and does not count as a use.
    pub fn stat(&self, digest: &Digest) -> Option<u64> {
        self.shared.index.size(digest)
    }

    /// Opens a complete blob. As long as the handle lives the blob is not evicted.
    ///
    /// # Errors
    /// [`crate::Error::BlobNotFound`]; [`crate::Error::CorruptBlob`] when both the blob and its metainfo were damaged.
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        blob::open(&self.shared, digest)
    }

    /// Removes a complete blob; false when there is none. Those who have it open can read it to its end. After a power failure the
    /// blob may be back.
    ///
    /// # Errors
    /// The disk's error; the blob is then still there.
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        self.shared.remove_blob(digest)
    }

    /// The complete blobs, in no particular order.
    pub fn digests(&self) -> Vec<Digest> {
        self.shared.index.digests()
    }

    /// The unfinished downloads, in no particular order: those found at start and those begun since.
    pub fn partials(&self) -> Vec<Digest> {
        self.shared.partials.digests()
    }

    /// Stores small content in one call. Nothing happens when the blob is there already.
    ///
    /// # Errors
    /// [`crate::Error::DigestMismatch`] when `bytes` do not have the digest `expected`; [`crate::Error::NoSpace`]; the disk's error.
    pub fn put(&self, expected: &Digest, bytes: &[u8]) -> Result<Metainfo> {
        self.shared.put(expected, bytes)
    }

    /// Stores small content without blocking: `done` is called once the content is on the disk, or with the reason why it is not;
    /// it runs on the store's own thread (or on this one) and must be quick. Content of any other size is refused.
    ///
    /// # Errors
    /// Those of [`Store::put`] go to `done`, and [`crate::Error::PackBusy`] when too much waits to be written.
    pub fn submit(
        &self,
        expected: Digest,
        bytes: Bytes,
        done: impl FnOnce(Result<Metainfo>) + Send + 'static,
    ) {
        done(self.put(&expected, &bytes));
    }

    /// The content of a small blob, verified, if it can be had without waiting for the disk. `None` says nothing: ask
    /// [`Store::blob`], where blocking is allowed.
    pub fn small(&self, digest: &Digest) -> Option<Result<Bytes>> {
        _ = digest;
        None
    }

    /// The complete blobs in the order of their digests: at most `limit` of those that come after `after`. For walks over all of
    /// them that do not hold them all in memory. While [`Usage::counting`] holds, files that were not met yet are missing.
    pub fn each_digest(&self, after: Option<Digest>, limit: usize) -> Vec<Listed> {
        let mut digests = self.digests();
        digests.retain(|digest| after.is_none_or(|after| *digest > after));
        digests.sort_unstable();
        digests.truncate(limit);
        let listed = digests.into_iter().filter_map(|digest| {
            Some(Listed { digest, size: self.stat(&digest)?, modified: SystemTime::UNIX_EPOCH })
        });
        listed.collect()
    }

    /// How full the store is.
    pub fn usage(&self) -> Usage {
        let held = self.shared.space.held();
        Usage {
            bytes: held.blobs,
            capacity: self.shared.options.capacity,
            blobs: self.shared.index.count(),
            partial_bytes: held.partials,
            upload_bytes: held.uploads,
            evictions: self.shared.evictions.load(Ordering::Relaxed),
            counting: false,
            dead_bytes: 0,
        }
    }

    /// Whether the store takes little more or nothing, and why: its capacity is used up, or the disk has no more than its reserve. A
    /// cache is short only when eviction would not help. Asks the disk.
    ///
    /// # Errors
    /// The disk's error.
    pub fn shortage(&self) -> Result<Option<Shortage>> {
        self.shared.shortage()
    }

    /// Starts an upload; its files are made when the first byte arrives. `label` is stored with it and comes back from [`Store::upload_status`]: callers keep the repository in it.
    ///
    /// # Errors
    /// [`crate::Error::LabelTooLong`]; [`crate::Error::NoSpace`] when there are too many unfinished uploads; the disk's error.
    pub fn create_upload(&self, label: &str) -> Result<UploadId> {
        self.shared.create_upload(label)
    }

    /// How far an upload is.
    ///
    /// # Errors
    /// [`crate::Error::UploadNotFound`].
    pub fn upload_status(&self, id: &UploadId) -> Result<UploadStatus> {
        self.shared.upload_status(id)
    }

    /// The labels of all unfinished uploads: whom a collection has to wait for.
    pub fn upload_labels(&self) -> HashSet<String> {
        self.shared.uploads.labels()
    }

    /// Opens an upload to continue or end it. One handle at a time.
    ///
    /// # Errors
    /// [`crate::Error::UploadBusy`] while another handle lives; [`crate::Error::UploadNotFound`]; the disk's error.
    pub fn open_upload(&self, id: &UploadId) -> Result<Upload> {
        uploads::open(&self.shared, id)
    }

    /// Memory for the next megabyte of an upload, to be filled and given to [`Upload::write_buffer`]; `offset` is where its first byte
    /// goes. `None` when so many are in use that the caller should write smaller portions with [`Upload::write`]. Hold it only while
    /// bytes arrive.
    pub fn buffer(&self, offset: u64) -> Option<Buffer> {
        self.shared.buffers.take(offset)
    }

    /// Ends an upload that has no bytes yet and gives its label, so that its content can be handed to [`Store::submit`] in one go;
    /// `None` when it has bytes and goes on. Touches no disk unless the upload has files.
    ///
    /// # Errors
    /// [`crate::Error::UploadBusy`] while a handle lives; [`crate::Error::UploadNotFound`].
    pub fn take_empty_upload(&self, id: &UploadId) -> Result<Option<String>> {
        self.shared.take_empty_upload(id)
    }

    /// Cancels the uploads that nobody holds and nobody has written to for longer than `older_than` before `now`; returns how many.
    pub fn expire_uploads(&self, older_than: Duration, now: SystemTime) -> usize {
        self.shared.expire_uploads(older_than, now)
    }

    /// Begins a download, resumes the one that is on the disk, or joins the one that is under way: all callers of one digest share
    /// it. Resuming reads and verifies every piece that is claimed to be there. Ask [`Store::stat`] first: a download of a blob that
    /// is complete is not refused, only useless.
    ///
    /// # Errors
    /// [`crate::Error::NoSpace`] when the whole blob does not fit; [`crate::Error::MetainfoConflict`]; the disk's error.
    pub fn partial(&self, metainfo: &Metainfo) -> Result<Partial> {
        partials::open(&self.shared, metainfo)
    }

    /// Resumes a download by the metainfo that is on the disk, or joins it.
    ///
    /// # Errors
    /// [`crate::Error::PartialNotFound`]; the disk's error.
    pub fn resume(&self, digest: &Digest) -> Result<Partial> {
        partials::resume(&self.shared, digest)
    }

    /// Turns a complete blob with a bad piece into a download that has the pieces which verify. Reads the whole blob. Handles to the
    /// blob stay open on the same file, and see pieces that are written again. When somebody else was faster, joins their download.
    ///
    /// # Errors
    /// [`crate::Error::BlobNotFound`]; [`crate::Error::CorruptBlob`] when the metainfo is lost as well; the disk's error.
    pub fn demote(&self, digest: &Digest) -> Result<Partial> {
        demote::demote(&self.shared, digest)
    }
}

#[cfg(test)]
impl Store {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.shared.paths.root()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_lock_in_a_starting_child_does_not_keep_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::cache(0)).unwrap();
        let copy = store.shared.lock.try_clone().unwrap();
        drop(store);
        Store::open(dir.path(), Options::cache(0)).unwrap();
        drop(copy);
    }
}
