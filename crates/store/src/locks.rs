//! The two kinds of lock in the store, and the order in which they may be taken.
//!
//! Order, outermost first: a partial's slot → the evictor → an opened blob's slot → a digest's stripe → maps and counters (leaves,
//! held for a few instructions). The lease of an arriving piece stands aside: it is held over a write of that piece, only leaves are
//! taken inside it, and whoever gets a newer lease of the piece waits for the one before. The evictor only *tries* partials' slots, so it never waits for somebody who waits for it.
//! No leaf and no stripe is held while bytes of a blob are read, written or synced; a stripe is held over the renames, unlinks
//! and the directory sync that make a blob appear or vanish, so that for one digest these happen one after the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use shoal_oci::Digest;

/// Takes a lock whose data is never left half changed: a thread that panicked while holding it does no harm to the others.
pub(crate) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One lock per first byte of the digest, which is also one lock per directory of blobs.
pub(crate) struct Stripes(Vec<Mutex<()>>);

impl Stripes {
    pub(crate) fn new() -> Self {
        Self((0..=u8::MAX).map(|_| Mutex::new(())).collect())
    }

    /// Waits until nobody else makes this digest (or one in the same stripe) appear or vanish.
    pub(crate) fn hold(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let first = digest.as_bytes().first().copied().unwrap_or_default();
        hold(&self.0[usize::from(first)])
    }
}
