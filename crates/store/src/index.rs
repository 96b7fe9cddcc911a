//! Which blobs are complete, how long ago each was used, and who is reading it: in memory, so that `stat` never asks the disk.
//!
//! Use is counted, not timed: each use gets the next number. Only the order matters, and the store needs no clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use shoal_oci::Digest;

use crate::blob::Opened;

/// A use is written to the disk only when at least this many other uses lie between it and the last one that was written for the
/// same blob; so after a restart no blob's place in the order is off by more than this.
const USES_UNWRITTEN_MAX: u64 = 64;

/// One complete blob.
pub(crate) struct Entry {
    digest: Digest,
    size: u64,
    /// Number of the last use.
    used: AtomicU64,
    /// Number of the last use that is also on the disk.
    written: AtomicU64,
    /// Reads that forbid eviction. Grows only under the index's lock.
    pins: AtomicU32,
    /// The open file, shared by all who read the blob now.
    pub(crate) opened: Mutex<Weak<Opened>>,
}

impl Entry {
    pub(crate) const fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }
}

/// While it lives, the entry is not evicted.
pub(crate) struct Pin(Arc<Entry>);

impl Pin {
    fn new(entry: &Arc<Entry>) -> Self {
        entry.pins.fetch_add(1, Ordering::Relaxed);
        Self(entry.clone())
    }

    pub(crate) const fn entry(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // Release: what was done with the blob is done before anyone may evict it.
        self.0.pins.fetch_sub(1, Ordering::Release);
    }
}

/// A blob that nobody reads, as the evictor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unused {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) used: u64,
}

/// All complete blobs.
#[derive(Default)]
pub(crate) struct Index {
    entries: RwLock<HashMap<Digest, Arc<Entry>>>,
    uses: AtomicU64,
}

impl Index {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Digest, Arc<Entry>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Digest, Arc<Entry>>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        self.read().get(digest).map(|entry| entry.size)
    }

    pub(crate) fn count(&self) -> usize {
        self.read().len()
    }

    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.read().keys().copied().collect()
    }

    /// Number of a use that happens now.
    pub(crate) fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a complete blob as the most recently used one. The caller holds the digest's stripe and knows that it is not there.
    pub(crate) fn insert(&self, digest: Digest, size: u64) -> Pin {
        let used = self.next_use();
        let entry = Arc::new(Entry {
            digest,
            size,
            used: AtomicU64::new(used),
            written: AtomicU64::new(used),
            pins: AtomicU32::new(0),
            opened: Mutex::default(),
        });
        let pin = Pin::new(&entry);
        self.write().insert(digest, entry);
        pin
    }

    pub(crate) fn pin(&self, digest: &Digest) -> Option<Pin> {
        self.read().get(digest).map(Pin::new)
    }

    /// Takes an entry out.
    pub(crate) fn take(&self, digest: &Digest) -> Option<Arc<Entry>> {
        self.write().remove(digest)
    }

    /// Takes exactly this entry out, not a later one of the same digest.
    pub(crate) fn take_entry(&self, entry: &Arc<Entry>) -> bool {
        let mut entries = self.write();
        let is_same = entries.get(&entry.digest).is_some_and(|found| Arc::ptr_eq(found, entry));
        if is_same {
            entries.remove(&entry.digest);
        }
        is_same
    }

    /// Takes an entry out unless somebody reads it.
    pub(crate) fn take_unused(&self, digest: &Digest) -> Option<Arc<Entry>> {
        let mut entries = self.write();
        // Acquire: pairs with the release in Pin's drop. New pins need the lock that we hold.
        if entries.get(digest)?.pins.load(Ordering::Acquire) > 0 {
            return None;
        }
        entries.remove(digest)
    }

    /// Puts back what was taken out, when it could not be removed from the disk.
    pub(crate) fn put_back(&self, entry: Arc<Entry>) {
        self.write().insert(entry.digest, entry);
    }

    /// Every blob that nobody reads.
    pub(crate) fn unused(&self) -> Vec<Unused> {
        let entries = self.read();
        let free = entries.values().filter(|entry| entry.pins.load(Ordering::Relaxed) == 0);
        free.map(|entry| Unused {
            digest: entry.digest,
            size: entry.size,
            used: entry.used.load(Ordering::Relaxed),
        })
        .collect()
    }

    /// Notes that a blob is used now.
    pub(crate) fn note_use(&self, entry: &Entry) {
        entry.used.store(self.next_use(), Ordering::Relaxed);
    }

    /// Whether the blob's last use should be written to the disk now; if so it counts as written.
    pub(crate) fn claim_write_of_use(&self, entry: &Entry) -> bool {
        let used = entry.used.load(Ordering::Relaxed);
        let due = used.saturating_sub(entry.written.load(Ordering::Relaxed)) >= USES_UNWRITTEN_MAX;
        if due {
            entry.written.store(used, Ordering::Relaxed);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::sha256(name.as_bytes())
    }

    #[test]
    fn pinned_entries_are_not_taken() {
        let index = Index::default();
        let first = index.insert(digest("a"), 1);
        let second = index.pin(&digest("a")).unwrap();
        drop(first);
        assert!(index.take_unused(&digest("a")).is_none() && index.unused().is_empty());
        drop(second);
        assert_eq!(index.unused().len(), 1);
        assert!(index.take_unused(&digest("a")).is_some() && index.count() == 0);
        assert!(index.take_unused(&digest("a")).is_none());
    }

    #[test]
    fn an_entry_is_not_mistaken_for_its_successor() {
        let index = Index::default();
        let old = index.insert(digest("a"), 1);
        index.take(&digest("a")).unwrap();
        index.insert(digest("a"), 1);
        assert!(!index.take_entry(old.entry()));
        assert_eq!(index.size(&digest("a")), Some(1));
    }

    #[test]
    fn uses_are_written_once_in_a_while() {
        let index = Index::default();
        let (a, b) = (index.insert(digest("a"), 1), index.insert(digest("b"), 1));
        index.note_use(a.entry());
        assert!(!index.claim_write_of_use(a.entry()));
        for _ in 0..USES_UNWRITTEN_MAX {
            index.note_use(b.entry());
        }
        index.note_use(a.entry());
        assert!(index.claim_write_of_use(a.entry()) && !index.claim_write_of_use(a.entry()));
    }
}
