//! Getting pieces: whom to ask for what, and what becomes of it.
//!
//! Owners are asked for anything, see `owners`; the others for the rarest piece that they have, the least loaded of them first. How much is outstanding at each is up to its [`crate::window::Window`].

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use super::receiving::Verdict;
use crate::blob::{Blob, Member, Phase};
use crate::download::Download;
use crate::io::{ConnId, Source, Violation};
use crate::limits::{
    ASKED_PIECES, ENDGAME_PIECES, ENDGAME_SOURCES, FEW_NEIGHBOURS, IN_FLIGHT_BYTES_MAX, REJECT_HOLD_MICROS,
    ZONE_PATIENCE_MICROS, ZONE_PIECES,
};
use crate::message::Message;
use crate::peer::{Asked, Peer, Share};
use crate::pick::{overlap, rarest};
use crate::timers::Timer;
use crate::upload::Class;

/// A request is late after this many times the usual: half of all requests take longer than their mean.
const LATE_FACTOR: u64 = 2;

/// Pieces per neighbour below which they are the last.
const FEW_PIECES: usize = 2;

impl Core {
    /// Asks for whatever may be asked for now.
    pub(super) fn ask(&mut self, digest: Digest) {
        if !self.may_ask(digest) {
            return;
        }
        self.ask_wanted(digest);
        if self.is_missing_any(digest) {
            if self.limits.distinct && !self.can_spare_owners(digest) {
                self.ask_owners(digest);
            }
            self.ask_neighbours(digest);
        }
        self.ask_again(digest);
    }

    /// Asks one neighbour, who has got something that is missing here, for as much as may be asked of it now. For all others nothing has
    /// changed.
    pub(super) fn ask_nudged(&mut self, conn: ConnId, digest: Digest) {
        if self.may_ask(digest) && !self.has_asked_enough(digest) {
            let candidates = self.neighbour_with_room(digest, conn).into_iter().collect();
            self.ask_among(digest, candidates);
        }
    }

    /// Whether anything may be asked for.
    fn may_ask(&self, digest: Digest) -> bool {
        let blob = self.blobs.get(&digest).filter(|blob| blob.is_downloading() && blob.phase == Phase::Ready);
        blob.is_some_and(|blob| self.now >= blob.disk_hold.0)
    }

    fn is_missing_any(&self, digest: Digest) -> bool {
        let download = self.blobs.get(&digest).and_then(|blob| blob.download.as_ref());
        download.is_some_and(|download| download.missing().count() > 0)
    }

    /// Bytes that were asked for or are being stored, over everything.
    fn in_flight_bytes(&self) -> u64 {
        let storing = self.blobs.values().filter_map(|blob| blob.download.as_ref());
        let storing =
            storing.map(|download| download.storing_count() as u64 * longest(download)).sum::<u64>();
        storing + self.asked_bytes
    }

    /// Asks neighbours with room in their windows for the rarest pieces that they have, the least loaded first.
    fn ask_neighbours(&mut self, digest: Digest) {
        if !self.has_asked_enough(digest) {
            let candidates = self.neighbours_with_room(digest);
            self.ask_among(digest, candidates);
        }
    }

    /// Whether so many pieces were asked for that no neighbour is asked for more: mostly so, in the middle of a download.
    fn has_asked_enough(&self, digest: Digest) -> bool {
        let download = self.blobs.get(&digest).and_then(|blob| blob.download.as_ref());
        download.is_none_or(|download| download.requested().len() as u64 >= self.enough(longest(download)))
    }

    /// Asks some neighbours, given with their load, for as much as may be asked of them.
    fn ask_among(&mut self, digest: Digest, mut candidates: Vec<(u64, ConnId)>) {
        if candidates.is_empty() {
            return;
        }
        let Some(blob) = self.blobs.get(&digest) else { return };
        let Some(download) = &blob.download else { return };
        let share = self.share(blob, longest(download));
        let (mut asked, enough) = (download.requested().len() as u64, self.enough(longest(download)));
        let mut in_flight = self.in_flight_bytes();
        while asked < enough && !candidates.is_empty() {
            let least = candidates.iter().map(|(load, _)| *load).min().unwrap_or(0);
            let ties: Vec<usize> = (0..candidates.len()).filter(|at| candidates[*at].0 == least).collect();
            let at = ties[self.rng.usize(0..ties.len())];
            let (load, conn) = candidates.swap_remove(at);
            let Some((index, len)) = self.rarest_of(digest, conn) else { continue };
            if in_flight + len > IN_FLIGHT_BYTES_MAX {
                self.is_sated = true;
                return;
            }
            self.ask_one(digest, conn, index, Class::Background);
            in_flight += len;
            asked += 1;
            if self.peers.get(&conn).is_some_and(|peer| peer.has_room(0, len, share)) {
                candidates.push((if self.limits.least_loaded { load + len } else { 0 }, conn));
            }
        }
    }

    /// Neighbours that may be asked for one more piece, with their load. Owners only when they have nothing to choose for us.
    fn neighbours_with_room(&self, digest: Digest) -> Vec<(u64, ConnId)> {
        let Some(blob) = self.blobs.get(&digest) else { return Vec::new() };
        let Some(download) = &blob.download else { return Vec::new() };
        if download.missing().count() == 0 {
            return Vec::new();
        }
        let len = longest(download);
        let share = self.share(blob, len);
        let members = blob.members.iter();
        let few = (download.missing().count() as usize) < FEW_PIECES * blob.members.len();
        let free = members.filter_map(|(conn, member)| {
            let load = self.load_if_free(*conn, member, len, share)?;
            // The last pieces are not for finding out whether somebody gives again.
            if few && self.peers.get(conn).is_none_or(Peer::is_burden) {
                return None;
            }
            overlap(download.missing(), &member.pieces).then_some((load, *conn))
        });
        free.collect()
    }

    /// The same of one neighbour.
    fn neighbour_with_room(&self, digest: Digest, conn: ConnId) -> Option<(u64, ConnId)> {
        let blob = self.blobs.get(&digest)?;
        let (download, member) = (blob.download.as_ref()?, blob.members.get(&conn)?);
        let len = longest(download);
        let load = self.load_if_free(conn, member, len, self.share(blob, len))?;
        Some((load, conn))
    }

    /// The load of a neighbour that may be asked for one more piece of `len`.
    fn load_if_free(&self, conn: ConnId, member: &Member, len: u64, share: Share) -> Option<u64> {
        if member.owner && self.limits.distinct && self.now >= member.any_hold {
            return None;
        }
        let peer = self.peers.get(&conn)?;
        let free = self.now >= peer.shunned && peer.has_room(0, len, share) && !peer.has_unanswered_slowly();
        free.then_some(self.weight(peer))
    }

    /// What a neighbour has to do, as far as we know: what waits there, and what we are owed. Zero for all in measurements of what that
    /// knowledge is worth.
    fn weight(&self, peer: &Peer) -> u64 {
        if self.limits.least_loaded { peer.queue + peer.asked_bytes } else { 0 }
    }

    /// The rarest missing piece that a neighbour offers.
    fn rarest_of(&mut self, digest: Digest, conn: ConnId) -> Option<(PieceIndex, u64)> {
        let is_bound = self.is_bound_to_zone(digest, conn);
        let blob = self.blobs.get(&digest)?;
        let (download, member, peer) =
            (blob.download.as_ref()?, blob.members.get(&conn)?, self.peers.get(&conn)?);
        let crossing;
        let offered = match is_bound {
            true => {
                crossing = blob.near.crossing(&member.pieces);
                &crossing
            }
            false => &member.pieces,
        };
        let held = member.holds.iter().filter(|(_, until)| self.now < **until).map(|(index, _)| *index);
        // What it owes us, and we count on, is not missing.
        let excluded = held.chain(peer.given_up_of(digest));
        let index = rarest(download.missing(), offered, excluded, &blob.availability, &mut self.rng)?;
        Some((index, download.piece_len(index)))
    }

    /// Whether a neighbour is in another zone, and only asked for what may come from there now. Whoever has got nothing for a while
    /// may ask anybody for anything.
    fn is_bound_to_zone(&mut self, digest: Digest, conn: ConnId) -> bool {
        let Some(blob) = self.blobs.get_mut(&digest) else { return false };
        let foreign = blob.members.get(&conn).is_some_and(|member| self.zone.is_foreign(member.zone));
        let idle = self.asked_bytes < ZONE_PIECES * blob.download.as_ref().map_or(0, longest);
        if !foreign || idle || self.now.micros_since(blob.progress) > ZONE_PATIENCE_MICROS {
            return false;
        }
        if !blob.near.is_drawn() {
            let near =
                blob.members.iter().filter(|(_, member)| self.zone.is_same(member.zone) && !member.owner);
            let near: Vec<_> =
                near.filter_map(|(conn, _)| self.peers.get(conn)).map(|peer| peer.id).collect();
            blob.near.draw(self.peer_id, &near);
        }
        true
    }

    /// Asks one peer for one piece, which must be missing, or asked of others only.
    pub(super) fn ask_one(&mut self, digest: Digest, conn: ConnId, index: PieceIndex, class: Class) {
        let Some(download) = self.blobs.get_mut(&digest).and_then(|blob| blob.download.as_mut()) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let request = |swarm| match class {
            Class::Demand => Message::Demand { swarm, index },
            _ => Message::Request { swarm, index, urgent: class == Class::Ahead },
        };
        let Some(output) = peer.say(conn, &digest, request) else { return };
        if download.request(index, Source::Conn(conn), self.now) {
            self.intake.begin(self.now);
            let len = download.piece_len(index);
            peer.owe(
                digest,
                index,
                Asked { at: self.now, since: self.now, len, class, answers: 1, given_up: false },
                &mut self.asked_bytes,
            );
            self.outputs.push_back(output);
            self.spoken.push((conn, digest));
            self.timers.set_earlier(Timer::Conn(conn), peer.patience_ends(self.intake.usual_micros()));
        }
    }

    /// Endgame: the last pieces, when they are later than usual, are asked of a few more.
    fn ask_again(&mut self, digest: Digest) {
        for (index, asked_of) in self.late_last_pieces(digest) {
            for _ in asked_of..ENDGAME_SOURCES {
                let Some(conn) = self.least_loaded_with(digest, index, true) else { break };
                self.ask_one(digest, conn, index, Class::Background);
            }
        }
    }

    /// The last pieces that are late, and of how many they were asked.
    fn late_last_pieces(&self, digest: Digest) -> Vec<(PieceIndex, usize)> {
        let Some(download) = self.blobs.get(&digest).and_then(|blob| blob.download.as_ref()) else {
            return Vec::new();
        };
        if download.missing().count() > 0 {
            return Vec::new();
        }
        let many = download.requested().len() > ENDGAME_PIECES;
        let is_late = |source: Source, waited: u64| match source {
            Source::Conn(conn) => self.peers.get(&conn).is_none_or(|peer| {
                let unknown = peer.window.latency_micros().is_none() && waited > self.usual_wait();
                if many {
                    // While there are more of them, only those are late for certain that were asked of somebody who has given nothing yet.
                    return peer.window.is_slow() || unknown;
                }
                peer.window.is_slow()
                    || peer.window.latency_micros().is_none_or(|usual| waited > usual * LATE_FACTOR)
            }),
            Source::Web => true,
        };
        download
            .requested()
            .iter()
            .filter(|(_, asked)| {
                asked.iter().all(|request| is_late(request.source, self.now.micros_since(request.at)))
            })
            .map(|(index, asked)| (*index, asked.len()))
            .collect()
    }

    /// How long a request takes that is late with somebody of whom nothing is known.
    fn usual_wait(&self) -> u64 {
        self.intake.usual_micros().map_or(u64::MAX, |usual| usual * LATE_FACTOR)
    }

    /// The least loaded peer that offers a piece and was not asked for it; owners only if `owners`, and only if nobody else does.
    pub(super) fn least_loaded_with(
        &mut self,
        digest: Digest,
        index: PieceIndex,
        owners: bool,
    ) -> Option<ConnId> {
        let blob = self.blobs.get(&digest)?;
        let offering = blob.members.iter().filter(|(_, member)| member.offers(index, self.now));
        let candidates: Vec<_> = offering
            .filter(|(_, member)| owners || !member.owner)
            .filter_map(|(conn, member)| {
                let peer = self.peers.get(conn)?;
                let free = !peer.asked.contains_key(&(digest, index)) && !peer.is_burden();
                free.then_some(((member.owner, self.zone.is_foreign(member.zone), self.weight(peer)), *conn))
            })
            .collect();
        let least = candidates.iter().map(|(load, _)| *load).min()?;
        let ties: Vec<ConnId> =
            candidates.into_iter().filter(|(load, _)| *load == least).map(|(_, conn)| conn).collect();
        Some(ties[self.rng.usize(0..ties.len())])
    }

    /// A peer will not send a piece.
    pub(super) fn rejected(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) -> Verdict {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let asked = peer.settle(digest, index, &mut self.asked_bytes).ok_or(Violation::Unrequested)?;
        let Some(blob) = self.blobs.get_mut(&digest) else { return Ok(()) };
        self.dirty.insert(digest);
        if asked.answers > 0 || asked.given_up {
            return Ok(());
        }
        if let Some(download) = &mut blob.download {
            download.release(index, Source::Conn(conn));
        }
        let Some(member) = blob.members.get_mut(&conn) else { return Ok(()) };
        if member.owner {
            // It has better things to do than to serve this out of turn.
            member.holds.insert(index, self.now.plus_micros(REJECT_HOLD_MICROS));
        } else {
            blob.correct(conn, index);
        }
        Ok(())
    }

    /// A piece came from a peer: so many bytes, which the driver may have kept.
    pub(super) fn piece_came(
        &mut self,
        conn: ConnId,
        digest: Digest,
        index: PieceIndex,
        queue: u32,
        (len, data): (u32, Bytes),
    ) -> Verdict {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let asked = peer.settle(digest, index, &mut self.asked_bytes).ok_or(Violation::Unrequested)?;
        if asked.len != u64::from(len) {
            return Err(Violation::PieceLen);
        }
        (peer.queue, peer.used, peer.progress) = (u64::from(queue), self.now, self.now);
        let waited = self.now.micros_since(asked.at);
        self.intake.arrived(asked.len, self.now.micros_since(asked.since), self.now);
        peer.delivered(waited);
        self.say(conn, digest, |swarm| Message::Arrived { swarm, index });
        let Some(blob) = self.blobs.get_mut(&digest) else { return Ok(()) };
        blob.peer_progress = self.now;
        blob.confirm(conn, index);
        self.store(digest, index, Source::Conn(conn), data);
        Ok(())
    }

    /// Bytes that each neighbour may owe us: so many that all of them together fill our link, however long the path, and that who has few
    /// neighbours waits in as many lines as the others do. `len`: that of a piece.
    pub(super) fn share(&self, blob: &Blob, len: u64) -> Share {
        let members = (blob.members.len() as u64).max(1);
        let few = (FEW_NEIGHBOURS..ASKED_PIECES).contains(&members);
        Share { idle: self.intake.bytes_to_fill() / members, always: if few { 2 * len } else { 0 } }
    }

    /// Pieces of one blob that are asked for at a time; more when our link is not full with them.
    fn enough(&self, len: u64) -> u64 {
        ASKED_PIECES.max(self.intake.bytes_to_fill() / len.max(1))
    }

    /// Tells a source that a piece is no longer wanted. A web seed cannot be told.
    pub(super) fn take_back(&mut self, source: Source, digest: Digest, index: PieceIndex) {
        let Source::Conn(conn) = source else { return };
        if self.peers.get_mut(&conn).is_some_and(|peer| peer.give_up(digest, index, &mut self.asked_bytes)) {
            self.say(conn, digest, |swarm| Message::Cancel { swarm, index });
        }
    }

    /// A peer has kept us waiting too long: what it owes is asked of others.
    pub(super) fn lose_patience(&mut self, conn: ConnId) {
        let usual = self.intake.usual_micros();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.timed_out(usual, self.now);
        let owed = peer.asked.iter().filter(|(_, asked)| !asked.given_up).map(|(key, _)| *key);
        for (digest, index) in owed.collect::<Vec<_>>() {
            self.take_back(Source::Conn(conn), digest, index);
            if let Some(download) = self.blobs.get_mut(&digest).and_then(|blob| blob.download.as_mut()) {
                download.release(index, Source::Conn(conn));
            }
            self.dirty.insert(digest);
        }
    }
}

/// Length of all pieces of a download but the last, in bytes.
pub(super) fn longest(download: &Download) -> u64 {
    u64::from(download.layout().piece_length.get())
}
