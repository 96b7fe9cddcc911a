//! Messages that wait to be sent on one connection.
//!
//! Counted in bytes, because a message may be thirteen bytes or four megabytes. The core decides how much it queues and is told when
//! little is left; a peer for which too much piles up is cut off.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use shoal_swarm_protocol::Message;
use tokio::sync::Notify;

use crate::limits::{SEND_LOW_BYTES, SEND_MAX_BYTES, WRITE_BATCH_BYTES, WRITE_SLICES_MAX};

/// What a message without payload counts for: its frame and its place in the queue.
const MESSAGE_BYTES: usize = 64;

/// The send queue of one connection.
#[derive(Default)]
pub(crate) struct SendQueue {
    inner: Mutex<Inner>,
    bell: Notify,
}

#[derive(Default)]
struct Inner {
    messages: VecDeque<Message>,
    /// Bytes queued, and bytes taken out that are not written yet.
    bytes: usize,
    /// A piece was queued since the last word that the queue is low.
    owes_drained: bool,
    closed: bool,
}

/// Memory that a message stands for.
pub(crate) fn cost(message: &Message) -> usize {
    match message {
        Message::Piece { data, .. } => MESSAGE_BYTES + data.len(),
        Message::Join { .. } => 4 * MESSAGE_BYTES,
        _ => MESSAGE_BYTES,
    }
}

impl SendQueue {
    /// Queues a message; false when the queue is too long already.
    pub(crate) fn push(&self, message: Message) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.bytes > SEND_MAX_BYTES {
            return false;
        }
        inner.bytes += cost(&message);
        inner.owes_drained |= matches!(message, Message::Piece { .. });
        inner.messages.push_back(message);
        drop(inner);
        self.bell.notify_one();
        true
    }

    /// Ends the connection: what is queued is still sent, except pieces, which nobody will miss; then the writer ends.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.closed = true;
        inner.messages.retain(|message| !matches!(message, Message::Piece { .. }));
        drop(inner);
        self.bell.notify_one();
    }

    /// Waits for messages and moves as many into `batch` as one write should carry. False when the queue is closed and empty.
    pub(crate) async fn take(&self, batch: &mut Vec<Message>) -> bool {
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

    fn take_now(&self, batch: &mut Vec<Message>) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        // A piece takes two slices: its head and its bytes.
        while bytes < WRITE_BATCH_BYTES && batch.len() < WRITE_SLICES_MAX / 2 {
            let Some(message) = inner.messages.pop_front() else { break };
            bytes += cost(&message);
            batch.push(message);
        }
        !batch.is_empty()
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
    use bytes::Bytes;
    use shoal_swarm_types::PieceIndex;

    fn piece(len: usize) -> Message {
        Message::Piece { swarm: 1, index: PieceIndex(0), queue: 0, data: Bytes::from(vec![0; len]) }
    }

    #[tokio::test]
    async fn tells_once_when_the_queue_is_low_after_a_piece() {
        let queue = SendQueue::default();
        assert!(queue.push(Message::KeepAlive));
        assert!(!queue.written(MESSAGE_BYTES), "no piece was queued");
        assert!(queue.push(piece(SEND_LOW_BYTES * 2)));
        assert!(!queue.written(1000));
        assert!(queue.written(SEND_LOW_BYTES + MESSAGE_BYTES));
        assert!(!queue.written(1000));
    }

    #[tokio::test]
    async fn refuses_more_than_its_bytes() {
        let queue = SendQueue::default();
        let pushed = std::iter::from_fn(|| queue.push(piece(4 << 20)).then_some(())).take(1000).count();
        assert!(pushed <= SEND_MAX_BYTES / (4 << 20) + 1, "{pushed}");
    }

    #[tokio::test]
    async fn ends_when_closed_and_empty() {
        let queue = SendQueue::default();
        queue.push(Message::KeepAlive);
        queue.close();
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch).await);
        batch.clear();
        assert!(!queue.take(&mut batch).await);
    }
}
