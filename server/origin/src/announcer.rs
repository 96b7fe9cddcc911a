//! Whom the origin is introduced to. An owner does not announce what it has: trackers know it from the ring. Only while it mends a
//! damaged blob does it look for peers, and then it is told of those that were found for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_api::Grants;
use shoal_oci::Digest;
use shoal_swarm::{AnnounceError, AnnounceItem, AnnounceReply, Announcer};
use shoal_swarm_types::{Metainfo, PeerId, PeerInfo};

/// Until the next announce that changes nothing: a day, so that seeding costs no time.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Until the next announce of a blob that is being mended.
const INTERVAL_MENDING: Duration = Duration::from_secs(5);

/// The blobs that are being mended, and who has them.
#[derive(Clone)]
pub(crate) struct Introductions(Arc<Inner>);

struct Inner {
    /// Who we are to them.
    me: PeerId,
    /// What they ask to see.
    grants: Option<Arc<dyn Grants>>,
    known: Mutex<HashMap<Digest, Holders>>,
}

struct Holders {
    metainfo: Metainfo,
    peers: Vec<PeerInfo>,
}

/// While it lives, announces of its blob are answered with peers.
pub(crate) struct Introduced {
    introductions: Introductions,
    digest: Digest,
}

impl Introductions {
    /// Nothing is mended. Where grants are asked for, the origin `me` gives itself those that it needs.
    pub(crate) fn new(me: PeerId, grants: Option<Arc<dyn Grants>>) -> Self {
        Self(Arc::new(Inner { me, grants, known: Mutex::default() }))
    }

    /// Introduces the origin to `peers` when it asks for the blob of `metainfo`. `None` when that goes on already.
    pub(crate) fn introduce(&self, metainfo: Metainfo, peers: Vec<PeerInfo>) -> Option<Introduced> {
        let digest = *metainfo.digest();
        let mut known = self.lock();
        if known.contains_key(&digest) {
            return None;
        }
        known.insert(digest, Holders { metainfo, peers });
        Some(Introduced { introductions: self.clone(), digest })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Holders>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, item: &AnnounceItem) -> AnnounceReply {
        let millis = |interval: Duration| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        match self.lock().get(&item.digest) {
            Some(holders) => AnnounceReply {
                metainfo: item.need_metainfo.then(|| holders.metainfo.clone()),
                peers: holders.peers.clone(),
                interval_ms: millis(INTERVAL_MENDING),
                grant: self
                    .0
                    .grants
                    .as_ref()
                    .map_or_else(Bytes::new, |grants| grants.grant(&item.digest, &self.0.me)),
                ..AnnounceReply::default()
            },
            None => AnnounceReply { interval_ms: millis(INTERVAL), ..AnnounceReply::default() },
        }
    }
}

impl Drop for Introduced {
    fn drop(&mut self) {
        self.introductions.lock().remove(&self.digest);
    }
}

#[async_trait]
impl Announcer for Introductions {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        items.iter().map(|item| Ok(self.answer(item))).collect()
    }
}
