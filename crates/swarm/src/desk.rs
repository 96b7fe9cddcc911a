//! Where callers leave word without waiting: readers what they want next, the process what it has to seed.
//!
//! One slot per reader that holds its latest wish, one per blob to seed, and a bell for the actor. A reader can change its wish or
//! vanish at any moment, even inside `drop`, without waiting and without a queue that could fill up: the memory is one slot per
//! living reader.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use shoal_oci::Digest;
use shoal_swarm_protocol::ReaderId;
use shoal_swarm_types::PieceIndex;
use tokio::sync::Notify;

use crate::follow::Growths;

/// What a reader wants of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// These pieces next, in order.
    Pieces(Range<u32>),
    /// These pieces now, and then nothing.
    Demand(Range<u32>),
    /// Nothing more: the reader is gone.
    Gone,
}

/// Words that the actor has not seen yet.
#[derive(Default)]
pub(crate) struct Desk {
    words: Mutex<Words>,
    /// The pieces that living readers want, whether the actor knows or not.
    wanted: Mutex<BTreeMap<ReaderId, (Digest, Range<u32>)>>,
    /// Blobs that are fetched beforehand, and for how many.
    prefetched: Mutex<BTreeMap<Digest, usize>>,
    bell: Notify,
    /// Who waits for piece digests.
    growths: Arc<Growths>,
}

/// What was left on the desk.
#[derive(Default)]
pub(crate) struct Words {
    /// The last wish of each reader.
    pub(crate) wishes: BTreeMap<ReaderId, (Digest, Wish)>,
    /// Blobs to seed.
    pub(crate) seeds: BTreeSet<Digest>,
    /// Pieces that have come of blobs that somebody else in this process takes in.
    pub(crate) grown: BTreeMap<Digest, Range<u32>>,
    /// Such blobs of which nothing is left.
    pub(crate) dropped: BTreeSet<Digest>,
}

impl Desk {
    /// Who waits for piece digests.
    pub(crate) const fn growths(&self) -> &Arc<Growths> {
        &self.growths
    }

    /// Leaves a wish in place of the reader's former one.
    pub(crate) fn leave(&self, reader: ReaderId, digest: Digest, wish: Wish) {
        {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            match &wish {
                Wish::Pieces(pieces) | Wish::Demand(pieces) => {
                    wanted.insert(reader, (digest, pieces.clone()));
                }
                Wish::Gone => {
                    wanted.remove(&reader);
                }
            }
        }
        self.words.lock().unwrap_or_else(PoisonError::into_inner).wishes.insert(reader, (digest, wish));
        self.bell.notify_one();
    }

    /// Whether a reader wants this piece next.
    pub(crate) fn is_wanted(&self, digest: &Digest, index: PieceIndex) -> bool {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.values().any(|(of, pieces)| of == digest && pieces.contains(&index.0))
    }

    /// Notes that a blob is fetched beforehand, or that one of those who want that is content.
    pub(crate) fn prefetch(&self, digest: Digest, begins: bool) {
        let mut prefetched = self.prefetched.lock().unwrap_or_else(PoisonError::into_inner);
        let count = prefetched.entry(digest).or_default();
        *count = if begins { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            prefetched.remove(&digest);
        }
    }

    /// Whether a blob is fetched beforehand.
    pub(crate) fn is_prefetched(&self, digest: &Digest) -> bool {
        self.prefetched.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }

    /// Leaves word that the store has a blob complete.
    pub(crate) fn seed(&self, digest: Digest) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).seeds.insert(digest);
        self.bell.notify_one();
    }

    /// Leaves word that pieces have come of a blob that is being taken in.
    pub(crate) fn grow(&self, digest: Digest, pieces: Range<u32>) {
        {
            let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            let grown = words.grown.entry(digest).or_insert_with(|| pieces.clone());
            *grown = grown.start.min(pieces.start)..grown.end.max(pieces.end);
        }
        self.bell.notify_one();
    }

    /// Leaves word that nothing is left of such a blob.
    pub(crate) fn drop_blob(&self, digest: Digest) {
        {
            let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            words.grown.remove(&digest);
            words.dropped.insert(digest);
        }
        self.bell.notify_one();
    }

    /// Waits until somebody has left a word since the last [`Self::take`]. Cancel-safe.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Everything that was left.
    pub(crate) fn take(&self) -> Words {
        std::mem::take(&mut *self.words.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_last_wish_of_a_reader_counts() {
        let desk = Desk::default();
        let digest = Digest::sha256(b"x");
        desk.leave(ReaderId(1), digest, Wish::Pieces(0..4));
        desk.leave(ReaderId(1), digest, Wish::Pieces(1..5));
        desk.leave(ReaderId(2), digest, Wish::Gone);
        desk.rung().await;
        let wishes = desk.take().wishes;
        assert_eq!(wishes[&ReaderId(1)], (digest, Wish::Pieces(1..5)));
        assert_eq!(wishes[&ReaderId(2)], (digest, Wish::Gone));
        assert!(desk.take().wishes.is_empty());
    }
}
