//! What waits to be sent on one connection: messages, and pieces that are still on the disk.
//!
//! In order, but for pieces that a reader waits for: they go before those for which nobody does. So do the messages between them, since
//! the receiver must have them before the piece. Nothing goes before a farewell to a blob, behind which no piece of it may come. The
//! background has its turn after a few urgent pieces in a row.
//!
//! Counted twice. In memory, where a piece costs no more than a message, since its bytes are fetched when its turn has come: a peer for
//! which too much piles up is cut off. And in bytes for the wire, because the core decides how much it hands over and is told when
//! little of it is left.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use shoal_oci::Digest;
use shoal_swarm_protocol::{Message, PieceHead};
use tokio::sync::Notify;

use crate::limits::{SEND_LOW_BYTES, SEND_QUEUE_MAX, URGENT_IN_A_ROW_MAX};

/// What a frame without a piece counts for on the wire. Few are longer.
pub(super) const FRAME_BYTES: usize = 32;

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
    /// Whether a reader waits for it.
    pub(crate) urgent: bool,
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

    const fn is_urgent(&self) -> bool {
        matches!(self, Self::Piece(Parcel { urgent: true, .. }))
    }

    /// Whether urgent pieces may go before it.
    const fn gives_way(&self) -> bool {
        matches!(self, Self::Piece(Parcel { urgent: false, .. }))
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
    /// Urgent pieces among them.
    urgent: usize,
    /// Urgent pieces that went before others since one of these had its turn.
    urgent_run: usize,
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
        inner.urgent += usize::from(outgoing.is_urgent());
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
        inner.urgent = 0;
        drop(inner);
        self.bell.notify_one();
    }

    /// The next thing to send; waits for one. `None` when the queue is closed and empty.
    pub(crate) async fn next(&self) -> Option<Outgoing> {
        loop {
            {
                let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(outgoing) = inner.next() {
                    return Some(outgoing);
                }
                if inner.closed {
                    return None;
                }
            }
            self.bell.notified().await;
        }
    }

    /// The next thing to send, if there is any.
    pub(crate) fn next_now(&self) -> Option<Outgoing> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// The next thing to send before a piece goes on for which no reader waits: an urgent piece, or a message before it. However many there
    /// are: the caller sees to it that the piece goes on.
    pub(crate) fn next_urgent(&self) -> Option<Outgoing> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).next_urgent()
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

impl Inner {
    fn next(&mut self) -> Option<Outgoing> {
        if self.urgent_run < URGENT_IN_A_ROW_MAX
            && let Some(outgoing) = self.next_urgent()
        {
            self.urgent_run += usize::from(outgoing.is_urgent());
            return Some(outgoing);
        }
        self.urgent_run = 0;
        self.take(0)
    }

    fn next_urgent(&mut self) -> Option<Outgoing> {
        if self.urgent == 0 {
            return None;
        }
        let at = self.waiting.iter().position(|outgoing| !outgoing.gives_way())?;
        // Behind a Leave no piece of the blob may come, and what it is behind may be such a piece.
        if matches!(self.waiting[at], Outgoing::Message(Message::Leave { .. })) {
            return None;
        }
        self.take(at)
    }

    fn take(&mut self, at: usize) -> Option<Outgoing> {
        let outgoing = self.waiting.remove(at)?;
        self.urgent -= usize::from(outgoing.is_urgent());
        Some(outgoing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_swarm_types::PieceIndex;

    fn piece(len: usize) -> Outgoing {
        numbered(0, len, false)
    }

    fn numbered(index: u32, len: usize, urgent: bool) -> Outgoing {
        let head = PieceHead { swarm: 1, index: PieceIndex(index), queue: 0, len: len as u32 };
        Outgoing::Piece(Parcel { digest: Digest::sha256(b"x"), head, urgent })
    }

    fn queue_of(outgoings: impl IntoIterator<Item = Outgoing>) -> SendQueue {
        let queue = SendQueue::default();
        assert!(outgoings.into_iter().all(|outgoing| queue.push(outgoing)));
        queue
    }

    fn drain(queue: &SendQueue) -> Vec<Outgoing> {
        std::iter::from_fn(|| queue.next_now()).collect()
    }

    #[test]
    fn an_urgent_piece_goes_before_others_with_the_messages_before_it() {
        let parts = || [numbered(0, 9, false), word(), numbered(1, 9, false), numbered(2, 9, true), word()];
        let [first, second, third, urgent, last] = parts();
        let queue = queue_of(parts());
        assert_eq!(drain(&queue), [second, urgent, first, third, last]);
        let queue = queue_of([numbered(0, 9, false), word()]);
        assert_eq!(queue.next_urgent(), None, "messages alone hold nothing up");
    }

    #[test]
    fn nothing_goes_before_a_farewell() {
        let farewell = || Outgoing::Message(Message::Leave { swarm: 1 });
        let queue = queue_of([word(), numbered(0, 9, false), farewell(), numbered(1, 9, true)]);
        assert_eq!(queue.next_urgent(), Some(word()));
        assert_eq!(queue.next_urgent(), None);
        assert_eq!(drain(&queue), [numbered(0, 9, false), farewell(), numbered(1, 9, true)]);
    }

    #[test]
    fn the_background_has_its_turn_after_a_few_urgent_pieces() {
        let queue = queue_of((0..2).map(|index| numbered(index, 9, false)));
        (0..2 * URGENT_IN_A_ROW_MAX as u32).for_each(|index| {
            queue.push(numbered(100 + index, 9, true));
        });
        let urgent: Vec<bool> = drain(&queue).iter().map(Outgoing::is_urgent).collect();
        let first = urgent.iter().position(|urgent| !urgent);
        assert_eq!(first, Some(URGENT_IN_A_ROW_MAX));
        assert!(urgent[URGENT_IN_A_ROW_MAX + 1] && !urgent[2 * URGENT_IN_A_ROW_MAX + 1]);
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
        assert_eq!(queue.next().await, Some(word()));
        assert_eq!(queue.next().await, None);
    }
}
