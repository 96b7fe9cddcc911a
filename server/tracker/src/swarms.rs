//! All swarms in memory, in shards by digest so that announces of different blobs do not wait for each other.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shoal_oci::Digest;
use shoal_swarm_types::PeerInfo;

use crate::handout::Kinds;
use crate::roster::{Admission, Asking, Peer, Roster, Tick};

/// Number of shards: well above the number of cores, so that two announces rarely meet.
const SHARDS: usize = 64;

/// Bounds of memory. What goes beyond them is not remembered, but still answered.
#[derive(Clone, Copy, Debug)]
pub struct SwarmLimits {
    /// Most blobs with a peer.
    pub swarms_max: usize,
    /// Most peers of one blob.
    pub peers_per_swarm_max: usize,
    /// Most peers of all blobs together.
    pub peers_max: usize,
}

impl Default for SwarmLimits {
    /// 4,000,000 peers take about 500 MB when every one of them is there: 20,000 agents with 200 blobs each.
    fn default() -> Self {
        Self { swarms_max: 250_000, peers_per_swarm_max: 50_000, peers_max: 4_000_000 }
    }
}

/// One blob in the operator's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmSummary {
    /// The blob.
    pub digest: Digest,
    /// Number of complete agents.
    pub complete: usize,
    /// Number of agents that still download.
    pub incomplete: usize,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blobs with a peer.
    pub swarms: usize,
    /// Peers, counted once for each blob.
    pub peers: usize,
}

/// Peers of a blob, and how far its list has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// The peers.
    pub peers: Vec<PeerInfo>,
    /// The number of the last arrival.
    pub last: u32,
    /// Whether they are all that came since the version that was known, rather than a sample.
    pub is_delta: bool,
    /// Whether anybody else takes part.
    pub has_others: bool,
}

/// All swarms.
pub struct Swarms {
    shards: Vec<Mutex<Shard>>,
    limits: SwarmLimits,
}

#[derive(Default)]
struct Shard {
    rosters: HashMap<Digest, Roster>,
    peers: usize,
    /// The number of the last arrival, over all blobs: one that is forgotten and begun again does not count from the start.
    arrivals: u32,
}

impl Swarms {
    /// No swarms.
    pub fn new(limits: SwarmLimits) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), limits }
    }

    /// Remembers a peer of a blob.
    pub fn put(&self, digest: &Digest, peer: &Peer) -> Admission {
        let limits = self.limits;
        let mut shard = self.shard(digest);
        let Shard { rosters, peers, arrivals } = &mut *shard;
        let before = rosters.get(digest).map_or(0, Roster::len);
        let known = before > 0 && rosters.get(digest).is_some_and(|roster| roster.has(peer.addr));
        if !known {
            let full = *peers >= limits.peers_max.div_ceil(SHARDS)
                || before >= limits.peers_per_swarm_max
                || (before == 0 && rosters.len() >= limits.swarms_max.div_ceil(SHARDS));
            if full {
                return Admission::Refused;
            }
        }
        let roster = rosters.entry(*digest).or_default();
        let admission = roster.put(peer, arrivals.wrapping_add(1));
        *arrivals = arrivals.wrapping_add(u32::from(admission == Admission::Arrived));
        *peers = *peers + roster.len() - before;
        admission
    }

    /// Renews a peer of a blob that is known just so; false when it is not.
    pub fn renew(&self, digest: &Digest, peer: &Peer) -> bool {
        self.shard(digest).rosters.get_mut(digest).is_some_and(|roster| roster.renew(peer))
    }

    /// Forgets a peer of a blob.
    pub fn remove(&self, digest: &Digest, addr: SocketAddr) {
        let mut shard = self.shard(digest);
        let Some(roster) = shard.rosters.get_mut(digest) else { return };
        let removed = roster.remove(addr);
        if roster.is_empty() {
            shard.rosters.remove(digest);
        }
        shard.peers -= usize::from(removed);
    }

    /// Peers of a blob for somebody.
    pub fn handout(
        &self,
        digest: &Digest,
        asking: &Asking,
        now: Tick,
        rng: &mut fastrand::Rng,
    ) -> Introduction {
        let mut shard = self.shard(digest);
        let last = shard.arrivals;
        let Some(roster) = shard.rosters.get_mut(digest) else {
            return Introduction { last, ..Introduction::default() };
        };
        let has_others = roster.len() > usize::from(roster.has(asking.addr));
        let (peers, is_delta) = roster.handout(asking, now, rng);
        Introduction { peers, last, is_delta, has_others }
    }

    /// Forgets the peers that have not announced in time, one shard after the other; returns what is left.
    pub fn expire(&self, now: Tick) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let Shard { rosters, peers, .. } = &mut *shard;
            rosters.retain(|_, roster| {
                *peers -= roster.expire(now);
                !roster.is_empty()
            });
            totals.swarms += rosters.len();
            totals.peers += *peers;
        }
        totals
    }

    /// How much is remembered, the expired included.
    pub fn totals(&self) -> Totals {
        self.shards.iter().map(lock).fold(Totals::default(), |totals, shard| Totals {
            swarms: totals.swarms + shard.rosters.len(),
            peers: totals.peers + shard.peers,
        })
    }

    /// The `limit` blobs with the most peers, the largest first.
    pub fn summary(&self, limit: usize) -> Vec<SwarmSummary> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).rosters.iter().map(|(digest, roster)| {
                let Kinds { complete, incomplete } = roster.count();
                SwarmSummary { digest: *digest, complete, incomplete }
            }));
        }
        all.sort_by(|a, b| {
            (b.complete + b.incomplete)
                .cmp(&(a.complete + a.incomplete))
                .then_with(|| a.digest.cmp(&b.digest))
        });
        all.truncate(limit);
        all
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        // The bytes of a digest are uniform already.
        lock(&self.shards[usize::from(digest.as_bytes()[0]) % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use shoal_swarm_types::{PeerId, Zone};

    use super::*;

    fn peer(number: u16) -> Peer {
        let mut id = [0; 20];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let addr = SocketAddr::from(([10, 0, 0, 1], number));
        Peer { id: PeerId(id), addr, complete: false, zone: Zone::UNKNOWN, expires: 100 }
    }

    #[test]
    fn remembers_within_its_bounds_only() {
        let limits = SwarmLimits { swarms_max: SHARDS, peers_per_swarm_max: 3, peers_max: 4 * SHARDS };
        let swarms = Swarms::new(limits);
        let digest = Digest::sha256(b"a");
        let admit = |digest: &Digest, number| swarms.put(digest, &peer(number)) == Admission::Arrived;
        assert_eq!((1..=5).filter(|number| admit(&digest, *number)).count(), 3);
        assert_eq!(swarms.put(&digest, &peer(2)), Admission::Renewed, "one that is known is always renewed");
        // A second blob of the same shard is one too many.
        let same_shard =
            |other: &Digest| other.as_bytes()[0] % 64 == digest.as_bytes()[0] % 64 && *other != digest;
        let other = (0_u32..).map(|number| Digest::sha256(&number.to_be_bytes())).find(same_shard).unwrap();
        assert!(!admit(&other, 1));
        assert_eq!(swarms.totals(), Totals { swarms: 1, peers: 3 });
        assert_eq!(swarms.expire(100), Totals::default());
        assert!(admit(&other, 1));
    }

    #[test]
    fn removing_counts_once_and_drops_empty_swarms() {
        let swarms = Swarms::new(SwarmLimits::default());
        let digest = Digest::sha256(b"a");
        swarms.put(&digest, &peer(1));
        swarms.put(&digest, &peer(1));
        assert_eq!(swarms.summary(9), [SwarmSummary { digest, complete: 0, incomplete: 1 }]);
        swarms.remove(&digest, peer(2).addr);
        swarms.remove(&digest, peer(1).addr);
        swarms.remove(&digest, peer(1).addr);
        assert_eq!(swarms.totals(), Totals::default());
    }

    #[test]
    fn a_swarm_that_was_forgotten_does_not_count_from_the_start() {
        let swarms = Swarms::new(SwarmLimits::default());
        let digest = Digest::sha256(b"a");
        let asking = |since| {
            let Peer { id, addr, zone, .. } = peer(99);
            Asking { id, addr, zone, limit: 50, since: Some(since) }
        };
        let mut rng = fastrand::Rng::with_seed(1);
        let mut ask = |since| swarms.handout(&digest, &asking(since), 0, &mut rng);
        (1..=9).for_each(|number| _ = swarms.put(&digest, &peer(number)));
        let known = ask(0).last;
        assert_eq!(known, 9);
        swarms.expire(100);
        swarms.put(&digest, &Peer { expires: 200, ..peer(10) });
        let news = ask(known);
        assert_eq!((news.peers.len(), news.is_delta), (1, true));
    }
}
