//! The handle that the rest of the process holds.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shoal_oci::Digest;
use shoal_store::{Blob, Partial, Store};
use shoal_swarm_protocol::{BlobStatus, ReaderId};
use shoal_telemetry::SwarmMetrics;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::actor::{Actor, Parts};
use crate::announce::Announcer;
use crate::desk::Desk;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::event::{Command, Opened};
use crate::limits::{COMMANDS_MAX, EVENTS_MAX, Times};
use crate::options::SwarmOptions;
use crate::reader::BlobReader;
use crate::view::{Storage, View};
use crate::web::RangeSource;
use crate::whole::Lead;

/// One participant of the swarm. Clones share it; it stops when the last clone and the last reader are gone, or by
/// [`Self::shutdown`].
#[derive(Clone)]
pub struct Swarm(Arc<Inner>);

struct Inner {
    commands: mpsc::Sender<Command>,
    desk: Arc<Desk>,
    disk: Disk,
    times: Times,
    readers: AtomicU64,
}

/// The actor is gone: the swarm was shut down.
pub(crate) struct Stopped;

impl Swarm {
    /// Starts taking part: peers that connect to `listener` are served from `store`. Without `web` no HTTP range is ever fetched.
    ///
    /// Must be called inside a tokio runtime with I/O and time enabled.
    pub fn start(
        listener: TcpListener,
        options: SwarmOptions,
        store: Store,
        announcer: Arc<dyn Announcer>,
        web: Option<Arc<dyn RangeSource>>,
        metrics: SwarmMetrics,
    ) -> Self {
        let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
        let (events, events_in) = mpsc::channel(EVENTS_MAX);
        let desk = Arc::new(Desk::default());
        let disk = Disk::new(store, &options.bounds, events.clone());
        let times = options.times.clone();
        let parts = Parts {
            events,
            events_in,
            commands_in,
            desk: Arc::clone(&desk),
            disk: disk.clone(),
            announcer,
            web,
            metrics,
        };
        Actor::start(listener, options, parts);
        Self(Arc::new(Inner { commands, desk, disk, times, readers: AtomicU64::new(0) }))
    }

    /// A reader of a blob. One that the store has complete is there at once, without any word to the network. Otherwise we join
    /// its swarm, and the reader is there as soon as the metainfo is known; concurrent calls share one download, which goes on
    /// to its end even if every reader is dropped. Cancel-safe.
    ///
    /// # Errors
    /// [`OpenError`], at the latest after [`Times::open`].
    pub async fn open(&self, digest: &Digest) -> Result<BlobReader, OpenError> {
        self.open_with(digest, None).await
    }

    /// The same with a lead: where the blob can probably be had, when it is small. It is followed at once, beside the question to the
    /// tracker. Counts for nothing when the blob is here or being fetched already. Cancel-safe.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub async fn open_with(&self, digest: &Digest, lead: Option<Lead>) -> Result<BlobReader, OpenError> {
        let opening = timeout(self.0.times.open, self.view(*digest, lead));
        let view = opening.await.unwrap_or(Err(OpenError::Unavailable))?;
        let id = ReaderId(self.0.readers.fetch_add(1, Ordering::Relaxed));
        Ok(BlobReader::new(id, *digest, self.clone(), view))
    }

    /// Announces and serves a blob that the store has complete. Returns at once.
    pub fn seed(&self, digest: Digest) {
        self.0.desk.seed(digest);
    }

    /// Serves to peers the pieces of a blob that the caller takes in, from now on and as they come. The caller says which have come, and
    /// how it ends.
    pub fn serve_arriving(&self, partial: Partial) {
        let digest = *partial.digest();
        self.disk().handles().put(digest, Storage::Partial(partial));
    }

    /// These pieces of a blob that is served in that way are present from now on.
    pub fn grown(&self, digest: Digest, pieces: Range<u32>) {
        self.0.desk.grow(digest, pieces);
    }

    /// A blob that was served in that way is complete in the store, as `blob`; or, without it, is not to be had: peers are sent away.
    pub fn end_arriving(&self, digest: Digest, blob: Option<Blob>) {
        match blob {
            Some(blob) => self.disk().handles().put(digest, Storage::Blob(blob)),
            None => {
                self.disk().handles().close(&digest);
                self.0.desk.drop_blob(digest);
            }
        }
    }

    /// Numbers about every blob that we take part in; none after [`Self::shutdown`].
    pub async fn status(&self) -> Vec<BlobStatus> {
        let (reply, answer) = oneshot::channel();
        match self.tell(Command::Status { reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(Stopped) => Vec::new(),
        }
    }

    /// Says goodbye to the tracker, closes every connection and waits for disk work that is under way; takes at most
    /// [`Times::goodbye`] and [`Times::disk_drain`]. Readers of unfinished blobs get an error. What was downloaded so far stays on
    /// disk and is taken up again by the next process.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        if self.tell(Command::Shutdown { reply }).await.is_ok() {
            // An error means that somebody else has shut it down.
            let _ = answer.await;
        }
    }

    async fn view(&self, digest: Digest, lead: Option<Lead>) -> Opened {
        // Only hits count here: what goes wrong is looked into by the actor, once for all callers.
        if matches!(self.disk().store().stat(&digest), Ok(Some(_)))
            && let Some(Ok(blob)) = self.disk().run(move |store| store.blob(&digest)).await
        {
            return Ok(View::complete(blob));
        }
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Open { digest, lead, reply }).await.map_err(|Stopped| OpenError::Unavailable)?;
        let view: watch::Receiver<View> = answer.await.unwrap_or(Err(OpenError::Unavailable))?;
        Ok(view)
    }

    pub(crate) async fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.0.commands.send(command).await.map_err(|_| Stopped)
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.0.desk
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    pub(crate) fn times(&self) -> &Times {
        &self.0.times
    }
}
