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
use crate::counting::Counting;
use crate::demote;
use crate::direct::{Buffer, Buffers};
use crate::error::Result;
use crate::faults::Faults;
use crate::id::UploadId;
use crate::index::Index;
use crate::inflow::Inflow;
use crate::locks::Stripes;
use crate::open::{self, Recovery};
use crate::options::Options;
use crate::pack::{Limits, Pack};
use crate::partial::Partial;
use crate::partials::{self, Partials};
use crate::paths::Paths;
use crate::quarantine::Quarantine;
use crate::space::{Shortage, Space};
use crate::upload::{Upload, UploadStatus};
use crate::uploads::{self, Uploads};
use crate::verified::Verified;
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
    pub(crate) space: Arc<Space>,
    pub(crate) index: Arc<Index>,
    pub(crate) stripes: Arc<Stripes>,
    /// Small content, in a durable store.
    pub(crate) pack: Option<Pack>,
    pub(crate) counting: Counting,
    pub(crate) uploads: Uploads,
    pub(crate) partials: Partials,
    /// Blobs that are not evicted: see [`Store::keep`].
    pub(crate) kept: Mutex<HashSet<Digest>>,
    /// Held by the one thread that makes room.
    pub(crate) evictor: Mutex<()>,
    pub(crate) evictions: AtomicU64,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) writers: Writers,
    pub(crate) faults: Arc<Faults>,
    pub(crate) verified: Verified,
    pub(crate) quarantine: Quarantine,
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
    /// Bytes that `bytes`, `partial_bytes`, `upload_bytes` and `quarantine_bytes` may reach together; `None` = no limit.
    pub capacity: Option<u64>,
    /// Number of complete blobs.
    pub blobs: usize,
    /// Bytes of unfinished downloads, each counted with its full size.
    pub partial_bytes: u64,
    /// Bytes of unfinished uploads.
    pub upload_bytes: u64,
    /// Bytes of damaged blobs that were set aside.
    pub quarantine_bytes: u64,
    /// Blobs and idle downloads evicted since the store was opened.
    pub evictions: u64,
    /// Whether the files that were there when the store was opened are still being counted: until then the other figures are too
    /// low. Blobs that were not counted yet can be read all the same.
    pub counting: bool,
    /// Bytes of the pack that belong to no blob any more, until they are compacted.
    pub dead_bytes: u64,
    /// Small blobs that were found damaged, and left the store, since it was opened.
    pub damaged: u64,
}

impl Shared {
    pub(crate) fn new(paths: Paths, options: Options, lock: File, space: Arc<Space>) -> Self {
        Self {
            space,
            buffers: Arc::new(Buffers::new(&paths)),
            paths,
            options,
            index: Arc::default(),
            stripes: Arc::new(Stripes::new()),
            pack: None,
            counting: Counting::default(),
            uploads: Uploads::default(),
            partials: Partials::default(),
            kept: Mutex::default(),
            evictor: Mutex::default(),
            evictions: AtomicU64::new(0),
            writers: Writers::default(),
            faults: Arc::default(),
            verified: Verified::default(),
            quarantine: Quarantine::default(),
            lock,
        }
    }
}

impl Shared {
    /// Opens the pack, which only a durable store has.
    pub(crate) fn with_pack(mut self, limits: Limits, recovery: &mut Recovery) -> Result<Self> {
        if self.options.is_durable() {
            self.pack = Some(Pack::open(&self.paths, &self.space, limits, recovery)?);
        }
        Ok(self)
    }

    /// See [`Store::each_digest`].
    fn each_digest(&self, after: Option<&Digest>, limit: usize) -> Vec<Listed> {
        let packed = self.pack.as_ref().map(|pack| pack.after(after, limit)).unwrap_or_default();
        let filed = self.index.after(after, limit);
        let mut all: Vec<_> = packed.into_iter().chain(filed).collect();
        all.sort_by_key(|(digest, ..)| *digest);
        all.dedup_by_key(|(digest, ..)| *digest);
        all.truncate(limit);
        all.into_iter().map(|(digest, size, modified)| Listed { digest, size, modified }).collect()
    }

    /// Every complete blob, packed or with files.
    fn digests(&self) -> Vec<Digest> {
        let mut all = self.index.digests();
        if let Some(pack) = &self.pack {
            // A blob may have both, and is one.
            all.retain(|digest| pack.size(digest).is_none());
            all.extend(pack.after(None, usize::MAX).into_iter().map(|(digest, ..)| digest));
        }
        all
    }
}

impl Drop for Shared {
    /// Closing the file may not be enough: a child process that is just being started has a copy of every open file until it runs
    /// its program.
    fn drop(&mut self) {
        // Their threads work in the directory, so they end before it is free for others.
        drop(self.pack.take());
        drop(std::mem::take(&mut self.counting));
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
        let (shared, recovery) = open::open(root, options, Limits::default())?;
        Ok((Self { shared }, recovery))
    }

    /// Size of a complete blob in bytes. Not counted as a use. Does not touch the disk, except that while [`Usage::counting`] holds a blob
    /// that was not met yet is looked for under its name.
    ///
    /// # Errors
    /// The disk's error from that look: whether the blob is there is then not known, and nobody may take it for absent.
    pub fn stat(&self, digest: &Digest) -> Result<Option<u64>> {
        self.shared.size(digest)
    }

    /// Opens a complete blob. As long as the handle lives the blob is not evicted.
    ///
    /// # Errors
    /// [`crate::Error::BlobNotFound`]; [`crate::Error::CorruptBlob`] when both the blob and its metainfo were damaged.
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        blob::open(&self.shared, digest)
    }

    /// Removes a complete blob; false when there is none. Those who have it open can read it to its end. After a power failure a blob
    /// with files may be back; a small one in a durable store is gone for good when this returns.
    ///
    /// # Errors
    /// The disk's error; the blob is then still there.
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        self.shared.remove_blob(digest)
    }

    /// The complete blobs, in no particular order.
    pub fn digests(&self) -> Vec<Digest> {
        self.shared.digests()
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
    /// A failure that can be seen at once is told before this returns. So when it has returned and `done` was not called, `bytes`
    /// have the digest `expected`, there is room for them, and they wait to be written.
    ///
    /// # Errors
    /// Those of [`Store::put`] go to `done`, and [`crate::Error::PackBusy`] when too much waits to be written.
    pub fn submit(
        &self,
        expected: Digest,
        bytes: Bytes,
        done: impl FnOnce(Result<Metainfo>) + Send + 'static,
    ) {
        self.shared.submit(&expected, bytes, done);
    }

    /// The content of a small blob, verified, if it can be had without waiting for the disk. `None` says nothing: ask
    /// [`Store::blob`], where blocking is allowed.
    pub fn small(&self, digest: &Digest) -> Option<Result<Bytes>> {
        self.shared.small(digest)
    }

    /// The complete blobs in the order of their digests: at most `limit` of those that come after `after`. For walks over all of
    /// them that do not hold them all in memory. While [`Usage::counting`] holds, files that were not met yet are missing.
    pub fn each_digest(&self, after: Option<Digest>, limit: usize) -> Vec<Listed> {
        self.shared.each_digest(after.as_ref(), limit)
    }

    /// Waits until the files that were there when the store was opened are counted, and gives what was found by that; nothing in a
    /// cache, which counts while it is opened. For tools and tests: nothing that serves has to wait.
    pub fn finish_counting(&self) -> Recovery {
        self.shared.counting.finish()
    }

    /// How full the store is.
    pub fn usage(&self) -> Usage {
        let held = self.shared.space.held();
        let pack = self.shared.pack.as_ref();
        Usage {
            bytes: held.blobs,
            capacity: self.shared.options.capacity,
            blobs: self.shared.index.count() + pack.map_or(0, Pack::count),
            partial_bytes: held.partials,
            upload_bytes: held.uploads,
            quarantine_bytes: held.quarantine,
            evictions: self.shared.evictions.load(Ordering::Relaxed),
            counting: self.shared.counting.is_running(),
            dead_bytes: pack.map_or(0, Pack::dead_bytes),
            damaged: pack.map_or(0, Pack::damaged),
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

    /// Cancels the uploads that nobody holds and whose label `is_meant`; returns how many.
    pub fn cancel_uploads(&self, is_meant: impl Fn(&str) -> bool) -> usize {
        self.shared.cancel_uploads(is_meant)
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

    /// Begins to take in a blob whose bytes come in order from one source; others may have its pieces as they come. For content that is
    /// larger than [`SMALL_SIZE_MAX`].
    ///
    /// # Errors
    /// [`crate::Error::NoSpace`] when the whole blob does not fit; [`crate::Error::MetainfoConflict`] when there is a download of it: take
    /// an upload then; the disk's error.
    pub fn inflow(&self, digest: &Digest, size: u64) -> Result<Inflow> {
        Inflow::begin(&self.shared, digest, size)
    }

    /// Resumes a download by the metainfo that is on the disk, or joins it.
    ///
    /// # Errors
    /// [`crate::Error::PartialNotFound`]; the disk's error.
    pub fn resume(&self, digest: &Digest) -> Result<Partial> {
        partials::resume(&self.shared, digest)
    }

    /// Turns a complete blob with a bad piece into a download that has the pieces which verify; one that was lost but for its metainfo (see
    /// [`Store::lost`]) into a download that has none. Reads the whole blob. Handles to the
    /// blob stay open on the same file, and see pieces that are written again. When somebody else was faster, joins their download.
    ///
    /// # Errors
    /// [`crate::Error::BlobNotFound`]; [`crate::Error::CorruptBlob`] when the metainfo is lost as well; the disk's error.
    pub fn demote(&self, digest: &Digest) -> Result<Partial> {
        demote::demote(&self.shared, digest)
    }
}

impl Store {
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[cfg(test)]
impl Store {
    /// As [`Store::open`], with a pack that behaves as a test wants it to.
    pub(crate) fn open_limited(root: &Path, options: Options, limits: Limits) -> Result<(Self, Recovery)> {
        let (shared, recovery) = open::open(root, options, limits)?;
        Ok((Self { shared }, recovery))
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
