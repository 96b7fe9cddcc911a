//! Sending pieces: what peers ask for, what an owner chooses for them, and when the next one goes out.

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use super::receiving::Verdict;
use crate::blob::Blob;
use crate::io::{ConnId, Output, Role, Violation};
use crate::limits::{ASSIGN_AHEAD, BEGINNING_COPIES, BEGINNING_PIECES, OWNER_DEMAND_MICROS, REQUESTS_MAX};
use crate::message::{Message, Part};
use crate::pick::least_copied;
use crate::timers::Timer;
use crate::upload::{Class, Job};

impl Core {
    /// A peer asks for a piece.
    pub(super) fn requested(
        &mut self,
        conn: ConnId,
        digest: Digest,
        index: PieceIndex,
        class: Class,
    ) -> Verdict {
        if self.uploads.queued_for(conn) >= REQUESTS_MAX {
            return Err(Violation::Requests);
        }
        let class = self.class_for(conn, class);
        let Some(blob) = self.blobs.get_mut(&digest) else { return Ok(()) };
        blob.used = self.now;
        let Some(download) = blob.download.as_ref().filter(|download| download.present().has(index)) else {
            self.say(conn, digest, |swarm| Message::Reject { swarm, index });
            return self.heard_in_vain(conn);
        };
        let len = download.piece_len(index);
        // An assignment of the same piece is under way to the peer: that answers it. Once it has gone out, the peer has lost the piece.
        let promised = blob.members.get(&conn).is_some_and(|member| member.is_promised(index));
        let crossed = promised && self.uploads.is_under_way(conn, digest, index);
        let is_urgent = class > Class::Background;
        if crossed && is_urgent {
            self.uploads.hurry(conn, digest, index, class, self.now);
        }
        if crossed || is_urgent && self.role == Role::Owner && !self.may_demand(digest, index) {
            self.say(conn, digest, |swarm| Message::Reject { swarm, index });
            return Ok(());
        }
        if let (Role::Owner, Some(blob)) = (self.role, self.blobs.get_mut(&digest)) {
            blob.promise(conn, index);
            blob.note_given(index, self.now);
        }
        self.uploads.push(Job { conn, digest, index, len }, class, self.now);
        self.may_send = true;
        Ok(())
    }

    /// Whether an owner sends a piece out of turn to a waiting reader. Always while it has time to spare or nobody else has the
    /// piece; else only now and then, or a fleet of readers in step would get the same piece many times over from here.
    fn may_demand(&mut self, digest: Digest, index: PieceIndex) -> bool {
        let busy = self.uploads.queued() > 0 || !self.credits.is_empty();
        let Some(blob) = self.blobs.get_mut(&digest) else { return false };
        let lately =
            blob.given.get(&index).is_some_and(|at| self.now.micros_since(*at) < OWNER_DEMAND_MICROS);
        let elsewhere = blob.copies(index) > 0;
        if busy && elsewhere && lately {
            return false;
        }
        true
    }

    /// A peer asks for any piece that it lacks: it waits in line, and the piece is chosen when its turn is near.
    pub(super) fn requested_any(&mut self, conn: ConnId, digest: Digest, part: Part) -> Verdict {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if peer.credits as usize >= REQUESTS_MAX {
            return Err(Violation::Requests);
        }
        peer.credits += 1;
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.used = self.now;
            blob.take_part(conn, part);
        }
        self.credits.push_back((conn, digest));
        self.may_send = true;
        Ok(())
    }

    /// A peer no longer wants a piece.
    pub(super) fn cancelled(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) -> Verdict {
        if self.uploads.cancel(conn, digest, index) {
            self.may_send = true;
            self.unpromise(conn, digest, index);
            self.say(conn, digest, |swarm| Message::Reject { swarm, index });
        }
        self.heard_in_vain(conn)
    }

    /// The driver could not read a piece that it was to send.
    pub(super) fn send_failed(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) {
        self.may_send = true;
        if self.uploads.failed(conn, digest, index) {
            self.unpromise(conn, digest, index);
            self.say(conn, digest, |swarm| Message::Reject { swarm, index });
        }
    }

    /// Everything that was handed to a connection has gone out.
    pub(super) fn drained(&mut self, conn: ConnId) {
        self.may_send = true;
        for job in self.uploads.drained(conn) {
            self.count_sent(&job);
        }
    }

    /// A piece that we sent is with its receiver.
    pub(super) fn arrived(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) {
        self.may_send = true;
        if let Some(job) = self.uploads.arrived(conn, digest, index, self.now) {
            self.count_sent(&job);
        }
        self.has_arrived(conn, digest, index);
    }

    fn count_sent(&mut self, job: &Job) {
        let mut is_owner = false;
        if let Some(blob) = self.blobs.get_mut(&job.digest) {
            is_owner = blob.members.get(&job.conn).is_some_and(|member| member.owner);
            blob.sent_bytes += job.len;
        }
        if is_owner {
            self.totals.sent_to_owners_bytes += job.len;
        } else {
            self.totals.sent_to_peers_bytes += job.len;
        }
    }

    /// Bytes that wait here to be sent: what neighbours weigh us by. Pieces not chosen yet count as the longest of `digest`.
    pub(super) fn load(&self, digest: &Digest) -> u32 {
        let len = self.blobs.get(digest).and_then(|blob| blob.download.as_ref());
        let len = len.map_or(0, |download| u64::from(download.layout().piece_length.get()));
        let bytes = self.uploads.load_bytes() + len * self.credits.len() as u64;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// Fills the free upload slots. To be called when one may have become free, or something waits for one that did not before.
    pub(super) fn send_pieces(&mut self) {
        if self.uploads.queued() == 0 && self.credits.is_empty() {
            return;
        }
        let beginning = self.is_beginning();
        loop {
            while !self.credits.is_empty() && self.uploads.ready() < ASSIGN_AHEAD && self.assign() {}
            let blobs = &self.blobs;
            let copies = |job: &Job| blobs.get(&job.digest).map_or(0, |blob| blob.copies(job.index));
            let Some((job, urgent)) = self.uploads.start(self.now, beginning, copies) else { break };
            self.send_piece(&job, urgent);
        }
        if let Some(at) = self.uploads.next_stuck(self.now) {
            self.timers.set_earlier(Timer::Upload, at);
        }
    }

    /// Whether no blob here has got far yet.
    fn is_beginning(&self) -> bool {
        let mut shared = self.blobs.values().filter(|blob| !blob.members.is_empty());
        shared.all(|blob| match self.role {
            Role::Owner => blob.availability.total() < BEGINNING_COPIES,
            Role::Agent => {
                let present = blob.download.as_ref().map(|download| download.present().count());
                present.is_none_or(|count| u64::from(count) < BEGINNING_PIECES)
            }
        })
    }

    /// Hands a piece to the driver, on our channel of that connection.
    fn send_piece(&mut self, job: &Job, urgent: bool) {
        let Job { conn, digest, index, len } = *job;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let queue = self.load(&digest).saturating_sub(len);
        let channel = self.peers.get(&conn).and_then(|peer| peer.ours.get(&digest).copied());
        let (Some(swarm), Some(peer)) = (channel, self.peers.get_mut(&conn)) else {
            // Leaving forgets what is queued, so this does not happen; a slot must not depend on it.
            self.uploads.failed(conn, digest, index);
            return;
        };
        peer.used = self.now;
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.used = self.now;
        }
        self.spoken.push((conn, digest));
        self.outputs.push_back(Output::SendPiece { conn, swarm, digest, index, len, queue, urgent });
    }

    /// Chooses a piece for the first in line that can take one. False when nobody is.
    fn assign(&mut self) -> bool {
        let Some(at) = self.next_to_serve() else { return false };
        let Some((conn, digest)) = self.credits.remove(at) else { return false };
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.credits -= 1;
        }
        match self.choose_for(conn, digest) {
            Some((index, len)) => {
                if let Some(blob) = self.blobs.get_mut(&digest) {
                    blob.promise(conn, index);
                    blob.note_given(index, self.now);
                    blob.spread.given(conn, index, blob.piece_count(), self.now);
                }
                self.say(conn, digest, |swarm| Message::Assign { swarm, index });
                self.uploads.push(Job { conn, digest, index, len }, Class::Background, self.now);
            }
            None => self.say(conn, digest, |swarm| Message::RejectAny { swarm }),
        }
        true
    }

    /// Forgets requests for anything.
    pub(super) fn drop_credits(&mut self, gone: impl Fn(ConnId, Digest) -> bool) {
        self.may_send = true;
        let peers = &mut self.peers;
        self.credits.retain(|(conn, digest)| {
            let gone = gone(*conn, *digest);
            if let Some(peer) = peers.get_mut(conn).filter(|_| gone) {
                peer.credits -= 1;
            }
            !gone
        });
    }

    fn choose_for(&self, conn: ConnId, digest: Digest) -> Option<(PieceIndex, u64)> {
        let blob = self.blobs.get(&digest)?;
        let (download, member) = (blob.download.as_ref()?, blob.members.get(&conn)?);
        let promised = member.promised.as_ref();
        let index =
            least_copied(download.present(), &member.pieces, promised, &blob.availability, blob.part())?;
        Some((index, download.piece_len(index)))
    }

    fn unpromise(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) {
        if let Some(blob) = self.blobs.get_mut(&digest) {
            Blob::unpromise(blob, conn, index);
        }
    }

    /// Sends a message about a blob on our channel, if we have one on that connection.
    pub(super) fn say(&mut self, conn: ConnId, digest: Digest, message: impl FnOnce(u32) -> Message) {
        if let Some(peer) = self.peers.get(&conn) {
            self.outputs.extend(peer.say(conn, &digest, message));
            self.spoken.push((conn, digest));
        }
    }
}
