//! The swarm's announcer: puts its questions to the tracker in the tracker's words.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shoal_api::tracker::{self, CONTENT_LEN_MAX, ItemErrorCode, TrackerClient};
use shoal_swarm::{AnnounceError, AnnounceEvent, AnnounceItem, AnnounceReply, Announcer};

use crate::fetch::Wanted;
use crate::leads::Leads;
use crate::tracker_check::{self, TrackerCheck};

/// Time between probes while no tracker answers: short at first, so that an agent that starts with its server is ready with it.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(100);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Announces to the tracker, and keeps the readiness check up to date.
#[derive(Clone)]
pub(crate) struct TrackerAnnouncer {
    client: TrackerClient,
    check: Arc<TrackerCheck>,
    /// For which repositories blobs are fetched.
    wanted: Wanted,
    /// Where small blobs can probably be had.
    leads: Leads,
}

impl TrackerAnnouncer {
    /// An announcer over a tracker client, which finds in `wanted` for which repositories blobs are fetched, and leaves in `leads` who
    /// owns them.
    pub(crate) fn new(client: TrackerClient, check: TrackerCheck, wanted: Wanted, leads: Leads) -> Self {
        Self { client, check: Arc::new(check), wanted, leads }
    }

    fn question(&self, item: &AnnounceItem) -> tracker::AnnounceItem {
        let downloads = !item.complete && item.event != AnnounceEvent::Stopped;
        let repository = downloads.then(|| self.wanted.of(&item.digest)).flatten();
        tracker::AnnounceItem { repository, ..question(item) }
    }

    /// Asks the trackers whether they live for as long as the check does not say so: an agent with nothing to announce, or one that
    /// lost its tracker, learns of it all the same. Never returns.
    pub(crate) async fn watch(self) {
        let patience = async {
            tokio::time::sleep(tracker_check::PATIENCE).await;
            self.check.end_patience();
        };
        tokio::join!(patience, self.probe());
    }

    async fn probe(&self) {
        let mut pause = PROBE_PAUSE_MIN;
        loop {
            if !self.check.is_reached() {
                self.check.observe(self.client.probe().await);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PROBE_PAUSE_MAX);
        }
    }
}

#[async_trait]
impl Announcer for TrackerAnnouncer {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        let replies = self.client.announce(items.iter().map(|item| self.question(item)).collect()).await;
        self.check.observe(self.client.reach());
        for reply in replies.iter().flatten() {
            self.leads.note_owners(&reply.web_seeds);
        }
        replies.into_iter().map(|reply| reply.map(answer).map_err(|error| failure(&error))).collect()
    }
}

fn question(item: &AnnounceItem) -> tracker::AnnounceItem {
    tracker::AnnounceItem {
        digest: item.digest,
        event: match item.event {
            AnnounceEvent::Started => tracker::AnnounceEvent::Started,
            AnnounceEvent::Periodic => tracker::AnnounceEvent::Periodic,
            AnnounceEvent::Completed => tracker::AnnounceEvent::Completed,
            AnnounceEvent::Stopped => tracker::AnnounceEvent::Stopped,
        },
        complete: item.complete,
        need_metainfo: item.need_metainfo,
        repository: None,
        known: item.known,
        peers_wanted: item.peers_wanted,
        content_max: if item.need_metainfo { CONTENT_LEN_MAX } else { 0 },
    }
}

fn answer(reply: tracker::AnnounceReply) -> AnnounceReply {
    AnnounceReply {
        metainfo: reply.metainfo,
        peers: reply.peers,
        web_seeds: reply.web_seeds,
        content: Some(reply.content).filter(|content| !content.is_empty()),
        interval_ms: reply.interval_ms,
        grant: reply.grant,
        version: reply.version,
    }
}

fn failure(error: &tracker::ItemError) -> AnnounceError {
    match error.code {
        ItemErrorCode::NotFound => AnnounceError::NotFound,
        ItemErrorCode::Unavailable => AnnounceError::Unavailable,
    }
}
