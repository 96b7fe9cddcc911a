//! The seam between who wants bytes and how they come: digest → verified bytes, within a bound.
//!
//! Everything above it speaks OCI or file descriptors, everything below it pieces and peers. Nothing that comes out of here was not
//! verified, and every wait ends.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_oci::{Digest, Repository};
use shoal_store::Store;
use shoal_swarm::{BlobReader, OpenError, Origin, Part, Swarm};
use tokio::time::Instant;

use crate::ahead::Ahead;
use crate::direct::{Direct, Owners};
use crate::leads::Leads;
use crate::recent::Recent;
use crate::relay::{Registry, Relay};
use crate::tracker_check::TrackerCheck;
use crate::why::Source;

/// How long a blob whose stream had to be cut is answered "not found". A runtime resumes a cut body at once at the first host; told
/// "not found" it takes the rest from the next one. After that the swarm gets another chance.
const POISONED_FOR: Duration = Duration::from_secs(10);

/// Cut blobs remembered at most; the oldest are forgotten first. Each is a rare fault, so this is never reached in practice.
const POISONED_MAX: usize = 1024;

/// Blobs of which it is known for which repository they are fetched: all layers of some hundred images. Who announces a download after
/// that many others have begun names none.
const WANTED_MAX: usize = 10_000;

/// For which repository each blob was asked for last: what the announcer says when it asks for peers.
pub(crate) type Wanted = Recent<Digest, Repository>;

/// No notes yet.
pub(crate) fn wanted() -> Wanted {
    Recent::new(WANTED_MAX)
}

/// For the question who owns a blob. A tracker answers in milliseconds or not at all, and the registry comes after it.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A way to a blob past disk and swarm.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Piece by piece from an owner.
    Owner,
    /// Whole from the registry.
    Registry,
}

impl Way {
    const ALL: [Self; 2] = [Self::Owner, Self::Registry];
}

/// Why a blob cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Nobody has it.
    #[error("no owner has this blob; check the digest, or push it first")]
    NotFound,
    /// It could not be had in time.
    #[error("{0}")]
    Unavailable(String),
    /// It was cut a moment ago, and the client shall go on elsewhere.
    #[error("this blob could not be delivered a moment ago; ask another host")]
    Poisoned,
}

/// Fetches blobs. Clones share everything.
#[derive(Clone)]
pub struct Fetch(Arc<Inner>);

struct Inner {
    swarm: Swarm,
    store: Store,
    ways: Ways,
    first_byte: Duration,
    poisoned: Mutex<HashMap<Digest, Instant>>,
}

/// What a fetch knows of the ways to a blob.
pub(crate) struct Ways {
    /// Notes for the announcer of the swarm.
    pub(crate) wanted: Wanted,
    /// Where small blobs can probably be had.
    pub(crate) leads: Leads,
    /// The way past the disk.
    pub(crate) owners: Owners,
    /// The way past the tracker.
    pub(crate) registry: Registry,
    /// What the tracker said beforehand.
    pub(crate) ahead: Ahead,
    /// Whether there is a tracker to ask.
    pub(crate) check: Arc<TrackerCheck>,
}

impl Fetch {
    /// A fetch that waits at most `first_byte` until a blob can begin.
    pub(crate) fn new(swarm: Swarm, store: Store, ways: Ways, first_byte: Duration) -> Self {
        Self(Arc::new(Inner { swarm, store, ways, first_byte, poisoned: Mutex::default() }))
    }

    /// Whether the blob lies complete on this machine's disk.
    pub fn is_local(&self, digest: &Digest) -> bool {
        matches!(self.0.store.stat(digest), Ok(Some(_)))
    }

    /// Whether the blobs of a manifest can probably be given: they are here, or there is somebody to ask. Those that are here count as used,
    /// because a runtime asks for them next.
    pub async fn can_give(&self, blobs: &[Digest]) -> bool {
        blobs.iter().for_each(|digest| self.0.store.note_use(digest));
        let ways = &self.0.ways;
        !ways.check.is_lost()
            || blobs.iter().all(|digest| self.is_local(digest) || ways.ahead.knows(digest))
            || ways.registry.answers().await
    }

    /// Asks the tracker about the blobs of a manifest that are not here, because it may be gone when they are asked for.
    pub fn look_ahead(&self, blobs: &[Digest], repositories: &[Repository]) {
        let absent: Vec<_> = blobs.iter().filter(|digest| !self.is_local(digest)).copied().collect();
        let Some(likely) = repositories.first().filter(|_| !absent.is_empty()) else { return };
        let (ahead, likely) = (self.0.ways.ahead.clone(), likely.clone());
        tokio::spawn(async move { ahead.ask(absent, &likely).await });
    }

    /// Opens a blob of one of `repositories`, the likeliest first: its size is known, and its bytes come when they are read.
    ///
    /// # Errors
    /// [`FetchError`], within the bound given to `Fetch::new`.
    pub async fn open(&self, digest: &Digest, repositories: &[Repository]) -> Result<BlobStream, FetchError> {
        if self.is_poisoned(digest) {
            return Err(FetchError::Poisoned);
        }
        let deadline = Instant::now() + self.0.first_byte;
        let opened = tokio::time::timeout_at(deadline, self.open_somehow(digest, repositories)).await;
        let bytes = opened.unwrap_or_else(|_elapsed| Err(self.too_slow()))?;
        let (fetch, repositories) = (self.clone(), repositories.to_vec());
        Ok(BlobStream { fetch, digest: *digest, repositories, bytes, deadline })
    }

    /// By the swarm; when that takes long or cannot be, by the other ways.
    async fn open_somehow(&self, digest: &Digest, repositories: &[Repository]) -> Result<Bytes, FetchError> {
        // Without a tracker the swarm has only what is here.
        let lost = self.0.ways.check.is_lost() && !self.is_local(digest);
        let patience = if lost { Duration::ZERO } else { self.0.first_byte / 3 };
        let mut swarm = std::pin::pin!(self.open_in(digest, repositories));
        let opened = tokio::select! {
            biased;
            opened = swarm.as_mut() => Some(opened),
            () = tokio::time::sleep(patience) => None,
        };
        let why = match opened {
            Some(Ok(reader)) => return Ok(Bytes::Swarm(reader)),
            Some(Err(OpenError::NotFound)) => return Err(FetchError::NotFound),
            Some(Err(error)) => error,
            None => {
                if let Some(bytes) = self.past_the_swarm(digest, repositories).await {
                    return Ok(bytes);
                }
                match swarm.await {
                    Ok(reader) => return Ok(Bytes::Swarm(reader)),
                    Err(OpenError::NotFound) => return Err(FetchError::NotFound),
                    Err(error) => return Err(FetchError::Unavailable(error.to_string())),
                }
            }
        };
        let other = self.past_the_swarm(digest, repositories).await;
        other.ok_or_else(|| FetchError::Unavailable(why.to_string()))
    }

    /// Fetches a blob to this machine's disk and keeps nobody waiting for it; returns when all of it is there. `size` hears how large it is.
    ///
    /// # Errors
    /// [`FetchError`]; when nothing arrives any more, within the swarm's own bounds.
    pub async fn warm(
        &self,
        digest: &Digest,
        repositories: &[Repository],
        size: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), FetchError> {
        let reader = match self.open_in(digest, repositories).await {
            Ok(reader) => reader,
            Err(OpenError::NotFound) => return Err(FetchError::NotFound),
            Err(error) => return Err(FetchError::Unavailable(error.to_string())),
        };
        size(reader.size());
        reader.complete().await.map_err(|error| FetchError::Unavailable(error.to_string()))
    }

    /// Past disk and swarm, by whatever way there is.
    async fn past_the_swarm(&self, digest: &Digest, repositories: &[Repository]) -> Option<Bytes> {
        for way in Way::ALL {
            if let Some(bytes) = self.by(way, digest, repositories).await {
                return Some(bytes);
            }
        }
        None
    }

    async fn by(&self, way: Way, digest: &Digest, repositories: &[Repository]) -> Option<Bytes> {
        let ways = &self.0.ways;
        for repository in repositories {
            let found = match way {
                Way::Owner if ways.check.is_lost() => None,
                Way::Owner => {
                    let asked = tokio::time::timeout(ASK_TIMEOUT, ways.owners.find(digest, repository));
                    asked.await.ok().flatten().map(|direct| Bytes::Direct(Box::new(direct)))
                }
                Way::Registry => {
                    let relay = ways.registry.open(digest, repository).await;
                    relay.map(|relay| Bytes::Relay(Box::new(relay)))
                }
            };
            if found.is_some() {
                tracing::warn!(%digest, ?way, "a blob is passed on to a client and not kept");
                return found;
            }
        }
        None
    }

    /// Asks for the blob in one repository after the other, as long as the answer is that there is no such blob for us.
    async fn open_in(&self, digest: &Digest, repositories: &[Repository]) -> Result<BlobReader, OpenError> {
        for repository in repositories {
            // Twice, because another pull of the same blob may have put its own repository in the place of ours.
            for _ in 0..2 {
                self.0.ways.wanted.note(*digest, repository.clone());
                let lead = self.0.ways.leads.lead(digest, repository);
                match self.0.swarm.open_with(digest, lead).await {
                    Err(OpenError::NotFound) => {}
                    opened => return opened,
                }
                if self.0.ways.wanted.of(digest).as_ref() == Some(repository) {
                    break;
                }
            }
        }
        Err(OpenError::NotFound)
    }

    fn too_slow(&self) -> FetchError {
        FetchError::Unavailable(format!("the first byte did not arrive within {:?}", self.0.first_byte))
    }

    fn poison(&self, digest: &Digest) {
        let now = Instant::now();
        let mut poisoned = self.0.poisoned.lock().unwrap_or_else(PoisonError::into_inner);
        poisoned.retain(|_, until| *until > now);
        if poisoned.len() < POISONED_MAX {
            poisoned.insert(*digest, now + POISONED_FOR);
        }
    }

    fn is_poisoned(&self, digest: &Digest) -> bool {
        let poisoned = self.0.poisoned.lock().unwrap_or_else(PoisonError::into_inner);
        poisoned.get(digest).is_some_and(|until| *until > Instant::now())
    }
}

/// A blob whose bytes can be read in order.
pub struct BlobStream {
    fetch: Fetch,
    digest: Digest,
    repositories: Vec<Repository>,
    bytes: Bytes,
    deadline: Instant,
}

/// Where the bytes come from.
enum Bytes {
    /// The swarm, by way of the disk.
    Swarm(BlobReader),
    /// An owner, past the disk.
    Direct(Box<Direct>),
    /// The registry, past everything.
    Relay(Box<Relay>),
}

/// Verified bytes, and where they came from.
#[derive(Debug)]
pub struct Given {
    /// The bytes; none at the end.
    pub part: Part,
    /// Who gave them.
    pub source: Source,
}

impl BlobStream {
    /// Size of the whole blob in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.size()
    }

    /// The first verified bytes of `range`, within the bound that began at [`Fetch::open`]. Empty only for an empty range.
    ///
    /// # Errors
    /// [`FetchError::Unavailable`] when they do not come in time.
    pub async fn first(&mut self, range: &Range<u64>) -> Result<Given, FetchError> {
        let deadline = self.deadline;
        // A third of the bound is left for the other ways.
        let patience = deadline - self.fetch.0.first_byte / 3;
        let first = match tokio::time::timeout_at(patience, self.bytes.part_at(range)).await {
            Ok(Ok(given)) => return Ok(given),
            Ok(Err(why)) => why,
            Err(_elapsed) => self.fetch.too_slow(),
        };
        let other = tokio::time::timeout_at(deadline, self.go_elsewhere(range));
        other.await.ok().flatten().ok_or(first)
    }

    /// The next verified bytes of `range`, at most to the end of a piece. Empty when `range` is.
    ///
    /// # Errors
    /// [`FetchError`] when they cannot be had; the reader's own bounds hold.
    pub async fn next(&mut self, range: &Range<u64>) -> Result<Given, FetchError> {
        match self.bytes.part_at(range).await {
            Ok(given) => Ok(given),
            // The disk failed in the middle, or the swarm did: somebody may still have the rest.
            Err(why) => self.go_elsewhere(range).await.ok_or(why),
        }
    }

    /// Goes on by the next way that gives these bytes.
    async fn go_elsewhere(&mut self, range: &Range<u64>) -> Option<Given> {
        let ways = match self.bytes {
            Bytes::Swarm(_) => &Way::ALL[..],
            Bytes::Direct(_) => &[Way::Registry],
            Bytes::Relay(_) => &[],
        };
        for way in ways {
            let Some(mut other) = self.fetch.by(*way, &self.digest, &self.repositories).await else {
                continue;
            };
            if other.size() == self.size()
                && let Ok(given) = other.part_at(range).await
            {
                self.bytes = other;
                return Some(given);
            }
        }
        None
    }

    /// Tells that the stream had to be cut: for some seconds the blob is "not found", so that the client goes on elsewhere.
    pub fn give_up(&self) {
        self.fetch.poison(&self.digest);
    }
}

impl Bytes {
    /// Size of the whole blob in bytes.
    fn size(&self) -> u64 {
        match self {
            Self::Swarm(reader) => reader.size(),
            Self::Direct(direct) => direct.size(),
            Self::Relay(relay) => relay.size(),
        }
    }

    /// The beginning of `range`.
    async fn part_at(&mut self, range: &Range<u64>) -> Result<Given, FetchError> {
        let (bytes, source) = match self {
            Self::Swarm(reader) => {
                let part = reader.part_at(range.clone()).await;
                let part = part.map_err(|why| FetchError::Unavailable(why.to_string()))?;
                return Ok(Given { part, source: source(reader.origin_at(range.start)) });
            }
            Self::Direct(direct) => (direct.part_at(range.clone()).await, Source::Direct),
            Self::Relay(relay) => (relay.part_at(range.clone()).await, Source::Server),
        };
        let bytes = bytes.ok_or_else(|| FetchError::Unavailable("nobody gives the rest of it".to_owned()))?;
        Ok(Given { part: Part::Bytes(bytes), source })
    }
}

const fn source(origin: Origin) -> Source {
    match origin {
        Origin::Disk => Source::Cache,
        Origin::Whole | Origin::Owner => Source::Owner,
        Origin::Peer => Source::Peer,
        Origin::Web => Source::WebSeed,
    }
}
