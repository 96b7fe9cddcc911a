//! Web seeds: an owner's HTTP range in place of a peer, when no peer delivers.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Metainfo, PieceIndex};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::event::Event;
use crate::follow::{Ending, Growth, Growths};
use crate::limits::{Times, WEB_FETCHES_MAX};

/// Fetches ranges of blobs over HTTP.
#[async_trait]
pub trait RangeSource: Send + Sync + 'static {
    /// The bytes `range` of the blob at `url`, neither more nor fewer. They need not be verified: the caller does that.
    ///
    /// # Errors
    /// Whatever kept the bytes from arriving; the core then tries another source.
    async fn fetch(&self, url: &str, digest: &Digest, range: Range<u64>) -> std::io::Result<Bytes>;

    /// The whole of a small blob at `url`, which is said to have `size` bytes: at once or not at all, because there are other ways. Whoever
    /// asks looks at `progress`, and drops the request when it is slow.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    async fn fetch_whole(
        &self,
        url: &str,
        digest: &Digest,
        size: u64,
        progress: &Progress,
    ) -> std::io::Result<Bytes> {
        let bytes = self.fetch(url, digest, 0..size).await?;
        progress.note(bytes.len());
        Ok(bytes)
    }

    /// What the owner behind `url` says of a blob that is arriving there: everything from the first piece on goes to `heard`, until it
    /// ends. Whoever asks drops the call when it has heard enough.
    ///
    /// # Errors
    /// As [`Self::fetch`]; the owner is then asked again.
    async fn follow(
        &self,
        url: &str,
        digest: &Digest,
        heard: mpsc::Sender<Growth>,
    ) -> std::io::Result<Ending> {
        let _ = (digest, heard);
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, format!("cannot follow {url}")))
    }
}

/// How much of an answer has come, and since when. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Come>);

#[derive(Debug, Default)]
struct Come {
    bytes: AtomicU64,
    since: OnceLock<Instant>,
}

impl Progress {
    /// Notes that so many more bytes have come.
    pub fn note(&self, bytes: usize) {
        self.0.since.get_or_init(Instant::now);
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes so far, and the time since the first of them; `None` before that.
    pub(crate) fn so_far(&self) -> Option<(u64, Duration)> {
        let since = self.0.since.get()?;
        Some((self.0.bytes.load(Ordering::Relaxed), since.elapsed()))
    }
}

/// Fetches for the core, a bounded number at once, each within its time.
pub(crate) struct Web {
    source: Option<Arc<dyn RangeSource>>,
    slots: Arc<Semaphore>,
    times: Times,
    growths: Arc<Growths>,
    events: mpsc::Sender<Event>,
}

impl Web {
    /// Without a `source` every fetch fails.
    pub(crate) fn new(
        source: Option<Arc<dyn RangeSource>>,
        times: Times,
        growths: Arc<Growths>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { source, slots: Arc::new(Semaphore::new(WEB_FETCHES_MAX)), times, growths, events }
    }

    /// Fetches a piece in the background; the answer is [`Event::Web`].
    pub(crate) fn fetch(&self, digest: Digest, index: PieceIndex, metainfo: Option<Metainfo>, url: String) {
        let range = metainfo.as_ref().map(|metainfo| metainfo.layout().piece_range(index));
        let (source, slots, limit) = (self.source.clone(), Arc::clone(&self.slots), self.times.web);
        let (events, growths) = (self.events.clone(), Arc::clone(&self.growths));
        tokio::spawn(async move {
            let data = match (source, range) {
                (Some(source), Some(range)) => {
                    let wanted = range.clone();
                    let fetching = async move {
                        let _slot = slots.acquire_owned().await;
                        source.fetch(&url, &digest, wanted).await
                    };
                    checked(timeout(limit, fetching).await, &range, &digest)
                }
                _ => None,
            };
            if let Some(metainfo) = metainfo.filter(|metainfo| !metainfo.knows(index)) {
                growths.wait(&digest, || metainfo.knows(index)).await;
            }
            let _ = events.send(Event::Web { digest, index, data }).await;
        });
    }
}

/// The bytes, if there are as many as were asked for.
fn checked(
    result: Result<std::io::Result<Bytes>, tokio::time::error::Elapsed>,
    range: &Range<u64>,
    digest: &Digest,
) -> Option<Bytes> {
    match result {
        Ok(Ok(data)) if data.len() as u64 == range.end - range.start => return Some(data),
        Ok(Ok(data)) => debug!(%digest, ?range, got = data.len(), "a web seed sent another number of bytes"),
        Ok(Err(error)) => debug!(%digest, ?range, %error, "a web seed failed"),
        Err(_) => debug!(%digest, ?range, "a web seed took too long"),
    }
    None
}
