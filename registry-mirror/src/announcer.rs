//! The swarm's announcer: puts its questions to the tracker in the tracker's words.

use async_trait::async_trait;
use shoal_api::tracker::{self, ItemErrorCode, TrackerClient};
use shoal_swarm::{AnnounceError, AnnounceEvent, AnnounceItem, AnnounceReply, Announcer};
use shoal_telemetry::Health;

/// Name of the readiness check that this keeps.
pub const CHECK: &str = "tracker";

/// Announces to the tracker, and keeps the readiness check up to date.
pub struct TrackerAnnouncer {
    client: TrackerClient,
    health: Health,
}

impl TrackerAnnouncer {
    /// An announcer over a tracker client.
    pub fn new(client: TrackerClient, health: Health) -> Self {
        Self { client, health }
    }

    fn observe(&self, replies: &[Result<tracker::AnnounceReply, tracker::ItemError>]) {
        if replies.is_empty() {
            return;
        }
        let is_silent = |reply: &Result<_, tracker::ItemError>| {
            reply.as_ref().is_err_and(|error| error.code == ItemErrorCode::Unavailable)
        };
        match replies.iter().find(|reply| !is_silent(reply)) {
            Some(_) => self.health.set(CHECK, Ok(())),
            None => self.health.degraded(CHECK, "no tracker answers; only what is cached here can be served"),
        }
    }
}

#[async_trait]
impl Announcer for TrackerAnnouncer {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        let replies = self.client.announce(items.iter().map(question).collect()).await;
        self.observe(&replies);
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
    }
}

fn answer(reply: tracker::AnnounceReply) -> AnnounceReply {
    AnnounceReply {
        metainfo: reply.metainfo,
        peers: reply.peers,
        web_seeds: reply.web_seeds,
        interval_ms: reply.interval_ms,
    }
}

fn failure(error: &tracker::ItemError) -> AnnounceError {
    match error.code {
        ItemErrorCode::NotFound => AnnounceError::NotFound,
        ItemErrorCode::Unavailable => AnnounceError::Unavailable,
    }
}
