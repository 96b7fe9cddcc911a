//! Messages out of a byte stream, with as little copying as the socket allows.
//!
//! Small messages are cut out of one small buffer. When a long one (a piece) begins, the rest of it is read straight into memory
//! that was made for it, and its payload leaves here as a view into that memory: a piece's bytes are copied once, by the kernel,
//! but for the few kilobytes that were in the small buffer already.

use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use shoal_swarm_protocol::codec::FRAME_HEAD_LEN;
use shoal_swarm_protocol::{CodecError, Message, decode};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::envelope::ReadHalf;
use crate::limits::READ_BUFFER_LEN;

/// Length of the length prefix, which does not count itself.
const PREFIX_LEN: usize = 4;

/// Why no more messages come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interruption {
    /// The peer closed the connection.
    #[error("closed by the peer")]
    Closed,
    /// A message took too long from its first to its last byte.
    #[error("a message stopped half way")]
    Stuck,
    /// The bytes are no message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The incoming half of a connection.
pub(crate) struct Frames<R = ReadHalf> {
    read: R,
    buffer: BytesMut,
    limit: Duration,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads messages from `read`; each must be complete within `limit` of its beginning.
    pub(crate) fn new(read: R, limit: Duration) -> Self {
        Self { read, buffer: BytesMut::with_capacity(READ_BUFFER_LEN), limit }
    }

    /// The next message. Not cancel-safe: a task of its own reads each connection.
    pub(crate) async fn next(&mut self) -> Result<Message, Interruption> {
        loop {
            if let Some(message) = decode(&mut self.buffer)? {
                return Ok(message);
            }
            if self.buffer.is_empty() {
                self.fill().await?;
            } else {
                let limit = self.limit;
                timeout(limit, self.complete()).await.map_err(|_| Interruption::Stuck)??;
            }
        }
    }

    /// Reads on until the message that has begun is whole, or until its length can be checked.
    async fn complete(&mut self) -> Result<(), Interruption> {
        // With the whole head in hand the decoder has checked the length before this is called.
        let Some(head) = self.buffer.first_chunk::<FRAME_HEAD_LEN>() else { return self.fill().await };
        let [a, b, c, d, _] = *head;
        let total = PREFIX_LEN + u32::from_be_bytes([a, b, c, d]) as usize;
        if total > READ_BUFFER_LEN {
            self.complete_long(total).await
        } else {
            self.complete_short(total).await
        }
    }

    async fn complete_short(&mut self, total: usize) -> Result<(), Interruption> {
        while self.buffer.len() < total {
            self.fill().await?;
        }
        Ok(())
    }

    /// Reads the rest of a long message, and not a byte beyond it, into the memory that the decoder has made room for.
    async fn complete_long(&mut self, total: usize) -> Result<(), Interruption> {
        while self.buffer.len() < total {
            let missing = total - self.buffer.len();
            self.buffer.reserve(missing);
            if self.read.read_buf(&mut (&mut self.buffer).limit(missing)).await? == 0 {
                return Err(Interruption::Closed);
            }
        }
        Ok(())
    }

    /// Reads what the socket has, up to one small buffer.
    async fn fill(&mut self) -> Result<(), Interruption> {
        if self.buffer.is_empty() && self.buffer.capacity() < READ_BUFFER_LEN {
            // What is left of the memory of a piece that has gone its way.
            self.buffer = BytesMut::with_capacity(READ_BUFFER_LEN);
        }
        match self.read.read_buf(&mut (&mut self.buffer).limit(READ_BUFFER_LEN)).await? {
            0 => Err(Interruption::Closed),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
