//! What waits to be written, bounded in number and in bytes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shoal_oci::Digest;

use super::record::{Content, Spot};
use crate::error::Result;
use crate::locks::hold;

/// Operations that may wait. A group takes 1,024, so this is some milliseconds of work.
const WAITING_MAX: usize = 4096;

/// Bytes that may wait in memory: far more than is sensible to have under way on one disk, and small beside a server's memory.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Called when an operation is durable, with whether it changed anything, or has failed.
pub(crate) type Done = Box<dyn FnOnce(Result<bool>) + Send>;

/// One thing to write, and whom to tell.
pub(crate) struct Op {
    pub(crate) what: What,
    pub(crate) done: Done,
}

/// What is to be written.
pub(crate) enum What {
    /// New content, unless it is there and intact.
    Put { content: Content, bytes: Bytes },
    /// The end of a blob.
    Remove { digest: Digest },
    /// Content of a segment that is being compacted, unless the blob is no longer at `from`.
    Move { content: Content, bytes: Bytes, from: Spot },
    /// A kill of a segment that is being compacted, which is still needed.
    Kill { target: Spot },
}

impl What {
    /// Bytes of content that wait with it.
    pub(crate) const fn content_len(&self) -> usize {
        match self {
            Self::Put { bytes, .. } | Self::Move { bytes, .. } => bytes.len(),
            Self::Remove { .. } | Self::Kill { .. } => 0,
        }
    }
}

/// Operations in the order in which they came.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Something has come for the thread, or the queue is closed.
    came: Condvar,
    /// There is room again.
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    ops: VecDeque<Op>,
    bytes: usize,
    closed: bool,
}

impl Waiting {
    fn is_full(&self, len: usize) -> bool {
        self.ops.len() >= WAITING_MAX || self.bytes + len > WAITING_BYTES_MAX
    }
}

impl Queue {
    /// Adds an operation for the thread; gives it back when too much waits.
    #[expect(clippy::result_large_err, reason = "the operation itself comes back, to be told why")]
    pub(crate) fn offer(&self, op: Op) -> std::result::Result<(), Op> {
        let mut waiting = hold(&self.waiting);
        if waiting.closed || waiting.is_full(op.what.content_len()) {
            return Err(op);
        }
        waiting.bytes += op.what.content_len();
        waiting.ops.push_back(op);
        drop(waiting);
        self.came.notify_one();
        Ok(())
    }

    /// Adds an operation that the caller will see to itself; waits while too much waits.
    pub(crate) fn add(&self, op: Op) {
        let waiting = hold(&self.waiting);
        let len = op.what.content_len();
        let full = |waiting: &mut Waiting| waiting.is_full(len);
        let mut waiting: MutexGuard<'_, Waiting> =
            self.room.wait_while(waiting, full).unwrap_or_else(PoisonError::into_inner);
        waiting.bytes += len;
        waiting.ops.push_back(op);
    }

    /// Takes operations from the front: at most `count`, and no more than `bytes` of content beyond the first.
    pub(crate) fn take(&self, count: usize, bytes: usize) -> VecDeque<Op> {
        let mut waiting = hold(&self.waiting);
        let (mut taken, mut taken_bytes) = (VecDeque::new(), 0);
        while taken.len() < count {
            let Some(op) = waiting.ops.front() else { break };
            taken_bytes += op.what.content_len();
            if taken_bytes > bytes && !taken.is_empty() {
                break;
            }
            taken.extend(waiting.ops.pop_front());
        }
        let taken_bytes: usize = taken.iter().map(|op: &Op| op.what.content_len()).sum();
        waiting.bytes -= taken_bytes;
        drop(waiting);
        self.room.notify_all();
        taken
    }

    /// Puts back what did not fit after all, at the front.
    pub(crate) fn put_back(&self, mut ops: VecDeque<Op>) {
        let mut waiting = hold(&self.waiting);
        waiting.bytes += ops.iter().map(|op| op.what.content_len()).sum::<usize>();
        ops.append(&mut waiting.ops);
        waiting.ops = ops;
        drop(waiting);
        self.came.notify_one();
    }

    /// Waits until there is something to do; false when the queue is closed and empty.
    pub(crate) fn wait(&self) -> bool {
        let waiting = hold(&self.waiting);
        let idle = |waiting: &mut Waiting| waiting.ops.is_empty() && !waiting.closed;
        let waiting = self.came.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        !waiting.ops.is_empty()
    }

    /// Refuses what comes from now on.
    pub(crate) fn close(&self) {
        hold(&self.waiting).closed = true;
        self.came.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(len: usize) -> Op {
        let content = Content {
            digest: Digest::sha256(b""),
            len: 0,
            seconds: 0,
            root: shoal_swarm_types::PieceDigest([0; 32]),
        };
        Op { what: What::Put { content, bytes: vec![0; len].into() }, done: Box::new(drop) }
    }

    #[test]
    fn bytes_and_number_are_bounded() {
        let queue = Queue::default();
        for _ in 0..WAITING_BYTES_MAX / 65536 {
            assert!(queue.offer(op(65536)).is_ok());
        }
        assert!(queue.offer(op(1)).is_err() && queue.offer(op(0)).is_ok());
        assert_eq!(queue.take(10, 65536).len(), 1);
        assert!(queue.offer(op(65536)).is_ok());
        while !queue.take(1000, usize::MAX).is_empty() {}
        for _ in 0..WAITING_MAX {
            assert!(queue.offer(op(0)).is_ok());
        }
        assert!(queue.offer(op(0)).is_err());
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let queue = Queue::default();
        (1..=4).for_each(|len| assert!(queue.offer(op(len)).is_ok()));
        let mut taken = queue.take(3, usize::MAX);
        taken.pop_front();
        queue.put_back(taken);
        let lens: Vec<_> = queue.take(9, usize::MAX).iter().map(|op| op.what.content_len()).collect();
        assert_eq!(lens, [2, 3, 4]);
    }

    #[test]
    fn a_closed_queue_is_emptied_and_takes_nothing() {
        let queue = Queue::default();
        assert!(queue.offer(op(1)).is_ok());
        queue.close();
        assert!(queue.offer(op(1)).is_err() && queue.wait());
        queue.take(9, 9);
        assert!(!queue.wait());
    }
}
