//! Taking in what a peer sends: words are passed on, bytes of pieces go to the disk.
//!
//! Each received byte is looked at once. A segment of memory is filled from the socket, hashed while it is in the processor's cache,
//! and written to its place in the file; nothing is read back. A piece that fits into a segment is written after it was checked. A longer
//! one is written segment by segment while it arrives (see [`PieceWriter`]), so that a connection holds two segments at most: one that
//! fills and one that is written. When somebody else is writing the same piece, the copy is gathered in memory if there is plenty,
//! else thrown away and asked for again.

use std::collections::HashMap;
use std::sync::Arc;

use shoal_oci::Digest;
use shoal_store::PieceWriter;
use shoal_swarm_protocol::{ConnId, Frame, Message, PieceHead};
use shoal_swarm_types::PieceCheck;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

use super::Tools;
use super::frames::{Frames, Interruption};
use crate::disk::{Job, Landed};
use crate::event::Event;
use crate::limits::{CHANNELS_KNOWN_MAX, SEGMENT_LEN};
use crate::pool::Segment;
use crate::shape::Class;
use crate::view::Storage;

/// What a write answers: whether the rest of the piece is needed.
type Answer = oneshot::Receiver<shoal_store::Result<bool>>;

/// The task that reads one connection.
pub(super) struct Reader {
    conn: ConnId,
    frames: Frames,
    tools: Tools,
    /// What the peer's channels stand for, by its own words.
    channels: HashMap<u32, Digest>,
}

impl Reader {
    pub(super) fn new(conn: ConnId, frames: Frames, tools: Tools) -> Self {
        Self { conn, frames, tools, channels: HashMap::new() }
    }

    /// Passes on what comes in, until the connection ends.
    pub(super) async fn run(mut self) {
        let conn = self.conn;
        loop {
            let event = match self.event().await {
                Ok(event) => event,
                Err(interruption) => {
                    debug!(conn = conn.0, why = %interruption, "a peer connection ended");
                    break;
                }
            };
            if self.tools.events.send(event).await.is_err() {
                return;
            }
        }
        let _ = self.tools.events.send(Event::Disconnected { conn }).await;
    }

    async fn event(&mut self) -> Result<Event, Interruption> {
        let conn = self.conn;
        match self.frames.next().await? {
            Frame::Message(message) => {
                self.note(&message);
                Ok(Event::Received { conn, message })
            }
            Frame::Piece(head) => {
                let landed = self.take_in(&head).await?;
                Ok(Event::Arrived { conn, head, landed })
            }
        }
    }

    /// Remembers what a channel stands for.
    fn note(&mut self, message: &Message) {
        match message {
            // The core ends a connection with too many channels.
            Message::Join { swarm, digest, .. } if self.channels.len() < CHANNELS_KNOWN_MAX => {
                self.channels.insert(*swarm, *digest);
            }
            Message::Leave { swarm } => {
                self.channels.remove(swarm);
            }
            _ => {}
        }
    }

    /// Reads the bytes of a piece to where they belong.
    async fn take_in(&mut self, head: &PieceHead) -> Result<Landed, Interruption> {
        let storage = self.channels.get(&head.swarm).and_then(|digest| self.tools.disk.handles().get(digest));
        let check = storage.as_ref().and_then(|storage| storage.metainfo().check(head.index));
        // The core judges a piece that fits nowhere, and whoever sends it.
        let (Some(storage), Some(check)) = (storage, check.filter(|check| check.len() == head.len)) else {
            return self.throw_away(head).await;
        };
        if head.len as usize <= SEGMENT_LEN {
            let segment = self.take(head.len as usize).await;
            return self.gather(vec![segment], check, head).await;
        }
        if let Storage::Partial(partial) = &storage
            && let Ok(Some(writer)) = partial.begin_piece(head.index)
        {
            return self.pass_on(Arc::new(writer), check, head).await;
        }
        match self.tools.pool.take_spare(head.len as usize) {
            Some(segments) => self.gather(segments, check, head).await,
            None => self.throw_away(head).await,
        }
    }

    /// Fills memory.
    async fn gather(
        &mut self,
        mut segments: Vec<Segment>,
        mut check: PieceCheck,
        head: &PieceHead,
    ) -> Result<Landed, Interruption> {
        for segment in &mut segments {
            self.fill(segment, head).await?;
            check.update(segment.bytes());
        }
        Ok(Landed::Held { segments, verdict: check.finish() })
    }

    /// Fills one segment while the one before is written.
    async fn pass_on(
        &mut self,
        writer: Arc<PieceWriter>,
        mut check: PieceCheck,
        head: &PieceHead,
    ) -> Result<Landed, Interruption> {
        let mut left = check.len() as usize;
        let mut writing: Option<Answer> = None;
        let mut failure = None;
        while left > 0 {
            let mut segment = self.take(left.min(SEGMENT_LEN)).await;
            self.fill(&mut segment, head).await?;
            left -= segment.bytes().len();
            if failure.is_some() {
                continue;
            }
            check.update(segment.bytes());
            if let Some(answer) = writing.take() {
                failure = self.answer(answer).await;
            }
            if failure.is_none() {
                let (reply, answer) = oneshot::channel();
                let writer = Arc::clone(&writer);
                self.tools.disk.submit(Job::Write { writer, segment, reply });
                writing = Some(answer);
            }
        }
        if let Some(answer) = writing {
            failure = self.answer(answer).await;
        }
        let written = || Landed::Written { writer, verdict: check.finish() };
        Ok(failure.unwrap_or_else(written))
    }

    /// Waits for a write; what has become of the piece if no more of it is to be written.
    async fn answer(&mut self, answer: Answer) -> Option<Landed> {
        let since = Instant::now();
        let outcome = answer.await;
        self.frames.excuse(since.elapsed());
        match outcome {
            Ok(Ok(true)) => None,
            Ok(Err(error)) => Some(Landed::Failed(error)),
            // Somebody else has the whole piece, or the disk workers are gone.
            Ok(Ok(false)) | Err(_) => Some(Landed::Nowhere),
        }
    }

    /// Reads bytes that nobody needs.
    async fn throw_away(&mut self, head: &PieceHead) -> Result<Landed, Interruption> {
        let mut left = head.len as usize;
        while left > 0 {
            let mut segment = self.take(left.min(SEGMENT_LEN)).await;
            self.fill(&mut segment, head).await?;
            left -= segment.bytes().len();
        }
        Ok(Landed::Nowhere)
    }

    /// Fills a segment with the next bytes of a piece, as fast as the limits let it. Time that we wait by ourselves is no fault of the
    /// peer's.
    async fn fill(&mut self, segment: &mut Segment, head: &PieceHead) -> Result<(), Interruption> {
        let mut rest = segment.bytes_mut();
        while !rest.is_empty() {
            let portion = self.tools.shaper.portion_in(rest.len());
            if portion < rest.len() || self.tools.shaper.limits_download() {
                let since = Instant::now();
                self.tools.shaper.receive(self.class(head), portion).await;
                self.frames.excuse(since.elapsed());
            }
            let (now, later) = rest.split_at_mut(portion);
            self.frames.read(now).await?;
            rest = later;
        }
        Ok(())
    }

    /// Whether a reader waits for a piece.
    fn class(&self, head: &PieceHead) -> Class {
        let wanted = self
            .channels
            .get(&head.swarm)
            .is_some_and(|digest| self.tools.desk.is_wanted(digest, head.index));
        if wanted { Class::Foreground } else { Class::Background }
    }

    /// Memory for bytes that are about to come.
    async fn take(&mut self, len: usize) -> Segment {
        let since = Instant::now();
        let segment = self.tools.pool.take(len).await;
        self.frames.excuse(since.elapsed());
        segment
    }
}
