//! Sending what is queued: heads of messages from one small buffer, payloads from where they are, in vectored writes.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use shoal_swarm_protocol::{ConnId, Message, encode_head};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::queue::{SendQueue, cost};
use crate::envelope::WriteHalf;
use crate::event::Event;
use crate::limits::{Times, WRITE_TAIL_BYTES};

/// Writes until the queue is closed and empty, or the socket fails, or the peer stops reading.
pub(crate) async fn run(
    conn: ConnId,
    mut write: WriteHalf,
    queue: Arc<SendQueue>,
    times: Times,
    events: mpsc::Sender<Event>,
) {
    let mut batch = Vec::new();
    while queue.take(&mut batch).await {
        if let Err(error) = send(conn, &mut write, &batch, &queue, &times, &events).await {
            debug!(conn = conn.0, %error, "cannot send to a peer");
            let _ = events.send(Event::Disconnected { conn }).await;
            return;
        }
        batch.clear();
    }
}

/// Writes one batch and reports when the queue becomes low.
async fn send(
    conn: ConnId,
    write: &mut WriteHalf,
    batch: &[Message],
    queue: &SendQueue,
    times: &Times,
    events: &mpsc::Sender<Event>,
) -> io::Result<()> {
    let parts = Parts::of(batch);
    let mut uncounted: usize = batch.iter().map(cost).sum();
    for mut slices in parts.writes() {
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let written = timeout(times.write_stall, write.write_vectored(rest))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, written);
            let counted = written.min(uncounted);
            uncounted -= counted;
            report(conn, queue, counted, events).await;
        }
    }
    // An envelope holds bytes back until it is told that nothing follows at once; a socket never does.
    timeout(times.write_stall, write.flush())
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    // The bytes on the wire differ a little from what the queue counts; this settles it.
    report(conn, queue, uncounted, events).await;
    Ok(())
}

/// Counts bytes as written, and tells the core when the queue has become low.
async fn report(conn: ConnId, queue: &SendQueue, written: usize, events: &mpsc::Sender<Event>) {
    if queue.written(written) {
        let _ = events.send(Event::Drained { conn }).await;
    }
}

/// The bytes of a batch: one buffer with all heads, cut where payloads belong between them.
struct Parts {
    heads: BytesMut,
    /// End of a stretch of heads, and the payload that follows it.
    payloads: Vec<(usize, Bytes)>,
}

impl Parts {
    fn of(batch: &[Message]) -> Self {
        let mut parts = Self { heads: BytesMut::new(), payloads: Vec::new() };
        for message in batch {
            if let Some(payload) = encode_head(message, &mut parts.heads) {
                parts.payloads.push((parts.heads.len(), payload));
            }
        }
        parts
    }

    /// What each write carries: everything but the end of the last payload, then that end with what follows it.
    fn writes(&self) -> [Vec<IoSlice<'_>>; 2] {
        let mut slices = Vec::with_capacity(self.payloads.len() * 2 + 1);
        let mut tail = Vec::with_capacity(2);
        let mut start = 0;
        for (at, (end, payload)) in self.payloads.iter().enumerate() {
            slices.push(IoSlice::new(&self.heads[start..*end]));
            let is_last = at + 1 == self.payloads.len();
            let cut = if is_last { payload.len().saturating_sub(WRITE_TAIL_BYTES) } else { payload.len() };
            slices.push(IoSlice::new(&payload[..cut]));
            tail.push(IoSlice::new(&payload[cut..]));
            start = *end;
        }
        tail.push(IoSlice::new(&self.heads[start..]));
        slices.retain(|slice| !slice.is_empty());
        tail.retain(|slice| !slice.is_empty());
        [slices, tail]
    }
}
