//! What others can have of a blob that is coming in: its pieces as they come, and word of them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use shoal_oci::Digest;
use shoal_store::{Blob, Partial};
use shoal_swarm::Swarm;
use shoal_swarm_types::Metainfo;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a range waits for its last byte. Its reader has other sources, and less patience.
const RANGE_WAIT: Duration = Duration::from_secs(5);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All of it came, and it is right.
    Whole,
    /// All of it came, and it is another blob.
    Refuted,
    /// The rest does not come.
    Gone,
}

/// One blob that is coming in.
pub(crate) struct Arrival {
    partial: Partial,
    swarm: Swarm,
    /// Bytes that have come.
    bytes: AtomicU64,
    /// Pieces of which the swarm knows.
    told: AtomicU32,
    /// How many pieces are known, and how it ended.
    stage: watch::Sender<(u32, Option<End>)>,
}

impl Arrival {
    /// From now on peers have what is there of it.
    pub(super) fn begin(partial: Partial, swarm: Swarm) -> Self {
        swarm.serve_arriving(partial.clone());
        Self {
            partial,
            swarm,
            bytes: AtomicU64::new(0),
            told: AtomicU32::new(0),
            stage: watch::channel((0, None)).0,
        }
    }

    pub(crate) fn digest(&self) -> &Digest {
        self.partial.digest()
    }

    pub(crate) fn metainfo(&self) -> &Metainfo {
        self.partial.metainfo()
    }

    pub(crate) fn size(&self) -> u64 {
        self.metainfo().size()
    }

    /// The pieces.
    pub(crate) const fn partial(&self) -> &Partial {
        &self.partial
    }

    /// Bytes that have come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many pieces are known, and how it ended; changes when that changes.
    pub(crate) fn stage(&self) -> watch::Receiver<(u32, Option<End>)> {
        self.stage.subscribe()
    }

    /// Whether it has ended, in whatever way.
    pub(crate) fn has_ended(&self) -> bool {
        self.stage.borrow().1.is_some()
    }

    /// So many bytes have come.
    pub(super) fn note(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        let known = self.metainfo().known_count();
        let before = self.told.swap(known, Ordering::Relaxed);
        if known > before {
            self.swarm.grown(*self.digest(), before..known);
            self.stage.send_modify(|(count, _)| *count = known);
        }
    }

    /// It has ended, if it had not. When it is whole, peers go on with the pieces; else they are sent away.
    pub(super) fn end(&self, end: End) {
        let is_news = self.stage.send_if_modified(|(_, ended)| match ended {
            Some(_) => false,
            None => {
                *ended = Some(end);
                true
            }
        });
        if is_news && end != End::Whole {
            self.swarm.end_arriving(*self.digest(), None);
        }
    }

    /// What was whole is a blob, or could not be stored.
    pub(super) fn stored(&self, blob: Option<Blob>) {
        self.swarm.end_arriving(*self.digest(), blob);
    }

    /// Waits, not for long, until the piece `last` has come. False when it has not.
    pub(crate) async fn reaches(&self, last: u32) -> bool {
        timeout(RANGE_WAIT, self.comes(last)).await.unwrap_or(false)
    }

    /// Waits until the piece `last` has come, or nothing comes any more. False when it has not.
    pub(crate) async fn comes(&self, last: u32) -> bool {
        let mut stage = self.stage();
        let come = stage.wait_for(|(known, end)| *known > last || end.is_some()).await;
        come.is_ok_and(|stage| stage.0 > last)
    }
}
