//! The swarm's announcer: puts its questions to the tracker in the tracker's words.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_api::tracker::{self, CONTENT_LEN_MAX, ItemErrorCode, Reach, TrackerClient};
use shoal_oci::Digest;
use shoal_store::Store;
use shoal_swarm::{AnnounceError, AnnounceEvent, AnnounceItem, AnnounceReply, Announcer};
use tokio::time::Instant;

use crate::ahead::Ahead;
use crate::drain::Drain;
use crate::fetch::Wanted;
use crate::gate::Gate;
use crate::leads::Leads;
use crate::recent::Recent;
use crate::tracker_check::{self, TrackerCheck};

/// Time between probes while no tracker answers: short at first, so that an agent that starts with its server is ready with it.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(100);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A grant that was handed on is replaced by another after this long: half of the shortest lifetime that a server gives.
const RENEW_AFTER: Duration = Duration::from_secs(150);

/// Downloads of which it is known when their grants were handed on; of others they are handed on too often, which costs a message.
const RENEWED_MAX: usize = 4096;

/// Blobs in one announce, as the tracker takes them.
const ITEMS_MAX: usize = 256;

/// Announces to the tracker, and keeps the readiness check up to date.
#[derive(Clone)]
pub(crate) struct TrackerAnnouncer {
    client: TrackerClient,
    check: Arc<TrackerCheck>,
    /// For which repositories blobs are fetched.
    wanted: Wanted,
    /// Where small blobs can probably be had.
    leads: Leads,
    gate: Gate,
    drain: Drain,
    /// What was said of blobs before they were asked for.
    ahead: Option<Ahead>,
    /// When a grant was last handed to the swarm, by blob.
    renewed: Recent<Digest, Instant>,
}

impl TrackerAnnouncer {
    /// An announcer over a tracker client, which finds in `wanted` for which repositories blobs are fetched, and leaves in `leads` who
    /// owns them and at `gate` who is let in.
    pub(crate) fn new(
        client: TrackerClient,
        check: Arc<TrackerCheck>,
        wanted: Wanted,
        leads: Leads,
        gate: Gate,
        drain: Drain,
    ) -> Self {
        let renewed = Recent::new(RENEWED_MAX);
        Self { client, check, wanted, leads, gate, drain, ahead: None, renewed }
    }

    /// The same, answering from `ahead` what no tracker answers.
    pub(crate) fn with_notes(self, ahead: Ahead) -> Self {
        Self { ahead: Some(ahead), ..self }
    }

    /// What was said of a blob before, for a download that needs it now and hears nothing.
    fn recall(&self, item: &AnnounceItem, reply: &mut Result<tracker::AnnounceReply, tracker::ItemError>) {
        let silent = matches!(reply, Err(error) if error.code == ItemErrorCode::Unavailable);
        if silent
            && item.need_metainfo
            && let Some(said) = self.ahead.as_ref().and_then(|ahead| ahead.said(&item.digest))
        {
            tracing::info!(digest = %item.digest, "no tracker answers; what it said before is gone by");
            *reply = Ok(said);
        }
    }

    fn question(&self, item: &AnnounceItem) -> tracker::AnnounceItem {
        let downloads = !item.complete && item.event != AnnounceEvent::Stopped;
        let repository = downloads.then(|| self.wanted.of(&item.digest)).flatten();
        // Drained, we have nothing for others, and say so whenever it is time to say something.
        let event = match item.complete && self.drain.is_on() {
            true => tracker::AnnounceEvent::Stopped,
            false => event(item.event),
        };
        tracker::AnnounceItem { repository, event, ..question(item) }
    }

    /// Takes the grant out of an answer, unless it is the first for this download or the last one is no longer fresh: everybody to whom we
    /// are connected is shown a new one.
    fn keep_grant(&self, item: &AnnounceItem, reply: &mut tracker::AnnounceReply) {
        let begins = item.need_metainfo || item.event == AnnounceEvent::Started;
        let fresh = self.renewed.of(&item.digest).is_some_and(|at| at.elapsed() < RENEW_AFTER);
        if reply.grant.is_empty() || (fresh && !begins) {
            reply.grant = Bytes::new();
        } else {
            self.renewed.note(item.digest, Instant::now());
        }
    }

    /// Tells the tracker at once that we have these blobs for others, or have them no more. The core goes on announcing in its own time.
    pub(crate) async fn tell_of(&self, digests: Vec<Digest>, here: bool) {
        let event = if here { tracker::AnnounceEvent::Started } else { tracker::AnnounceEvent::Stopped };
        let item = |digest: &Digest| tracker::AnnounceItem {
            digest: *digest,
            event,
            complete: true,
            need_metainfo: false,
            repository: None,
            known: 0,
            peers_wanted: 0,
            content_max: 0,
        };
        for batch in digests.chunks(ITEMS_MAX) {
            self.client.announce(batch.iter().map(item).collect()).await;
        }
    }

    /// Tells the check and the gate how the last exchange went.
    fn observe(&self, reach: Reach) {
        self.gate.note(self.client.grant_keys(), &reach);
        self.check.observe(reach);
    }

    /// Asks the trackers whether they live: often for as long as the check does not say so, and now and then after that, so that an agent
    /// with nothing to announce learns of it all the same. A tracker that has begun anew is told of everything in `store`. Never returns.
    pub(crate) async fn watch(self, store: Store) {
        let patience = async {
            tokio::time::sleep(tracker_check::PATIENCE).await;
            self.check.end_patience();
        };
        tokio::join!(patience, self.probe(&store));
    }

    async fn probe(&self, store: &Store) {
        let mut pause = PROBE_PAUSE_MIN;
        loop {
            self.observe(self.client.probe().await);
            if self.client.take_begun_anew() && !self.drain.is_on() {
                let digests = store.digests();
                tracing::info!(blobs = digests.len(), "a tracker has begun anew; it is told what is here");
                self.tell_of(digests, true).await;
            }
            pause = if self.check.is_reached() {
                // Not all at once.
                let interval = self.client.look_interval().unwrap_or(PROBE_PAUSE_MAX);
                tokio::time::sleep(interval.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
                PROBE_PAUSE_MIN
            } else {
                tokio::time::sleep(pause).await;
                (pause * 2).min(PROBE_PAUSE_MAX)
            };
        }
    }
}

#[async_trait]
impl Announcer for TrackerAnnouncer {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        let mut replies = self.client.announce(items.iter().map(|item| self.question(item)).collect()).await;
        self.observe(self.client.reach());
        for (item, reply) in items.iter().zip(&mut replies) {
            self.recall(item, reply);
            let Ok(reply) = reply else { continue };
            self.leads.note_owners(&reply.web_seeds);
            self.keep_grant(item, reply);
        }
        replies.into_iter().map(|reply| reply.map(answer).map_err(|error| failure(&error))).collect()
    }
}

const fn event(event: AnnounceEvent) -> tracker::AnnounceEvent {
    match event {
        AnnounceEvent::Started => tracker::AnnounceEvent::Started,
        AnnounceEvent::Periodic => tracker::AnnounceEvent::Periodic,
        AnnounceEvent::Completed => tracker::AnnounceEvent::Completed,
        AnnounceEvent::Stopped => tracker::AnnounceEvent::Stopped,
    }
}

fn question(item: &AnnounceItem) -> tracker::AnnounceItem {
    tracker::AnnounceItem {
        digest: item.digest,
        event: event(item.event),
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
