//! Where every packed blob is, in memory: an ordered map per first byte of the digest, with nothing in an entry but the hash and
//! the place.
//!
//! 48 bytes per SHA-256 blob, some 55 to 75 with the tree around them: a million blobs fit into 75 MB. Ordered, so that a walk can
//! go on after any digest; split by first byte, so that a million entries are built from small sorted runs.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use shoal_oci::{Algorithm, Digest};

use super::record::Spot;

/// Where a blob's record is, and what is asked so often that it should not need the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) spot: Spot,
    /// Size of the blob in bytes.
    pub(crate) len: u32,
    /// When it came into the store, in seconds since 1970.
    pub(crate) seconds: u32,
}

/// All packed blobs.
pub(crate) struct Table {
    sha256: Shards<32>,
    sha512: Shards<64>,
    count: AtomicUsize,
}

impl Default for Table {
    fn default() -> Self {
        Self { sha256: Shards::new(), sha512: Shards::new(), count: AtomicUsize::new(0) }
    }
}

impl Table {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Place> {
        let hash = digest.as_bytes();
        match digest.algorithm() {
            Algorithm::Sha256 => self.sha256.get(hash),
            Algorithm::Sha512 => self.sha512.get(hash),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Enters a blob; gives the place that it had before.
    pub(crate) fn set(&self, digest: &Digest, place: Place) -> Option<Place> {
        let hash = digest.as_bytes();
        let before = match digest.algorithm() {
            Algorithm::Sha256 => self.sha256.set(hash, place),
            Algorithm::Sha512 => self.sha512.set(hash, place),
        };
        if before.is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        before
    }

    /// Takes a blob out if it is (still) at `spot`.
    pub(crate) fn take(&self, digest: &Digest, spot: Spot) -> Option<Place> {
        let hash = digest.as_bytes();
        let taken = match digest.algorithm() {
            Algorithm::Sha256 => self.sha256.take(hash, spot),
            Algorithm::Sha512 => self.sha512.take(hash, spot),
        };
        if taken.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// At most `limit` blobs that come after `after`, in the order of their digests.
    pub(crate) fn after(&self, after: Option<&Digest>, limit: usize) -> Vec<(Digest, Place)> {
        let mut found = Vec::new();
        let algorithm = after.map_or(Algorithm::Sha256, Digest::algorithm);
        let hash = after.map(Digest::as_bytes);
        if algorithm == Algorithm::Sha256 {
            self.sha256.after(Algorithm::Sha256, hash, limit, &mut found);
            self.sha512.after(Algorithm::Sha512, None, limit, &mut found);
        } else {
            self.sha512.after(Algorithm::Sha512, hash, limit, &mut found);
        }
        found
    }

    /// The blobs whose records are in a segment. Looks at all blobs.
    pub(crate) fn in_segment(&self, id: u32) -> Vec<(Digest, Place)> {
        let mut found = Vec::new();
        self.sha256.in_segment(Algorithm::Sha256, id, &mut found);
        self.sha512.in_segment(Algorithm::Sha512, id, &mut found);
        found
    }

    /// Fills an empty table at once. Of two places of one digest the later one counts; gives the bytes of all blobs.
    pub(crate) fn fill(&self, mut found: Found) -> u64 {
        let bytes = self.sha256.fill(&mut found.sha256) + self.sha512.fill(&mut found.sha512);
        self.count.store(self.sha256.count() + self.sha512.count(), Ordering::Relaxed);
        bytes
    }

    /// Calls `each` with every place.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Place)) {
        self.sha256.for_each(&mut each);
        self.sha512.for_each(&mut each);
    }
}

type Run<const N: usize> = Vec<([u8; N], Place)>;

/// Blobs on their way into an empty table, in the order of their records.
pub(crate) struct Found {
    sha256: Vec<Run<32>>,
    sha512: Vec<Run<64>>,
}

impl Default for Found {
    fn default() -> Self {
        Self { sha256: vec![Vec::new(); 256], sha512: vec![Vec::new(); 256] }
    }
}

impl Found {
    /// Adds a blob by its raw hash; hashes of another length are no blobs.
    pub(crate) fn add(&mut self, hash: &[u8], place: Place) {
        let first = usize::from(hash.first().copied().unwrap_or_default());
        if let Ok(hash) = <[u8; 32]>::try_from(hash) {
            self.sha256[first].push((hash, place));
        } else if let Ok(hash) = <[u8; 64]>::try_from(hash) {
            self.sha512[first].push((hash, place));
        }
    }

    /// Drops every record that is dead.
    pub(crate) fn retain(&mut self, is_alive: impl Fn(Spot) -> bool) {
        self.sha256.iter_mut().for_each(|run| run.retain(|(_, place)| is_alive(place.spot)));
        self.sha512.iter_mut().for_each(|run| run.retain(|(_, place)| is_alive(place.spot)));
    }
}

type Map<const N: usize> = BTreeMap<[u8; N], Place>;

/// The maps of one algorithm, by first byte.
struct Shards<const N: usize>(Vec<RwLock<Map<N>>>);

impl<const N: usize> Shards<N> {
    fn new() -> Self {
        Self((0..=u8::MAX).map(|_| RwLock::default()).collect())
    }

    fn read(&self, hash: &[u8]) -> RwLockReadGuard<'_, Map<N>> {
        let first = usize::from(hash.first().copied().unwrap_or_default());
        self.0[first].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, hash: &[u8]) -> RwLockWriteGuard<'_, Map<N>> {
        let first = usize::from(hash.first().copied().unwrap_or_default());
        self.0[first].write().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, hash: &[u8]) -> Option<Place> {
        self.read(hash).get(hash).copied()
    }

    fn set(&self, hash: &[u8], place: Place) -> Option<Place> {
        // The caller has picked the shards by the algorithm, so the length is right.
        let key = <[u8; N]>::try_from(hash).ok()?;
        self.write(hash).insert(key, place)
    }

    fn take(&self, hash: &[u8], spot: Spot) -> Option<Place> {
        let mut map = self.write(hash);
        let place = map.get(hash).copied().filter(|place| place.spot == spot)?;
        map.remove(hash);
        Some(place)
    }

    fn after(
        &self,
        algorithm: Algorithm,
        after: Option<&[u8]>,
        limit: usize,
        found: &mut Vec<(Digest, Place)>,
    ) {
        let first = after.and_then(|hash| hash.first().copied()).unwrap_or_default();
        for shard in &self.0[usize::from(first)..] {
            let room = limit.saturating_sub(found.len());
            if room == 0 {
                return;
            }
            let map = shard.read().unwrap_or_else(PoisonError::into_inner);
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let entries = map.range::<[u8], _>((from, Bound::Unbounded)).take(room);
            found.extend(
                entries.filter_map(|(hash, place)| Some((Digest::from_bytes(algorithm, hash)?, *place))),
            );
        }
    }

    fn fill(&self, runs: &mut [Run<N>]) -> u64 {
        let mut bytes = 0;
        for (shard, run) in self.0.iter().zip(runs) {
            // Sorts stably and keeps the last of equal keys.
            let map = Map::from_iter(std::mem::take(run));
            bytes += map.values().map(|place| u64::from(place.len)).sum::<u64>();
            *shard.write().unwrap_or_else(PoisonError::into_inner) = map;
        }
        bytes
    }

    fn in_segment(&self, algorithm: Algorithm, id: u32, found: &mut Vec<(Digest, Place)>) {
        for shard in &self.0 {
            let map = shard.read().unwrap_or_else(PoisonError::into_inner);
            let there = map.iter().filter(|(_, place)| place.spot.segment == id);
            found.extend(
                there.filter_map(|(hash, place)| Some((Digest::from_bytes(algorithm, hash)?, *place))),
            );
        }
    }

    fn count(&self) -> usize {
        self.0.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn for_each(&self, each: &mut impl FnMut(&Place)) {
        for shard in &self.0 {
            shard.read().unwrap_or_else(PoisonError::into_inner).values().for_each(&mut *each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u32, offset: u32) -> Place {
        Place { spot: Spot { segment, offset }, len: offset, seconds: 0 }
    }

    #[test]
    fn a_walk_meets_every_blob_once_in_order() {
        let table = Table::default();
        let mut all: Vec<_> = (0..500_u32)
            .map(|number| {
                let algorithm = if number % 3 == 0 { Algorithm::Sha512 } else { Algorithm::Sha256 };
                Digest::of(algorithm, &number.to_be_bytes())
            })
            .collect();
        for digest in &all {
            assert_eq!(table.set(digest, place(1, 8)), None);
        }
        all.sort_unstable();
        let mut walked: Vec<Digest> = Vec::new();
        loop {
            let page = table.after(walked.last(), 7);
            assert!(page.len() == 7 || walked.len() + page.len() == 500);
            if page.is_empty() {
                break;
            }
            walked.extend(page.into_iter().map(|(digest, _)| digest));
        }
        assert_eq!(walked, all);
        assert_eq!(table.count(), 500);
    }

    #[test]
    fn the_later_record_counts_and_the_dead_do_not() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let mut found = Found::default();
        found.add(a.as_bytes(), place(1, 64));
        found.add(b.as_bytes(), place(1, 128));
        found.add(a.as_bytes(), place(2, 64));
        found.retain(|spot| spot.offset != 128);
        let table = Table::default();
        assert_eq!(table.fill(found), 64);
        assert_eq!((table.get(&a), table.get(&b), table.count()), (Some(place(2, 64)), None, 1));
        assert_eq!(table.take(&a, place(1, 64).spot), None, "it is elsewhere by now");
        assert!(table.take(&a, place(2, 64).spot).is_some() && table.count() == 0);
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<([u8; 32], Place)>(), 48);
    }
}
