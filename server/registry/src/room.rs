//! Memory for what clients send, and for what is read to be verified on its way to them: one budget each for all requests together.
//!
//! Bytes count from the moment that the role takes them from the connection, or from the disk, until the last copy of them is dropped, wherever that
//! is: a permit travels with them. Goals: a thousand pushes cost no more memory than the budget, and they all go on, only slower.
//! Non-goal: what a connection buffers below HTTP, which the listener bounds. Price: one small allocation for each chunk of a body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    bytes: Arc<Semaphore>,
    size: u32,
    wait_max: Duration,
    /// Places for those who wait.
    queue: Arc<Semaphore>,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken(OwnedSemaphorePermit);

/// There was no room for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

impl Room {
    /// A budget of `size` bytes; a request waits for its part at most `wait_max`.
    pub(crate) fn new(size: u64, wait_max: Duration) -> Self {
        let size = u32::try_from(size).unwrap_or(u32::MAX).max(1);
        let queue = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { bytes: Arc::new(Semaphore::new(size as usize)), size, wait_max, queue }
    }

    /// The same budget with `queue_max` requests waiting for it at most; others are told at once that there is no room.
    pub(crate) fn with_queue(self, queue_max: usize) -> Self {
        Self { queue: Arc::new(Semaphore::new(queue_max)), ..self }
    }

    /// Takes `len` bytes, or the whole budget if that is less. Those who wait are served in turn.
    pub(crate) async fn take(&self, len: usize) -> Result<Taken, Crowded> {
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(self.size);
        if let Ok(permit) = Arc::clone(&self.bytes).try_acquire_many_owned(len) {
            return Ok(Taken(permit));
        }
        let Ok(_place) = self.queue.try_acquire() else { return Err(Crowded) };
        let wait = Arc::clone(&self.bytes).acquire_many_owned(len);
        match tokio::time::timeout(self.wait_max, wait).await {
            Ok(Ok(permit)) => Ok(Taken(permit)),
            Ok(Err(_)) | Err(_) => Err(Crowded),
        }
    }

    /// As [`Self::take`], however long it takes. `None` never comes: a budget is not closed.
    pub(crate) async fn take_in_turn(&self, len: usize) -> Option<Taken> {
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(self.size);
        Arc::clone(&self.bytes).acquire_many_owned(len).await.ok().map(Taken)
    }
}

impl Taken {
    /// `bytes` that give their room back when nobody has them any more.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _taken: self })
    }

    /// Both parts as one.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

struct Held {
    bytes: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn bytes_keep_their_room_until_the_last_copy_is_gone() {
        let room = Room::new(10, WAIT_MAX);
        let held = room.take(8).await.unwrap().hold(Bytes::from_static(b"12345678"));
        let slice = held.slice(2..4);
        drop(held);
        assert_eq!(room.take(3).await.map(drop), Err(Crowded));
        drop(slice);
        assert_eq!(room.take(10).await.map(drop), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_budget_gets_all_of_it() {
        let room = Room::new(10, WAIT_MAX);
        let all = room.take(1000).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(room.take(1).await.map(drop), Err(Crowded));
        assert_eq!(begun.elapsed(), WAIT_MAX);
        let (waiting, ()) = tokio::join!(room.take(1), async { drop(all) });
        assert_eq!(waiting.map(drop), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_the_queue_full_is_not_kept_waiting() {
        let room = Room::new(10, WAIT_MAX).with_queue(1);
        let all = room.take(10).await.unwrap();
        let begun = tokio::time::Instant::now();
        let (first, second) = tokio::join!(room.take(1), async {
            let second = room.take(1).await.map(drop);
            drop(all);
            second
        });
        assert_eq!((first.map(drop), second), (Ok(()), Err(Crowded)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
