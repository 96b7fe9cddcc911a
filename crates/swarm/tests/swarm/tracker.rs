//! A tracker in memory: a map that all participants of one test share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm::{AnnounceError, AnnounceEvent, AnnounceItem, AnnounceReply, Announcer};
use shoal_swarm_types::{Metainfo, PeerId, PeerInfo};
use tokio::sync::{Semaphore, watch};

/// How soon participants announce again; short, because some tests change what the tracker knows.
const INTERVAL_MS: u64 = 1_000;

#[derive(Default)]
pub(crate) struct Tracker {
    state: Mutex<State>,
    heard: watch::Sender<Vec<(PeerId, Digest, AnnounceEvent)>>,
}

#[derive(Default)]
struct State {
    down: bool,
    gate: Option<Arc<Semaphore>>,
    swarms: BTreeMap<Digest, Swarm>,
    silenced: BTreeSet<PeerId>,
}

struct Swarm {
    metainfo: Metainfo,
    peers: BTreeMap<PeerId, PeerInfo>,
    web_seeds: Vec<String>,
    content: Option<Bytes>,
}

impl Tracker {
    /// Makes a blob known, with the peers that have it.
    pub(crate) fn publish(&self, metainfo: &Metainfo, holders: &[&PeerInfo]) {
        let mut state = self.state.lock().unwrap();
        let swarm = state.swarms.entry(*metainfo.digest()).or_insert_with(|| Swarm {
            metainfo: metainfo.clone(),
            peers: BTreeMap::new(),
            web_seeds: Vec::new(),
            content: None,
        });
        swarm
            .peers
            .extend(holders.iter().map(|peer| (peer.id, PeerInfo { complete: true, ..(*peer).clone() })));
    }

    /// Gives a known blob a web seed.
    pub(crate) fn add_web_seed(&self, digest: &Digest, url: &str) {
        self.state.lock().unwrap().swarms.get_mut(digest).unwrap().web_seeds.push(url.to_owned());
    }

    /// Puts content into answers about a known blob, whether it is the blob's or not.
    pub(crate) fn add_content(&self, digest: &Digest, content: &[u8]) {
        let content = Bytes::copy_from_slice(content);
        self.state.lock().unwrap().swarms.get_mut(digest).unwrap().content = Some(content);
    }

    /// Calls are answered only when `gate` has permits.
    pub(crate) fn wait_for(&self, gate: &Arc<Semaphore>) {
        self.state.lock().unwrap().gate = Some(Arc::clone(gate));
    }

    /// Never mentions a peer again.
    pub(crate) fn silence(&self, peer: &PeerInfo) {
        self.state.lock().unwrap().silenced.insert(peer.id);
    }

    /// From now on no call is answered.
    pub(crate) fn break_down(&self) {
        self.state.lock().unwrap().down = true;
    }

    /// Waits until a peer has said this about a blob.
    pub(crate) async fn hears(&self, peer: &PeerInfo, digest: &Digest, event: AnnounceEvent) {
        let mut heard = self.heard.subscribe();
        heard.wait_for(|heard| heard.contains(&(peer.id, *digest, event))).await.unwrap();
    }

    fn answer(&self, me: &PeerInfo, item: &AnnounceItem) -> Result<AnnounceReply, AnnounceError> {
        self.heard.send_modify(|heard| heard.push((me.id, item.digest, item.event)));
        let mut state = self.state.lock().unwrap();
        let silenced = state.silenced.clone();
        let swarm = state.swarms.get_mut(&item.digest).ok_or(AnnounceError::NotFound)?;
        if item.event == AnnounceEvent::Stopped {
            swarm.peers.remove(&me.id);
        } else {
            swarm.peers.insert(me.id, PeerInfo { complete: item.complete, ..me.clone() });
        }
        let others = swarm.peers.values().filter(|peer| peer.id != me.id && !silenced.contains(&peer.id));
        Ok(AnnounceReply {
            metainfo: item.need_metainfo.then(|| swarm.metainfo.clone()),
            peers: others.cloned().collect(),
            web_seeds: swarm.web_seeds.clone(),
            content: swarm.content.clone().filter(|_| item.need_metainfo),
            interval_ms: INTERVAL_MS,
            ..AnnounceReply::default()
        })
    }
}

/// The tracker as one participant reaches it.
pub(crate) struct Line {
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) me: PeerInfo,
}

#[async_trait]
impl Announcer for Line {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        if self.tracker.state.lock().unwrap().down {
            return items.iter().map(|_| Err(AnnounceError::Unavailable)).collect();
        }
        let gate = self.tracker.state.lock().unwrap().gate.clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        items.iter().map(|item| self.tracker.answer(&self.me, item)).collect()
    }
}
