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
use shoal_swarm::{BlobReader, OpenError, Part, ReadError, Swarm};
use tokio::time::Instant;

use crate::leads::Leads;
use crate::recent::Recent;

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
    wanted: Wanted,
    leads: Leads,
    first_byte: Duration,
    poisoned: Mutex<HashMap<Digest, Instant>>,
}

impl Fetch {
    /// A fetch that waits at most `first_byte` until a blob can begin, leaves notes in `wanted` for the announcer of `swarm`, and follows
    /// `leads`.
    pub(crate) fn new(
        swarm: Swarm,
        store: Store,
        wanted: Wanted,
        leads: Leads,
        first_byte: Duration,
    ) -> Self {
        Self(Arc::new(Inner { swarm, store, wanted, leads, first_byte, poisoned: Mutex::default() }))
    }

    /// Whether the blob lies complete on this machine's disk.
    pub fn is_local(&self, digest: &Digest) -> bool {
        matches!(self.0.store.stat(digest), Ok(Some(_)))
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
        let opened = tokio::time::timeout_at(deadline, self.open_in(digest, repositories)).await;
        let reader = match opened {
            Ok(Ok(reader)) => reader,
            Ok(Err(OpenError::NotFound)) => return Err(FetchError::NotFound),
            Ok(Err(error)) => return Err(FetchError::Unavailable(error.to_string())),
            Err(_elapsed) => return Err(self.too_slow()),
        };
        Ok(BlobStream { fetch: self.clone(), reader, deadline })
    }

    /// Asks for the blob in one repository after the other, as long as the answer is that there is no such blob for us.
    async fn open_in(&self, digest: &Digest, repositories: &[Repository]) -> Result<BlobReader, OpenError> {
        for repository in repositories {
            // Twice, because another pull of the same blob may have put its own repository in the place of ours.
            for _ in 0..2 {
                self.0.wanted.note(*digest, repository.clone());
                let lead = self.0.leads.lead(digest, repository);
                match self.0.swarm.open_with(digest, lead).await {
                    Err(OpenError::NotFound) => {}
                    opened => return opened,
                }
                if self.0.wanted.of(digest).as_ref() == Some(repository) {
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
    reader: BlobReader,
    deadline: Instant,
}

impl BlobStream {
    /// Size of the whole blob in bytes.
    pub fn size(&self) -> u64 {
        self.reader.size()
    }

    /// The first verified bytes of `range`, within the bound that began at [`Fetch::open`]. Empty only for an empty range.
    ///
    /// # Errors
    /// [`FetchError::Unavailable`] when they do not come in time.
    pub async fn first(&mut self, range: &Range<u64>) -> Result<Part, FetchError> {
        let deadline = self.deadline;
        match tokio::time::timeout_at(deadline, self.next(range)).await {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(error)) => Err(FetchError::Unavailable(error.to_string())),
            Err(_elapsed) => Err(self.fetch.too_slow()),
        }
    }

    /// The next verified bytes of `range`, at most to the end of a piece. Empty when `range` is.
    ///
    /// # Errors
    /// [`ReadError`] when they cannot be had; the reader's own bounds hold.
    pub async fn next(&mut self, range: &Range<u64>) -> Result<Part, ReadError> {
        self.reader.part_at(range.clone()).await
    }

    /// Tells that the stream had to be cut: for some seconds the blob is "not found", so that the client goes on elsewhere.
    pub fn give_up(&self) {
        self.fetch.poison(self.reader.digest());
    }
}
