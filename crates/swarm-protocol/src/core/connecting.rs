//! Connections: whom to dial, whom to let in, whom to let go.

use std::net::SocketAddr;

use shoal_oci::Digest;
use shoal_swarm_types::{PeerId, PeerInfo, Zone};

use super::{Core, exchange};
use crate::blob::{Blob, Phase};
use crate::io::{CloseReason, ConnId, Output, Time};
use crate::limits::{CONNECTIONS_PER_HOST_MAX, KEEP_ALIVE_MS, TENURE_MS, TRADE_PIECES};
use crate::message::{Message, Pieces};
use crate::peer::Peer;
use crate::timers::Timer;
use crate::window::Window;

/// Closed connections remembered for pieces that are still being verified: as many as can be in flight.
const DEPARTED_MAX: usize = 256;

/// A connection that was just made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    /// Who.
    pub(super) id: PeerId,
    /// Where it takes connections.
    pub(super) addr: SocketAddr,
    /// Whether we dialled.
    pub(super) outbound: bool,
    /// Where it stands.
    pub(super) zone: Zone,
}

impl Core {
    /// Looks for neighbours for every download that has too few.
    pub(super) fn dial(&mut self) {
        let digests: Vec<Digest> =
            self.blobs.iter().filter(|(_, blob)| blob.is_downloading()).map(|(digest, _)| *digest).collect();
        for digest in digests {
            self.dial_for(digest);
        }
    }

    /// Whether a download could do with more neighbours than it has, or with an owner to whom it is not connected.
    pub(super) fn lacks_neighbours(&self, digest: Digest) -> bool {
        let Some(blob) = self.blobs.get(&digest) else { return false };
        let mut owners = blob.candidates.iter().take_while(|peer| peer.owner);
        self.giving(blob) < self.neighbours_wanted(blob)
            || owners.any(|peer| !self.by_id.contains_key(&peer.id))
    }

    fn dial_for(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get(&digest) else { return };
        let wanted = self.neighbours_wanted(blob);
        let of_tracker = blob.candidates.iter().filter(|peer| self.dials.is_pending(&peer.addr));
        let giving = self.giving(blob);
        let mut neighbours = giving + of_tracker.count();
        // Mostly there are neighbours enough, and what is left to do is little.
        let useful = |peer: &&PeerInfo| match self.by_id.get(&peer.id).and_then(|conn| self.peers.get(conn)) {
            Some(peer) => !peer.ours.contains_key(&digest),
            None => peer.owner || neighbours < wanted,
        };
        let mut candidates: Vec<PeerInfo> = blob.candidates.iter().filter(useful).cloned().collect();
        if giving < wanted {
            // After those of the tracker; what peers say in any order, so that nobody comes first by being quick.
            let mut named = exchange::named(blob);
            neighbours += named.iter().filter(|peer| self.dials.is_pending(&peer.addr)).count();
            self.rng.shuffle(&mut named);
            candidates.append(&mut named);
        }
        for candidate in candidates {
            if candidate.id == self.peer_id || self.bans.is_banned(&candidate.id, &candidate.addr, self.now) {
                continue;
            }
            if let Some(conn) = self.by_id.get(&candidate.id).copied() {
                self.join(conn, digest);
            } else if (candidate.owner || neighbours < wanted) && self.dial_one(&candidate) {
                neighbours += 1;
            }
        }
    }

    /// Number of members to rely on: who does not give what he owes is none of them.
    pub(super) fn giving(&self, blob: &Blob) -> usize {
        let gives = |conn: &&ConnId| self.peers.get(conn).is_some_and(|peer| !peer.is_burden());
        blob.members.keys().filter(gives).count()
    }

    /// How many neighbours a download looks for: few while hardly anybody has anything, because each of them asks for the same; some more
    /// when there is something to trade, because whoever has fewer than the others gets his pieces later.
    pub(super) fn neighbours_wanted(&self, blob: &Blob) -> usize {
        let wanted = self.limits.neighbours_wanted as usize;
        let trades = blob.download.as_ref().is_some_and(|download| download.present().count() > TRADE_PIECES);
        if trades { wanted * 8 / 5 } else { wanted }
    }

    /// Dials a candidate if that may be done now; otherwise sets a timer for when it may.
    fn dial_one(&mut self, candidate: &PeerInfo) -> bool {
        if self.dials.is_pending(&candidate.addr) || self.dials.is_ourselves(&candidate.addr) {
            return false;
        }
        if !self.dials.is_free(&candidate.addr, self.now) {
            self.timers.set_earlier(Timer::Dial, self.dials.free_at(&candidate.addr));
            return false;
        }
        // Under whatever name it was connected, an address is dialled once; and who would be refused for being one too many of his machine
        // is not called.
        let answered = self.peers.values().any(|peer| peer.addr == candidate.addr);
        if answered || self.is_crowded(&candidate.addr, self.dials.pending_at(&candidate.addr)) {
            return false;
        }
        let outbound = self.peers.values().filter(|peer| peer.outbound).count() + self.dials.pending();
        let outbound_max = self.limits.connections_max.saturating_sub(self.limits.incoming_reserve) as usize;
        let all = self.peers.len() + self.dials.pending();
        if self.dials.pending() >= self.limits.dials_max as usize
            || outbound >= outbound_max
            || all >= self.limits.connections_max as usize
        {
            return false;
        }
        self.dials.begin(candidate.addr);
        self.outputs.push_back(Output::Dial { addr: candidate.addr });
        true
    }

    /// Who is at the other end of a connection that stands.
    pub fn peer_id(&self, conn: ConnId) -> Option<PeerId> {
        self.peers.get(&conn).map(|peer| peer.id)
    }

    /// A connection stands.
    pub(super) fn connected(&mut self, conn: ConnId, newcomer: Newcomer) {
        let Newcomer { id, addr, outbound, .. } = newcomer;
        if outbound {
            self.dials.succeeded(&addr);
            self.may_dial = true;
        }
        if id == self.peer_id {
            if outbound {
                self.dials.found_ourselves(addr);
            }
            self.refuse(conn, CloseReason::Myself);
        } else if self.bans.is_banned(&id, &addr, self.now) {
            self.refuse_for_now(conn, CloseReason::Banned, &newcomer);
        } else if !self.replace_double(id, outbound) {
            self.refuse(conn, CloseReason::Duplicate);
        } else if self.is_crowded(&addr, 0) || !self.make_room(outbound) {
            self.refuse_for_now(conn, CloseReason::Full, &newcomer);
        } else {
            self.welcome(conn, newcomer);
        }
    }

    /// Refuses a connection whose reason will pass. Where we dialled we wait before we do so again: nothing else would keep us from
    /// dialling at once, and for ever.
    fn refuse_for_now(&mut self, conn: ConnId, reason: CloseReason, newcomer: &Newcomer) {
        if newcomer.outbound {
            self.dials.back_off(newcomer.addr, self.now, &mut self.rng);
        }
        self.refuse(conn, reason);
    }

    /// Whether one machine has as many connections as it may have, `more` to come: else it could take every slot, one identity after the
    /// other.
    fn is_crowded(&self, addr: &SocketAddr, more: usize) -> bool {
        let here = self.peers.values().filter(|peer| peer.addr.ip() == addr.ip());
        !addr.ip().is_loopback() && here.count() + more >= CONNECTIONS_PER_HOST_MAX
    }

    fn refuse(&mut self, conn: ConnId, reason: CloseReason) {
        self.outputs.push_back(Output::Close { conn, reason });
    }

    /// Of two connections to the same peer one is kept, the same at both ends: the one that the smaller identity dialled. Of two in
    /// the same direction the newer, since nobody dials a peer that it knows to be connected. False when the new one must go.
    fn replace_double(&mut self, id: PeerId, outbound: bool) -> bool {
        let Some(standing) = self.by_id.get(&id).copied() else { return true };
        let keep_outbound = self.peer_id < id;
        let same_direction = self.peers.get(&standing).is_none_or(|peer| peer.outbound == outbound);
        if !same_direction && outbound != keep_outbound {
            return false;
        }
        self.close_conn(standing, CloseReason::Duplicate);
        true
    }

    /// Whether there is a slot for a further connection; a newcomer may take that of the least useful one.
    fn make_room(&mut self, outbound: bool) -> bool {
        let max = self.limits.connections_max as usize;
        let inbound = self.peers.values().filter(|peer| !peer.outbound).count();
        let inbound_max = max.saturating_sub(self.limits.outgoing_reserve as usize);
        if self.peers.len() < max && (outbound || inbound < inbound_max) {
            return true;
        }
        let Some(conn) = self.least_useful(!outbound && inbound >= inbound_max) else { return false };
        self.close_conn(conn, CloseReason::Replaced);
        true
    }

    /// The connection that is missed least: one that does not give what it owes, else an idle one, else the one that moved no piece for
    /// longest. Never a young one (two newcomers would chase one another), never one to an owner that we need.
    fn least_useful(&self, inbound_only: bool) -> Option<ConnId> {
        let old = |peer: &Peer| peer.since.plus_millis(TENURE_MS) <= self.now;
        let candidates = self.peers.iter().filter(|(conn, peer)| {
            old(peer) && !(inbound_only && peer.outbound) && !self.is_needed_owner(**conn)
        });
        candidates
            .min_by_key(|(conn, peer)| {
                let is_busy = !peer.asked.is_empty() || self.uploads.is_busy(**conn);
                (!peer.is_burden(), is_busy, peer.used)
            })
            .map(|(conn, _)| *conn)
    }

    fn is_needed_owner(&self, conn: ConnId) -> bool {
        self.blobs
            .values()
            .any(|blob| blob.is_downloading() && blob.members.get(&conn).is_some_and(|member| member.owner))
    }

    fn welcome(&mut self, conn: ConnId, newcomer: Newcomer) {
        let Newcomer { id, addr, outbound, zone } = newcomer;
        let keep_alive = self.now.plus_millis(KEEP_ALIVE_MS);
        let window = Window::new(self.limits.window_start_bytes, self.limits.window_max_bytes);
        self.peers.insert(conn, Peer::new(id, addr, outbound, zone, self.now, keep_alive, window));
        self.by_id.insert(id, conn);
        self.timers.set(Timer::Conn(conn), keep_alive);
        // Every download that this peer was named for joins it now. Whoever answers where we dialled is meant, also when it has started
        // anew since it was named.
        let is_meant = |named: &PeerInfo| named.id == id || (outbound && named.addr == addr);
        let wants = |blob: &Blob| blob.is_downloading() && blob.named().any(is_meant);
        let shared: Vec<Digest> =
            self.blobs.iter().filter(|(_, blob)| wants(blob)).map(|(digest, _)| *digest).collect();
        for digest in shared {
            self.join(conn, digest);
        }
    }

    /// Opens our channel for a blob on a connection, unless it is open, the peer declined it lately, or we are not ready.
    pub(super) fn join(&mut self, conn: ConnId, digest: Digest) {
        let (Some(peer), Some(blob)) = (self.peers.get_mut(&conn), self.blobs.get_mut(&digest)) else {
            return;
        };
        let declined = blob.declined.get(&peer.id).is_some_and(|until| self.now < *until);
        let Some(download) = &blob.download else { return };
        if blob.phase != Phase::Ready || declined || peer.ours.contains_key(&digest) {
            return;
        }
        let pieces = Pieces::of(download.present());
        let owner = self.role == crate::io::Role::Owner;
        let swarm = peer.open_channel(digest);
        if !blob.members.contains_key(&conn) {
            blob.to_come.push(conn);
        }
        let grant = blob.grant.clone();
        self.outputs
            .push_back(Output::Send { conn, message: Message::Join { swarm, digest, owner, grant, pieces } });
    }

    /// Shows the grant of a blob, which is new, to everybody whose swarm we have joined with an older one.
    pub(super) fn show_grant(&mut self, digest: Digest) {
        let Some(grant) = self.blobs.get(&digest).map(|blob| blob.grant.clone()) else { return };
        let owner = self.role == crate::io::Role::Owner;
        for (conn, peer) in self.peers.iter() {
            let joined =
                |swarm| Message::Join { swarm, digest, owner, grant: grant.clone(), pieces: Pieces::Nothing };
            self.outputs.extend(peer.say(*conn, &digest, joined));
        }
    }

    /// A dial led nowhere.
    pub(super) fn dial_failed(&mut self, addr: SocketAddr) {
        self.dials.back_off(addr, self.now, &mut self.rng);
        self.may_dial = true;
    }

    /// A connection ended.
    pub(super) fn disconnected(&mut self, conn: ConnId) {
        let Some((addr, useful)) = self.drop_conn(conn) else { return };
        if useful {
            self.dials.forgive(&addr);
        }
        self.dials.back_off(addr, self.now, &mut self.rng);
    }

    /// Closes a connection from our side.
    pub(super) fn close_conn(&mut self, conn: ConnId, reason: CloseReason) {
        let Some((addr, _)) = self.drop_conn(conn) else { return };
        self.outputs.push_back(Output::Close { conn, reason });
        if reason != CloseReason::Duplicate {
            self.dials.back_off(addr, self.now, &mut self.rng);
        }
    }

    /// Forgets a connection: what it owed is asked of others, what it wanted is not sent. Its address, and whether it moved pieces.
    fn drop_conn(&mut self, conn: ConnId) -> Option<(SocketAddr, bool)> {
        let peer = self.peers.remove(&conn)?;
        self.asked_bytes -= peer.asked_bytes;
        if self.by_id.get(&peer.id) == Some(&conn) {
            self.by_id.remove(&peer.id);
        }
        self.timers.clear(Timer::Conn(conn));
        self.uploads.forget(conn, None);
        self.may_send = true;
        self.drop_credits(|of, _| of == conn);
        for (digest, index) in peer.asked.keys() {
            if let Some(download) = self.blobs.get_mut(digest).and_then(|blob| blob.download.as_mut()) {
                download.release(*index, crate::io::Source::Conn(conn));
            }
        }
        for (digest, blob) in &mut self.blobs {
            if blob.remove_member(conn).is_some() && blob.is_downloading() {
                self.dirty.insert(*digest);
            }
        }
        self.departed.truncate(DEPARTED_MAX - 1);
        self.departed.push_front((conn, peer.id, peer.addr));
        self.may_dial = true;
        Some((peer.addr, peer.used > peer.since))
    }

    /// Whether a connection carries nothing that either side still needs.
    pub(super) fn is_idle(&self, conn: ConnId) -> bool {
        let Some(peer) = self.peers.get(&conn) else { return true };
        peer.asked.is_empty()
            && !self.uploads.is_busy(conn)
            && !self.blobs.values().any(|blob| shares(blob, conn))
    }

    /// When an idle connection may be closed.
    pub(super) fn idle_ends(&self, peer: &Peer) -> Time {
        peer.used.max(peer.since).plus_millis(self.limits.idle_ms)
    }
}

/// Whether either side of a membership still needs pieces.
fn shares(blob: &Blob, conn: ConnId) -> bool {
    blob.members
        .get(&conn)
        .is_some_and(|member| blob.is_downloading() || member.early.is_some() || !member.pieces.is_full())
}
