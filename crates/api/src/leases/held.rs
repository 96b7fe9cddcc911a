//! Shared guards of many users, and the exclusive one of the collector, per digest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_oci::Digest;
use tokio::sync::Notify;

/// Independent tables: requests for different digests rarely meet. Sixteen per core on the machines that we know.
const SHARDS: usize = 64;

type Table = HashMap<Digest, Slot>;

/// Who uses which digest. A digest that nobody uses has no entry, so the tables are as large as there are requests under way.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<Shards>);

#[derive(Debug)]
struct Shards {
    tables: [Mutex<Table>; SHARDS],
    hasher: std::hash::RandomState,
}

/// In exactly one state: held by `holders` > 0, claimed, or only waited for (the moment between a claim's end and the waiters' turn).
#[derive(Debug, Default)]
struct Slot {
    holders: usize,
    claimed: bool,
    /// Those who wait for the claim to end; the next claim comes after their turn.
    waiting: usize,
    /// Rung when a claim ends.
    bell: Option<Arc<Notify>>,
}

impl Slot {
    fn is_unused(&self) -> bool {
        self.holders == 0 && !self.claimed && self.waiting == 0
    }
}

impl Default for Held {
    fn default() -> Self {
        Self(Arc::new(Shards {
            tables: std::array::from_fn(|_| Mutex::default()),
            hasher: std::hash::RandomState::new(),
        }))
    }
}

impl Shards {
    fn table(&self, digest: &Digest) -> MutexGuard<'_, Table> {
        let shard = self.hasher.hash_one(digest) as usize % SHARDS;
        self.tables[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the digest's slot, and drops it when nobody uses it any more.
    fn change(&self, digest: &Digest, change: impl FnOnce(&mut Slot)) {
        if let Entry::Occupied(mut slot) = self.table(digest).entry(*digest) {
            change(slot.get_mut());
            if slot.get().is_unused() {
                slot.remove();
            }
        }
    }
}

impl Held {
    pub(super) async fn hold(&self, digest: &Digest) -> Lease {
        let mut place: Option<Place<'_>> = None;
        loop {
            let bell = {
                let mut table = self.0.table(digest);
                let slot = table.entry(*digest).or_default();
                if !slot.claimed {
                    slot.holders += 1;
                    break;
                }
                if place.is_none() {
                    slot.waiting += 1;
                    place = Some(Place { held: self, digest });
                }
                // Made under the lock: it hears every bell from here on, polled or not.
                Arc::clone(slot.bell.get_or_insert_default()).notified_owned()
            };
            bell.await;
        }
        drop(place);
        Lease { held: self.clone(), digest: *digest }
    }

    pub(super) fn claim(&self, digest: &Digest) -> Option<Claim> {
        let mut table = self.0.table(digest);
        let Entry::Vacant(slot) = table.entry(*digest) else { return None };
        slot.insert(Slot { claimed: true, ..Slot::default() });
        Some(Claim { held: self.clone(), digest: *digest })
    }

    pub(super) fn is_claimed(&self, digest: &Digest) -> bool {
        self.0.table(digest).get(digest).is_some_and(|slot| slot.claimed)
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.0.tables.iter().all(|table| table.lock().unwrap().is_empty())
    }
}

/// A place among those who wait for a claim's end; given back when the waiting ends or is given up.
struct Place<'a> {
    held: &'a Held,
    digest: &'a Digest,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.held.0.change(self.digest, |slot| slot.waiting -= 1);
    }
}

/// A share in a digest: while there is one, nobody claims it.
#[derive(Debug)]
#[must_use = "the digest is free again when the lease is dropped"]
pub struct Lease {
    held: Held,
    digest: Digest,
}

impl Lease {
    /// What is held.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.held.0.change(&self.digest, |slot| slot.holders -= 1);
    }
}

/// A digest for oneself: while there is a claim, everybody else waits.
#[derive(Debug)]
#[must_use = "the digest is free again when the claim is dropped"]
pub struct Claim {
    held: Held,
    digest: Digest,
}

impl Claim {
    /// What is claimed.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut bell = None;
        self.held.0.change(&self.digest, |slot| {
            slot.claimed = false;
            bell = slot.bell.take();
        });
        if let Some(bell) = bell {
            bell.notify_waiters();
        }
    }
}
