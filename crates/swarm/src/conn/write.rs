//! Sending what is queued: messages gathered into one buffer, pieces from the file straight into the socket.
//!
//! A piece is looked for when its turn has come. One that this process has verified goes out by `sendfile`, so its bytes never are
//! in our memory; where there is an envelope around the connection they are read in small blocks instead. One that was not verified
//! yet is read through verification first, on a disk worker. Nothing of a piece leaves before that, so a damaged piece costs the peer
//! a refusal and not the connection.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use shoal_store::FileRange;
use shoal_swarm_protocol::{ConnId, encode, encode_piece_head};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tracing::debug;

use super::queue::{Outgoing, Parcel, SendQueue};
use super::wire::Portion;
use super::{Tools, wire};
use crate::disk::Load;
use crate::envelope::WriteHalf;
use crate::event::Event;
use crate::limits::{SEND_BLOCK_LEN, SEND_BURST_BYTES, SEND_WARM_BYTES, WRITE_HEADS_LEN};

/// The task that sends on one connection.
pub(super) struct Writer {
    conn: ConnId,
    write: WriteHalf,
    queue: Arc<SendQueue>,
    tools: Tools,
    /// Messages and heads that are not written yet.
    heads: BytesMut,
    /// What of the queue's bytes they stand for.
    uncounted: usize,
    /// Bytes of pieces between a file and an envelope; memory only while there are any.
    block: Vec<u8>,
    /// Bytes sent since other tasks had their turn.
    burst: usize,
    /// What the socket was told last.
    portion: Option<Portion>,
}

impl Writer {
    pub(super) fn new(conn: ConnId, write: WriteHalf, queue: Arc<SendQueue>, tools: Tools) -> Self {
        let (heads, block) = (BytesMut::new(), Vec::new());
        Self { conn, write, queue, tools, heads, uncounted: 0, block, burst: 0, portion: None }
    }

    /// Writes until the queue is closed and empty, or the socket fails, or the peer stops reading.
    pub(super) async fn run(mut self) {
        let mut batch = VecDeque::new();
        while self.queue.take(&mut batch).await {
            if let Err(error) = self.send(&mut batch).await {
                debug!(conn = self.conn.0, %error, "cannot send to a peer");
                let _ = self.tools.events.send(Event::Disconnected { conn: self.conn }).await;
                return;
            }
        }
    }

    /// Writes a batch, and what is queued behind it meanwhile.
    async fn send(&mut self, batch: &mut VecDeque<Outgoing>) -> io::Result<()> {
        loop {
            while let Some(outgoing) = batch.pop_front() {
                if self.heads.len() >= WRITE_HEADS_LEN {
                    self.write_heads(true).await?;
                }
                match &outgoing {
                    Outgoing::Message(message) => {
                        encode(message, &mut self.heads);
                        self.uncounted += outgoing.len();
                    }
                    Outgoing::Piece(parcel) => self.send_piece(parcel).await?,
                }
            }
            if !self.queue.take_now(batch) {
                break;
            }
        }
        self.write_heads(false).await?;
        // An envelope holds bytes back until it is told that nothing follows at once; a socket never does.
        timeout(self.tools.times.write_stall, self.write.flush())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        // A connection that rests holds no memory.
        self.block = Vec::new();
        Ok(())
    }

    async fn send_piece(&mut self, parcel: &Parcel) -> io::Result<()> {
        let Parcel { digest, head } = *parcel;
        let frame_bytes = Outgoing::Piece(*parcel).len() - head.len as usize;
        let load = match self.tools.disk.load(digest, head.index, u64::from(head.len)).await {
            Ok(load) => load,
            Err(why) => {
                let (conn, index) = (self.conn, head.index);
                let _ = self.tools.events.send(Event::SendFailed { conn, digest, index, why }).await;
                self.report(frame_bytes + head.len as usize).await;
                return Ok(());
            }
        };
        encode_piece_head(&head, &mut self.heads);
        self.uncounted += frame_bytes;
        self.write_heads(true).await?;
        match load {
            Load::File(range) if self.write.socket().is_some() => self.send_file(&range).await,
            Load::File(range) => self.copy_file(&range).await,
            Load::Bytes(bytes) => self.write_all(&bytes).await,
        }
    }

    /// From the page cache into the socket.
    async fn send_file(&mut self, range: &FileRange) -> io::Result<()> {
        let portion = Portion::of(u32::try_from(range.len).unwrap_or(u32::MAX));
        if self.portion != Some(portion)
            && let Some(socket) = self.write.socket()
        {
            portion.set(socket)?;
            self.portion = Some(portion);
        }
        let (mut at, mut warm_until, mut let_through) = (0, 0, 0);
        while at < range.len {
            if at >= warm_until {
                let part = range.part(at, SEND_WARM_BYTES);
                warm_until = at + part.len;
                if !part.is_warm()? {
                    self.tools.disk.warm(part).await?;
                }
            }
            if let_through == 0 {
                let left = usize::try_from(range.len - at).unwrap_or(usize::MAX);
                let_through = self.tools.shaper.portion_out(left);
                self.tools.shaper.send(let_through).await;
            }
            let part = range.part(0, at + let_through as u64);
            let Some(socket) = self.write.socket() else { return Ok(()) };
            let sent = wire::send_file(socket, &part, at, portion, self.tools.times.write_stall).await?;
            let_through -= sent;
            at += sent as u64;
            self.sent(sent).await;
        }
        Ok(())
    }

    /// Through a small block of memory into the envelope.
    async fn copy_file(&mut self, range: &FileRange) -> io::Result<()> {
        self.block.resize(SEND_BLOCK_LEN, 0);
        let mut at = 0;
        while at < range.len {
            let Some(len) = range.read_now(at, &mut self.block)? else {
                self.tools.disk.warm(range.part(at, SEND_BLOCK_LEN as u64)).await?;
                continue;
            };
            if len == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file of a piece has become shorter",
                ));
            }
            let mut block = std::mem::take(&mut self.block);
            block.truncate(len);
            let written = self.write_all(&block).await;
            block.resize(SEND_BLOCK_LEN, 0);
            self.block = block;
            written?;
            at += len as u64;
        }
        Ok(())
    }

    /// Writes the messages and heads that have gathered; `more` when bytes follow at once.
    async fn write_heads(&mut self, more: bool) -> io::Result<()> {
        let (mut written, stall) = (0, self.tools.times.write_stall);
        while written < self.heads.len() {
            let rest = &self.heads[written..];
            written += match self.write.socket().filter(|_| more) {
                Some(socket) => wire::send_more(socket, rest, stall).await?,
                None => nonzero(timeout(stall, self.write.write(rest)).await)?,
            };
        }
        self.heads.clear();
        let counted = std::mem::take(&mut self.uncounted);
        self.report(counted).await;
        Ok(())
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        for block in bytes.chunks(self.tools.shaper.portion_out(SEND_BLOCK_LEN)) {
            self.tools.shaper.send(block.len()).await;
            let mut rest = block;
            while !rest.is_empty() {
                let stall = self.tools.times.write_stall;
                let written = nonzero(timeout(stall, self.write.write(rest)).await)?;
                rest = &rest[written..];
                self.sent(written).await;
            }
        }
        Ok(())
    }

    /// Counts bytes of a piece, and lets other tasks have their turn now and then.
    async fn sent(&mut self, bytes: usize) {
        self.report(bytes).await;
        self.burst += bytes;
        if self.burst >= SEND_BURST_BYTES {
            self.burst = 0;
            tokio::task::yield_now().await;
        }
    }

    /// Counts bytes as written, and tells the core when the queue has become low.
    async fn report(&mut self, bytes: usize) {
        if bytes > 0 && self.queue.written(bytes) {
            let _ = self.tools.events.send(Event::Drained { conn: self.conn }).await;
        }
    }
}

/// A write that made progress in time.
fn nonzero(outcome: Result<io::Result<usize>, tokio::time::error::Elapsed>) -> io::Result<usize> {
    match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}
