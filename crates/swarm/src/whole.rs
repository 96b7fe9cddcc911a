//! Small blobs in one go: the content inside the tracker's answer, or one request to an owner, instead of a swarm.
//!
//! Setting up a swarm for a config of 2 KiB costs a connection, a handshake and three messages, each a round trip. Half of the blobs of
//! an image are that small, and a container waits for every one of them. So the shortest way is tried first, and the swarm takes over
//! at once where it does not lead: the owner is busy, the content is not what the digest says, nobody answers soon.
//!
//! Goal: one round trip for whoever knows an owner, two for whoever has to ask the tracker first; no wait on anything that is ready.
//! Non-goal: spreading load, which is the swarm's; owners refuse what is too much for them, and who hears of enough complete agents
//! does not ask an owner. The price: content that comes by both ways when an owner is slow, at most [`WHOLE_SIZE_MAX`] for each blob.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_protocol::AnnounceReply;
use shoal_telemetry::rooms::swarm::Source;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::event::Event;
use crate::limits::Times;
use crate::web::RangeSource;

/// The largest blob that is fetched in one go, in bytes. At 1 Gbit/s it takes 8 ms, about what a swarm needs to begin; pieces of larger
/// ones are better had from several peers.
pub const WHOLE_SIZE_MAX: u64 = 1024 * 1024;

/// Requests for whole blobs under way: 32 MiB of memory at most, and more than the small blobs of one image. Others go to the swarm.
const FETCHES_MAX: usize = 32;

/// After this long the swarm is asked as well. An owner that has the blob in memory and is not busy answers in a few milliseconds, and
/// one that is busy refuses at once; this is for one that has just died, and for networks that lose a packet.
const LATE_AFTER: Duration = Duration::from_millis(20);

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
}

/// A blob under way.
struct Coming {
    /// The tracker's answer, which the core has not seen yet.
    held: Option<AnnounceReply>,
    source: Source,
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
    /// under way for it then.
    pub(crate) fn ask_owner(&mut self, digest: Digest, reply: &AnnounceReply) -> bool {
        let size = reply.metainfo.as_ref().map(shoal_swarm_types::Metainfo::size);
        let holders = reply.peers.iter().filter(|peer| peer.complete && !peer.owner).count();
        let owner = self.choice.checked_rem(reply.web_seeds.len()).map(|at| &reply.web_seeds[at]);
        match (size, owner) {
            (Some(size), Some(url)) if holders < PEERS_ENOUGH => self.fetch(digest, size, url.clone()),
            _ => self.is_under_way(&digest),
        }
    }

    /// Whether the content of the blob may come any moment.
    pub(crate) fn is_under_way(&self, digest: &Digest) -> bool {
        self.under_way.contains_key(digest)
    }

    /// The content may come any moment; `reply` waits for how that ends.
    pub(crate) fn hold(&mut self, digest: Digest, reply: AnnounceReply) {
        if let Some(coming) = self.under_way.get_mut(&digest) {
            coming.held = Some(reply);
        }
    }

    /// The content came inside `reply`, which waits for what becomes of it.
    pub(crate) fn arrived_in(&mut self, digest: Digest, reply: AnnounceReply) {
        self.under_way.insert(digest, Coming { held: Some(reply), source: Source::Tracker });
    }

    /// The answer that was held, for the core; the blob is still under way.
    pub(crate) fn release(&mut self, digest: &Digest) -> Option<AnnounceReply> {
        self.under_way.get_mut(digest)?.held.take()
    }

    /// Nothing more will come. The answer that was held, for the core, and where the content came from.
    pub(crate) fn end(&mut self, digest: &Digest) -> (Option<AnnounceReply>, Source) {
        let coming = self.under_way.remove(digest);
        coming.map_or((None, Source::Web), |coming| (coming.held, coming.source))
    }

    /// Begins a request. False when there is none.
    fn fetch(&mut self, digest: Digest, size: u64, url: String) -> bool {
        if self.is_under_way(&digest) {
            return true;
        }
        if size == 0 || size > WHOLE_SIZE_MAX {
            return false;
        }
        let Some(source) = self.source.clone() else { return false };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return false };
        self.under_way.insert(digest, Coming { held: None, source: Source::Web });
        let request = Request { source, digest, size, url, limit: self.limit };
        tokio::spawn(request.run(self.events.clone(), slot));
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
        let digest = self.digest;
        let coming = self.fetch();
        tokio::pin!(coming);
        let word = tokio::select! {
            word = &mut coming => word,
            () = sleep(LATE_AFTER) => {
                let _ = events.send(Event::Whole { digest, word: Word::Late }).await;
                coming.await
            }
        };
        let _ = events.send(Event::Whole { digest, word }).await;
        drop(slot);
    }

    async fn fetch(self) -> Word {
        match timeout(self.limit, self.source.fetch_whole(&self.url, &self.digest, self.size)).await {
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
