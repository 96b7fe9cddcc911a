//! What owners choose for us: they are asked for anything, so that they hand out distinct pieces.
//!
//! Several owners of a blob hear from each of us which of them they are, and hand out a part of the pieces each, until everything has
//! left them once: otherwise each of them would send a copy of its own before it heard of those of the others. They need to know nothing
//! of one another, and if one goes, the parts are others with the next request.

use std::net::SocketAddr;

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use super::fetching::longest;
use super::receiving::Verdict;
use crate::blob::Blob;
use crate::download::PieceState;
use crate::io::{ConnId, Source, Violation};
use crate::limits::{NEIGHBOUR_EASE_PIECES, OWNER_PIECES, REJECT_HOLD_MICROS};
use crate::message::{Message, Part};
use crate::peer::{Asked, Peer, Share};
use crate::pick::overlap;
use crate::timers::Timer;
use crate::upload::Class;

impl Core {
    /// Whether other agents have everything that is missing here, and one of them has little to send: then the owners' uplinks are
    /// left to what only they can give. An agent that is complete when a fleet starts is soon too busy for that to hold.
    pub(super) fn can_spare_owners(&self, digest: Digest) -> bool {
        let Some(blob) = self.blobs.get(&digest) else { return false };
        let Some(download) = &blob.download else { return false };
        let missing = download.missing();
        if !blob.availability.all_above(missing, blob.complete_owners()) {
            return false;
        }
        let at_ease = |conn: &ConnId| {
            let peer = self.peers.get(conn);
            peer.is_some_and(|peer| {
                !peer.window.is_slow() && peer.queue <= NEIGHBOUR_EASE_PIECES * longest(download)
            })
        };
        let mut agents = blob.members.iter().filter(|(_, member)| !member.owner);
        agents.any(|(conn, member)| at_ease(conn) && overlap(missing, &member.pieces))
    }

    /// Gives every owner as many free choices as its window allows, but not more than there are pieces to choose.
    pub(super) fn ask_owners(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get(&digest) else { return };
        let Some(download) = &blob.download else { return };
        let len = longest(download);
        let share = Share { always: 0, ..self.share(blob, len) };
        let owners = self.owners_of(blob);
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        let Some(download) = &blob.download else { return };
        let mut credits: u32 = blob.members.values().map(|member| member.credits).sum();
        for (conn, member) in blob.members.iter_mut().filter(|(_, member)| member.owner) {
            let Some(peer) = self.peers.get(conn) else { continue };
            if self.now < member.any_hold || !overlap(download.missing(), &member.pieces) {
                continue;
            }
            while credits < download.missing().count()
                && owner_has_room(peer, u64::from(member.credits) * len, len, share)
            {
                let part = part_of(&owners, peer.addr);
                let Some(output) = peer.say(*conn, &digest, |swarm| Message::RequestAny { swarm, part })
                else {
                    break;
                };
                self.outputs.push_back(output);
                self.spoken.push((*conn, digest));
                member.credits += 1;
                member.asked_any.push_back(self.now);
                credits += 1;
            }
        }
    }

    /// The owners that have every piece, or are said to and will soon be connected, in an order that is the same for everybody.
    fn owners_of(&self, blob: &Blob) -> Vec<SocketAddr> {
        let complete = blob.members.iter().filter(|(_, member)| member.owner && member.pieces.is_full());
        let complete = complete.filter_map(|(conn, _)| self.peers.get(conn)).map(|peer| peer.addr);
        let named = blob.candidates.iter().take_while(|peer| peer.owner).map(|peer| peer.addr);
        let expected = named.filter(|addr| self.dials.is_pending(addr) || self.dials.is_free(addr, self.now));
        let mut owners: Vec<SocketAddr> = complete.chain(expected).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// An owner chose a piece for us.
    pub(super) fn assigned(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) -> Verdict {
        let Some(blob) = self.blobs.get_mut(&digest) else { return Ok(()) };
        let Some(member) = blob.members.get_mut(&conn).filter(|member| member.credits > 0) else {
            return Err(Violation::Unrequested);
        };
        member.credits -= 1;
        let since = member.asked_any.pop_front().unwrap_or(self.now);
        self.prefer_owner(conn, digest, index);
        let Some(download) = self.blobs.get_mut(&digest).and_then(|blob| blob.download.as_mut()) else {
            return Ok(());
        };
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let ours = download.request(index, Source::Conn(conn), self.now);
        self.intake.begin(self.now);
        let doubled = peer.asked.contains_key(&(digest, index));
        let len = download.piece_len(index);
        peer.owe(
            digest,
            index,
            Asked { at: self.now, since, len, class: Class::Background, answers: 1, given_up: !ours },
            &mut self.asked_bytes,
        );
        self.timers.set_earlier(Timer::Conn(conn), peer.patience_ends(self.intake.usual_micros()));
        if !ours && !doubled {
            self.say(conn, digest, |swarm| Message::Cancel { swarm, index });
        }
        self.dirty.insert(digest);
        Ok(())
    }

    /// An owner is about to send a piece that may have been asked of others: they, who mostly have it still in their queues, are told
    /// that it is no longer wanted. The owner could not be stopped in time.
    fn prefer_owner(&mut self, owner: ConnId, digest: Digest, index: PieceIndex) {
        let Some(download) = self.blobs.get_mut(&digest).and_then(|blob| blob.download.as_mut()) else {
            return;
        };
        let PieceState::Requested(asked) = download.state(index) else { return };
        // A request for a waiting reader is served out of turn, so it is left alone.
        let is_queued = |source: &Source| match source {
            Source::Conn(conn) if *conn != owner => {
                let asked = self.peers.get(conn).and_then(|peer| peer.asked.get(&(digest, index)));
                asked.is_some_and(|asked| asked.class == Class::Background)
            }
            _ => false,
        };
        let others: Vec<Source> = asked.iter().map(|request| request.source).filter(is_queued).collect();
        for other in others {
            if let Some(download) = self.blobs.get_mut(&digest).and_then(|blob| blob.download.as_mut()) {
                download.release(index, other);
            }
            self.take_back(other, digest, index);
        }
    }

    /// An owner has nothing to choose for us.
    pub(super) fn rejected_any(&mut self, conn: ConnId, digest: Digest) -> Verdict {
        let Some(blob) = self.blobs.get_mut(&digest) else { return Ok(()) };
        let Some(member) = blob.members.get_mut(&conn).filter(|member| member.credits > 0) else {
            return Err(Violation::Unrequested);
        };
        member.credits -= 1;
        member.asked_any.pop_front();
        member.any_hold = self.now.plus_micros(REJECT_HOLD_MICROS);
        self.dirty.insert(digest);
        Ok(())
    }
}

/// Whether an owner may be asked for one more piece, `more` bytes having been asked for and not assigned.
fn owner_has_room(peer: &Peer, more: u64, len: u64, share: Share) -> bool {
    let few = peer.asked_bytes + more < OWNER_PIECES * len && !peer.window.is_slow();
    few || peer.has_room(more, len, share)
}

/// Which of the owners one of them is. One that lacks pieces has no part.
fn part_of(owners: &[SocketAddr], addr: SocketAddr) -> Part {
    let number = owners.binary_search(&addr).ok().and_then(|number| u16::try_from(number).ok());
    let part = number.and_then(|number| Part::new(number, u16::try_from(owners.len()).ok()?));
    part.unwrap_or(Part::WHOLE)
}
