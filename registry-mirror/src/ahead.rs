//! What the tracker says of a manifest's layers, asked before a runtime asks for them: for when it is gone by then.
//!
//! Some runtimes never leave a mirror that gave them a manifest, and ask for its layers one after the other. How a layer is cut and who has
//! it is all that is needed to get it from other agents; with that noted, the end of the server is not the end of the pull. The price: one
//! more question to the tracker for each manifest whose layers are not here, and until it is forgotten there this agent counts as a peer
//! of layers that nobody asked it for.

use shoal_api::tracker::{AnnounceEvent, AnnounceItem, AnnounceReply, TrackerClient};
use shoal_oci::{Digest, Repository};

use crate::recent::Recent;

/// Layers of which it is known what the tracker said: those of some dozen images. The piece digests of a layer of 1 GiB take 8 KiB.
const SAID_MAX: usize = 512;

/// Layers of one manifest that are asked about: more than nearly all images have, and few enough for one short answer.
const LAYERS_MAX: usize = 64;

/// Peers that are asked for: those that are left when the tracker is gone name each other.
const PEERS: u8 = 10;

/// Until the tracker is asked again by whoever was answered from a note: it may be back.
const INTERVAL_MS: u64 = 3_000;

/// Notes of what was said. Clones share them.
#[derive(Clone)]
pub(crate) struct Ahead {
    tracker: TrackerClient,
    said: Recent<Digest, AnnounceReply>,
}

impl Ahead {
    /// Nothing was asked yet.
    pub(crate) fn new(tracker: TrackerClient) -> Self {
        Self { tracker, said: Recent::new(SAID_MAX) }
    }

    /// Whether it is known who has a layer.
    pub(crate) fn knows(&self, digest: &Digest) -> bool {
        self.said.of(digest).is_some()
    }

    /// Asks about layers of `repository`, as far as it is not known what the answer is.
    pub(crate) async fn ask(&self, layers: Vec<Digest>, repository: &Repository) {
        let unknown = layers.into_iter().filter(|digest| !self.knows(digest)).take(LAYERS_MAX);
        let item = |digest| AnnounceItem {
            digest,
            event: AnnounceEvent::Periodic,
            complete: false,
            need_metainfo: true,
            repository: Some(repository.clone()),
            known: 0,
            peers_wanted: PEERS,
            content_max: 0,
        };
        let items: Vec<_> = unknown.map(item).collect();
        if items.is_empty() {
            return;
        }
        let digests: Vec<_> = items.iter().map(|item| item.digest).collect();
        let replies = self.tracker.announce(items).await;
        for (digest, reply) in digests.into_iter().zip(replies) {
            let Ok(reply) = reply else { continue };
            if reply.metainfo.as_ref().is_some_and(|metainfo| *metainfo.digest() == digest) {
                // Its version is that of a list which the swarm has not heard of.
                self.said.note(digest, AnnounceReply { interval_ms: INTERVAL_MS, version: 0, ..reply });
            }
        }
    }

    /// What was said of a layer.
    pub(crate) fn said(&self, digest: &Digest) -> Option<AnnounceReply> {
        self.said.of(digest)
    }
}
