//! An owner does not announce: trackers know it from the ring. The swarm asks for an announcer, so it gets one that says nothing.

use std::time::Duration;

use async_trait::async_trait;
use shoal_swarm::{AnnounceError, AnnounceItem, AnnounceReply, Announcer};

/// Until the next announce that changes nothing: a day, so that seeding costs no time.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Introduces nobody to anybody.
pub(crate) struct Silent;

#[async_trait]
impl Announcer for Silent {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        let reply = || AnnounceReply {
            metainfo: None,
            peers: Vec::new(),
            web_seeds: Vec::new(),
            interval_ms: u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX),
        };
        items.iter().map(|_| Ok(reply())).collect()
    }
}
