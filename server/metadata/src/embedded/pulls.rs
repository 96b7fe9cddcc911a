//! Who was pulled when, kept in memory and written in batches: a pull must not cost a write.
//!
//! Price: a crash forgets the pulls of the last minute at most, so a manifest may look unused for a minute longer than it was.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::params;
use shoal_oci::{Reference, Repository};

use super::rows::{self, DigestColumn};
use super::transaction::Transaction;
use crate::Result;
use crate::clock::UnixMillis;

/// Independent tables, so that requests rarely meet.
const SHARDS: usize = 16;

/// Different manifests and tags that are remembered between two writes: some ten megabytes of names at most.
const LEN_MAX: usize = 1 << 16;

/// Pulls in one change: a few milliseconds of the writing thread.
pub(super) const BATCH_LEN: usize = 256;

/// The last pull of one thing.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    repository: Repository,
    reference: Reference,
    at: UnixMillis,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    shards: [Mutex<HashMap<u64, Pull>>; SHARDS],
    hasher: RandomState,
}

impl Pulls {
    /// Remembers a pull; `true` when it is time to write them, before more are forgotten.
    pub(super) fn note(&self, repository: &Repository, reference: &Reference, at: UnixMillis) -> bool {
        let key = self.hasher.hash_one((repository, reference));
        let mut shard = self.shard(key);
        if let Some(pull) = shard.get_mut(&key) {
            pull.at = pull.at.max(at);
            return false;
        }
        if shard.len() < LEN_MAX / SHARDS {
            shard.insert(key, Pull { repository: repository.clone(), reference: reference.clone(), at });
        }
        shard.len() >= LEN_MAX / SHARDS / 2
    }

    /// Whether a pull waits to be written.
    pub(super) fn contains(&self, repository: &Repository, reference: &Reference) -> bool {
        let key = self.hasher.hash_one((repository, reference));
        self.shard(key).contains_key(&key)
    }

    /// What is to be written. Forgotten here.
    pub(super) fn take(&self) -> Vec<Pull> {
        let taken = self.shards.iter().flat_map(|shard| std::mem::take(&mut *lock(shard)).into_values());
        taken.collect()
    }

    /// Remembers what could not be written.
    pub(super) fn put_back(&self, pulls: Vec<Pull>) {
        for Pull { repository, reference, at } in pulls {
            self.note(&repository, &reference, at);
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, Pull>> {
        lock(&self.shards[key as usize % SHARDS])
    }
}

fn lock(shard: &Mutex<HashMap<u64, Pull>>) -> MutexGuard<'_, HashMap<u64, Pull>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes pulls. A pull by tag is one of its manifest as well.
pub(super) fn write(transaction: &Transaction<'_>, pulls: &[Pull]) -> Result<()> {
    transaction.guard()?;
    let mut tag_pulled = transaction.prepare_cached(
        "UPDATE tags SET pulled_at = ?3 WHERE repository = ?1 AND name = ?2 AND coalesce(pulled_at < ?3, TRUE)",
    )?;
    let mut manifest_of_tag_pulled = transaction.prepare_cached(
        "UPDATE manifest_times SET pulled_at = ?3 WHERE coalesce(pulled_at < ?3, TRUE)
             AND manifest = (SELECT manifest FROM tags WHERE repository = ?1 AND name = ?2)",
    )?;
    let mut manifest_pulled = transaction.prepare_cached(
        "UPDATE manifest_times SET pulled_at = ?3 WHERE coalesce(pulled_at < ?3, TRUE)
             AND manifest = (SELECT id FROM manifests WHERE repository = ?1 AND digest = ?2)",
    )?;
    for Pull { repository, reference, at } in pulls {
        let Some(id) = transaction.repository(repository)? else { continue };
        match reference {
            Reference::Tag(tag) => {
                let parameters = params![id, tag.as_str(), rows::moment(*at)];
                tag_pulled.execute(parameters)?;
                manifest_of_tag_pulled.execute(parameters)?;
            }
            Reference::Digest(digest) => {
                manifest_pulled.execute(params![id, DigestColumn(digest), rows::moment(*at)])?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{name, tag};

    #[test]
    fn only_the_last_pull_counts_and_the_number_is_bounded() {
        let pulls = Pulls::default();
        let reference = Reference::Tag(tag("v1"));
        for at in [5, 9, 7] {
            assert!(!pulls.note(&name("a"), &reference, at));
        }
        assert!(pulls.contains(&name("a"), &reference) && !pulls.contains(&name("b"), &reference));
        let taken = pulls.take();
        assert_eq!(taken.iter().map(|pull| pull.at).collect::<Vec<_>>(), [9]);
        assert!(!pulls.contains(&name("a"), &reference));
        pulls.put_back(taken);
        let mut full = false;
        for index in 0..2 * LEN_MAX {
            full |= pulls.note(&name("a"), &Reference::Tag(tag(&format!("v{index}"))), 1);
        }
        assert!(full);
        assert!(pulls.take().len() <= LEN_MAX);
    }
}
