//! What is remembered of tags between two questions, in memory: when the upstream was asked last, and what it did not have.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_oci::{Digest, Reference, Repository};
use tokio::time::Instant;

/// References remembered at most, of either kind: some megabytes. Who comes beyond that is asked about each time.
const LEN_MAX: usize = 20_000;

/// How long an absence is believed. A tag may be pushed any moment, and clients ask for some that hardly ever exist (`sha256-….sig`) in
/// bursts.
const ABSENT_FOR: Duration = Duration::from_secs(5);

type Key = (Repository, Reference);

/// See the module.
#[derive(Default)]
pub(crate) struct Memory {
    checked: Mutex<HashMap<Key, (Digest, Instant)>>,
    absent: Mutex<HashMap<Key, Instant>>,
}

impl Memory {
    /// The upstream said that a reference means `digest`.
    pub(crate) fn note(&self, copy: &Repository, reference: &Reference, digest: &Digest) {
        let mut checked = lock(&self.checked);
        let key = (copy.clone(), reference.clone());
        if checked.len() < LEN_MAX || checked.contains_key(&key) {
            checked.insert(key.clone(), (*digest, Instant::now()));
        } else {
            // Rare; the next questions fill it anew with what is in use.
            checked.clear();
        }
        lock(&self.absent).remove(&key);
    }

    /// How long ago the upstream said that a reference means `digest`; `None` when that is not known.
    pub(crate) fn age(&self, copy: &Repository, reference: &Reference, digest: &Digest) -> Option<Duration> {
        let checked = lock(&self.checked);
        let (said, at) = checked.get(&(copy.clone(), reference.clone()))?;
        (said == digest).then(|| at.elapsed())
    }

    /// The upstream said that there is no such thing.
    pub(crate) fn note_absent(&self, copy: &Repository, reference: &Reference) {
        let mut absent = lock(&self.absent);
        if absent.len() >= LEN_MAX {
            absent.retain(|_, at| at.elapsed() < ABSENT_FOR);
        }
        if absent.len() < LEN_MAX {
            absent.insert((copy.clone(), reference.clone()), Instant::now());
        }
    }

    /// Whether the upstream said a moment ago that there is no such thing.
    pub(crate) fn is_absent(&self, copy: &Repository, reference: &Reference) -> bool {
        let absent = lock(&self.absent);
        absent.get(&(copy.clone(), reference.clone())).is_some_and(|at| at.elapsed() < ABSENT_FOR)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ages_grow_and_absences_pass() {
        let (memory, copy, tag) = (Memory::default(), "r.io/a".parse().unwrap(), "v1".parse().unwrap());
        let (one, other) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        memory.note_absent(&copy, &tag);
        assert!(memory.is_absent(&copy, &tag));
        memory.note(&copy, &tag, &one);
        assert!(!memory.is_absent(&copy, &tag));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(memory.age(&copy, &tag, &one), Some(Duration::from_secs(3)));
        assert_eq!(memory.age(&copy, &tag, &other), None, "somebody else changed the tag");
        memory.note_absent(&copy, &tag);
        tokio::time::advance(ABSENT_FOR).await;
        assert!(!memory.is_absent(&copy, &tag));
    }
}
