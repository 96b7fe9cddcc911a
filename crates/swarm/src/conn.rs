//! One connection to a peer: a task that reads, a task that writes, and the handle by which the actor holds both.
//!
//! Memory of one connection, at most: [`READ_BUFFER_LEN`] for messages and, while a piece comes in, two segments of the pool that all
//! connections share; a queue of at most [`SEND_QUEUE_MAX`] things to send, pieces among them without their bytes; and inside an
//! envelope, while pieces go out, one block of [`SEND_BLOCK_LEN`].
//!
//! [`READ_BUFFER_LEN`]: crate::limits::READ_BUFFER_LEN
//! [`SEND_QUEUE_MAX`]: crate::limits::SEND_QUEUE_MAX
//! [`SEND_BLOCK_LEN`]: crate::limits::SEND_BLOCK_LEN

mod frames;
mod precedence;
mod queue;
mod read;
mod wire;
mod write;

use std::sync::Arc;

use shoal_swarm_protocol::ConnId;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::desk::Desk;
use crate::disk::Disk;
use crate::envelope::Stream;
use crate::event::Event;
use crate::limits::Times;
use crate::pool::Pool;
use crate::shape::Shaper;
use frames::Frames;
pub(crate) use precedence::Precedence;
use queue::SendQueue;
pub(crate) use queue::{Outgoing, Parcel};
use read::Reader;
use write::Writer;

/// What every connection of a process works with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) pool: Pool,
    pub(crate) disk: Disk,
    pub(crate) shaper: Arc<Shaper>,
    /// What readers wait for.
    pub(crate) desk: Arc<Desk>,
    /// What readers elsewhere wait for.
    pub(crate) precedence: Arc<Precedence>,
    pub(crate) times: Times,
    pub(crate) events: mpsc::Sender<Event>,
}

/// The actor's hold on a connection. When it is dropped, nothing more is read, and what is queued is still sent, within a limit.
pub(crate) struct Conn {
    queue: Arc<SendQueue>,
    reader: AbortHandle,
}

impl Conn {
    /// Starts both tasks.
    pub(crate) fn start(id: ConnId, stream: Stream, tools: &Tools) -> Self {
        let (read, write) = stream.into_split();
        let queue = Arc::new(SendQueue::default());
        let frames = Frames::new(read, tools.times.frame);
        let reader = tokio::spawn(Reader::new(id, frames, tools.clone()).run()).abort_handle();
        tokio::spawn(Writer::new(id, write, Arc::clone(&queue), tools.clone()).run());
        Self { queue, reader }
    }

    /// Queues a message or a piece. False when the peer takes in too little and must be cut off.
    pub(crate) fn send(&self, outgoing: Outgoing) -> bool {
        self.queue.push(outgoing)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.reader.abort();
        self.queue.close();
    }
}
