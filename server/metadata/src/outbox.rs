//! Messages that wait to be delivered, queued in the same transaction as the change that they tell about.
//!
//! A message is there if and only if its change is. The queue never holds up a push: when it is full, the oldest messages are dropped
//! and counted. Delivered at least once: whoever dies between delivering and [`Outbox::outbox_done`] delivers again.

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;
use crate::clock::UnixMillis;

/// A durable queue.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Queues messages that belong to no change, such as those about pulls.
    async fn outbox_append(&self, payloads: Vec<Bytes>) -> Result<()>;

    /// The messages whose time has come at `now`, the longest waiting first. They stay in the queue.
    ///
    /// At most `limit` of them, and a megabyte of payloads (one message at least), so that a page fits in memory.
    async fn outbox_peek(&self, limit: usize, now: UnixMillis) -> Result<Vec<Message>>;

    /// The messages behind number `after`, in the order of their numbers, whether or not their time has come. They stay in the queue.
    /// For readers that keep a position of their own. `limit` and size as for [`Self::outbox_peek`].
    async fn outbox_after(&self, after: u64, limit: usize) -> Result<Vec<Message>>;

    /// Takes delivered messages out of the queue. Those that are not there any more are passed over.
    async fn outbox_done(&self, ids: Vec<u64>) -> Result<()>;

    /// Puts a message back until `next_at`, after `attempts` attempts.
    async fn outbox_retry(&self, id: u64, next_at: UnixMillis, attempts: u32) -> Result<()>;

    /// How many messages wait, and what became of those that did not fit.
    fn outbox_len(&self) -> OutboxLen;

    /// The number of the newest message that was ever queued, delivered or not; 0 when there was none. A reader whose position is beyond
    /// it has a position in another queue, such as the one before a restore.
    async fn outbox_last(&self) -> Result<u64>;

    /// When the oldest message was queued; `None` when there is none.
    async fn outbox_oldest(&self) -> Result<Option<UnixMillis>>;
}

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number: greater than those of all messages that were queued before it, and never used again.
    pub id: u64,
    /// What is to be delivered.
    pub payload: Bytes,
    /// Attempts to deliver it so far.
    pub attempts: u32,
    /// When it was queued.
    pub queued_at: UnixMillis,
}

/// How full the queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxLen {
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that were dropped because the queue was full, since this process started.
    pub dropped: u64,
}
