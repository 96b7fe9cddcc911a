//! Which blobs have files and are complete, how long ago each was used, and who is reading it: in memory, so that `stat` does not ask
//! the disk. While a durable store is still counting, a blob that is missing here may be on the disk, see [`crate::counting`].
//!
//! Split by the first byte of the digest, so that a walk in order sorts one part at a time. An entry is its own key: with its
//! place in the set it costs some 165 bytes.
//!
//! Use is counted, not timed: each use gets the next number. Only the order matters, and the store needs no clock.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::SystemTime;

use shoal_oci::Digest;

use crate::blob::Opened;
use crate::pack::{seconds_of, time_of};
use crate::paths::ALGORITHMS;

/// A use is written to the disk only when at least this many other uses lie between it and the last one that was written for the
/// same blob; so after a restart no blob's place in the order is off by more than this.
const USES_UNWRITTEN_MAX: u64 = 64;

/// One complete blob.
pub(crate) struct Entry {
    digest: Digest,
    /// When its bytes came into the store, in seconds since 1970.
    seconds: u32,
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

/// An entry under its digest.
struct Keyed(Arc<Entry>);

impl Borrow<Digest> for Keyed {
    fn borrow(&self) -> &Digest {
        &self.0.digest
    }
}

impl Hash for Keyed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest.hash(state);
    }
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Keyed {}

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

type Shard = HashSet<Keyed>;

/// All complete blobs that have files.
pub(crate) struct Index {
    shards: Vec<RwLock<Shard>>,
    uses: AtomicU64,
}

impl Default for Index {
    fn default() -> Self {
        Self { shards: (0..=u8::MAX).map(|_| RwLock::default()).collect(), uses: AtomicU64::new(0) }
    }
}

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    fn shard(&self, digest: &Digest) -> &RwLock<Shard> {
        &self.shards[usize::from(first_byte(digest))]
    }

    fn write(&self, digest: &Digest) -> RwLockWriteGuard<'_, Shard> {
        self.shard(digest).write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        read(self.shard(digest)).get(digest).map(|entry| entry.0.size)
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.shards.iter().flat_map(|shard| digests_of(&read(shard))).collect()
    }

    /// At most `limit` blobs after `after`, in the order of their digests: digest, size and time.
    pub(crate) fn after(&self, after: Option<&Digest>, limit: usize) -> Vec<(Digest, u64, SystemTime)> {
        let mut found = Vec::new();
        // Digests are ordered by algorithm first.
        for algorithm in ALGORITHMS {
            let after = match after {
                Some(after) if after.algorithm() > algorithm => continue,
                after => after.filter(|after| after.algorithm() == algorithm),
            };
            for shard in &self.shards[usize::from(after.map_or(0, first_byte))..] {
                if found.len() >= limit {
                    break;
                }
                let shard = read(shard);
                let is_wanted = |entry: &&Keyed| {
                    let digest = &entry.0.digest;
                    digest.algorithm() == algorithm && after.is_none_or(|after| digest > after)
                };
                let wanted = shard.iter().filter(is_wanted).map(|Keyed(entry)| entry);
                let mut part: Vec<_> =
                    wanted.map(|entry| (entry.digest, entry.size, time_of(entry.seconds))).collect();
                drop(shard);
                part.sort_unstable_by_key(|(digest, ..)| *digest);
                found.extend(part);
            }
        }
        found.truncate(limit);
        found
    }

    /// Number of a use that happens now.
    pub(crate) fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a complete blob that came just now, as the most recently used one. The caller holds the digest's stripe and knows that
    /// it is not there.
    pub(crate) fn insert(&self, digest: Digest, size: u64) -> Pin {
        self.insert_found(digest, size, SystemTime::now())
    }

    /// As [`Self::insert`], for a blob that came earlier.
    pub(crate) fn insert_found(&self, digest: Digest, size: u64, modified: SystemTime) -> Pin {
        let used = self.next_use();
        let entry = Arc::new(Entry {
            digest,
            seconds: seconds_of(modified),
            size,
            used: AtomicU64::new(used),
            written: AtomicU64::new(used),
            pins: AtomicU32::new(0),
            opened: Mutex::default(),
        });
        let pin = Pin::new(&entry);
        self.write(&digest).replace(Keyed(entry));
        pin
    }

    pub(crate) fn pin(&self, digest: &Digest) -> Option<Pin> {
        read(self.shard(digest)).get(digest).map(|Keyed(entry)| Pin::new(entry))
    }

    /// Takes an entry out.
    pub(crate) fn take(&self, digest: &Digest) -> Option<Arc<Entry>> {
        self.write(digest).take(digest).map(|Keyed(entry)| entry)
    }

    /// Takes exactly this entry out, not a later one of the same digest.
    pub(crate) fn take_entry(&self, entry: &Arc<Entry>) -> bool {
        let mut entries = self.write(&entry.digest);
        let is_same = entries.get(&entry.digest).is_some_and(|Keyed(found)| Arc::ptr_eq(found, entry));
        if is_same {
            entries.remove(&entry.digest);
        }
        is_same
    }

    /// Takes an entry out unless somebody reads it.
    pub(crate) fn take_unused(&self, digest: &Digest) -> Option<Arc<Entry>> {
        let mut entries = self.write(digest);
        // Acquire: pairs with the release in Pin's drop. New pins need the lock that we hold.
        if entries.get(digest)?.0.pins.load(Ordering::Acquire) > 0 {
            return None;
        }
        entries.take(digest).map(|Keyed(entry)| entry)
    }

    /// Puts back what was taken out, when it could not be removed from the disk.
    pub(crate) fn put_back(&self, entry: Arc<Entry>) {
        let digest = entry.digest;
        self.write(&digest).replace(Keyed(entry));
    }

    /// Every blob that nobody reads.
    pub(crate) fn unused(&self) -> Vec<Unused> {
        self.shards.iter().flat_map(|shard| unused_of(&read(shard))).collect()
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

fn first_byte(digest: &Digest) -> u8 {
    digest.as_bytes().first().copied().unwrap_or_default()
}

#[expect(clippy::mutable_key_type, reason = "the key of an entry is its digest, which never changes")]
fn digests_of(shard: &Shard) -> Vec<Digest> {
    shard.iter().map(|Keyed(entry)| entry.digest).collect()
}

#[expect(clippy::mutable_key_type, reason = "the key of an entry is its digest, which never changes")]
fn unused_of(shard: &Shard) -> Vec<Unused> {
    let free = shard.iter().filter(|Keyed(entry)| entry.pins.load(Ordering::Relaxed) == 0);
    free.map(|Keyed(entry)| Unused {
        digest: entry.digest,
        size: entry.size,
        used: entry.used.load(Ordering::Relaxed),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use shoal_oci::Algorithm;

    use super::*;

    #[test]
    fn an_entry_is_small() {
        // Two counters stand before it in its Arc, and a set has room for eight entries in seven places at best.
        assert!(size_of::<Entry>() + 16 + 20 <= 180, "{}", size_of::<Entry>());
    }

    #[test]
    fn a_walk_meets_every_blob_once_in_order() {
        let index = Index::default();
        let mut all: Vec<_> = (0..600_u32)
            .map(|number| {
                let algorithm = if number % 3 == 0 { Algorithm::Sha512 } else { Algorithm::Sha256 };
                Digest::of(algorithm, &number.to_be_bytes())
            })
            .collect();
        all.iter().for_each(|digest| drop(index.insert(*digest, 1)));
        all.sort_unstable();
        let mut walked: Vec<Digest> = Vec::new();
        loop {
            let page = index.after(walked.last(), 7);
            if page.is_empty() {
                break;
            }
            walked.extend(page.into_iter().map(|(digest, ..)| digest));
        }
        assert_eq!(walked, all);
    }

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
