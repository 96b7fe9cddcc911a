//! Blobs that come in from somewhere else: from an upstream registry, or from any other body whose digest was named beforehand.
//!
//! Goals: each blob is taken in once, however many ask for it at the same time; the first brings the body, the others share what comes of it.
//! Nothing is a blob before its digest was right, and nothing of a wrong one stays. Non-goal: to know where a body comes from, or whether
//! whoever asks may have it.
//!
//! A body is read by a task of its own, so it does not end with the request that brought it: others wait for the same bytes. The price:
//! what nobody wants any more is read to its end all the same.

mod fill;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_http::Body;
use shoal_oci::Digest;
use shoal_store::{Error, ErrorKind, Store};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::origin::Origin;

/// Blobs that are read at once; others wait for their turn, with bodies that nobody reads yet. Each holds at most 3 MiB.
const TAKE_INS_MAX: usize = 32;

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
    /// The body ended too early or broke. The rest may be had from the same source.
    #[error("the body broke after {got} bytes: {reason}")]
    Broken {
        /// Bytes that came.
        got: u64,
        /// The source's word for it.
        reason: String,
    },
    /// No byte came for too long.
    #[error("no byte of the body came for {} s, after {got} bytes", fill::STALL_MAX.as_secs())]
    Stalled {
        /// Bytes that came.
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
        matches!(self, Self::Broken { .. } | Self::Stalled { .. } | Self::Stopped)
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
    turns: Semaphore,
    flights: Mutex<HashMap<Digest, Flight>>,
}

/// One blob that is coming in.
struct Flight {
    outcome: watch::Receiver<Outcome>,
    task: AbortHandle,
}

/// Ends the flight of a blob, in whatever way its task ends.
struct Landing {
    intake: Intake,
    digest: Digest,
    outcome: watch::Sender<Outcome>,
}

impl Intake {
    pub(crate) fn new(store: Store) -> Self {
        let leftovers = store.clone();
        // What a process that was killed has left. Nobody waits for it.
        drop(tokio::task::spawn_blocking(move || {
            let removed = leftovers.cancel_uploads(|label| label.starts_with(LABEL));
            tracing::debug!(removed, "looked for blobs that had begun to come in");
        }));
        let turns = Semaphore::new(TAKE_INS_MAX);
        Self(Arc::new(Inner { store, turns, flights: Mutex::default() }))
    }

    /// Joins the flight of a blob, or begins it.
    fn join(&self, digest: &Digest, size: Option<u64>, body: Body) -> watch::Receiver<Outcome> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(digest) {
            return flight.outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        let landing = Landing { intake: self.clone(), digest: *digest, outcome: sender };
        let task = tokio::spawn(landing.fly(size, body)).abort_handle();
        flights.insert(*digest, Flight { outcome: outcome.clone(), task });
        outcome
    }

    /// Ends all flights.
    pub(crate) fn stop(&self) {
        let tasks: Vec<_> = self.lock().values().map(|flight| flight.task.clone()).collect();
        tasks.iter().for_each(AbortHandle::abort);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Flight>> {
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Landing {
    async fn fly(self, size: Option<u64>, body: Body) {
        let outcome = self.take_in(size, body).await;
        if let Err(error) = &outcome {
            tracing::warn!(digest = %self.digest, %error, "a blob did not come in");
        }
        self.outcome.send_replace(Some(outcome));
    }

    async fn take_in(&self, size: Option<u64>, body: Body) -> Result<Taken, TakeInError> {
        let inner = &self.intake.0;
        // The semaphore is never closed.
        let _turn = inner.turns.acquire().await.map_err(|_closed| TakeInError::Stopped)?;
        let (store, digest) = (inner.store.clone(), self.digest);
        if let Some(size) = store.stat(&digest)? {
            // It came while we waited.
            return Ok(Taken { size });
        }
        let label = format!("{LABEL}{digest}");
        let upload = blocking(move || store.open_upload(&store.create_upload(&label)?)).await?;
        let upload = fill::fill(upload, body, size).await?;
        let size = upload.size();
        blocking(move || upload.commit(&digest)).await?;
        Ok(Taken { size })
    }
}

impl Drop for Landing {
    /// Also when the task was aborted: whoever waits sees that nobody will tell.
    fn drop(&mut self) {
        self.intake.lock().remove(&self.digest);
    }
}

impl Origin {
    /// Takes in the blob `digest` from `body`, and has it from the moment that this returns as if it had been pushed: durable, and served to
    /// the swarm. When the blob is on its way already, from whomever, `body` is dropped and the answer is what comes of that one; when it
    /// is here, nothing is read. With `size`, a body of any other size is refused.
    ///
    /// Whoever gives up waiting does not end it. The caller says in which repository the blob is, or it is collected as anything else that
    /// nobody needs.
    ///
    /// # Errors
    /// [`TakeInError`]; nothing of the blob is then visible.
    pub async fn take_in(
        &self,
        digest: &Digest,
        size: Option<u64>,
        body: Body,
    ) -> Result<Taken, TakeInError> {
        if let Some(size) = self.store.stat(digest)? {
            return Ok(Taken { size });
        }
        let mut outcome = self.intake.join(digest, size, body);
        let ended = outcome.wait_for(Option::is_some).await;
        // Without a word only when the task was aborted.
        ended.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(TakeInError::Stopped))
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
