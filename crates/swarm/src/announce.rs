//! Talking to the tracker: announcements of a few milliseconds share one call, and few calls are under way at once.
//!
//! A node that starts a container opens all layers of its image within a moment, and one that restarts announces everything it
//! holds. One request carries hundreds of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shoal_oci::Digest;
use shoal_swarm_protocol::{AnnounceError, AnnounceEvent, AnnounceReply};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::event::Event;
use crate::limits::{ANNOUNCE_BATCH_MAX, ANNOUNCES_MAX, Times};

/// One blob's announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceItem {
    /// The blob.
    pub digest: Digest,
    /// What happened.
    pub event: AnnounceEvent,
    /// Whether we have every piece.
    pub complete: bool,
    /// Whether the answer must contain the metainfo.
    pub need_metainfo: bool,
    /// The version of the tracker's list that we know; 0 for none.
    pub known: u64,
    /// How many further peers are of use to us.
    pub peers_wanted: u8,
}

/// Whoever introduces peers to each other: the tracker, seen from here.
#[async_trait]
pub trait Announcer: Send + Sync + 'static {
    /// Announces every item and returns the answers in the same order. An answer that is missing counts as
    /// [`AnnounceError::Unavailable`]. Need not limit its own time: the caller does.
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>>;
}

/// Announcements that wait for their call, and calls under way.
pub(crate) struct Announces {
    announcer: Arc<dyn Announcer>,
    events: mpsc::Sender<Event>,
    window: Duration,
    limit: Duration,
    waiting: HashMap<Digest, AnnounceItem>,
    due: Option<Instant>,
    under_way: usize,
}

impl Announces {
    /// Nothing waiting, nothing under way.
    pub(crate) fn new(announcer: Arc<dyn Announcer>, times: &Times, events: mpsc::Sender<Event>) -> Self {
        Self {
            announcer,
            events,
            window: times.announce_window,
            limit: times.announce,
            waiting: HashMap::new(),
            due: None,
            under_way: 0,
        }
    }

    /// Adds an announcement. One that asks for the metainfo leaves at once, with all that wait, because somebody waits for it; the
    /// bound on calls under way gathers those that are many. A newer one of the same blob takes the place of one that has not left yet, except that a wish for
    /// the metainfo stays.
    pub(crate) fn add(&mut self, mut item: AnnounceItem, now: Instant) {
        if let Some(former) = self.waiting.get(&item.digest) {
            item.need_metainfo |= former.need_metainfo;
        }
        let due = if item.need_metainfo { now } else { now + self.window };
        self.waiting.insert(item.digest, item);
        self.due = Some(self.due.map_or(due, |former| former.min(due)));
    }

    /// When the next call should leave; `None` while nothing waits or too many calls are under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.under_way < ANNOUNCES_MAX)
    }

    /// Starts the calls that are due. Their answers arrive as [`Event::Announced`].
    pub(crate) fn leave(&mut self, now: Instant) {
        while self.due().is_some_and(|due| due <= now) {
            let items = self.batch();
            self.under_way += 1;
            if self.waiting.is_empty() {
                self.due = None;
            }
            let (announcer, events, limit) = (Arc::clone(&self.announcer), self.events.clone(), self.limit);
            tokio::spawn(async move {
                let answers = call(&*announcer, items, limit).await;
                let _ = events.send(Event::Announced(answers)).await;
            });
        }
    }

    /// Counts a call as done.
    pub(crate) fn done(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Announces `items` now, in as many calls as it takes, within `limit` in all; nobody waits for the answers.
    pub(crate) fn farewell(
        &self,
        items: Vec<AnnounceItem>,
        limit: Duration,
    ) -> impl Future<Output = ()> + use<> {
        let announcer = Arc::clone(&self.announcer);
        async move {
            let calls = async {
                for batch in items.chunks(ANNOUNCE_BATCH_MAX) {
                    announcer.announce(batch.to_vec()).await;
                }
            };
            // Whoever does not hear it notices soon enough that we are gone.
            let _ = timeout(limit, calls).await;
        }
    }

    fn batch(&mut self) -> Vec<AnnounceItem> {
        if self.waiting.len() <= ANNOUNCE_BATCH_MAX {
            return self.waiting.drain().map(|(_, item)| item).collect();
        }
        let digests: Vec<_> = self.waiting.keys().take(ANNOUNCE_BATCH_MAX).copied().collect();
        digests.iter().filter_map(|digest| self.waiting.remove(digest)).collect()
    }
}

type Answers = Vec<(Digest, Result<AnnounceReply, AnnounceError>)>;

/// One answer for each item, whatever the announcer does; none for a farewell, which could be taken for the answer to what the same
/// blob is announced for next.
async fn call(announcer: &dyn Announcer, items: Vec<AnnounceItem>, limit: Duration) -> Answers {
    let stays = |item: &AnnounceItem| (item.event != AnnounceEvent::Stopped).then_some(item.digest);
    let digests: Vec<_> = items.iter().map(stays).collect();
    let answers = timeout(limit, announcer.announce(items)).await.unwrap_or_default();
    let missing = std::iter::repeat_with(|| Err(AnnounceError::Unavailable));
    let both = digests.into_iter().zip(answers.into_iter().chain(missing));
    both.filter_map(|(digest, answer)| Some((digest?, answer))).collect()
}

#[cfg(test)]
mod tests;
