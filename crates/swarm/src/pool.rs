//! Memory for bytes of pieces on their way from a socket to the disk: few segments of one size, used again and again.
//!
//! Goals: no allocation for a piece; the memory of all arriving pieces together is bounded, whatever their length and however slowly
//! they come; a segment fits into a processor's second-level cache, so that its bytes are hashed and written while they are there.
//! When every segment is in use sockets are not read, and TCP slows the senders down. The segment that was given back last is given
//! out first, because it is still in the cache; those that nobody has needed for a while go back to the system. The price: a segment
//! is taken whole, also for a short piece.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::SEGMENT_LEN;

/// The segments of a process. Clones share them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    /// One permit for each segment that may be out.
    room: Arc<Semaphore>,
    max: usize,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    segments: Vec<Box<[u8]>>,
    /// The fewest that were free since the last sweep.
    idle: usize,
}

/// Memory of [`SEGMENT_LEN`] bytes, and the number of those in it that mean something.
pub(crate) struct Segment {
    memory: Box<[u8]>,
    len: usize,
    home: Pool,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool of `bytes_max` bytes, at least of one segment.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let max = (bytes_max / SEGMENT_LEN).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner { room: Arc::new(Semaphore::new(max)), max, free: Mutex::default() }))
    }

    /// A segment for `len` bytes, at most [`SEGMENT_LEN`]; waits until one is free, first come, first served.
    pub(crate) async fn take(&self, len: usize) -> Segment {
        match Arc::clone(&self.0.room).acquire_owned().await {
            Ok(room) => self.segment(len, room),
            Err(_) => unreachable!("nobody closes the pool"),
        }
    }

    /// Segments for `len` bytes, if half of the pool is free then: for bytes that may stay for as long as a peer likes.
    pub(crate) fn take_spare(&self, len: usize) -> Option<Vec<Segment>> {
        let count = len.div_ceil(SEGMENT_LEN);
        if self.0.room.available_permits() < self.0.max / 2 + count {
            return None;
        }
        let lens = (0..count).map(|at| (len - at * SEGMENT_LEN).min(SEGMENT_LEN));
        lens.map(|len| Arc::clone(&self.0.room).try_acquire_owned().ok().map(|room| self.segment(len, room)))
            .collect()
    }

    /// Gives segments back to the system that were not needed since the last call.
    pub(crate) fn sweep(&self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = free.segments.len() - free.idle.min(free.segments.len());
        // The oldest, which are the coldest, are at the front.
        let idle = free.segments.len() - keep;
        let gone: Vec<_> = free.segments.drain(..idle).collect();
        free.segments.shrink_to_fit();
        free.idle = free.segments.len();
        drop(free);
        drop(gone);
    }

    fn segment(&self, len: usize, room: OwnedSemaphorePermit) -> Segment {
        let used = {
            let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
            let used = free.segments.pop();
            free.idle = free.idle.min(free.segments.len());
            used
        };
        let memory = used.unwrap_or_else(|| vec![0; SEGMENT_LEN].into_boxed_slice());
        Segment { memory, len: len.min(SEGMENT_LEN), home: self.clone(), _room: room }
    }

    #[cfg(test)]
    fn free(&self) -> usize {
        self.0.free.lock().unwrap().segments.len()
    }
}

impl Segment {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// The bytes, to be filled.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.home.0.free.lock().unwrap_or_else(PoisonError::into_inner).segments.push(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn segments_are_bounded_and_used_again() {
        let pool = Pool::new(4 * SEGMENT_LEN + 1);
        let out: Vec<_> = [1, 2, 3, SEGMENT_LEN].map(|len| pool.take(len)).into_iter().collect();
        let mut segments = Vec::new();
        for taking in out {
            segments.push(taking.await);
        }
        assert_eq!(segments[2].bytes().len(), 3);
        let mut waiting = Box::pin(pool.take(5));
        assert!(futures_poll(&mut waiting).await.is_none(), "there is none left");
        segments[3].bytes_mut()[7] = 42;
        drop(segments.pop());
        assert_eq!(waiting.await.memory[7], 42, "the one that was given back");
    }

    /// The result of a future that is ready at once.
    async fn futures_poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        tokio::select! {
            biased;
            value = future => Some(value),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn what_is_not_needed_goes_back_to_the_system() {
        let pool = Pool::new(8 * SEGMENT_LEN);
        let (first, second) = (pool.take(1).await, pool.take(1).await);
        drop((first, second));
        pool.sweep();
        assert_eq!(pool.free(), 2, "both were out since the last sweep");
        drop(pool.take(1).await);
        pool.sweep();
        assert_eq!(pool.free(), 1);
        pool.sweep();
        assert_eq!(pool.free(), 0);
        pool.sweep();
    }

    #[tokio::test]
    async fn spare_segments_leave_half_of_the_pool_to_others() {
        let pool = Pool::new(8 * SEGMENT_LEN);
        let spare = pool.take_spare(3 * SEGMENT_LEN + 10).unwrap();
        assert_eq!(spare.iter().map(|segment| segment.bytes().len()).sum::<usize>(), 3 * SEGMENT_LEN + 10);
        assert!(pool.take_spare(1).is_none());
        drop(spare);
        assert!(pool.take_spare(1).is_some());
    }
}
