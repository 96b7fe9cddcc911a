//! Taking in what a peer sends: words are passed on, bytes of pieces go to the disk.
//!
//! Each received byte is looked at once. A segment of memory is filled from the socket, hashed while it is in the processor's cache,
//! and written to its place in the file; nothing is read back. A piece that fits into a segment is written after it was checked. A longer
//! one is written segment by segment while it arrives (see [`PieceWriter`]), so that a connection holds two segments: one that fills and
//! one that is written. When somebody else is writing the same piece, the copy is gathered in memory if there is plenty, else thrown away
//! and asked for again.
//!
//! A long piece may come in parts, with others between them. What has come of a part is written at once, so a piece that pauses holds no
//! memory of its own; only a few can have begun at a time (see [`Parts`]).

use std::collections::HashMap;
use std::sync::Arc;

use shoal_oci::Digest;
use shoal_store::PieceWriter;
use shoal_swarm_protocol::{ConnId, Frame, Message, Parts, PieceHead};
use shoal_swarm_types::PieceCheck;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

use super::Tools;
use super::frames::{Frames, Interruption};
use crate::disk::{Job, Landed};
use crate::event::Event;
use crate::limits::{CHANNELS_KNOWN_MAX, PARTS_PATIENCE, SEGMENT_LEN};
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
    /// Pieces of which parts are still to come.
    parts: Parts<Arriving>,
}

/// A piece that is coming in.
struct Arriving {
    /// Of its bytes so far; nothing when they are thrown away.
    check: Option<PieceCheck>,
    place: Place,
    since: Instant,
}

/// Where the bytes of a piece go.
enum Place {
    /// Into memory; so many bytes are there.
    Memory { segments: Vec<Segment>, filled: usize },
    /// To their place in the file; the last ones are being written.
    File { writer: Arc<PieceWriter>, writing: Option<Answer> },
    /// Away, because that has become of the piece.
    Away(Landed),
}

impl Reader {
    pub(super) fn new(conn: ConnId, frames: Frames, tools: Tools) -> Self {
        Self { conn, frames, tools, channels: HashMap::new(), parts: Parts::default() }
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

    /// The next event. A part of a piece is none, unless it is the last.
    async fn event(&mut self) -> Result<Event, Interruption> {
        let conn = self.conn;
        loop {
            let arrived = match self.frames.next().await? {
                Frame::Message(message) => {
                    self.note(&message);
                    return Ok(Event::Received { conn, message });
                }
                Frame::Piece(head) => self.whole(head).await.map(Some)?,
                Frame::Begin(head, len) => {
                    self.parts.may_begin(&head, true)?;
                    let mut arriving = self.begin(&head, len).await;
                    self.take_in(&head, &mut arriving, len).await?;
                    self.parts.keep(head, len, arriving);
                    None
                }
                Frame::More(more) => {
                    let mut begun = self.parts.go_on(&more)?;
                    if begun.kept.since.elapsed() > self.tools.times.frame * PARTS_PATIENCE {
                        return Err(Interruption::Stuck);
                    }
                    self.take_in(&begun.head, &mut begun.kept, more.len).await?;
                    if begun.is_whole() {
                        Some((begun.head, self.finish(&begun.head, begun.kept).await))
                    } else {
                        self.parts.keep_again(begun);
                        None
                    }
                }
            };
            if let Some((head, landed)) = arrived {
                return Ok(Event::Arrived { conn, head, landed });
            }
        }
    }

    async fn whole(&mut self, head: PieceHead) -> Result<(PieceHead, Landed), Interruption> {
        self.parts.may_begin(&head, false)?;
        let mut arriving = self.begin(&head, head.len).await;
        self.take_in(&head, &mut arriving, head.len).await?;
        Ok((head, self.finish(&head, arriving).await))
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

    /// Finds out where the bytes of a piece belong, of which `now` come at once.
    async fn begin(&mut self, head: &PieceHead, now: u32) -> Arriving {
        let storage = self.channels.get(&head.swarm).and_then(|digest| self.tools.disk.handles().get(digest));
        let check = storage.as_ref().and_then(|storage| storage.metainfo().check(head.index));
        // The core judges a piece that fits nowhere, and whoever sends it.
        let place = match (storage, check.as_ref().filter(|check| check.len() == head.len)) {
            (Some(storage), Some(_)) => self.place(&storage, head, now).await,
            _ => Place::Away(Landed::Nowhere),
        };
        Arriving { check, place, since: Instant::now() }
    }

    async fn place(&mut self, storage: &Storage, head: &PieceHead, now: u32) -> Place {
        let len = head.len as usize;
        if now == head.len && len <= SEGMENT_LEN {
            return Place::Memory { segments: vec![self.take(len).await], filled: 0 };
        }
        if let Storage::Partial(partial) = storage
            && let Ok(Some(writer)) = partial.begin_piece(head.index)
        {
            return Place::File { writer: Arc::new(writer), writing: None };
        }
        match self.tools.pool.take_spare(len) {
            Some(segments) => Place::Memory { segments, filled: 0 },
            None => Place::Away(Landed::Nowhere),
        }
    }

    /// Reads the next `len` bytes of a piece to where they belong.
    async fn take_in(
        &mut self,
        head: &PieceHead,
        arriving: &mut Arriving,
        len: u32,
    ) -> Result<(), Interruption> {
        let mut left = len as usize;
        while left > 0 {
            let Arriving { check, place, .. } = &mut *arriving;
            if let (Place::Memory { segments, filled }, Some(check)) = (&mut *place, &mut *check) {
                // The frames of a piece together have no more bytes than it has.
                let rest = &mut segments[*filled / SEGMENT_LEN].bytes_mut()[*filled % SEGMENT_LEN..];
                let now = rest.len().min(left);
                self.fill(&mut rest[..now], head).await?;
                check.update(&rest[..now]);
                (*filled, left) = (*filled + now, left - now);
                continue;
            }
            let mut segment = self.take(left.min(SEGMENT_LEN)).await;
            self.fill(segment.bytes_mut(), head).await?;
            left -= segment.bytes().len();
            if let (Place::File { .. }, Some(check)) = (&mut *place, check) {
                check.update(segment.bytes());
                self.pass_on(place, segment).await;
            }
        }
        Ok(())
    }

    /// Has a segment written, when the one before it has been.
    async fn pass_on(&mut self, place: &mut Place, segment: Segment) {
        let Place::File { writer, writing } = place else { return };
        if let Some(answer) = writing.take()
            && let Some(failure) = self.answer(answer).await
        {
            *place = Place::Away(failure);
            return;
        }
        let (reply, answer) = oneshot::channel();
        self.tools.disk.submit(Job::Write { writer: Arc::clone(writer), segment, reply });
        *writing = Some(answer);
    }

    /// What has become of a piece of which all bytes have come.
    async fn finish(&mut self, head: &PieceHead, arriving: Arriving) -> Landed {
        let Some(check) = arriving.check else { return Landed::Nowhere };
        if !check.is_known() && !self.comes_to_be_known(head, &check).await {
            // Nobody's fault; it is asked for again.
            return Landed::Nowhere;
        }
        match arriving.place {
            Place::Memory { segments, .. } => Landed::Held { segments, verdict: check.finish() },
            Place::File { writer, writing } => {
                let failure = match writing {
                    Some(answer) => self.answer(answer).await,
                    None => None,
                };
                failure.unwrap_or_else(|| Landed::Written { writer, verdict: check.finish() })
            }
            Place::Away(landed) => landed,
        }
    }

    /// Waits for the digest of a piece of a blob that is arriving at the cluster, which travels at the same time. Whether it has come.
    async fn comes_to_be_known(&mut self, head: &PieceHead, check: &PieceCheck) -> bool {
        let Some(digest) = self.channels.get(&head.swarm).copied() else { return false };
        let since = Instant::now();
        self.tools.desk.growths().wait(&digest, || check.is_known()).await;
        self.frames.excuse(since.elapsed());
        check.is_known()
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

    /// Fills memory with the next bytes of a piece, as fast as the limits let it. Time that we wait by ourselves is no fault of the peer's.
    async fn fill(&mut self, mut rest: &mut [u8], head: &PieceHead) -> Result<(), Interruption> {
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
        let desk = &self.tools.desk;
        match self.channels.get(&head.swarm) {
            Some(digest) if desk.is_wanted(digest, head.index) => Class::Foreground,
            Some(digest) if desk.is_prefetched(digest) => Class::Prefetch,
            _ => Class::Background,
        }
    }

    /// Memory for bytes that are about to come.
    async fn take(&mut self, len: usize) -> Segment {
        let since = Instant::now();
        let segment = self.tools.pool.take(len).await;
        self.frames.excuse(since.elapsed());
        segment
    }
}
