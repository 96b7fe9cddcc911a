//! Small blobs in one go: the content inside the tracker's answer, or one request to an owner, instead of a swarm.
//!
//! Setting up a swarm for a config of 2 KiB costs a connection, a handshake and three messages, each a round trip. Half of the blobs of
//! an image are that small, and a container waits for every one of them. So the shortest way is tried first, and the swarm takes over
//! at once where it does not lead: the owner is busy, the content is not what the digest says, nobody answers soon.
//!
//! Goal: one round trip for whoever knows an owner, two for whoever has to ask the tracker first; no wait on anything that is ready.
//! Non-goal: spreading load, which is the swarm's; owners refuse what is too much for them, and who hears of enough complete agents
//! does not ask an owner. The two ways race, and the loser is called off: an answer that comes slowly, because the link is narrow or many
//! share it, is dropped for the swarm, which takes each byte from an owner about once; a request that is not answered at all ends when
//! the swarm has the blob. The price: what had come of the loser's copy.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_protocol::AnnounceReply;
use shoal_telemetry::rooms::swarm::Source;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::event::Event;
use crate::limits::Times;
use crate::web::{Progress, RangeSource};

/// The largest blob that is fetched in one go, in bytes. At 1 Gbit/s it takes 8 ms, about what a swarm needs to begin; pieces of larger
/// ones are better had from several peers.
pub const WHOLE_SIZE_MAX: u64 = 1024 * 1024;

/// Requests for whole blobs under way: 32 MiB of memory at most, and more than the small blobs of one image. Others go to the swarm.
const FETCHES_MAX: usize = 32;

/// After this long the swarm is asked as well. An owner that has the blob in memory and is not busy answers in a few milliseconds, and
/// one that is busy refuses at once; this is for one that has just died, and for networks that lose a packet.
const LATE_AFTER: Duration = Duration::from_millis(20);

/// An answer that has begun and would take this much longer is slow: what an owner could give to few in that time, the swarm gives to all.
const REST_MAX: Duration = Duration::from_millis(100);

/// An answer is judged by its rate from this age on: the first packets of it come at the pace of the sender, not of the link.
const BEGUN_MIN: Duration = Duration::from_millis(10);

/// How often it is judged. On a narrow link much more than this is in queues already.
const JUDGE_EVERY: Duration = Duration::from_millis(5);

/// So many complete agents in the tracker's answer make the owner's help superfluous: one of them may be gone, hardly all.
const PEERS_ENOUGH: usize = 4;

/// Leads of blobs that are being looked for on the disk; more are not kept.
const LEADS_MAX: usize = 1024;

/// Where a small blob can probably be had: what its reader knows before any tracker was asked. Nothing of it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Size of the blob in bytes, as somebody stated it.
    pub size: u64,
    /// The blob at an owner, as a web seed.
    pub url: String,
}

/// What became of a request for a whole blob.
pub(crate) enum Word {
    /// Nothing so far, and that is late.
    Late,
    /// Its bytes, not verified.
    Came(Bytes),
    /// The owner does not have it, or is busy, or cannot be reached.
    Failed,
    /// It has begun, and was dropped because it was slow.
    Slow,
}

/// The small blobs that are fetched in one go.
pub(crate) struct Wholes {
    source: Option<Arc<dyn RangeSource>>,
    slots: Arc<Semaphore>,
    limit: Duration,
    /// Which of several owners is asked; the same blob is asked for by all agents.
    choice: usize,
    events: mpsc::Sender<Event>,
    leads: HashMap<Digest, Lead>,
    under_way: HashMap<Digest, Coming>,
    /// Blobs whose owner was slow, perhaps before the tracker had answered; more than [`LEADS_MAX`] are not kept.
    slow: HashSet<Digest>,
}

/// A blob under way.
struct Coming {
    /// The tracker's answer, which the core has not seen yet.
    held: Option<AnnounceReply>,
    /// The swarm is asked as well, so nothing waits for this.
    is_late: bool,
    source: Source,
    request: Option<AbortHandle>,
}

impl Coming {
    const fn new(source: Source, held: Option<AnnounceReply>) -> Self {
        Self { held, is_late: false, source, request: None }
    }
}

impl Wholes {
    /// Nothing under way. Without a `source` no owner is asked. `choice` is a random number.
    pub(crate) fn new(
        source: Option<Arc<dyn RangeSource>>,
        times: &Times,
        choice: usize,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(FETCHES_MAX));
        Self {
            source,
            slots,
            limit: times.web,
            choice,
            events,
            leads: HashMap::new(),
            under_way: HashMap::new(),
            slow: HashSet::new(),
        }
    }

    /// Keeps a lead until it is known whether the blob is here.
    pub(crate) fn note(&mut self, digest: Digest, lead: Lead) {
        if self.leads.len() < LEADS_MAX {
            self.leads.insert(digest, lead);
        }
    }

    /// Forgets the lead: the blob is here, at least in part.
    pub(crate) fn forget_lead(&mut self, digest: &Digest) {
        self.leads.remove(digest);
    }

    /// The blob is not here: follows the lead, if there is one.
    pub(crate) fn follow_lead(&mut self, digest: Digest) {
        if let Some(Lead { size, url }) = self.leads.remove(&digest) {
            self.fetch(digest, size, url);
        }
    }

    /// Fetches the blob from an owner that the tracker named, unless it is too large or enough agents have it. False when nothing is
    /// under way for it then that is worth waiting for.
    pub(crate) fn ask_owner(&mut self, digest: Digest, reply: &AnnounceReply) -> bool {
        if self.slow.remove(&digest) {
            return false;
        }
        if let Some(coming) = self.under_way.get(&digest) {
            return !coming.is_late;
        }
        let size = reply.metainfo.as_ref().map(shoal_swarm_types::Metainfo::size);
        let holders = reply.peers.iter().filter(|peer| peer.complete && !peer.owner).count();
        let owner = self.choice.checked_rem(reply.web_seeds.len()).map(|at| &reply.web_seeds[at]);
        match (size, owner) {
            (Some(size), Some(url)) if holders < PEERS_ENOUGH => self.fetch(digest, size, url.clone()),
            _ => false,
        }
    }

    /// The content may come any moment; `reply` waits for how that ends.
    pub(crate) fn hold(&mut self, digest: Digest, reply: AnnounceReply) {
        if let Some(coming) = self.under_way.get_mut(&digest) {
            coming.held = Some(reply);
        }
    }

    /// The content came inside `reply`, which waits for what becomes of it.
    pub(crate) fn arrived_in(&mut self, digest: Digest, reply: AnnounceReply) {
        self.under_way.insert(digest, Coming::new(Source::Tracker, Some(reply)));
    }

    /// The answer that was held, for the core; the blob is still under way, and nothing more is held for it.
    pub(crate) fn release(&mut self, digest: &Digest) -> Option<AnnounceReply> {
        let coming = self.under_way.get_mut(digest)?;
        coming.is_late = true;
        coming.held.take()
    }

    /// The owner was slow: the answer that was held, for the core. When there was none, the owner is not asked again when one comes.
    pub(crate) fn give_up(&mut self, digest: &Digest) -> Option<AnnounceReply> {
        let coming = self.under_way.remove(digest)?;
        if coming.held.is_none() && self.slow.len() < LEADS_MAX {
            self.slow.insert(*digest);
        }
        coming.held
    }

    /// The swarm has brought the whole blob: whatever is under way for it is called off.
    pub(crate) fn call_off(&mut self, digest: &Digest) {
        self.slow.remove(digest);
        if let Some(request) = self.under_way.remove(digest).and_then(|coming| coming.request) {
            request.abort();
        }
    }

    /// Nothing more will come. The answer that was held, for the core, and where the content came from.
    pub(crate) fn end(&mut self, digest: &Digest) -> (Option<AnnounceReply>, Source) {
        let coming = self.under_way.remove(digest);
        coming.map_or((None, Source::Web), |coming| (coming.held, coming.source))
    }

    /// Begins a request. False when there is none.
    fn fetch(&mut self, digest: Digest, size: u64, url: String) -> bool {
        if self.under_way.contains_key(&digest) {
            return true;
        }
        if size == 0 || size > WHOLE_SIZE_MAX {
            return false;
        }
        let Some(source) = self.source.clone() else { return false };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return false };
        let request = Request { source, digest, size, url, limit: self.limit };
        let request = tokio::spawn(request.run(self.events.clone(), slot)).abort_handle();
        let coming = Coming { request: Some(request), ..Coming::new(Source::Web, None) };
        self.under_way.insert(digest, coming);
        true
    }
}

/// One request to an owner.
struct Request {
    source: Arc<dyn RangeSource>,
    digest: Digest,
    size: u64,
    url: String,
    limit: Duration,
}

impl Request {
    async fn run(self, events: mpsc::Sender<Event>, slot: OwnedSemaphorePermit) {
        let (digest, size, progress) = (self.digest, self.size, Progress::default());
        let coming = self.fetch(progress.clone());
        tokio::pin!(coming);
        let (begin, mut is_late) = (Instant::now(), false);
        let word = loop {
            tokio::select! {
                word = &mut coming => break word,
                () = sleep(JUDGE_EVERY) => {}
            }
            match progress.so_far() {
                None if !is_late && begin.elapsed() >= LATE_AFTER => {
                    is_late = true;
                    let _ = events.send(Event::Whole { digest, word: Word::Late }).await;
                }
                Some((bytes, since)) if is_slow(bytes, size, since) => {
                    debug!(%digest, bytes, ?since, "an owner's answer is slow; the swarm takes over");
                    break Word::Slow;
                }
                _ => {}
            }
        };
        let _ = events.send(Event::Whole { digest, word }).await;
        drop(slot);
    }

    async fn fetch(self, progress: Progress) -> Word {
        let fetching = self.source.fetch_whole(&self.url, &self.digest, self.size, &progress);
        match timeout(self.limit, fetching).await {
            Ok(Ok(bytes)) if bytes.len() as u64 == self.size => return Word::Came(bytes),
            Ok(Ok(bytes)) => {
                debug!(digest = %self.digest, got = bytes.len(), "an owner sent another number of bytes");
            }
            Ok(Err(error)) => debug!(digest = %self.digest, %error, "a small blob is left to the swarm"),
            Err(_elapsed) => debug!(digest = %self.digest, "an owner took too long"),
        }
        Word::Failed
    }
}

/// Whether an answer of `size` bytes of which `bytes` have come in `since` would take long.
fn is_slow(bytes: u64, size: u64, since: Duration) -> bool {
    let rest = size.saturating_sub(bytes) as f64 / bytes.max(1) as f64 * since.as_secs_f64();
    since >= BEGUN_MIN && rest > REST_MAX.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_slow_by_what_is_left_at_its_rate() {
        let ms = Duration::from_millis;
        assert!(!is_slow(1, 1 << 20, ms(9)), "too young to tell");
        assert!(is_slow(0, 1 << 20, ms(10)));
        assert!(!is_slow(1 << 18, 1 << 20, ms(20)), "60 ms more");
        assert!(is_slow(1 << 17, 1 << 20, ms(20)), "140 ms more");
        assert!(!is_slow(1 << 20, 1 << 20, ms(1000)), "it is there");
        assert!(!is_slow((1 << 20) - 1, 1 << 20, ms(1000)));
    }
}
