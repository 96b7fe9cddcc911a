//! A model tracker: hands out a random sample of the peers and all owners, and forgets nobody who does not say goodbye.

use std::collections::BTreeMap;

use shoal_oci::Digest;
use shoal_swarm_protocol::{AnnounceError, AnnounceEvent, AnnounceReply, Input};
use shoal_swarm_types::{Metainfo, PeerId, PeerInfo};

/// Peers in one answer.
const HANDOUT: usize = 50;

#[derive(Debug)]
struct Swarm {
    metainfo: Metainfo,
    owners: Vec<PeerInfo>,
    peers: BTreeMap<PeerId, PeerInfo>,
}

/// The tracker.
#[derive(Debug)]
pub(crate) struct Tracker {
    /// Answers nothing.
    pub(crate) down: bool,
    /// Names web seeds, and they work.
    pub(crate) web_seeds: bool,
    pub(crate) web_works: bool,
    pub(crate) interval_ms: u64,
    /// Most peers in one answer; with one, owners are not named either.
    pub(crate) handout: usize,
    pub(crate) announces: u64,
    swarms: BTreeMap<Digest, Swarm>,
    rng: fastrand::Rng,
}

impl Tracker {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            down: false,
            web_seeds: false,
            web_works: true,
            interval_ms: 30_000,
            handout: HANDOUT,
            announces: 0,
            swarms: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(seed ^ 0x7261_636b),
        }
    }

    pub(crate) fn own(&mut self, digest: Digest, metainfo: Metainfo, owners: Vec<PeerInfo>) {
        self.swarms.insert(digest, Swarm { metainfo, owners, peers: BTreeMap::new() });
    }

    pub(crate) fn announce(
        &mut self,
        digest: Digest,
        info: &PeerInfo,
        event: AnnounceEvent,
        need_metainfo: bool,
    ) -> Input {
        self.announces += 1;
        let error = |error| Input::AnnounceFailed { digest, error };
        if self.down {
            return error(AnnounceError::Unavailable);
        }
        let Some(swarm) = self.swarms.get_mut(&digest) else { return error(AnnounceError::NotFound) };
        // One process per address: a restarted one replaces its former self.
        swarm.peers.retain(|_, peer| peer.addr != info.addr);
        if event != AnnounceEvent::Stopped {
            swarm.peers.insert(info.id, info.clone());
        }
        let others: Vec<PeerInfo> = swarm.peers.values().filter(|peer| peer.id != info.id).cloned().collect();
        let mut peers = self.rng.choose_multiple(others, self.handout);
        if self.handout > 1 {
            peers.extend(swarm.owners.iter().cloned());
        }
        let web_seeds = if self.web_seeds { vec!["http://owner/blob".to_owned()] } else { Vec::new() };
        let metainfo = need_metainfo.then(|| swarm.metainfo.clone());
        let reply = AnnounceReply {
            metainfo,
            peers,
            web_seeds,
            interval_ms: self.interval_ms,
            ..AnnounceReply::default()
        };
        Input::Announced { digest, reply }
    }
}
