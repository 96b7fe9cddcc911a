//! The swarm's announcer: puts its questions to the tracker in the tracker's words.

use std::time::Duration;

use async_trait::async_trait;
use shoal_api::tracker::{self, ItemErrorCode, TrackerClient};
use shoal_http::{Body, Client};
use shoal_swarm::{AnnounceError, AnnounceEvent, AnnounceItem, AnnounceReply, Announcer};
use shoal_telemetry::{Check, Health};

/// How long a tracker may take to answer a probe; it answers from memory.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between probes while no tracker answers: short at first, so that an agent that starts with its server is ready with it.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(100);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(5);

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

/// Asks the trackers whether they live for as long as the check does not say so: an agent with nothing to announce, or one that lost its
/// tracker, learns of it all the same. Never returns.
pub async fn probe(trackers: Vec<String>, client: Client, health: Health) {
    let mut pause = PROBE_PAUSE_MIN;
    loop {
        if health.check(CHECK) == Some(Check::Ok) {
            pause = PROBE_PAUSE_MAX;
        } else if any_answers(&trackers, &client).await {
            health.set(CHECK, Ok(()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PROBE_PAUSE_MAX);
    }
}

/// Whether a tracker says anything at all.
async fn any_answers(trackers: &[String], client: &Client) -> bool {
    for tracker in trackers {
        let url = format!("{}/livez", tracker.trim_end_matches('/'));
        let Ok(request) = http::Request::get(url).body(Body::empty()) else { continue };
        if client.send(request, PROBE_TIMEOUT).await.is_ok() {
            return true;
        }
    }
    false
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
