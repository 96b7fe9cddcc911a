//! Small content in append-only segments, so that a push of it costs a share of one write and one sync instead of two files, four
//! syncs and an inode each.
//!
//! Goals: what is acknowledged is on the disk; a start needs no look at a single blob; room comes back without anybody waiting for
//! it. Non-goals: caches, which evict blob by blob and sync nothing (they keep a file per blob), and content that is more than one
//! piece.
//!
//! - `record`, `segment`, `summary`: what is on the disk; `scan`, `load`: how it is read at start.
//! - `table`: where each blob is, in memory.
//! - `queue`, `group`: how records get to the disk, many at a time, by one writer.
//! - `read`, `damage`: how they come back, and what happens when they do not.
//! - `compact`: how room is won back.
//!
//! Locks: the writer → the queue, the table's shards, a segment's tally, the space counters (leaves). Callers are told after the
//! writer is free again, so they may call the store.
//!
//! The price: bytes of removed blobs stay on the disk until half of their segment is dead, and a header of 128 bytes per blob.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::Metainfo;

use crate::error::{Error, Result};
use crate::locks::hold;
use crate::open::Recovery;
use crate::paths::Paths;
use crate::space::{Class, Space};
use crate::store::{SMALL_SIZE_MAX, Shared};

use self::compact::Alarm;
use self::damage::Damages;
use self::file::Faults;
use self::group::Writer;
use self::queue::{Op, Queue, What};
use self::record::Content;
use self::segment::Segment;
use self::table::Table;

pub(crate) use self::read::PackedBlob;
pub(crate) use self::record::{seconds_of, time_of};

mod compact;
mod damage;
mod file;
mod group;
mod load;
mod queue;
mod read;
mod record;
mod scan;
mod segment;
mod summary;
mod table;
#[cfg(test)]
mod tests;

/// A segment is sealed when it is this long: large enough that a million blobs are some dozens of files, small enough to be read
/// through in a fraction of a second, and to be compacted in passing.
const SEGMENT_LEN: u64 = 64 * 1024 * 1024;

/// How a pack behaves; tests have their own.
#[derive(Clone)]
pub(crate) struct Limits {
    pub(crate) segment_len: u64,
    /// Whether a thread compacts.
    pub(crate) compacts: bool,
    pub(crate) faults: Faults,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_len: SEGMENT_LEN, compacts: true, faults: Faults::default() }
    }
}

/// The pack of one store, with its threads.
pub(crate) struct Pack {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads share.
pub(crate) struct Inner {
    paths: Paths,
    space: Arc<Space>,
    limits: Limits,
    faults: Faults,
    table: Table,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    unreadable: BTreeSet<u32>,
    queue: Queue,
    writer: Mutex<Writer>,
    damages: Damages,
    alarm: Alarm,
}

impl Pack {
    /// Reads what there is, and starts the threads.
    pub(crate) fn open(
        paths: &Paths,
        space: &Arc<Space>,
        limits: Limits,
        recovery: &mut Recovery,
    ) -> Result<Self> {
        let loaded = load::load(paths, &limits.faults, recovery)?;
        space.found(Class::Blob, loaded.bytes);
        let inner = Arc::new(Inner {
            paths: paths.clone(),
            space: space.clone(),
            faults: limits.faults.clone(),
            limits,
            table: loaded.table,
            segments: RwLock::new(loaded.segments),
            unreadable: loaded.unreadable,
            queue: Queue::default(),
            writer: Mutex::new(loaded.writer),
            damages: Damages::default(),
            alarm: Alarm::default(),
        });
        let pack = Self { inner, threads: Mutex::default() };
        pack.start("store-pack", Inner::write_for_others)?;
        if pack.inner.limits.compacts {
            pack.inner.wake_compactor();
            pack.start("store-compact", Inner::compact_in_background)?;
        }
        Ok(pack)
    }

    fn start(&self, name: &str, work: fn(&Inner)) -> Result<()> {
        let inner = self.inner.clone();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&inner));
        let thread =
            thread.map_err(|source| Error::io("start a thread for", &self.inner.paths.pack(), source))?;
        hold(&self.threads).push(thread);
        Ok(())
    }

    pub(crate) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        self.inner.table.get(digest).map(|place| u64::from(place.len))
    }

    pub(crate) fn count(&self) -> usize {
        self.inner.table.count()
    }

    pub(crate) fn dead_bytes(&self) -> u64 {
        self.inner.dead_bytes()
    }

    pub(crate) fn damaged(&self) -> u64 {
        self.inner.damages.count()
    }

    /// At most `limit` blobs after `after`: digest, size and time.
    pub(crate) fn after(&self, after: Option<&Digest>, limit: usize) -> Vec<(Digest, u64, SystemTime)> {
        let found = self.inner.table.after(after, limit).into_iter();
        found.map(|(digest, place)| (digest, u64::from(place.len), time_of(place.seconds))).collect()
    }
}

impl Drop for Pack {
    /// Everything that waits is written first.
    fn drop(&mut self) {
        self.inner.queue.close();
        self.inner.alarm.stop();
        // Here as well: the last handle may have been dropped by who was told by the pack's own thread, which cannot be waited for.
        self.inner.write_for_others();
        for handle in hold(&self.threads).drain(..) {
            if handle.thread().id() != thread::current().id() && handle.join().is_err() {
                tracing::error!("a thread of the pack has panicked");
            }
        }
    }
}

impl Inner {
    fn segments(&self) -> RwLockReadGuard<'_, BTreeMap<u32, Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<u32, Arc<Segment>>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment(&self, id: u32) -> Option<Arc<Segment>> {
        self.segments().get(&id).cloned()
    }

    fn exists(&self, id: u32) -> bool {
        self.segments().contains_key(&id) || self.unreadable.contains(&id)
    }
}

impl Shared {
    /// Whether content of this size goes into the pack.
    pub(crate) const fn packs(&self, size: u64) -> bool {
        self.pack.is_some() && size <= SMALL_SIZE_MAX
    }

    pub(crate) fn open_packed(self: &Arc<Self>, digest: &Digest) -> Result<Option<PackedBlob>> {
        self.pack.as_ref().map_or(Ok(None), |pack| pack.inner.open_blob(self, digest))
    }

    /// Removes a packed blob; on the disk when it returns. False when there is none.
    pub(crate) fn remove_packed(&self, digest: &Digest) -> Result<bool> {
        let Some(pack) = &self.pack else { return Ok(false) };
        let known = pack.size(digest).is_some() || pack.inner.damaged_spot(digest).is_some();
        if !known {
            return Ok(false);
        }
        pack.inner.run(vec![What::Remove { digest: *digest }]).pop().unwrap_or(Err(Error::PackBusy))
    }

    /// Stores small content whose digest was checked.
    pub(crate) fn put_packed(&self, metainfo: &Metainfo, bytes: &[u8]) -> Result<()> {
        let Some((pack, content)) = self.pack.as_ref().zip(content_of(metainfo)) else {
            return Err(Error::PackBusy);
        };
        if pack.inner.is_intact_in_memory(metainfo.digest(), bytes) {
            return Ok(());
        }
        self.reserve(Class::Blob, metainfo.size())?;
        let put = What::Put { content, bytes: Bytes::copy_from_slice(bytes) };
        let result = pack.inner.run(vec![put]).pop().unwrap_or(Err(Error::PackBusy));
        if !matches!(result, Ok(true)) {
            self.space.give_back(Class::Blob, metainfo.size());
        }
        result.map(drop)
    }

    /// See [`crate::Store::submit`].
    pub(crate) fn submit(
        &self,
        expected: &Digest,
        bytes: Bytes,
        done: impl FnOnce(Result<Metainfo>) + Send + 'static,
    ) {
        let got = Digest::of(expected.algorithm(), &bytes);
        if got != *expected {
            return done(Err(Error::DigestMismatch { expected: Box::new(*expected), got: Box::new(got) }));
        }
        let metainfo = Metainfo::of(*expected, &bytes);
        let Some((pack, content)) = self.pack.as_ref().zip(content_of(&metainfo)) else {
            return done(self.put_file(&metainfo, &bytes).map(|()| metainfo));
        };
        if pack.inner.is_intact_in_memory(expected, &bytes) || self.index.size(expected).is_some() {
            return done(Ok(metainfo));
        }
        if let Err(error) = self.reserve(Class::Blob, metainfo.size()) {
            return done(Err(error));
        }
        let space = self.space.clone();
        let tell = move |result: Result<bool>| {
            if !matches!(result, Ok(true)) {
                space.give_back(Class::Blob, metainfo.size());
            }
            done(result.map(|_| metainfo));
        };
        let op = Op { what: What::Put { content, bytes }, done: Box::new(tell) };
        if let Err(op) = pack.inner.queue.offer(op) {
            (op.done)(Err(Error::PackBusy));
        }
    }

    pub(crate) fn small(&self, digest: &Digest) -> Option<Result<Bytes>> {
        self.pack.as_ref()?.inner.small(digest)
    }
}

/// The record's description of content that comes now; `None` when it is too large.
fn content_of(metainfo: &Metainfo) -> Option<Content> {
    let small = metainfo.size() <= SMALL_SIZE_MAX;
    Content::of(metainfo, seconds_of(SystemTime::now())).filter(|_| small)
}
