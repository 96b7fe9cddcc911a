//! What waits to be sent on one connection: messages, and pieces that are still on the disk.
//!
//! Counted twice. In memory, where a piece costs no more than a message, since its bytes are fetched when its turn has come: a peer for
//! which too much piles up is cut off. And in bytes for the wire, because the core decides how much it hands over and is told when
//! little of it is left.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use shoal_oci::Digest;
use shoal_swarm_protocol::{Message, PieceHead};
use tokio::sync::Notify;

use crate::limits::{SEND_LOW_BYTES, SEND_QUEUE_MAX, WRITE_BATCH_MAX};

/// What a frame without a piece counts for on the wire. Few are longer.
const FRAME_BYTES: usize = 32;

/// One thing to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// A message.
    Message(Message),
    /// A piece of ours.
    Piece(Parcel),
}

/// A piece to send, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// The blob.
    pub(crate) digest: Digest,
    /// What the peer is told before the bytes.
    pub(crate) head: PieceHead,
}

impl Outgoing {
    /// Bytes on the wire, near enough.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Message(_) => FRAME_BYTES,
            Self::Piece(parcel) => FRAME_BYTES + parcel.head.len as usize,
        }
    }

    const fn is_piece(&self) -> bool {
        matches!(self, Self::Piece(_))
    }
}

/// The send queue of one connection.
#[derive(Default)]
pub(crate) struct SendQueue {
    inner: Mutex<Inner>,
    bell: Notify,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Outgoing>,
    /// Bytes queued, and bytes taken out that are not written yet.
    bytes: usize,
    /// A piece was queued since the last word that the queue is low.
    owes_drained: bool,
    closed: bool,
}

impl SendQueue {
    /// Queues something; false when the queue is too long already.
    pub(crate) fn push(&self, outgoing: Outgoing) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.waiting.len() >= SEND_QUEUE_MAX {
            return false;
        }
        inner.bytes += outgoing.len();
        inner.owes_drained |= outgoing.is_piece();
        inner.waiting.push_back(outgoing);
        drop(inner);
        self.bell.notify_one();
        true
    }

    /// Ends the connection: what is queued is still sent, except pieces, which nobody will miss; then the writer ends.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.closed = true;
        inner.waiting.retain(|outgoing| !outgoing.is_piece());
        drop(inner);
        self.bell.notify_one();
    }

    /// Waits for something to send and moves a few of it into `batch`. False when the queue is closed and empty.
    pub(crate) async fn take(&self, batch: &mut VecDeque<Outgoing>) -> bool {
        loop {
            if self.take_now(batch) {
                return true;
            }
            if self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed {
                return false;
            }
            self.bell.notified().await;
        }
    }

    /// Moves what is queued into `batch`, up to a bound. False when that is nothing.
    pub(crate) fn take_now(&self, batch: &mut VecDeque<Outgoing>) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let count = inner.waiting.len().min(WRITE_BATCH_MAX);
        batch.extend(inner.waiting.drain(..count));
        count > 0
    }

    /// Counts `bytes` as written. True when the core is to be told that the queue is low.
    pub(crate) fn written(&self, bytes: usize) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.bytes = inner.bytes.saturating_sub(bytes);
        inner.owes_drained && inner.bytes <= SEND_LOW_BYTES && {
            inner.owes_drained = false;
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_swarm_types::PieceIndex;

    fn piece(len: usize) -> Outgoing {
        let head = PieceHead { swarm: 1, index: PieceIndex(0), queue: 0, len: len as u32 };
        Outgoing::Piece(Parcel { digest: Digest::sha256(b"x"), head })
    }

    fn word() -> Outgoing {
        Outgoing::Message(Message::KeepAlive)
    }

    #[test]
    fn tells_once_when_the_queue_is_low_after_a_piece() {
        let queue = SendQueue::default();
        assert!(queue.push(word()));
        assert!(!queue.written(word().len()), "no piece was queued");
        assert!(queue.push(piece(SEND_LOW_BYTES * 2)));
        assert!(!queue.written(1000));
        assert!(queue.written(SEND_LOW_BYTES));
        assert!(!queue.written(1000));
    }

    #[test]
    fn refuses_more_than_a_number_of_things() {
        let queue = SendQueue::default();
        let pushed = std::iter::from_fn(|| queue.push(piece(4 << 20)).then_some(())).take(100_000).count();
        assert_eq!(pushed, SEND_QUEUE_MAX);
    }

    #[tokio::test]
    async fn ends_when_closed_and_empty_and_sends_no_more_pieces() {
        let queue = SendQueue::default();
        queue.push(piece(10));
        queue.push(word());
        queue.close();
        let mut batch = VecDeque::new();
        assert!(queue.take(&mut batch).await);
        assert_eq!(batch, [word()]);
        batch.clear();
        assert!(!queue.take(&mut batch).await);
    }
}
