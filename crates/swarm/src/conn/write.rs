//! Sending what is queued: messages gathered into one buffer, pieces from the file straight into the socket.
//!
//! A piece is looked for when its turn has come. One that this process has verified goes out by `sendfile`, so its bytes never are
//! in our memory; where there is an envelope around the connection they are read in small blocks instead. One that was not verified
//! yet is read through verification first, on a disk worker. Nothing of a piece leaves before that, so a damaged piece costs the peer
//! a refusal and not the connection.
//!
//! A long piece leaves in parts. Between two of them pieces go out that a reader waits for, so that such a reader waits for the rest of a
//! part and not for the pieces before it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use shoal_store::FileRange;
use shoal_swarm_protocol::{
    ConnId, MoreHead, PieceHead, encode, encode_begin_head, encode_more_head, encode_piece_head,
};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::queue::{FRAME_BYTES, Outgoing, Parcel, SendQueue};
use super::wire::Portion;
use super::{Tools, wire};
use crate::disk::Load;
use crate::envelope::WriteHalf;
use crate::event::Event;
use crate::limits::{
    PART_BYTES, SEND_BLOCK_LEN, SEND_BURST_BYTES, SEND_WARM_BYTES, URGENT_IN_A_ROW_MAX, URGENT_MEMORY,
    WRITE_HEADS_LEN,
};

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
    /// When an urgent piece was last sent.
    urgent_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(conn: ConnId, write: WriteHalf, queue: Arc<SendQueue>, tools: Tools) -> Self {
        let (heads, block) = (BytesMut::new(), Vec::new());
        Self {
            conn,
            write,
            queue,
            tools,
            heads,
            uncounted: 0,
            block,
            burst: 0,
            portion: None,
            urgent_at: None,
        }
    }

    /// Writes until the queue is closed and empty, or the socket fails, or the peer stops reading.
    pub(super) async fn run(mut self) {
        while let Some(outgoing) = self.queue.next().await {
            if let Err(error) = self.send(outgoing).await {
                debug!(conn = self.conn.0, %error, "cannot send to a peer");
                let _ = self.tools.events.send(Event::Disconnected { conn: self.conn }).await;
                return;
            }
        }
    }

    /// Writes something, and what is queued behind it meanwhile.
    async fn send(&mut self, first: Outgoing) -> io::Result<()> {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            match &outgoing {
                Outgoing::Message(_) => self.add_message(&outgoing).await?,
                Outgoing::Piece(parcel) => self.send_piece(parcel).await?,
            }
            next = self.queue.next_now();
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

    /// Adds a message to what will be written.
    async fn add_message(&mut self, outgoing: &Outgoing) -> io::Result<()> {
        if self.heads.len() >= WRITE_HEADS_LEN {
            self.write_heads(true).await?;
        }
        if let Outgoing::Message(message) = outgoing {
            encode(message, &mut self.heads);
            self.uncounted += outgoing.len();
        }
        Ok(())
    }

    /// Sends a piece in parts, and urgent ones between them.
    async fn send_piece(&mut self, parcel: &Parcel) -> io::Result<()> {
        if parcel.urgent {
            return self.send_urgent(parcel).await;
        }
        let Some(load) = self.load(parcel).await else { return Ok(()) };
        let (mut at, len) = (0, parcel.head.len);
        while at < len {
            self.tools.precedence.give_way().await;
            self.overtake().await?;
            let part = (len - at).min(self.part_len());
            self.send_part(&parcel.head, &load, at..at + part).await?;
            at += part;
        }
        Ok(())
    }

    /// Sends what goes before the rest of a piece for which no reader waits.
    async fn overtake(&mut self) -> io::Result<()> {
        let mut pieces = 0;
        while pieces < URGENT_IN_A_ROW_MAX
            && let Some(outgoing) = self.queue.next_urgent()
        {
            match &outgoing {
                Outgoing::Message(_) => self.add_message(&outgoing).await?,
                Outgoing::Piece(parcel) => {
                    self.send_urgent(parcel).await?;
                    pieces += 1;
                }
            }
        }
        Ok(())
    }

    /// Sends a piece that a reader waits for.
    async fn send_urgent(&mut self, parcel: &Parcel) -> io::Result<()> {
        self.urgent_at = Some(Instant::now());
        let Some(load) = self.load(parcel).await else { return Ok(()) };
        let precedence = Arc::clone(&self.tools.precedence);
        let _first = precedence.first();
        self.send_part(&parcel.head, &load, 0..parcel.head.len).await?;
        self.urgent_at = Some(Instant::now());
        Ok(())
    }

    /// Bytes of a piece that go out before another one may overtake it.
    fn part_len(&self) -> u32 {
        let reckoned_with = self.urgent_at.is_some_and(|at| at.elapsed() < URGENT_MEMORY);
        if reckoned_with { PART_BYTES.1 } else { PART_BYTES.0 }
    }

    /// Where the bytes of a piece are; `None` when they cannot be had, which the core is told.
    async fn load(&mut self, parcel: &Parcel) -> Option<Load> {
        let Parcel { digest, head, .. } = *parcel;
        match self.tools.disk.load(digest, head.index, u64::from(head.len)).await {
            Ok(load) => Some(load),
            Err(why) => {
                let (conn, index) = (self.conn, head.index);
                let _ = self.tools.events.send(Event::SendFailed { conn, digest, index, why }).await;
                self.report(Outgoing::Piece(*parcel).len()).await;
                None
            }
        }
    }

    /// Sends some bytes of a piece behind a head of their own.
    async fn send_part(&mut self, head: &PieceHead, load: &Load, part: Range<u32>) -> io::Result<()> {
        let len = part.end - part.start;
        match part.start {
            0 if len == head.len => encode_piece_head(head, &mut self.heads),
            0 => encode_begin_head(head, len, &mut self.heads),
            offset => {
                let PieceHead { swarm, index, .. } = *head;
                encode_more_head(&MoreHead { swarm, index, offset, len }, &mut self.heads);
            }
        }
        if part.start == 0 {
            self.uncounted += FRAME_BYTES;
        }
        self.write_heads(true).await?;
        let (start, len) = (u64::from(part.start), u64::from(len));
        match load {
            Load::File(range) if self.write.socket().is_some() => {
                self.send_file(&range.part(start, len), Portion::of(head.len, self.part_len())).await
            }
            Load::File(range) => self.copy_file(&range.part(start, len)).await,
            Load::Bytes(bytes) => {
                // What was loaded has the length of the piece.
                let bytes = bytes.slice(part.start as usize..part.end as usize);
                self.write_all(&bytes).await
            }
        }
    }

    /// From the page cache into the socket.
    async fn send_file(&mut self, range: &FileRange, portion: Portion) -> io::Result<()> {
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
