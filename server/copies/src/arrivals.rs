//! Blobs of copies: fetched once for all who want them, from the moment that somebody does.
//!
//! Nothing becomes part of a copy before the upstream has said that this repository has it: a blob that is here for another reason is not
//! handed out to whoever can name it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_api::{Arrival, CopyError, CopyErrorKind};
use shoal_http::{Body, BodySender};
use shoal_oci::{Digest, Repository};
use shoal_upstream::BlobStream;
use tokio::sync::watch;

use crate::copies::{Inner, Place};
use crate::manifests::{memory_failed, of_upstream};

/// Chunks of a body between the upstream's connection and the disk.
const CHUNKS_WAITING: usize = 8;

/// How far a blob is.
#[derive(Clone, Debug)]
enum Progress {
    /// The upstream has not answered yet.
    Asked,
    /// It comes; its size when the upstream says it.
    Coming(Option<u64>),
    /// It is here and part of the copy.
    Here(u64),
    Failed(CopyError),
}

/// The blobs that are on their way. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Table>>);

type Table = HashMap<Digest, HashMap<Repository, watch::Receiver<Progress>>>;

/// One blob on its way into one copy; ends when it is dropped.
struct Flight {
    arrivals: Arrivals,
    digest: Digest,
    copy: Repository,
    progress: watch::Sender<Progress>,
}

impl Arrivals {
    /// Whether a blob comes into `copy`, or into any. Not while the upstream has not said that it has it.
    pub(crate) fn is_coming(&self, copy: Option<&Repository>, digest: &Digest) -> bool {
        let table = self.lock();
        let comes = |progress: &watch::Receiver<Progress>| matches!(*progress.borrow(), Progress::Coming(_));
        let Some(flights) = table.get(digest) else { return false };
        match copy {
            Some(copy) => flights.get(copy).is_some_and(comes),
            None => flights.values().any(comes),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut table = self.arrivals.lock();
        if let Some(flights) = table.get_mut(&self.digest) {
            flights.remove(&self.copy);
            if flights.is_empty() {
                table.remove(&self.digest);
            }
        }
    }
}

impl Inner {
    /// A blob of a copy: here, or on its way from now on.
    pub(crate) async fn arrival(
        self: &Arc<Self>,
        place: Place,
        digest: Digest,
    ) -> Result<Arrival, CopyError> {
        if let Some(size) = self.in_copy(&place.copy, &digest).await? {
            return Ok(Arrival { size: Some(size), ended: Box::pin(std::future::ready(Ok(size))) });
        }
        let mut progress = self.join(place, digest);
        let begun = progress.wait_for(|progress| !matches!(progress, Progress::Asked)).await;
        let begun = begun.map(|progress| progress.clone()).map_err(|_ended| stopped())?;
        let size = match begun {
            Progress::Failed(error) => return Err(error),
            Progress::Coming(size) => size,
            Progress::Here(size) => Some(size),
            Progress::Asked => None,
        };
        let ended = async move {
            let over = |progress: &Progress| matches!(progress, Progress::Here(_) | Progress::Failed(_));
            match progress.wait_for(over).await.map(|progress| progress.clone()) {
                Ok(Progress::Here(size)) => Ok(size),
                Ok(Progress::Failed(error)) => Err(error),
                _ => Err(stopped()),
            }
        };
        Ok(Arrival { size, ended: Box::pin(ended) })
    }

    /// The size of a blob that is part of the copy and here.
    async fn in_copy(&self, copy: &Repository, digest: &Digest) -> Result<Option<u64>, CopyError> {
        let linked = self.tags.blob_in(copy, digest).await.map_err(memory_failed)?;
        if linked.is_none() { Ok(None) } else { self.size_here(digest) }
    }

    fn size_here(&self, digest: &Digest) -> Result<Option<u64>, CopyError> {
        self.intake.size(digest).map_err(|error| CopyError::new(CopyErrorKind::Unavailable, error.why))
    }

    fn join(self: &Arc<Self>, place: Place, digest: Digest) -> watch::Receiver<Progress> {
        let mut table = self.arrivals.lock();
        let flights = table.entry(digest).or_default();
        if let Some(progress) = flights.get(&place.copy) {
            return progress.clone();
        }
        // Somebody else's fetch of the same bytes: they are not fetched twice.
        let other = flights.values().next().cloned();
        let (sender, progress) = watch::channel(Progress::Asked);
        flights.insert(place.copy.clone(), progress.clone());
        let (arrivals, copy) = (self.arrivals.clone(), place.copy.clone());
        let flight = Flight { arrivals, digest, copy, progress: sender };
        tokio::spawn(Arc::clone(self).fly(place, flight, other));
        progress
    }

    async fn fly(self: Arc<Self>, place: Place, flight: Flight, other: Option<watch::Receiver<Progress>>) {
        let outcome = self.bring(&place, &flight, other).await;
        let last = match outcome {
            Ok(size) => Progress::Here(size),
            Err(error) => {
                tracing::info!(copy = %place.copy, digest = %flight.digest, %error, "a blob was not had from the upstream");
                Progress::Failed(error)
            }
        };
        flight.progress.send_replace(last);
    }

    async fn bring(
        &self,
        place: &Place,
        flight: &Flight,
        other: Option<watch::Receiver<Progress>>,
    ) -> Result<u64, CopyError> {
        let digest = flight.digest;
        let mut size = self.size_here(&digest)?;
        if size.is_some() || other.is_some() {
            // Whoever may not have it from the upstream does not get it from us.
            let head = place.upstream.head_blob(&place.remote, &digest, None).await;
            let stated = head.map_err(|error| of_upstream(&error))?;
            flight.progress.send_replace(Progress::Coming(size.or(stated)));
        }
        if let Some(mut other) = other {
            // However it ends: what it brought is here, or is fetched after all.
            _ = other.wait_for(|progress| matches!(progress, Progress::Here(_) | Progress::Failed(_))).await;
            size = self.size_here(&digest)?;
        }
        let size = match size {
            Some(size) => size,
            None => self.fetch_blob(place, flight).await?,
        };
        self.link(&place.copy, &digest, size).await?;
        Ok(size)
    }

    async fn fetch_blob(&self, place: &Place, flight: &Flight) -> Result<u64, CopyError> {
        let digest = flight.digest;
        let stream =
            place.upstream.blob(&place.remote, &digest, None).await.map_err(|error| of_upstream(&error))?;
        let size = stream.size();
        flight.progress.send_replace(Progress::Coming(size));
        let (sender, body) = Body::channel(CHUNKS_WAITING);
        tokio::spawn(pump(stream, sender, digest));
        self.intake.take_in(&digest, size, body).await.map_err(|error| {
            let kind = if error.is_wrong { CopyErrorKind::Refused } else { CopyErrorKind::Unavailable };
            CopyError::new(kind, format!("{}: {}", place.upstream.name(), error.why))
        })
    }

    /// Makes a blob part of a copy. A link with another size is what a fetch left that was broken off by the end of the process; what was
    /// verified counts.
    async fn link(&self, copy: &Repository, digest: &Digest, size: u64) -> Result<(), CopyError> {
        if self.tags.link_blob(copy, digest, size, Vec::new()).await.is_ok() {
            return Ok(());
        }
        _ = self.tags.unlink_blob(copy, digest, Vec::new()).await.map_err(memory_failed)?;
        self.tags.link_blob(copy, digest, size, Vec::new()).await.map_err(memory_failed)
    }
}

/// Moves the upstream's bytes towards the disk. A body that breaks is cut, never ended.
async fn pump(mut stream: BlobStream, sender: BodySender, digest: Digest) {
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = sender.closed() => return,
        };
        match next {
            Ok(Some(bytes)) => {
                if sender.send(bytes).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                // Nobody reads when it came from elsewhere meanwhile.
                _ = sender.finish().await;
                return;
            }
            Err(error) => {
                tracing::warn!(%digest, %error, "a blob breaks off");
                sender.abort();
                return;
            }
        }
    }
}

fn stopped() -> CopyError {
    CopyError::new(CopyErrorKind::Unavailable, "the server stops")
}
