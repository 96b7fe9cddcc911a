//! Answers at hand: what is asked for often is answered without a thread and without the database.
//!
//! An answer is remembered only if nothing has changed it between the beginning of the question and the moment it is put here. The
//! writing thread removes what a transaction outdates *before* it commits, and lets nothing of it in until it has committed: so
//! nobody reads an old answer here after somebody has read the new one in the database. Only what is there is remembered, never that
//! something is absent: an absence is mostly asked about by whoever is about to end it.
//!
//! Price: a fixed number of bytes, and two generations instead of an exact order of use.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_oci::{Digest, Repository, Tag};

use crate::catalog::Manifest;

/// Independent tables, so that readers rarely meet. Also the divisor of the largest answer: an eighth of a table's bytes.
const SHARDS: usize = 16;

/// Counters of changes, 32 KiB of them. Keys that share one keep each other from being remembered only while a change of one of
/// them is being committed.
const SLOTS: usize = 4096;

/// What an entry takes beside the bytes that it points to: itself, its place in the table, and what the allocator adds.
const ENTRY_LEN: usize = size_of::<Answer>() + 64;

/// Makes the short names of answers: keyed hashes, so that nobody from outside can make two of them meet.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    /// The size of a blob in a repository.
    pub(super) fn blob(&self, repository: &Repository, digest: &Digest) -> u64 {
        self.0.hash_one((0_u8, repository, digest))
    }

    /// What a tag names.
    pub(super) fn tag(&self, repository: &Repository, tag: &Tag) -> u64 {
        self.0.hash_one((1_u8, repository, tag))
    }

    /// A manifest under its digest.
    pub(super) fn manifest(&self, repository: &Repository, digest: &Digest) -> u64 {
        self.0.hash_one((2_u8, repository, digest))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    keys: Keys,
    /// Odd while a change is being committed.
    slots: Box<[AtomicU64]>,
    shards: [Mutex<Shard>; SHARDS],
    /// Bytes of one generation of one shard.
    generation_len_max: usize,
}

/// The keys are hashes already.
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

type Table = HashMap<u64, Answer, BuildHasherDefault<Identity>>;

/// An answer is in one of two generations. The younger takes what is new or asked for again; when it is full, the older is dropped.
#[derive(Debug, Default)]
struct Shard {
    young: Table,
    young_len: usize,
    old: Table,
}

/// An answer with its question, since two questions may share a key.
#[derive(Debug)]
struct Answer {
    repository: Repository,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Blob(Digest, u64),
    Tag(Tag, Digest),
    Manifest(Arc<Manifest>),
}

impl Answer {
    fn len(&self) -> usize {
        let more = match &self.said {
            Said::Blob(..) => 0,
            Said::Tag(tag, _) => tag.as_str().len(),
            Said::Manifest(manifest) => {
                size_of::<Manifest>() + manifest.bytes.len() + manifest.media_type.len()
            }
        };
        ENTRY_LEN + self.repository.as_str().len() + more
    }
}

/// The moment at which a question began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    key: u64,
    changes: u64,
}

/// What a transaction outdates, while it is being committed. Dropping it lets new answers in.
#[must_use = "answers are kept out until this is dropped"]
pub(super) struct Change<'a> {
    cache: &'a Cache,
    slots: Vec<usize>,
}

impl Cache {
    /// Remembers answers of `len_max` bytes together.
    pub(super) fn new(len_max: usize) -> Self {
        Self {
            keys: Keys::default(),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            shards: std::array::from_fn(|_| Mutex::default()),
            generation_len_max: len_max / SHARDS / 2,
        }
    }

    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn blob(&self, repository: &Repository, digest: &Digest) -> Option<u64> {
        self.find(self.keys.blob(repository, digest), |answer| match &answer.said {
            Said::Blob(of, size) if of == digest && answer.repository == *repository => Some(*size),
            _ => None,
        })
    }

    pub(super) fn tag(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        self.find(self.keys.tag(repository, tag), |answer| match &answer.said {
            Said::Tag(of, digest) if of == tag && answer.repository == *repository => Some(*digest),
            _ => None,
        })
    }

    pub(super) fn manifest(&self, repository: &Repository, digest: &Digest) -> Option<Arc<Manifest>> {
        self.find(self.keys.manifest(repository, digest), |answer| match &answer.said {
            Said::Manifest(found) if found.digest == *digest && answer.repository == *repository => {
                Some(Arc::clone(found))
            }
            _ => None,
        })
    }

    /// To be taken before the question is asked.
    pub(super) fn ticket(&self, key: u64) -> Ticket {
        Ticket { key, changes: self.slots[slot(key)].load(Ordering::Acquire) }
    }

    pub(super) fn keep_blob(&self, ticket: Ticket, repository: &Repository, digest: &Digest, size: u64) {
        self.keep(ticket, Answer { repository: repository.clone(), said: Said::Blob(*digest, size) });
    }

    pub(super) fn keep_tag(&self, ticket: Ticket, repository: &Repository, tag: &Tag, digest: Digest) {
        self.keep(ticket, Answer { repository: repository.clone(), said: Said::Tag(tag.clone(), digest) });
    }

    pub(super) fn keep_manifest(&self, ticket: Ticket, repository: &Repository, manifest: Arc<Manifest>) {
        self.keep(ticket, Answer { repository: repository.clone(), said: Said::Manifest(manifest) });
    }

    /// Forgets what a transaction outdates. To be called by the one writing thread before it commits, and dropped when it has.
    pub(super) fn change(&self, outdated: &[u64]) -> Change<'_> {
        let mut slots: Vec<usize> = outdated.iter().map(|key| slot(*key)).collect();
        slots.sort_unstable();
        slots.dedup();
        for slot in &slots {
            self.slots[*slot].fetch_add(1, Ordering::AcqRel);
        }
        for key in outdated {
            self.shard(*key).remove(*key);
        }
        Change { cache: self, slots }
    }

    fn find<T>(&self, key: u64, read: impl FnOnce(&Answer) -> Option<T>) -> Option<T> {
        let mut shard = self.shard(key);
        if let Some(answer) = shard.young.get(&key) {
            return read(answer);
        }
        let answer = shard.old.remove(&key)?;
        let found = read(&answer);
        shard.insert(key, answer, self.generation_len_max);
        found
    }

    fn keep(&self, ticket: Ticket, answer: Answer) {
        if answer.len() > self.generation_len_max / 4 {
            return;
        }
        let mut shard = self.shard(ticket.key);
        // Under the lock: whoever changes the slot after this looks for the answer in the shard afterwards.
        let changes = self.slots[slot(ticket.key)].load(Ordering::Acquire);
        if changes == ticket.changes && changes.is_multiple_of(2) {
            shard.insert(ticket.key, answer, self.generation_len_max);
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        self.shards[(key >> 40) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let tables = |shard: MutexGuard<'_, Shard>| {
            shard.young.values().chain(shard.old.values()).map(Answer::len).sum::<usize>()
        };
        self.shards.iter().map(|shard| tables(shard.lock().unwrap())).sum()
    }
}

impl Shard {
    fn insert(&mut self, key: u64, answer: Answer, generation_len_max: usize) {
        self.remove(key);
        if self.young_len + answer.len() > generation_len_max {
            self.old = std::mem::take(&mut self.young);
            self.young_len = 0;
        }
        self.young_len += answer.len();
        self.young.insert(key, answer);
    }

    fn remove(&mut self, key: u64) {
        if let Some(answer) = self.young.remove(&key) {
            self.young_len -= answer.len();
        }
        self.old.remove(&key);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        for slot in &self.slots {
            self.cache.slots[*slot].fetch_add(1, Ordering::AcqRel);
        }
    }
}

const fn slot(key: u64) -> usize {
    key as usize % SLOTS
}

#[cfg(test)]
mod tests;
