//! All swarms in memory, in shards by digest so that announces of different blobs do not wait for each other.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shoal_oci::Digest;
use shoal_swarm_types::{PeerId, PeerInfo};
use tokio::time::Instant;

use crate::roster::{Peer, Roster};

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
    /// 2,000,000 peers take about 500 MB when every one of them is there: 10,000 agents with 200 blobs each.
    fn default() -> Self {
        Self { swarms_max: 250_000, peers_per_swarm_max: 20_000, peers_max: 2_000_000 }
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

/// All swarms.
pub struct Swarms {
    shards: Vec<Mutex<Shard>>,
    limits: SwarmLimits,
}

#[derive(Default)]
struct Shard {
    rosters: HashMap<Digest, Roster>,
    peers: usize,
}

impl Swarms {
    /// No swarms.
    pub fn new(limits: SwarmLimits) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), limits }
    }

    /// Remembers a peer of a blob; false when a bound is reached.
    pub fn put(&self, digest: &Digest, peer: Peer) -> bool {
        let limits = self.limits;
        let mut shard = self.shard(digest);
        let Shard { rosters, peers } = &mut *shard;
        let known = rosters.get(digest).is_some_and(|roster| roster.has(peer.addr));
        if !known {
            let full = *peers >= limits.peers_max.div_ceil(SHARDS)
                || match rosters.get(digest) {
                    Some(roster) => roster.len() >= limits.peers_per_swarm_max,
                    None => rosters.len() >= limits.swarms_max.div_ceil(SHARDS),
                };
            if full {
                return false;
            }
            *peers += 1;
        }
        rosters.entry(*digest).or_default().put(peer);
        true
    }

    /// Forgets a peer of a blob.
    pub fn remove(&self, digest: &Digest, addr: SocketAddr) {
        let mut shard = self.shard(digest);
        let Some(roster) = shard.rosters.get_mut(digest) else { return };
        let removed = roster.remove(addr).is_some();
        if roster.is_empty() {
            shard.rosters.remove(digest);
        }
        shard.peers -= usize::from(removed);
    }

    /// A sample of the peers of a blob for the one with this identity and address.
    pub fn handout(
        &self,
        digest: &Digest,
        requester: (PeerId, SocketAddr),
        limit: usize,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Vec<PeerInfo> {
        let shard = self.shard(digest);
        shard.rosters.get(digest).map_or_else(Vec::new, |roster| roster.handout(requester, limit, now, rng))
    }

    /// Forgets the peers that have not announced in time, one shard after the other; returns what is left.
    pub fn expire(&self, now: Instant) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let Shard { rosters, peers } = &mut *shard;
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
            all.extend(lock(shard).rosters.iter().map(|(digest, roster)| SwarmSummary {
                digest: *digest,
                complete: roster.complete_count(),
                incomplete: roster.incomplete_count(),
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
    use std::time::Duration;

    use super::*;

    fn peer(number: u16, now: Instant) -> Peer {
        Peer {
            id: PeerId([number as u8; 20]),
            addr: SocketAddr::from(([10, 0, 0, 1], number)),
            complete: false,
            expires: now + Duration::from_secs(10),
        }
    }

    #[test]
    fn remembers_within_its_bounds_only() {
        let now = Instant::now();
        let limits = SwarmLimits { swarms_max: SHARDS, peers_per_swarm_max: 3, peers_max: 4 * SHARDS };
        let swarms = Swarms::new(limits);
        let digest = Digest::sha256(b"a");
        let accepted = (1..=5).filter(|number| swarms.put(&digest, peer(*number, now))).count();
        assert_eq!(accepted, 3);
        assert!(swarms.put(&digest, peer(2, now)), "one that is known is always renewed");
        // A second blob of the same shard is one too many.
        let same_shard =
            |other: &Digest| other.as_bytes()[0] % 64 == digest.as_bytes()[0] % 64 && *other != digest;
        let other = (0_u32..).map(|number| Digest::sha256(&number.to_be_bytes())).find(same_shard).unwrap();
        assert!(!swarms.put(&other, peer(1, now)));
        assert_eq!(swarms.totals(), Totals { swarms: 1, peers: 3 });
        assert_eq!(swarms.expire(now + Duration::from_secs(10)), Totals::default());
        assert!(swarms.put(&other, peer(1, now)));
    }

    #[test]
    fn removing_counts_once_and_drops_empty_swarms() {
        let (now, swarms) = (Instant::now(), Swarms::new(SwarmLimits::default()));
        let digest = Digest::sha256(b"a");
        swarms.put(&digest, peer(1, now));
        swarms.put(&digest, peer(1, now));
        assert_eq!(swarms.summary(9), [SwarmSummary { digest, complete: 0, incomplete: 1 }]);
        swarms.remove(&digest, peer(2, now).addr);
        swarms.remove(&digest, peer(1, now).addr);
        swarms.remove(&digest, peer(1, now).addr);
        assert_eq!(swarms.totals(), Totals::default());
    }
}
