//! What clients were told to exist, for one period of grace at least.
//!
//! Two generations of keyed 64-bit hashes: two pairs that share a hash make the collector keep one thing longer, nothing else.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_oci::{Digest, Repository};

/// Independent sets, so that requests rarely meet.
const SHARDS: usize = 64;

/// Entries of one generation, over all shards: some 20 MiB of memory. A registry that tells clients of more different blobs within
/// one period of grace does not collect until there are fewer.
const LEN_MAX: usize = 1 << 20;

/// See the module. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Touched(Arc<Sets>);

#[derive(Debug)]
struct Sets {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    shard_len_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    current: Generation,
    previous: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    hashes: HashSet<u64, BuildHasherDefault<Identity>>,
    /// More was touched than is remembered: whatever is asked about may be part of it.
    overflowed: bool,
}

/// The values are hashes already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

impl Default for Touched {
    fn default() -> Self {
        Self::bounded(LEN_MAX)
    }
}

impl Touched {
    /// Remembers about `len_max` entries in each generation.
    pub(super) fn bounded(len_max: usize) -> Self {
        let unknown_past = || Shard {
            previous: Generation { overflowed: true, ..Generation::default() },
            ..Shard::default()
        };
        Self(Arc::new(Sets {
            shards: std::array::from_fn(|_| Mutex::new(unknown_past())),
            hasher: RandomState::new(),
            shard_len_max: len_max.div_ceil(SHARDS),
        }))
    }

    pub(super) fn touch(&self, repository: &Repository, digest: &Digest) {
        let (hash, mut shard) = self.0.find(repository, digest);
        let current = &mut shard.current;
        if current.hashes.len() < self.0.shard_len_max {
            current.hashes.insert(hash);
        } else if !current.hashes.contains(&hash) {
            current.overflowed = true;
        }
    }

    pub(super) fn contains(&self, repository: &Repository, digest: &Digest) -> bool {
        let (hash, shard) = self.0.find(repository, digest);
        [&shard.current, &shard.previous]
            .iter()
            .any(|generation| generation.overflowed || generation.hashes.contains(&hash))
    }

    /// Shard by shard: what is touched meanwhile is in its shard's older or newer generation, and in both cases stays until the
    /// rotation after the next.
    pub(super) fn rotate(&self) {
        for shard in &self.0.shards {
            let mut shard = lock(shard);
            let ended = std::mem::take(&mut shard.current);
            let forgotten = std::mem::replace(&mut shard.previous, ended);
            drop(shard);
            drop(forgotten); // frees its memory while nobody waits
        }
    }
}

impl Sets {
    fn find(&self, repository: &Repository, digest: &Digest) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.hasher.hash_one((repository, digest));
        // The sets use the low and the highest bits themselves.
        let shard = (hash >> 32) as usize % SHARDS;
        (hash, lock(&self.shards[shard]))
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
