//! The life of a blob here: opened or looked up, prepared, complete, released.

use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, Metainfo};

use super::Core;
use crate::announce::Announcer;
use crate::availability::Availability;
use crate::blob::{Blob, Member, Phase};
use crate::download::Download;
use crate::io::{AnnounceEvent, CloseReason, ConnId, FailReason, Output, Role, Violation};
use crate::limits::{EXCHANGE_FIRST_MICROS, PIECES_MAX};
use crate::message::Message;
use crate::near::Near;
use crate::timers::Timer;

impl Core {
    /// Local wants all of a blob.
    pub(super) fn open(&mut self, digest: Digest) {
        let now = self.now;
        let blob = self.blobs.entry(digest).or_insert_with(|| Blob::new(Phase::Starting, true, now));
        if blob.is_complete() {
            self.outputs.push_back(Output::Completed { digest });
            return;
        }
        blob.wanted = true;
        (blob.progress, blob.peer_progress) = (now, now);
        self.start_announcing(digest, AnnounceEvent::Started);
        self.timers.set(Timer::Blob(digest), now);
        self.dirty.insert(digest);
    }

    /// Local no longer wants a blob. An unfinished one is forgotten, a complete one stays for its peers.
    pub(super) fn close(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        blob.readers.clear();
        let was_wanted = std::mem::take(&mut blob.wanted);
        if was_wanted && !blob.is_complete() {
            self.forget(digest, true);
        }
    }

    /// The store has a blob complete: announce it from now on. Owners need not, the tracker knows them from the ring.
    pub(super) fn seed(&mut self, digest: Digest) {
        if self.role == Role::Agent && !self.announcers.contains_key(&digest) {
            self.start_announcing(digest, AnnounceEvent::Started);
        }
    }

    /// The store is ready for a blob.
    pub(super) fn prepared(&mut self, digest: Digest, metainfo: Metainfo, have: Bitfield) {
        let layout = *metainfo.layout();
        let Some(blob) = self.blobs.get_mut(&digest).filter(|blob| blob.phase != Phase::Ready) else {
            return;
        };
        if layout.piece_count() > PIECES_MAX || have.len() != layout.piece_count() {
            self.absent(digest);
            return;
        }
        blob.phase = Phase::Ready;
        blob.metainfo = Some(metainfo);
        blob.availability = Availability::new(layout.piece_count());
        blob.near = Near::new(self.zone, layout.piece_count());
        blob.download = Some(Download::new(layout, have));
        (blob.progress, blob.peer_progress, blob.used) = (self.now, self.now, self.now);
        self.admit_early(digest);
        if self.blobs.get(&digest).is_some_and(Blob::is_complete) {
            self.completed(digest);
        }
        self.may_dial = true;
        self.dirty.insert(digest);
        self.timers.set(Timer::Blob(digest), self.now);
    }

    /// The store does not have a blob (any more), or has no room for it.
    pub(super) fn absent(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest) else {
            self.stop_announcing(digest, true);
            return;
        };
        match blob.phase {
            Phase::Lookup if blob.wanted => {
                blob.phase = Phase::Starting;
                self.prepare(digest);
            }
            Phase::Lookup | Phase::Ready if !blob.wanted => self.forget(digest, true),
            Phase::Starting => {}
            _ => self.fail(digest, FailReason::Unavailable),
        }
    }

    /// The metainfo of a download is known: let the store make room, if nobody has asked it yet.
    pub(super) fn prepare(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest).filter(|blob| blob.phase == Phase::Starting) else {
            return;
        };
        if let Some(metainfo) = blob.metainfo.clone() {
            blob.phase = Phase::Preparing;
            self.outputs.push_back(Output::Prepare { digest, metainfo });
        }
    }

    /// Every piece is present.
    pub(super) fn completed(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        blob.used = self.now;
        blob.candidates.clear();
        if blob.wanted {
            self.outputs.push_back(Output::Completed { digest });
            self.start_announcing(digest, AnnounceEvent::Completed);
        }
    }

    /// A download cannot go on.
    pub(super) fn fail(&mut self, digest: Digest, error: FailReason) {
        self.outputs.push_back(Output::Failed { digest, error });
        self.forget(digest, true);
    }

    /// Leaves a blob's swarm and forgets everything about it. `stop` also ends its announces.
    pub(super) fn forget(&mut self, digest: Digest, stop: bool) {
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            self.leave(conn, digest);
        }
        self.blobs.remove(&digest);
        self.dirty.remove(&digest);
        self.timers.clear(Timer::Blob(digest));
        self.timers.clear(Timer::Tell(digest));
        self.drop_credits(|_, of| of == digest);
        if stop {
            self.stop_announcing(digest, true);
        }
    }

    /// Ends what we share with one peer of a blob.
    fn leave(&mut self, conn: ConnId, digest: Digest) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if let Some(channel) = peer.ours.remove(&digest) {
            self.outputs.push_back(Output::Send { conn, message: Message::Leave { swarm: channel } });
        } else if let Some((channel, _)) = peer.theirs.iter().find(|(_, of)| !of.void && of.digest == digest)
        {
            self.outputs.push_back(Output::Send { conn, message: Message::Decline { swarm: *channel } });
        }
        peer.void_channel(&digest);
        peer.void_asked(&digest, &mut self.asked_bytes);
        self.uploads.forget(conn, Some(digest));
        self.may_send = true;
    }

    /// The size of a blob is known now: admits the peers that joined before, and joins them.
    fn admit_early(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        let early: Vec<(ConnId, Member)> = blob.members.drain().collect();
        for (conn, member) in early {
            let (pieces, haves) = member.early.unwrap_or((crate::message::Pieces::Nothing, Vec::new()));
            match known_pieces(&pieces, &haves, blob_len(&self.blobs, &digest)) {
                Ok(pieces) => self.admit(conn, digest, Member::new(member.owner, member.zone, pieces, None)),
                Err(violation) => self.close_conn(conn, CloseReason::Violation(violation)),
            }
        }
    }

    /// A peer takes part in a blob that we hold: count it and tell it what we have.
    pub(super) fn admit(&mut self, conn: ConnId, digest: Digest, member: Member) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        blob.used = self.now;
        blob.add_member(conn, member);
        self.join(conn, digest);
        self.exchange_soon(conn, self.now.plus_micros(EXCHANGE_FIRST_MICROS));
        self.dirty.insert(digest);
    }

    /// Begins announces, or tells the tracker something new.
    fn start_announcing(&mut self, digest: Digest, event: AnnounceEvent) {
        let now = self.now;
        let downloading = self.blobs.get(&digest).is_some_and(Blob::is_downloading);
        if self.role == Role::Owner && !downloading && event != AnnounceEvent::Completed {
            return;
        }
        self.announcers
            .entry(digest)
            .and_modify(|announcer| announcer.tell(event, now))
            .or_insert_with(|| Announcer::new(event, now));
        self.announce(digest);
    }
}

fn blob_len(blobs: &std::collections::BTreeMap<Digest, Blob>, digest: &Digest) -> u32 {
    blobs.get(digest).map_or(0, Blob::piece_count)
}

/// What a peer has, from what it told before the size was known.
pub(super) fn known_pieces(
    pieces: &crate::message::Pieces,
    haves: &[shoal_swarm_types::PieceIndex],
    count: u32,
) -> Result<Bitfield, Violation> {
    let mut field = pieces.to_bitfield(count).ok_or(Violation::Bitfield)?;
    for index in haves {
        if index.0 >= count {
            return Err(Violation::Index);
        }
        field.set(*index);
    }
    Ok(field)
}
