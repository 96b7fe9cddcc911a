//! One connection to a peer: a task that reads, a task that writes, and the handle by which the actor holds both.
//!
//! Memory of one connection, at most: [`READ_BUFFER_LEN`] and one message that is coming in (a piece, up to 4 MiB), plus a
//! queue of at most [`SEND_QUEUE_MAX`] things to send, pieces among them without their bytes. Messages that have come in count against one budget for all
//! connections; when it is used up, sockets are not read and TCP slows the senders down.
//!
//! [`READ_BUFFER_LEN`]: crate::limits::READ_BUFFER_LEN
//! [`SEND_QUEUE_MAX`]: crate::limits::SEND_QUEUE_MAX

mod frames;
mod queue;
mod wire;
mod write;

use std::sync::Arc;

use shoal_swarm_protocol::{ConnId, Message};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tracing::debug;

use crate::disk::Disk;
use crate::envelope::Stream;
use crate::event::Event;
use crate::limits::Times;
use frames::{Frames, Interruption};
use queue::SendQueue;
pub(crate) use queue::{Outgoing, Parcel};
use write::Writer;

/// Memory for messages that have come in and are not dealt with yet, shared by all connections.
#[derive(Clone)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    max: usize,
}

impl Budget {
    /// A budget of `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        // A budget of nothing would stop every connection.
        let max = max.max(1);
        Self { bytes: Arc::new(Semaphore::new(max)), max }
    }

    /// Waits until `len` bytes are free. A single message that is larger than the whole budget takes all of it.
    async fn take(&self, len: usize) -> Option<OwnedSemaphorePermit> {
        let len = u32::try_from(len.min(self.max)).unwrap_or(u32::MAX);
        Arc::clone(&self.bytes).acquire_many_owned(len).await.ok()
    }
}

/// What every connection of a process works with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) budget: Budget,
    pub(crate) disk: Disk,
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
        let reader =
            tokio::spawn(receive(id, frames, tools.budget.clone(), tools.events.clone())).abort_handle();
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

/// Passes on what comes in, until the connection ends.
async fn receive(conn: ConnId, mut frames: Frames, budget: Budget, events: mpsc::Sender<Event>) {
    loop {
        let message = match frames.next().await {
            Ok(message) => message,
            Err(interruption) => {
                note(conn, &interruption);
                break;
            }
        };
        let permit = match &message {
            Message::Piece { data, .. } => budget.take(data.len()).await,
            _ => None,
        };
        if events.send(Event::Received { conn, message, permit }).await.is_err() {
            return;
        }
    }
    let _ = events.send(Event::Disconnected { conn }).await;
}

fn note(conn: ConnId, interruption: &Interruption) {
    debug!(conn = conn.0, why = %interruption, "a peer connection ended");
}
