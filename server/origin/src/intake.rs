//! Blobs that come in from somewhere else: from an upstream registry, or from any other body whose digest was named beforehand.
//!
//! Goals: each blob is taken in once, however many ask for it at the same time; the first brings the body, the others share what comes of it.
//! Whose size was said can be had by the swarm piece by piece while it comes (`arrival`). Nothing is a blob before its digest was right, and
//! nothing of a wrong one stays. Non-goal: to know where a body comes from, or whether whoever asks may have it.
//!
//! A body is read by a task of its own, so it does not end with the request that brought it: others wait for the same bytes. The price:
//! what nobody wants any more is read to its end all the same. What has come of a body that broke is kept for `RESUME_MAX`: the next body
//! goes on from there.

pub(crate) mod arrival;
mod fill;
mod landing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_http::Body;
use shoal_oci::Digest;
use shoal_store::{Error, ErrorKind, Inflow, Store};
use shoal_swarm::Swarm;
use shoal_swarm_types::Metainfo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;

use crate::error::OriginError;
use crate::origin::Origin;
use arrival::Arrival;
use landing::Landing;

/// Blobs that are read at once; others wait for their turn, with bodies that nobody reads yet. Each holds at most 3 MiB.
const TAKE_INS_MAX: usize = 32;

/// How long what has come of a body that broke waits for the rest.
const RESUME_MAX: Duration = Duration::from_secs(60);

/// How long agents wait for that. Whoever fetches the blob tries again at once or not soon; and clients that wait for a stalled body give up
/// after 30 s, which is too late for them to go on elsewhere.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long whoever asks for the metainfo of a blob that is coming in waits until there is any. A small one has no pieces that could be had
/// before the whole.
const SMALL_WAIT: Duration = Duration::from_secs(1);

/// Agents that follow arriving blobs at once: a task and a connection each. Others ask again.
const FOLLOWERS_MAX: usize = 8192;

/// Clients of the registry that read arriving blobs at once, each with two pieces in memory. Others wait for the whole.
const STREAMS_MAX: usize = 64;

/// What the uploads of blobs that come in are labelled with, before the digest: no name of a repository has a space.
const LABEL: &str = "arriving ";

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its size in bytes.
    pub size: u64,
}

/// Why a blob did not come in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TakeInError {
    /// The body is whole, and is another blob. The source is wrong; asking it again does not help.
    #[error("the body has the digest {got}, not {expected}; its source has other content than it says")]
    Digest {
        /// What was asked for.
        expected: Box<Digest>,
        /// What came.
        got: Box<Digest>,
    },
    /// The body goes on after the size that was stated.
    #[error("the body is longer than the {stated} bytes that were stated")]
    TooLong {
        /// The size that was stated.
        stated: u64,
    },
    /// The body ended too early or broke. The rest may be had from the same source: see [`Origin::arrived`].
    #[error("the body broke after {got} bytes: {reason}")]
    Broken {
        /// Bytes that came.
        got: u64,
        /// The source's word for it.
        reason: String,
    },
    /// No byte came for too long. The rest may be had from the same source: see [`Origin::arrived`].
    #[error("no byte of the body came for {} s, after {got} bytes", fill::STALL_MAX.as_secs())]
    Stalled {
        /// Bytes that came.
        got: u64,
    },
    /// The body begins behind what has come so far.
    #[error("the body begins at byte {from}, and only {got} bytes have come; begin there")]
    Gap {
        /// Where the body begins.
        from: u64,
        /// Bytes that came before.
        got: u64,
    },
    /// The store did not take it.
    #[error(transparent)]
    Store(Arc<Error>),
    /// The origin stops.
    #[error("the origin stops; ask another one")]
    Stopped,
}

impl TakeInError {
    /// Whether the same source may do better when it is asked again.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Stalled { .. } | Self::Gap { .. } | Self::Stopped)
    }

    /// Whether there is no room for it.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind() == ErrorKind::NoSpace)
    }
}

impl From<Error> for TakeInError {
    fn from(error: Error) -> Self {
        match error {
            Error::DigestMismatch { expected, got } => Self::Digest { expected, got },
            error => Self::Store(Arc::new(error)),
        }
    }
}

/// What came of it, once it has ended.
type Outcome = Option<Result<Taken, TakeInError>>;

/// The blobs that are coming in. Clones share them.
#[derive(Clone)]
pub(crate) struct Intake(Arc<Inner>);

struct Inner {
    store: Store,
    swarm: Swarm,
    turns: Semaphore,
    followers: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    flights: HashMap<Digest, Flight>,
    /// What came of bodies that broke.
    held: HashMap<Digest, Held>,
    stopped: bool,
}

/// One blob that is coming in.
struct Flight {
    size: Option<u64>,
    outcome: watch::Receiver<Outcome>,
    task: AbortHandle,
    /// What others can have of it, once there is a place for it.
    arrival: watch::Sender<Option<Arc<Arrival>>>,
}

/// What came of a body that broke.
struct Held {
    inflow: Inflow,
    arrival: Arc<Arrival>,
}

impl Intake {
    pub(crate) fn new(store: Store, swarm: Swarm) -> Self {
        let leftovers = store.clone();
        // What a process that was killed has left. Nobody waits for it.
        drop(tokio::task::spawn_blocking(move || {
            let removed = leftovers.cancel_uploads(|label| label.starts_with(LABEL));
            tracing::debug!(removed, "looked for blobs that had begun to come in");
        }));
        let (turns, followers) = (Semaphore::new(TAKE_INS_MAX), Arc::new(Semaphore::new(FOLLOWERS_MAX)));
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Self(Arc::new(Inner { store, swarm, turns, followers, streams, state: Mutex::default() }))
    }

    /// Joins the flight of a blob, or begins it with a body whose first byte is the blob's byte `from`.
    fn join(&self, digest: &Digest, size: Option<u64>, from: u64, body: Body) -> watch::Receiver<Outcome> {
        let mut state = self.lock();
        if let Some(flight) = state.flights.get(digest) {
            return flight.outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        if state.stopped {
            return outcome;
        }
        let landing = Landing::new(self.clone(), *digest, sender);
        let task = tokio::spawn(landing.fly(size, from, body)).abort_handle();
        let flight = Flight { size, outcome: outcome.clone(), task, arrival: watch::channel(None).0 };
        state.flights.insert(*digest, flight);
        outcome
    }

    /// What others can have of a blob that is coming in.
    pub(crate) fn arrival(&self, digest: &Digest) -> Option<Arc<Arrival>> {
        let state = self.lock();
        let flying = state.flights.get(digest).and_then(|flight| flight.arrival.borrow().clone());
        let held =
            || state.held.get(digest).map(|held| held.arrival.clone()).filter(|held| !held.has_ended());
        flying.or_else(held)
    }

    /// Whether a blob is coming in; and its size, if that was said.
    pub(crate) fn size(&self, digest: &Digest) -> Option<Option<u64>> {
        let state = self.lock();
        let flying = state.flights.get(digest).map(|flight| flight.size);
        let held = || state.held.get(digest).filter(|held| !held.arrival.has_ended());
        flying.or_else(|| held().map(|held| Some(held.arrival.size())))
    }

    /// Waits, not for long, until something can be had of a blob that is coming in, or all of it.
    async fn shown(&self, digest: &Digest) -> Option<Arc<Arrival>> {
        let (mut outcome, mut arrival) = {
            let state = self.lock();
            let flight = state.flights.get(digest)?;
            (flight.outcome.clone(), flight.arrival.subscribe())
        };
        let shown = async {
            tokio::select! {
                begun = arrival.wait_for(Option::is_some) => begun.ok().and_then(|begun| begun.clone()),
                _ = outcome.wait_for(Option::is_some) => None,
            }
        };
        tokio::time::timeout(SMALL_WAIT, shown).await.ok().flatten()
    }

    /// Room for one more agent that follows an arriving blob.
    pub(crate) fn follower(&self) -> Result<OwnedSemaphorePermit, OriginError> {
        Arc::clone(&self.0.followers).try_acquire_owned().map_err(|_| OriginError::Busy)
    }

    /// Room for one more client that reads an arriving blob.
    pub(crate) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.streams).try_acquire_owned().ok()
    }

    /// Waits until a blob that is coming in is here, or is not to be had.
    pub(crate) async fn landed(&self, digest: &Digest) {
        let outcome = self.lock().flights.get(digest).map(|flight| flight.outcome.clone());
        if let Some(mut outcome) = outcome {
            // However it ended.
            let _ = outcome.wait_for(Option::is_some).await;
        }
    }

    /// Ends all flights, for good.
    pub(crate) fn stop(&self) {
        let (tasks, held): (Vec<_>, Vec<_>) = {
            let mut state = self.lock();
            state.stopped = true;
            let tasks = state.flights.values().map(|flight| flight.task.clone()).collect();
            (tasks, state.held.drain().map(|(_, held)| held).collect())
        };
        tasks.iter().for_each(AbortHandle::abort);
        held.iter().for_each(|held| held.arrival.end(arrival::End::Gone));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// Takes in the blob `digest` from `body`, and has it from the moment that this returns as if it had been pushed: durable, and served to
    /// the swarm. With `size`, agents have its pieces while it comes, and a body of any other size is refused. When the blob is on its way
    /// already, from whomever, `body` is dropped and the answer is what comes of that one; when it is here, nothing is read.
    ///
    /// Whoever gives up waiting does not end it. The caller says in which repository the blob is, or it is collected as anything else that
    /// nobody needs.
    ///
    /// # Errors
    /// [`TakeInError`]; the blob is then not here, and no agent has the whole of it.
    pub async fn take_in(
        &self,
        digest: &Digest,
        size: Option<u64>,
        body: Body,
    ) -> Result<Taken, TakeInError> {
        self.take_in_from(digest, size, 0, body).await
    }

    /// The same with a body whose first byte is the blob's byte `from`, of which [`Self::arrived`] are here already. What the body brings once
    /// more is passed over; whether all of it together is the blob, its digest tells.
    ///
    /// # Errors
    /// As [`Self::take_in`].
    pub async fn take_in_from(
        &self,
        digest: &Digest,
        size: Option<u64>,
        from: u64,
        body: Body,
    ) -> Result<Taken, TakeInError> {
        if let Some(size) = self.store.stat(digest)? {
            return Ok(Taken { size });
        }
        let mut outcome = self.intake.join(digest, size, from, body);
        let ended = outcome.wait_for(Option::is_some).await;
        // Without a word only when the task was aborted.
        ended.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(TakeInError::Stopped))
    }

    /// How many bytes are here of a blob whose body broke: where the next one may begin. 0 when nothing is.
    pub fn arrived(&self, digest: &Digest) -> u64 {
        self.intake.lock().held.get(digest).map_or(0, |held| held.inflow.size())
    }

    /// Whether a blob is coming in now, so that whoever asks for it joins.
    pub fn is_arriving(&self, digest: &Digest) -> bool {
        self.intake.lock().flights.contains_key(digest)
    }

    /// Size of a blob that is here or coming in; `None` when it is neither.
    ///
    /// # Errors
    /// [`OriginError::Arriving`] when it is coming in and nobody has said how many bytes it has.
    pub fn expected_size(&self, digest: &Digest) -> Result<Option<u64>, OriginError> {
        match (self.size(digest)?, self.intake.size(digest)) {
            (Some(size), _) | (None, Some(Some(size))) => Ok(Some(size)),
            (None, Some(None)) => Err(OriginError::Arriving(*digest)),
            (None, None) => Ok(None),
        }
    }

    /// Metainfo of a blob that is coming in: of one whose pieces can be had, what is known of it, which grows; of another, after a short
    /// wait, all of it.
    pub(crate) async fn arriving_metainfo(&self, digest: &Digest) -> Result<Option<Metainfo>, OriginError> {
        if self.intake.size(digest).is_none() {
            return Ok(None);
        }
        let arrival = match self.intake.arrival(digest) {
            None => self.intake.shown(digest).await,
            known => known,
        };
        if let Some(arrival) = arrival {
            return Ok(Some(arrival.metainfo().clone()));
        }
        let late = || OriginError::Arriving(*digest);
        let blob = self.blob(digest).await?.ok_or_else(late)?;
        Ok(Some(blob.metainfo().clone()))
    }
}

/// Does what blocks on the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> shoal_store::Result<T> + Send + 'static,
) -> Result<T, TakeInError> {
    // A panic of the store's is as good as no answer.
    let done = tokio::task::spawn_blocking(work).await.map_err(|_panicked| TakeInError::Stopped)?;
    Ok(done?)
}

#[cfg(test)]
mod tests;
