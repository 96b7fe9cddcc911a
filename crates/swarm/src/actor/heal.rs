//! What is done about a piece that does not verify any more: it is fetched again, and nobody sees the bad bytes.
//!
//! In a download only the piece is marked as missing. A complete blob first becomes a download again (the store finds every bad
//! piece of it); its readers go over to that.

use std::collections::HashMap;

use shoal_oci::Digest;
use shoal_store::ErrorKind;
use shoal_swarm_protocol::Input;
use shoal_swarm_types::{Metainfo, PieceIndex};
use tokio::sync::{oneshot, watch};
use tracing::warn;

use super::Actor;
use crate::disk::Job;
use crate::error::ReadError;
use crate::view::{Storage, View};

/// A reader that waits for the healing to begin.
type Waiter = oneshot::Sender<Result<watch::Receiver<View>, ReadError>>;

/// Complete blobs that are being turned into downloads, and the readers that wait for it.
#[derive(Default)]
pub(super) struct Patients(HashMap<Digest, Vec<Waiter>>);

impl Patients {
    /// Whether this blob is among them.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }
}

impl Actor {
    /// Has a piece fetched again that a reader (or a peer's request) found damaged.
    pub(super) fn heal(&mut self, metainfo: Metainfo, index: PieceIndex, waiter: Option<Waiter>) {
        let digest = *metainfo.digest();
        if let Some(view) = self.blobs.watch(&digest) {
            self.lose(digest, index);
            // The reader may have gone.
            let _ = waiter.map(|waiter| waiter.send(Ok(view)));
            return;
        }
        let first = !self.patients.contains(&digest);
        self.patients.0.entry(digest).or_default().extend(waiter);
        if first {
            self.disk.submit(Job::Demote { metainfo });
        }
    }

    /// A piece could not be read for a peer.
    pub(super) fn on_damage(&mut self, digest: Digest, index: PieceIndex, damage: ErrorKind) {
        match damage {
            ErrorKind::NotFound => self.forget_if_gone(digest),
            ErrorKind::Corrupt => {
                warn!(%digest, piece = index.0, "a piece on disk is damaged; fetching it again");
                if let Some(storage) = self.disk.handles().get(&digest) {
                    self.heal(storage.metainfo().clone(), index, None);
                }
            }
            // The disk has more to do than it can.
            ErrorKind::Busy => {}
            kind => warn!(%digest, piece = index.0, ?kind, "cannot read a piece"),
        }
    }

    /// Marks a piece of a download as missing.
    pub(super) fn lose(&mut self, digest: Digest, index: PieceIndex) {
        self.blobs.lost(&digest, index);
        self.feed(Input::PieceLost { digest, index });
    }

    /// A complete blob has become a download again.
    pub(super) fn on_demoted(&mut self, digest: Digest, result: shoal_store::Result<Storage>) {
        let waiters = self.patients.0.remove(&digest).unwrap_or_default();
        let storage = match result {
            Ok(storage) => storage,
            Err(error) => {
                let reading = ReadError::Io(error.to_string());
                waiters.into_iter().for_each(|waiter| drop(waiter.send(Err(reading.clone()))));
                return self.on_broken(digest, &error);
            }
        };
        self.blobs.begin(digest);
        self.blobs.readable(digest, storage.clone());
        if let Some(view) = self.blobs.watch(&digest) {
            waiters.into_iter().for_each(|waiter| drop(waiter.send(Ok(view.clone()))));
        }
        let (metainfo, have) = (storage.metainfo().clone(), storage.have());
        // Heard by a core that seeds the blob; one that has forgotten it learns the same from the last input.
        for index in have.iter_missing() {
            self.feed(Input::PieceLost { digest, index });
        }
        self.feed(Input::Open { digest });
        self.feed(Input::Prepared { digest, metainfo, have });
    }
}
