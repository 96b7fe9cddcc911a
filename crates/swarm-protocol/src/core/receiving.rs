//! Messages from peers: each is checked against what was said before, then handed to the room that it concerns.

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, PieceIndex};

use super::Core;
use super::blobs::known_pieces;
use crate::blob::{Blob, Member, Phase};
use crate::io::{BanReason, CloseReason, ConnId, Output, Role, Source, Violation};
use crate::limits::{CHANNELS_MAX, CROWD_PIECES, DECLINE_HOLD_MS, PIECES_MAX};
use crate::message::{Message, Pieces};
use crate::peer::{Channel, Share};
use crate::upload::Class;

/// What a message leads to: nothing further, or the end of the connection.
pub(super) type Verdict = Result<(), Violation>;

impl Core {
    /// A message came in.
    pub(super) fn received(&mut self, conn: ConnId, message: Message) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.heard = self.now;
        if let Err(violation) = self.obey(conn, message) {
            self.throw_out(conn, violation);
        }
    }

    /// A peer broke the protocol: ends the connection, and if it is not the first time, keeps the peer out for a while.
    fn throw_out(&mut self, conn: ConnId, violation: Violation) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let (id, addr) = (peer.id, peer.addr);
        if self.bans.violated(id, addr, self.now) {
            self.totals.banned_peers += 1;
            self.outputs.push_back(Output::Banned { peer: id, reason: BanReason::Violation });
        }
        self.close_conn(conn, CloseReason::Violation(violation));
    }

    /// A piece came in whose bytes the driver keeps.
    pub(super) fn piece_arrived(
        &mut self,
        conn: ConnId,
        swarm: u32,
        index: PieceIndex,
        queue: u32,
        len: u32,
    ) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.heard = self.now;
        let verdict = self.with_member(conn, swarm, Some(index), |core, digest| {
            core.piece_came(conn, digest, index, queue, (len, Bytes::new()))
        });
        if let Err(violation) = verdict {
            self.throw_out(conn, violation);
        }
    }

    fn obey(&mut self, conn: ConnId, message: Message) -> Verdict {
        match message {
            Message::KeepAlive => Ok(()),
            // Who may have the blob is the driver's to judge: it says so right after this.
            Message::Join { swarm, digest, owner, pieces, grant: _ } => {
                self.peer_joined(conn, swarm, digest, owner, pieces)
            }
            Message::Decline { swarm } => {
                self.peer_declined(conn, swarm);
                Ok(())
            }
            Message::Leave { swarm } => self.peer_left(conn, swarm),
            Message::Peers { swarm, peers } => self.peers_named(conn, swarm, peers),
            Message::Request { swarm, index, .. } | Message::Demand { swarm, index }
                if self.is_ungranted(conn, swarm) =>
            {
                self.say_on(conn, swarm, |swarm| Message::Reject { swarm, index })
            }
            Message::RequestAny { swarm, .. } if self.is_ungranted(conn, swarm) => {
                self.say_on(conn, swarm, |swarm| Message::RejectAny { swarm })
            }
            Message::Have { swarm, index, queue } => self.peer_has(conn, swarm, index, queue),
            Message::Request { swarm, index, urgent } => {
                self.with_member(conn, swarm, Some(index), |core, digest| {
                    let class = if urgent { Class::Ahead } else { Class::Background };
                    core.requested(conn, digest, index, class)
                })
            }
            Message::Demand { swarm, index } => self.with_member(conn, swarm, Some(index), |core, digest| {
                core.requested(conn, digest, index, Class::Demand)
            }),
            Message::Press { swarm, index } => self.with_member(conn, swarm, Some(index), |core, digest| {
                core.hurried(conn, digest, index, Class::Demand)
            }),
            Message::RequestAny { swarm, part } => {
                self.with_member(conn, swarm, None, |core, digest| core.requested_any(conn, digest, part))
            }
            Message::Assign { swarm, index } => {
                self.with_member(conn, swarm, Some(index), |core, digest| core.assigned(conn, digest, index))
            }
            Message::RejectAny { swarm } => {
                self.with_member(conn, swarm, None, |core, digest| core.rejected_any(conn, digest))
            }
            Message::Hurry { swarm, index } => self.with_member(conn, swarm, Some(index), |core, digest| {
                core.hurried(conn, digest, index, Class::Ahead)
            }),
            Message::Piece { swarm, index, queue, data } => {
                // No message is longer than a u32 can say.
                let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
                self.with_member(conn, swarm, Some(index), |core, digest| {
                    core.piece_came(conn, digest, index, queue, (len, data))
                })
            }
            Message::Arrived { swarm, index } => {
                self.with_member(conn, swarm, Some(index), |core, digest| {
                    core.arrived(conn, digest, index);
                    Ok(())
                })
            }
            Message::Haves { swarm, indices, queue } => self.peer_has_several(conn, swarm, &indices, queue),
            Message::Reject { swarm, index } => {
                self.with_member(conn, swarm, Some(index), |core, digest| core.rejected(conn, digest, index))
            }
            Message::Cancel { swarm, index } => {
                self.with_member(conn, swarm, Some(index), |core, digest| core.cancelled(conn, digest, index))
            }
        }
    }

    /// Resolves a channel of the peer, checks the index, and acts. What comes on a channel that we left is ignored.
    fn with_member(
        &mut self,
        conn: ConnId,
        swarm: u32,
        index: Option<PieceIndex>,
        act: impl FnOnce(&mut Self, Digest) -> Verdict,
    ) -> Verdict {
        let Some(digest) = self.channel(conn, swarm)? else { return Ok(()) };
        let Some(blob) = self.blobs.get(&digest) else { return Ok(()) };
        // Nobody may ask for or send pieces before both sides have joined.
        if blob.phase != Phase::Ready {
            return Err(Violation::Channel);
        }
        if index.is_some_and(|index| index.0 >= blob.piece_count()) {
            return Err(Violation::Index);
        }
        act(self, digest)
    }

    /// The blob that a channel of the peer stands for; `None` when we have left it.
    pub(super) fn channel(&self, conn: ConnId, swarm: u32) -> Result<Option<Digest>, Violation> {
        let channel =
            self.peers.get(&conn).and_then(|peer| peer.theirs.get(&swarm)).ok_or(Violation::Channel)?;
        Ok((!channel.void).then_some(channel.digest))
    }

    fn peer_joined(
        &mut self,
        conn: ConnId,
        swarm: u32,
        digest: Digest,
        owner: bool,
        pieces: Pieces,
    ) -> Verdict {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if let Some(channel) = peer.theirs.get_mut(&swarm).filter(|channel| channel.digest == digest) {
            // A new grant; nothing else of the message counts.
            channel.granted = true;
            return Ok(());
        }
        if peer.theirs.contains_key(&swarm) || peer.has_joined(&digest) {
            return Err(Violation::Channel);
        }
        if peer.theirs.len() >= CHANNELS_MAX {
            return Err(Violation::Channels);
        }
        let zone = peer.zone;
        peer.theirs.insert(swarm, Channel { digest, void: false, granted: true, named: 0 });
        let now = self.now;
        let blob = self.blobs.entry(digest).or_insert_with(|| {
            self.outputs.push_back(Output::Lookup { digest });
            Blob::new(Phase::Lookup, false, now)
        });
        if !peer.outbound && !owner && is_crowd(blob, self.limits.neighbours_wanted) {
            self.close_conn(conn, CloseReason::Full);
            return Ok(());
        }
        if blob.phase == Phase::Ready {
            let pieces = known_pieces(&pieces, &[], blob.piece_count())?;
            self.admit(conn, digest, Member::new(owner, zone, pieces, None));
        } else {
            let early = Some((pieces, Vec::new()));
            blob.members.insert(conn, Member::new(owner, zone, Bitfield::empty(0), early));
        }
        Ok(())
    }

    /// The grant with which a peer joined does not hold.
    pub(super) fn ungranted(&mut self, conn: ConnId, swarm: u32) {
        if let Some(channel) = self.peers.get_mut(&conn).and_then(|peer| peer.theirs.get_mut(&swarm)) {
            channel.granted = false;
        }
    }

    fn is_ungranted(&self, conn: ConnId, swarm: u32) -> bool {
        let channel = self.peers.get(&conn).and_then(|peer| peer.theirs.get(&swarm));
        channel.is_some_and(|channel| !channel.granted && !channel.void)
    }

    /// Answers on our channel for the blob that a channel of the peer stands for.
    fn say_on(&mut self, conn: ConnId, swarm: u32, message: impl FnOnce(u32) -> Message) -> Verdict {
        if let (Some(digest), Some(peer)) = (self.channel(conn, swarm)?, self.peers.get(&conn)) {
            self.outputs.extend(peer.say(conn, &digest, message));
        }
        Ok(())
    }

    fn peer_declined(&mut self, conn: ConnId, swarm: u32) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        // A Leave of ours may have crossed it: then there is nothing left to do.
        let Some(digest) = peer.ours.iter().find(|(_, ours)| **ours == swarm).map(|(digest, _)| *digest)
        else {
            return;
        };
        peer.ours.remove(&digest);
        self.outputs.push_back(Output::Send { conn, message: Message::Leave { swarm } });
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.declined.insert(peer.id, self.now.plus_millis(DECLINE_HOLD_MS));
        }
    }

    fn peer_left(&mut self, conn: ConnId, swarm: u32) -> Verdict {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let Channel { digest, void, .. } = peer.theirs.remove(&swarm).ok_or(Violation::Channel)?;
        if void {
            return Ok(());
        }
        if let Some(ours) = peer.ours.remove(&digest) {
            self.outputs.push_back(Output::Send { conn, message: Message::Leave { swarm: ours } });
        }
        let owed = peer.void_asked(&digest, &mut self.asked_bytes);
        self.uploads.forget(conn, Some(digest));
        self.may_send = true;
        self.drop_credits(|of, blob| (of, blob) == (conn, digest));
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.remove_member(conn);
            if let Some(download) = &mut blob.download {
                owed.into_iter().for_each(|index| {
                    download.release(index, Source::Conn(conn));
                });
            }
            self.dirty.insert(digest);
        }
        Ok(())
    }

    fn peer_has_several(&mut self, conn: ConnId, swarm: u32, indices: &[PieceIndex], queue: u32) -> Verdict {
        indices.iter().try_for_each(|index| self.peer_has(conn, swarm, *index, queue))
    }

    fn peer_has(&mut self, conn: ConnId, swarm: u32, index: PieceIndex, queue: u32) -> Verdict {
        let Some(digest) = self.channel(conn, swarm)? else { return Ok(()) };
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        peer.queue = u64::from(queue);
        let Some(blob) = self.blobs.get_mut(&digest) else { return Ok(()) };
        if let Some((_, haves)) = blob.members.get_mut(&conn).and_then(|member| member.early.as_mut()) {
            if index.0 >= PIECES_MAX || haves.len() >= PIECES_MAX as usize {
                return Err(Violation::Index);
            }
            haves.push(index);
            return Ok(());
        }
        if index.0 >= blob.piece_count() {
            return Err(Violation::Index);
        }
        let ours = blob.members.get(&conn).is_some_and(|member| member.is_promised(index));
        let fresh = blob.confirm(conn, index);
        if fresh && !ours {
            blob.spread.heard(conn, index, self.now);
        }
        // An owner hears that its beginning is over.
        self.may_send |= fresh && self.role == Role::Owner;
        if !fresh {
            return self.heard_in_vain(conn);
        }
        let Some(download) = blob.download.as_ref() else { return Ok(()) };
        // An owner that gets pieces is asked for any, as it always is.
        let of_owner = blob.members.get(&conn).is_some_and(|member| member.owner);
        // What we have, or have asked for, changes nothing for us; nor does what only somebody has who may not be asked for more now,
        // unless a reader waits for it.
        if download.missing().has(index) {
            if !blob.readers.is_empty() || of_owner {
                self.dirty.insert(digest);
            } else if peer.has_room(0, download.piece_len(index), Share::MOST) {
                self.nudged.push((conn, digest));
            }
        }
        Ok(())
    }
}

/// Whether a blob that has hardly begun to arrive has neighbours enough. A fleet that starts at once finds those first who began first;
/// they would have twice as many neighbours as who began last, who then get their pieces later. Whoever is sent away finds others. Once
/// the pieces flow, everybody is let in: a late joiner meets such only.
fn is_crowd(blob: &Blob, wanted: u32) -> bool {
    let begun = blob.download.as_ref().is_none_or(|download| download.present().count() > CROWD_PIECES);
    blob.is_downloading() && !begun && blob.members.len() >= 2 * wanted as usize
}
