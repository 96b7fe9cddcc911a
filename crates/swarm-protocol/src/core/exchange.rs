//! Peers that name each other, so that a swarm holds together while no tracker answers, and a late joiner that knows one of them soon knows
//! enough.
//!
//! Only those are named who are connected, at an address that is their own (we dialled it, or they dial from that machine): nobody can make
//! the swarm dial a third party. Names are a help, never a duty: what one peer says takes a bounded place beside what the tracker
//! says, comes after it, and goes when that peer goes. The price is at most half a kilobyte per connection and ten seconds, and nothing
//! while there is nobody new.

use std::net::{IpAddr, SocketAddr};

use shoal_oci::Digest;
use shoal_swarm_types::PeerInfo;

use super::Core;
use super::receiving::Verdict;
use crate::blob::{Blob, Member};
use crate::io::{ConnId, Role, Time, Violation};
use crate::limits::{EXCHANGE_MICROS, NAMED_BURST, TOLD_MAX};
use crate::message::{Message, PEERS_PER_MESSAGE_MAX};
use crate::timers::Timer;

impl Core {
    /// The time has come to name others to a peer, for every blob that it still lacks pieces of.
    pub(super) fn exchange(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let again = self.now.plus_micros(EXCHANGE_MICROS);
        peer.exchange = if repeats(self.role) { again } else { Time::NEVER };
        let shared: Vec<Digest> = peer.ours.keys().copied().collect();
        for digest in shared {
            self.name_others(conn, digest);
        }
    }

    fn name_others(&mut self, conn: ConnId, digest: Digest) {
        let Some(blob) = self.blobs.get(&digest) else { return };
        let Some(member) = blob.members.get(&conn).filter(|member| is_looking(member)) else { return };
        let news = blob.members.iter().filter(|(other, _)| **other != conn);
        let news = news.filter_map(|(other, theirs)| {
            let peer = self.peers.get(other).filter(|peer| !member.told.contains(&peer.id))?;
            let complete = theirs.early.is_none() && theirs.pieces.is_full();
            Some(PeerInfo { id: peer.id, addr: peer.addr, complete, owner: false, zone: peer.zone })
        });
        let news: Vec<_> = news.filter(|peer| is_dialable(&peer.addr)).collect();
        let peers = self.rng.choose_multiple(news, PEERS_PER_MESSAGE_MAX);
        if peers.is_empty() {
            return;
        }
        if let Some(member) = self.blobs.get_mut(&digest).and_then(|blob| blob.members.get_mut(&conn)) {
            member.told.extend(peers.iter().map(|peer| peer.id));
            let spare = member.told.len().saturating_sub(TOLD_MAX);
            member.told.drain(..spare);
        }
        if let Some(peer) = self.peers.get(&conn) {
            self.outputs.extend(peer.say(conn, &digest, |swarm| Message::Peers { swarm, peers }));
        }
    }

    /// A peer named others. They are remembered with it: what one peer says takes a bounded place, and goes when it goes.
    pub(super) fn peers_named(&mut self, conn: ConnId, swarm: u32, peers: Vec<PeerInfo>) -> Verdict {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(&conn) {
            let periods = now.micros_since(peer.since) / EXCHANGE_MICROS;
            let Some(channel) = peer.theirs.get_mut(&swarm) else { return Err(Violation::Channel) };
            channel.named += 1;
            // Twice as often as agreed: messages may have waited for one another on the way.
            if u64::from(channel.named) > u64::from(NAMED_BURST) + 2 * periods {
                return Err(Violation::Peers);
            }
        }
        let Some(digest) = self.channel(conn, swarm)? else { return Ok(()) };
        let Some(blob) = self.blobs.get_mut(&digest).filter(|blob| blob.is_downloading()) else {
            return Ok(());
        };
        if let Some(member) = blob.members.get_mut(&conn) {
            member.named = peers.into_iter().filter(|peer| is_dialable(&peer.addr)).collect();
            self.may_dial = true;
        }
        Ok(())
    }

    /// When a peer that has just joined a blob is told of others: not at once, because most pulls are over by then or have found enough.
    pub(super) fn exchange_soon(&mut self, conn: ConnId, first: Time) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.exchange = peer.exchange.min(first);
        self.timers.set_earlier(Timer::Conn(conn), first);
    }
}

/// Everybody whom peers of a blob have named, each once.
pub(super) fn named(blob: &Blob) -> Vec<PeerInfo> {
    let mut all: Vec<_> = blob.members.values().flat_map(|member| member.named.iter().cloned()).collect();
    all.sort_by_key(|peer| peer.addr);
    all.dedup_by_key(|peer| peer.addr);
    all
}

/// Whether a peer may have use for others: an owner has none, and whoever has everything is found by the others.
fn is_looking(member: &Member) -> bool {
    !member.owner && member.early.is_none() && !member.pieces.is_full()
}

/// Whether an address is that of one machine, with a port.
fn is_dialable(addr: &SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// Whether `role` names others again and again. An owner of thousands of connections names some to each newcomer, and leaves the rest to
/// them.
const fn repeats(role: Role) -> bool {
    matches!(role, Role::Agent)
}
