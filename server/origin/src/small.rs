//! Small blobs from memory: what a whole fleet asks for within the same second.
//!
//! An image that is rolled out to thousands of machines begins with thousands of requests for the same config and the same few tiny layers.
//! They are read from the disk once, verified as every other read, and then come from memory.
//!
//! Goals: no disk and no thread for the second request; bounded memory; an owner that is not crushed. What leaves in one go is limited by
//! an allowance: beyond it a request is refused at once, and whoever asked takes the blob from the swarm, where each agent that has it
//! already helps. Non-goal: large blobs, whose pieces the swarm spreads from the beginning.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shoal_oci::Digest;
use shoal_store::Blob;
use shoal_swarm_types::PieceIndex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::OriginError;

/// The largest blob that is given in one go, in bytes; what agents ask for in that way (`shoal_swarm::whole::WHOLE_SIZE_MAX`).
pub const SMALL_SIZE_MAX: u64 = 1024 * 1024;

/// Memory for small blobs, in bytes. The configs and tiny layers of several hundred images.
const MEMORY_MAX: usize = 64 * 1024 * 1024;

/// Blobs read from the disk at once. Others wait, and find in memory what they wanted when it was the same.
const READERS_MAX: usize = 4;

/// What may leave in one go, in bytes per second: about what a 1 Gbit/s link carries. A fleet that wants more gets it from itself.
const RATE: f64 = 100e6;

/// What may leave at once after a pause, in bytes: a third of a second of [`RATE`], or 500 blobs of 64 KiB.
const BURST: f64 = 32e6;

/// Small blobs in memory, and the allowance.
pub(crate) struct Smalls {
    held: Mutex<Held>,
    allowance: Mutex<Allowance>,
    readers: Semaphore,
}

/// Two halves: new blobs go into the younger, and when that is full the older is dropped. What is asked for stays.
#[derive(Default)]
struct Held {
    young: HashMap<Digest, Bytes>,
    old: HashMap<Digest, Bytes>,
    young_bytes: usize,
}

/// A token bucket.
struct Allowance {
    bytes: f64,
    at: Instant,
}

impl Smalls {
    pub(crate) fn new() -> Self {
        Self {
            held: Mutex::default(),
            allowance: Mutex::new(Allowance { bytes: BURST, at: Instant::now() }),
            readers: Semaphore::new(READERS_MAX),
        }
    }

    /// Takes `len` bytes of the allowance.
    ///
    /// # Errors
    /// [`OriginError::Busy`] when too little is left.
    pub(crate) fn spend(&self, len: u64) -> Result<(), OriginError> {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        if allowance.take(len as f64, Instant::now()) { Ok(()) } else { Err(OriginError::Busy) }
    }

    /// A blob that is in memory.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.lock().get(digest)
    }

    /// A blob as a whole, from memory or from the disk. `open` opens it; `None` when it is gone.
    pub(crate) async fn read(
        &self,
        digest: &Digest,
        open: impl Future<Output = Result<Option<Blob>, OriginError>>,
    ) -> Result<Option<Bytes>, OriginError> {
        // The semaphore is never closed.
        let _turn = self.readers.acquire().await.map_err(|_| OriginError::Busy)?;
        if let Some(bytes) = self.get(digest) {
            return Ok(Some(bytes));
        }
        let Some(blob) = open.await? else { return Ok(None) };
        let bytes = tokio::task::spawn_blocking(move || whole(&blob)).await??;
        self.lock().put(*digest, bytes.clone());
        Ok(Some(bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All pieces of a blob, each verified by the store.
fn whole(blob: &Blob) -> Result<Bytes, OriginError> {
    let layout = *blob.metainfo().layout();
    let mut bytes = BytesMut::with_capacity(usize::try_from(layout.size).unwrap_or_default());
    for index in (0..layout.piece_count()).map(PieceIndex) {
        bytes.extend_from_slice(&blob.read_piece(index)?);
    }
    Ok(bytes.freeze())
}

impl Held {
    fn get(&mut self, digest: &Digest) -> Option<Bytes> {
        if let Some(bytes) = self.young.get(digest) {
            return Some(bytes.clone());
        }
        let bytes = self.old.remove(digest)?;
        self.put(*digest, bytes.clone());
        Some(bytes)
    }

    fn put(&mut self, digest: Digest, bytes: Bytes) {
        if self.young_bytes + bytes.len() > MEMORY_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        let len = bytes.len();
        if self.young.insert(digest, bytes).is_none() {
            self.young_bytes += len;
        }
    }
}

impl Allowance {
    fn take(&mut self, len: f64, now: Instant) -> bool {
        let since: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.bytes = (self.bytes + since.as_secs_f64() * RATE).min(BURST);
        if self.bytes < len {
            return false;
        }
        self.bytes -= len;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_memory_is_bounded() {
        let mut held = Held::default();
        let one = Bytes::from(vec![7; SMALL_SIZE_MAX as usize]);
        let digest = |number: u32| Digest::sha256(&number.to_be_bytes());
        for number in 0..500 {
            held.put(digest(number), one.clone());
            assert_eq!(held.get(&digest(0)), Some(one.clone()), "{number}");
            let count = held.young.len() + held.old.len();
            assert!(count * one.len() <= MEMORY_MAX, "{count}");
        }
        assert_eq!(held.get(&digest(100)), None);
        assert!(held.get(&digest(499)).is_some());
    }

    #[test]
    fn the_allowance_refuses_and_recovers_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance { bytes: BURST, at: start };
        let given = (0..100).filter(|_| allowance.take(1e6, start)).count();
        assert_eq!(given, 32);
        let later = start + Duration::from_millis(50);
        let given = (0..100).filter(|_| allowance.take(1e6, later)).count();
        assert_eq!(given, 5);
        let much_later = start + Duration::from_secs(3600);
        let given = (0..100).filter(|_| allowance.take(1e6, much_later)).count();
        assert_eq!(given, 32, "a long pause gives no more than the burst");
    }
}
