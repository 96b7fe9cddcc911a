//! Who is kept out. Two things earn a ban: pieces that do not match their digests, and breaking the protocol again and again. Being full,
//! slow, absent or polite never does.
//!
//! A ban holds for a stated time, by identity and by address: a process that restarts gets a new identity, but keeps its broken disk.
//! The price: a healthy process behind the same address and port waits that time too.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use shoal_swarm_types::PeerId;

use crate::io::Time;
use crate::limits::{BANS_MAX, CORRUPT_MAX, VIOLATION_MS};

/// Corrupt pieces counted, and bans that stand.
#[derive(Debug)]
pub(crate) struct Bans {
    ban_ms: u64,
    corrupt: BTreeMap<PeerId, u32>,
    peers: BTreeMap<PeerId, Time>,
    addrs: BTreeMap<SocketAddr, Time>,
    /// Addresses from which the protocol was broken, and until when that is remembered.
    violators: BTreeMap<SocketAddr, Time>,
}

impl Bans {
    /// Nobody is banned yet.
    pub(crate) const fn new(ban_ms: u64) -> Self {
        Self {
            ban_ms,
            corrupt: BTreeMap::new(),
            peers: BTreeMap::new(),
            addrs: BTreeMap::new(),
            violators: BTreeMap::new(),
        }
    }

    /// A peer sent a corrupt piece. True when that bans it. Pieces that were on their way when it was banned do not ban it again.
    pub(crate) fn corrupt(&mut self, peer: PeerId, addr: SocketAddr, now: Time) -> bool {
        if self.is_banned(&peer, &addr, now) {
            return false;
        }
        if self.corrupt.len() >= BANS_MAX && !self.corrupt.contains_key(&peer) {
            self.corrupt.pop_first();
        }
        let count = self.corrupt.entry(peer).or_default();
        *count += 1;
        if *count < CORRUPT_MAX {
            return false;
        }
        self.corrupt.remove(&peer);
        let until = now.plus_millis(self.ban_ms);
        insert_bounded(&mut self.peers, peer, until);
        insert_bounded(&mut self.addrs, addr, until);
        true
    }

    /// A peer broke the protocol. True when that bans it for a while.
    pub(crate) fn violated(&mut self, peer: PeerId, addr: SocketAddr, now: Time) -> bool {
        let until = now.plus_millis(VIOLATION_MS);
        let again = self.violators.get(&addr).is_some_and(|until| now < *until);
        insert_bounded(&mut self.violators, addr, until);
        if again {
            insert_bounded(&mut self.peers, peer, until);
            insert_bounded(&mut self.addrs, addr, until);
        }
        again
    }

    /// Whether a peer is banned, by identity or by address.
    pub(crate) fn is_banned(&self, peer: &PeerId, addr: &SocketAddr, now: Time) -> bool {
        self.peers.get(peer).is_some_and(|until| now < *until) || self.is_banned_addr(addr, now)
    }

    /// Whether an address is banned.
    pub(crate) fn is_banned_addr(&self, addr: &SocketAddr, now: Time) -> bool {
        self.addrs.get(addr).is_some_and(|until| now < *until)
    }
}

/// Makes room by dropping the ban that ends first.
fn insert_bounded<K: Ord + Copy>(bans: &mut BTreeMap<K, Time>, key: K, until: Time) {
    if bans.len() >= BANS_MAX
        && !bans.contains_key(&key)
        && let Some(first) = bans.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
    {
        bans.remove(&first);
    }
    bans.insert(key, until);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_by_identity_and_address_for_a_time() {
        let mut bans = Bans::new(1_000);
        let (peer, other) = (PeerId([1; 20]), PeerId([2; 20]));
        let addr = SocketAddr::from(([10, 0, 0, 1], 1));
        let elsewhere = SocketAddr::from(([10, 0, 0, 2], 1));
        assert!(!bans.corrupt(peer, addr, Time(0)));
        assert!(!bans.is_banned(&peer, &addr, Time(0)));
        assert!(bans.corrupt(peer, addr, Time(0)));
        assert!(!bans.corrupt(peer, addr, Time(0)) && !bans.corrupt(peer, addr, Time(0)), "banned once");
        assert!(bans.is_banned(&peer, &elsewhere, Time(1)) && bans.is_banned(&other, &addr, Time(1)));
        assert!(!bans.is_banned(&other, &elsewhere, Time(1)));
        assert!(!bans.is_banned(&peer, &addr, Time::from_millis(1_000)));
    }

    #[test]
    fn who_breaks_the_protocol_twice_stays_out_for_a_while() {
        let mut bans = Bans::new(1_000);
        let (peer, addr) = (PeerId([1; 20]), SocketAddr::from(([10, 0, 0, 1], 1)));
        assert!(!bans.violated(peer, addr, Time(0)));
        assert!(!bans.violated(peer, addr, Time::from_millis(VIOLATION_MS)), "long after");
        assert!(!bans.is_banned(&peer, &addr, Time::from_millis(VIOLATION_MS)));
        assert!(bans.violated(peer, addr, Time::from_millis(VIOLATION_MS + 1)));
        assert!(bans.is_banned(&peer, &addr, Time::from_millis(VIOLATION_MS + 2)));
        assert!(!bans.is_banned(&peer, &addr, Time::from_millis(2 * VIOLATION_MS + 2)));
    }

    #[test]
    fn remembers_a_bounded_number() {
        let mut bans = Bans::new(1_000);
        for n in 0..5_000_u32 {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let addr = SocketAddr::from((n.to_be_bytes(), 1));
            bans.corrupt(PeerId(id), addr, Time(u64::from(n)));
            bans.corrupt(PeerId(id), addr, Time(u64::from(n)));
        }
        assert_eq!((bans.peers.len(), bans.addrs.len(), bans.corrupt.len()), (BANS_MAX, BANS_MAX, 0));
    }
}
