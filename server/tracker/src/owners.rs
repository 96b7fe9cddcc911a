//! The owners of a digest as peers and web seeds: computed from the ring, never asked for and never announced.

use std::collections::BTreeMap;

use shoal_api::origin::web_seed_url;
use shoal_oci::{Digest, Repository};
use shoal_ring::{MemberId, Ring};
use shoal_swarm_types::{PeerId, PeerInfo, Zone};

/// The ring, with the swarm identity of each member's origin.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    ring: Ring,
    peer_ids: BTreeMap<MemberId, PeerId>,
    replicas: usize,
    /// Whether origins speak TLS.
    secure: bool,
}

impl Owners {
    /// Owners among the members of `ring`, `replicas` for each digest. A member without a peer id is known to own its digests but
    /// is not handed out as a peer, only as a web seed.
    pub const fn new(ring: Ring, peer_ids: BTreeMap<MemberId, PeerId>, replicas: usize) -> Self {
        Self { ring, peer_ids, replicas, secure: false }
    }

    /// The same owners, whose HTTP ports speak TLS.
    #[must_use]
    pub const fn over_tls(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// The owners of `digest` as peers.
    pub fn peers(&self, digest: &Digest) -> Vec<PeerInfo> {
        let members = self.ring.owners(digest, self.replicas);
        let peer = |member: &shoal_ring::Member| {
            let addr = member.addresses.peer.parse().ok()?;
            Some(PeerInfo {
                id: *self.peer_ids.get(&member.id)?,
                addr,
                complete: true,
                owner: true,
                zone: Zone::UNKNOWN,
            })
        };
        members.into_iter().filter_map(peer).collect()
    }

    /// The URLs of `digest` at its owners, for a peer that wants it for `repository`.
    pub fn web_seeds(&self, digest: &Digest, repository: Option<&Repository>) -> Vec<String> {
        let members = self.ring.owners(digest, self.replicas);
        let scheme = if self.secure { "https" } else { "http" };
        let url =
            |member: &&shoal_ring::Member| web_seed_url(scheme, &member.addresses.origin, digest, repository);
        members.iter().map(url).collect()
    }

    /// The ring.
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }
}
