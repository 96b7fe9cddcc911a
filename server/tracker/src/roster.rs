//! The peers of one blob.
//!
//! A peer is known by its address: whoever listens there now is the one that announced last, so a restarted agent replaces its
//! former self instead of standing beside it until that expires. Complete and incomplete peers are kept in two dense lists, so
//! that drawing fifty of ten thousand costs fifty steps.

use std::collections::HashMap;
use std::net::SocketAddr;

use shoal_swarm_types::{PeerId, PeerInfo, Zone};
use tokio::time::Instant;

use crate::handout::{draw, is_reachable};

/// One peer of one blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its identity.
    pub id: PeerId,
    /// Where it takes swarm connections.
    pub addr: SocketAddr,
    /// Whether it has every piece.
    pub complete: bool,
    /// When it is forgotten unless it announces again.
    pub expires: Instant,
}

/// The peers of one blob.
#[derive(Debug, Default)]
pub struct Roster {
    complete: Vec<Peer>,
    incomplete: Vec<Peer>,
    /// Position of each peer in the list that its `complete` names.
    places: HashMap<SocketAddr, Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    complete: bool,
    position: usize,
}

impl Roster {
    /// Adds a peer, or replaces what is known of the one at its address.
    pub fn put(&mut self, peer: Peer) {
        self.remove(peer.addr);
        let complete = peer.complete;
        let addr = peer.addr;
        let list = self.list(complete);
        list.push(peer);
        let position = list.len() - 1;
        self.places.insert(addr, Place { complete, position });
    }

    /// Forgets the peer at `addr`.
    pub fn remove(&mut self, addr: SocketAddr) -> Option<Peer> {
        let Place { complete, position } = self.places.remove(&addr)?;
        let list = self.list(complete);
        let removed = list.swap_remove(position);
        if let Some(moved) = list.get(position).map(|peer| peer.addr) {
            self.places.insert(moved, Place { complete, position });
        }
        Some(removed)
    }

    /// Forgets the peers that have not announced in time; returns how many.
    pub fn expire(&mut self, now: Instant) -> usize {
        let expired = |peer: &&Peer| peer.expires <= now;
        let gone: Vec<_> =
            self.complete.iter().chain(&self.incomplete).filter(expired).map(|peer| peer.addr).collect();
        gone.into_iter().filter_map(|addr| self.remove(addr)).count()
    }

    /// A sample of at most `limit` living peers for the one with this identity and address.
    pub fn handout(
        &self,
        requester: (PeerId, SocketAddr),
        limit: usize,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Vec<PeerInfo> {
        let (id, addr) = requester;
        // One more than asked for, because the requester may be among them.
        let drawn = draw(self.complete.len(), self.incomplete.len(), limit + 1, rng);
        let complete = drawn.complete.iter().map(|position| &self.complete[*position]);
        let incomplete = drawn.incomplete.iter().map(|position| &self.incomplete[*position]);
        let useful = |peer: &&Peer| {
            peer.id != id
                && peer.addr != addr
                && peer.expires > now
                && is_reachable(peer.addr.ip(), addr.ip())
        };
        let info = |peer: &Peer| PeerInfo {
            id: peer.id,
            addr: peer.addr,
            complete: peer.complete,
            owner: false,
            zone: Zone::UNKNOWN,
        };
        complete.chain(incomplete).filter(useful).take(limit).map(info).collect()
    }

    /// Number of complete peers.
    pub fn complete_count(&self) -> usize {
        self.complete.len()
    }

    /// Number of incomplete peers.
    pub fn incomplete_count(&self) -> usize {
        self.incomplete.len()
    }

    /// Number of peers.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether a peer at `addr` is known.
    pub fn has(&self, addr: SocketAddr) -> bool {
        self.places.contains_key(&addr)
    }

    fn list(&mut self, complete: bool) -> &mut Vec<Peer> {
        if complete { &mut self.complete } else { &mut self.incomplete }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(number: u8, complete: bool, now: Instant) -> Peer {
        Peer {
            id: PeerId([number; 20]),
            addr: SocketAddr::from(([10, 0, 0, number], 16001)),
            complete,
            expires: now + Duration::from_secs(u64::from(number)),
        }
    }

    fn ids(peers: &[PeerInfo]) -> Vec<u8> {
        let mut ids: Vec<_> = peers.iter().map(|peer| peer.id.0[0]).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn never_hands_out_the_requester_or_the_expired() {
        let (now, mut roster) = (Instant::now(), Roster::default());
        (1..=9).for_each(|number| roster.put(peer(number, number % 2 == 0, now)));
        let mut rng = fastrand::Rng::with_seed(1);
        let me = peer(5, false, now);
        let later = now + Duration::from_secs(3);
        assert_eq!(ids(&roster.handout((me.id, me.addr), 50, later, &mut rng)), [4, 6, 7, 8, 9]);
        assert_eq!(roster.handout((me.id, me.addr), 2, later, &mut rng).len().min(2), 2);
        assert_eq!(roster.expire(later), 3);
        assert_eq!((roster.complete_count(), roster.incomplete_count()), (3, 3));
    }

    #[test]
    fn a_restarted_peer_replaces_itself_and_a_completed_one_changes_lists() {
        let (now, mut roster) = (Instant::now(), Roster::default());
        (1..=4).for_each(|number| roster.put(peer(number, false, now)));
        let mut again = peer(1, false, now);
        again.id = PeerId([99; 20]);
        roster.put(again.clone());
        assert_eq!(roster.len(), 4);
        again.complete = true;
        roster.put(again.clone());
        assert_eq!((roster.complete_count(), roster.incomplete_count()), (1, 3));
        assert_eq!(roster.remove(again.addr).map(|peer| peer.id), Some(PeerId([99; 20])));
        assert_eq!(roster.remove(again.addr), None);
    }

    #[test]
    fn positions_stay_right_through_removals() {
        let (now, mut roster) = (Instant::now(), Roster::default());
        (1..=20).for_each(|number| roster.put(peer(number, number > 10, now)));
        for number in [1, 15, 20, 10, 3, 11] {
            assert_eq!(roster.remove(peer(number, false, now).addr).map(|peer| peer.id.0[0]), Some(number));
        }
        assert_eq!(roster.len(), 14);
        for number in [2, 4, 5, 6, 7, 8, 9, 12, 13, 14, 16, 17, 18, 19] {
            assert_eq!(roster.remove(peer(number, false, now).addr).map(|peer| peer.id.0[0]), Some(number));
        }
        assert!(roster.is_empty());
    }
}
