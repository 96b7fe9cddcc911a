//! The blobs that are being opened, downloaded or committed, and who waits for them.
//!
//! An entry lives from the first `open` until the blob is complete in the store, or until nobody can provide it. A blob that is only
//! seeded has none: the core and the store suffice.

use std::collections::HashMap;

use shoal_oci::Digest;
use shoal_swarm_types::{Layout, Metainfo, PieceIndex};
use tokio::sync::{oneshot, watch};

use crate::error::{OpenError, ReadError};
use crate::event::Opened;
use crate::view::{Origin, Storage, View};

/// Whoever waits for a reader.
type Waiter = oneshot::Sender<Opened>;

/// Entries by digest.
#[derive(Default)]
pub(crate) struct Blobs(HashMap<Digest, Entry>);

enum Entry {
    /// Not yet readable: the store is being asked, or the metainfo is not known, or the partial is being made.
    Opening(Vec<Waiter>),
    /// Pieces can be read as they arrive.
    Readable(watch::Sender<View>),
}

/// What an `open` finds.
pub(crate) enum Joining {
    /// Nobody had opened the blob: somebody must look for it.
    First,
    /// It is on its way.
    Later,
}

impl Blobs {
    /// Adds somebody who wants to read. They are answered at once if the blob is readable.
    pub(crate) fn join(&mut self, digest: Digest, waiter: Waiter) -> Joining {
        match self.0.get_mut(&digest) {
            None => {
                self.0.insert(digest, Entry::Opening(vec![waiter]));
                Joining::First
            }
            Some(Entry::Opening(waiters)) => {
                // Callers that gave up make room for others.
                waiters.retain(|waiter| !waiter.is_closed());
                waiters.push(waiter);
                Joining::Later
            }
            Some(Entry::Readable(view)) => {
                // Fails only when the caller has gone.
                let _ = waiter.send(Ok(view.subscribe()));
                Joining::Later
            }
        }
    }

    /// Makes an entry for a blob that is fetched anew without anybody having opened it.
    pub(crate) fn begin(&mut self, digest: Digest) {
        self.0.entry(digest).or_insert_with(|| Entry::Opening(Vec::new()));
    }

    /// Whether there is an entry.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }

    /// Whether somebody waits for a blob of which nothing can be read yet.
    pub(crate) fn is_opening(&self, digest: &Digest) -> bool {
        matches!(self.0.get(digest), Some(Entry::Opening(_)))
    }

    /// The blob can be read from `storage`. Answers everybody who waits. Without an entry nothing happens.
    pub(crate) fn readable(&mut self, digest: Digest, storage: Storage) {
        self.readable_from(digest, storage, Origin::Disk);
    }

    /// The same, of bytes that came from `found`.
    pub(crate) fn readable_from(&mut self, digest: Digest, storage: Storage, found: Origin) {
        let Some(entry) = self.0.get_mut(&digest) else { return };
        match entry {
            Entry::Readable(view) => view.send_modify(|view| view.moved(storage)),
            Entry::Opening(waiters) => {
                let (view, watching) = watch::channel(View::found(storage, found));
                for waiter in waiters.drain(..) {
                    let _ = waiter.send(Ok(watching.clone()));
                }
                *entry = Entry::Readable(view);
            }
        }
    }

    /// A watch on a readable blob.
    pub(crate) fn watch(&self, digest: &Digest) -> Option<watch::Receiver<View>> {
        match self.0.get(digest) {
            Some(Entry::Readable(view)) => Some(view.subscribe()),
            _ => None,
        }
    }

    /// How the blob is cut, once that is known.
    pub(crate) fn layout(&self, digest: &Digest) -> Option<Layout> {
        match self.0.get(digest) {
            Some(Entry::Readable(view)) => Some(*view.borrow().storage.metainfo().layout()),
            _ => None,
        }
    }

    /// What is known of a blob, once it is readable.
    pub(crate) fn metainfo(&self, digest: &Digest) -> Option<Metainfo> {
        match self.0.get(digest) {
            Some(Entry::Readable(view)) => Some(view.borrow().storage.metainfo().clone()),
            _ => None,
        }
    }

    /// A piece has arrived.
    pub(crate) fn arrived(&mut self, digest: &Digest, index: PieceIndex, origin: Origin) {
        if let Some(Entry::Readable(view)) = self.0.get(digest) {
            view.send_if_modified(|view| {
                view.from.insert(index, origin);
                view.have.set(index)
            });
        }
    }

    /// A piece that was there is bad. True when it counted as present until now.
    pub(crate) fn lost(&mut self, digest: &Digest, index: PieceIndex) -> bool {
        match self.0.get(digest) {
            Some(Entry::Readable(view)) => view.send_if_modified(|view| view.have.unset(index)),
            _ => false,
        }
    }

    /// The blob is complete in the store: its readers go on from there, and the entry ends.
    pub(crate) fn completed(&mut self, digest: &Digest, storage: Storage) {
        match self.0.remove(digest) {
            Some(Entry::Readable(view)) => view.send_modify(|view| view.moved(storage)),
            Some(Entry::Opening(waiters)) => {
                let watching = watch::channel(View::of(storage)).1;
                for waiter in waiters {
                    let _ = waiter.send(Ok(watching.clone()));
                }
            }
            None => {}
        }
    }

    /// The blob cannot be had: everybody who waits is told, and the entry ends.
    pub(crate) fn failed(&mut self, digest: &Digest, opening: &OpenError, reading: &ReadError) {
        match self.0.remove(digest) {
            Some(Entry::Readable(view)) => view.send_modify(|view| view.end = Some(reading.clone())),
            Some(Entry::Opening(waiters)) => {
                for waiter in waiters {
                    let _ = waiter.send(Err(opening.clone()));
                }
            }
            None => {}
        }
    }

    /// Every blob with an entry.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.0.keys().copied().collect()
    }
}
