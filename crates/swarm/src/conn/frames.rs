//! Messages out of a byte stream, and bytes of pieces to where they belong.
//!
//! Small messages are cut out of one small buffer, which one read fills with as many as have come. Of a piece only the head is cut out;
//! its bytes are read straight into the memory that the caller has for them: the kernel copies them once, but for the few kilobytes
//! that were in the small buffer already.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use shoal_swarm_protocol::{CodecError, Frame, PartError, decode_frame};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::envelope::ReadHalf;
use crate::limits::READ_BUFFER_LEN;

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
    /// The parts of a piece do not fit together.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The incoming half of a connection.
pub(crate) struct Frames<R = ReadHalf> {
    read: R,
    buffer: BytesMut,
    limit: Duration,
    /// When the message that has begun must be complete.
    deadline: Instant,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads messages from `read`; each must be complete within `limit` of its beginning.
    pub(crate) fn new(read: R, limit: Duration) -> Self {
        let buffer = BytesMut::with_capacity(READ_BUFFER_LEN);
        Self { read, buffer, limit, deadline: Instant::now() }
    }

    /// The next message, or the head of bytes of a piece, which must then be read. Not cancel-safe: a task of its own reads each
    /// connection.
    pub(crate) async fn next(&mut self) -> Result<Frame, Interruption> {
        let mut has_begun = false;
        loop {
            if let Some(frame) = decode_frame(&mut self.buffer)? {
                if !has_begun && !matches!(frame, Frame::Message(_)) {
                    self.deadline = Instant::now() + self.limit;
                }
                return Ok(frame);
            }
            if self.buffer.is_empty() {
                self.fill().await?;
                continue;
            }
            if !std::mem::replace(&mut has_begun, true) {
                self.deadline = Instant::now() + self.limit;
            }
            let deadline = self.deadline;
            timeout_at(deadline, self.fill()).await.map_err(|_| Interruption::Stuck)??;
        }
    }

    /// Fills `into` with the next bytes of the piece whose head was given out.
    pub(crate) async fn read(&mut self, into: &mut [u8]) -> Result<(), Interruption> {
        let at_hand = self.buffer.len().min(into.len());
        self.buffer.copy_to_slice(&mut into[..at_hand]);
        let mut filled = at_hand;
        while filled < into.len() {
            let reading = timeout_at(self.deadline, self.read.read(&mut into[filled..]));
            match reading.await.map_err(|_| Interruption::Stuck)?? {
                0 => return Err(Interruption::Closed),
                len => filled += len,
            }
        }
        Ok(())
    }

    /// Time that we took, not the peer: the piece may take so much longer.
    pub(crate) fn excuse(&mut self, time: Duration) {
        self.deadline += time;
    }

    /// Reads what the socket has, up to one small buffer.
    async fn fill(&mut self) -> Result<(), Interruption> {
        if self.buffer.is_empty() {
            // The whole buffer again, if nobody holds on to a part of it.
            self.buffer.reserve(READ_BUFFER_LEN);
        }
        match self.read.read_buf(&mut (&mut self.buffer).limit(READ_BUFFER_LEN)).await? {
            0 => Err(Interruption::Closed),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
