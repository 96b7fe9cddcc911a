//! Blobs that are still arriving at the cluster: an agent follows what the owner learns of one, piece digest by piece digest.
//!
//! Only the owner is believed: digests come over HTTP from the address that the tracker named, never from peers. Each call tells them
//! from the first piece on, and what was heard before must be heard again, so an owner that begins anew (another process, another fetch)
//! goes on with what is here if it is the same, and ends the download if it is not. The last digest is the verdict: the owner tells it
//! when the blob's own digest was right, and nobody can verify the last piece before.
//!
//! A piece may come before its digest, on another connection. Whoever has received it waits for the digest, for [`DIGEST_WAIT`] at most.
//!
//! What has come of a blob whose owner has lost it is kept for [`KEPT`], for the next attempt. Price: 32 bytes for each piece and call.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_oci::Digest;
use shoal_swarm_types::{Metainfo, PieceDigest};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use crate::event::Event;
use crate::view::Storage;
use crate::web::RangeSource;

/// How long a piece that has come waits for its digest. The two travel at the same time over different connections.
const DIGEST_WAIT: Duration = Duration::from_secs(5);

/// Between two calls to an owner that did not answer, or broke off.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Growths that wait for the follower; the owner gathers what comes while this is full.
const GROWTHS_MAX: usize = 16;

/// How long pieces without a whole list of digests are kept for another attempt.
const KEPT: Duration = Duration::from_secs(120);

/// Blobs of which that is kept; of more the download begins anew.
const KEPT_MAX: usize = 64;

/// What an owner says of a blob that is arriving there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The blob has this size.
    Size(u64),
    /// The digests of the next pieces, from the first one on.
    Digests(Vec<PieceDigest>),
    /// Nothing new, but bytes have come.
    Alive,
}

/// How what an owner says of a blob ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It has said everything: the blob is right.
    Whole,
    /// The blob is another than its digest says.
    Refuted,
    /// It knows of no such blob any more.
    Gone,
}

/// What became of a blob that was followed, for the actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Its owner gets bytes of it.
    Alive,
    /// All digests are known.
    Whole,
    /// It is wrong, or the owner contradicts itself.
    Refuted,
    /// No owner has it, or is getting it.
    Gone,
}

/// Who waits for digests. Shared with the connections.
#[derive(Debug, Default)]
pub(crate) struct Growths(Mutex<HashMap<Digest, watch::Sender<()>>>);

impl Growths {
    /// Waits until `is_known`, while somebody follows the blob, and not for long.
    pub(crate) async fn wait(&self, digest: &Digest, is_known: impl Fn() -> bool + Send) {
        let Some(mut changes) = self.subscribe(digest) else { return };
        let until = Instant::now() + DIGEST_WAIT;
        while !is_known() {
            match timeout_at(until, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn subscribe(&self, digest: &Digest) -> Option<watch::Receiver<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).map(watch::Sender::subscribe)
    }

    fn begin(&self, digest: Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, watch::channel(()).0);
    }

    fn grew(&self, digest: &Digest) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            sender.send_replace(());
        }
    }

    fn end(&self, digest: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}

/// The blobs that are followed.
pub(crate) struct Followers {
    source: Option<Arc<dyn RangeSource>>,
    growths: Arc<Growths>,
    events: mpsc::Sender<Event>,
    /// Where each blob's owners are, and the task that follows it.
    followed: HashMap<Digest, Followed>,
    kept: HashMap<Digest, (Storage, Instant)>,
}

#[derive(Default)]
struct Followed {
    urls: Urls,
    task: Option<AbortHandle>,
}

/// Where the owners of a blob are, as the tracker said last.
type Urls = Arc<Mutex<Vec<String>>>;

impl Followers {
    pub(crate) fn new(
        source: Option<Arc<dyn RangeSource>>,
        growths: Arc<Growths>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { source, growths, events, followed: HashMap::new(), kept: HashMap::new() }
    }

    /// The tracker named the owners of a blob that may be arriving.
    pub(crate) fn note(&mut self, digest: Digest, urls: &[String]) {
        if !urls.is_empty() {
            let known = &self.followed.entry(digest).or_default().urls;
            *known.lock().unwrap_or_else(PoisonError::into_inner) = urls.to_vec();
        }
    }

    /// Whether the owners of a blob are known.
    pub(crate) fn knows(&self, digest: &Digest) -> bool {
        self.followed.contains_key(digest)
    }

    /// Follows a blob, if its owners are known and nobody follows it yet.
    pub(crate) fn follow(&mut self, metainfo: &Metainfo) {
        let digest = *metainfo.digest();
        let (Some(source), Some(followed)) = (&self.source, self.followed.get_mut(&digest)) else { return };
        if followed.task.is_some() {
            return;
        }
        self.growths.begin(digest);
        let follower = Follower {
            source: Arc::clone(source),
            urls: Arc::clone(&followed.urls),
            metainfo: metainfo.clone(),
            growths: Arc::clone(&self.growths),
            events: self.events.clone(),
        };
        followed.task = Some(tokio::spawn(follower.run()).abort_handle());
    }

    /// Follows a blob no longer.
    pub(crate) fn end(&mut self, digest: &Digest) {
        if let Some(task) = self.followed.remove(digest).and_then(|followed| followed.task) {
            task.abort();
            self.growths.end(digest);
        }
    }

    /// Keeps what has come for another attempt.
    pub(crate) fn keep(&mut self, digest: Digest, storage: Storage) {
        if self.kept.len() < KEPT_MAX {
            self.kept.insert(digest, (storage, Instant::now()));
        }
    }

    /// Somebody makes another attempt, or nobody may.
    pub(crate) fn release(&mut self, digest: &Digest) {
        self.kept.remove(digest);
    }

    /// Lets go of what nobody has come back for.
    pub(crate) fn sweep(&mut self) {
        self.kept.retain(|_, (_, since)| since.elapsed() < KEPT);
    }
}

/// The task that follows one blob.
struct Follower {
    source: Arc<dyn RangeSource>,
    urls: Urls,
    metainfo: Metainfo,
    growths: Arc<Growths>,
    events: mpsc::Sender<Event>,
}

/// What one call to an owner came to.
enum Call {
    Ended(Ending),
    /// It does not say what was said before.
    Contradicts,
    Failed(io::Error),
}

impl Follower {
    /// Asks the owners in turn until one of them says how it ends. Aborted by the actor.
    async fn run(self) {
        let digest = *self.metainfo.digest();
        let (mut gone, mut turn) = (0, 0);
        loop {
            let (url, count) = {
                let urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(url) = urls.get(turn % urls.len().max(1)) else { return };
                (url.clone(), urls.len())
            };
            turn += 1;
            let word = match self.call(&url).await {
                Call::Ended(Ending::Whole) if self.metainfo.is_whole() => Word::Whole,
                Call::Ended(Ending::Refuted) => Word::Refuted,
                Call::Contradicts => {
                    warn!(%digest, url, "an owner says other digests than before; the download is dropped");
                    Word::Refuted
                }
                Call::Ended(Ending::Whole | Ending::Gone) => {
                    gone += 1;
                    if gone < count {
                        continue;
                    }
                    Word::Gone
                }
                Call::Failed(error) => {
                    debug!(%digest, url, %error, "an owner does not tell of an arriving blob; asking again");
                    gone = 0;
                    sleep(AGAIN_AFTER).await;
                    continue;
                }
            };
            let _ = self.events.send(Event::Followed { digest, word }).await;
            return;
        }
    }

    /// One call, and what is heard in it.
    async fn call(&self, url: &str) -> Call {
        let (sender, mut growths) = mpsc::channel(GROWTHS_MAX);
        let told = self.source.follow(url, self.metainfo.digest(), sender);
        tokio::pin!(told);
        let mut next = 0;
        let ending = loop {
            tokio::select! {
                // What was said before the end counts.
                biased;
                Some(growth) = growths.recv() => {
                    if !self.hear(growth, &mut next).await {
                        return Call::Contradicts;
                    }
                }
                ending = &mut told => break ending,
            }
        };
        while let Ok(growth) = growths.try_recv() {
            if !self.hear(growth, &mut next).await {
                return Call::Contradicts;
            }
        }
        ending.map_or_else(Call::Failed, Call::Ended)
    }

    /// Takes over what the owner says. False when it contradicts what was said before.
    async fn hear(&self, growth: Growth, next: &mut u32) -> bool {
        match growth {
            Growth::Size(size) => size == self.metainfo.size(),
            Growth::Digests(digests) => {
                let heard = self.metainfo.learn(*next, &digests).is_ok();
                *next = next.saturating_add(u32::try_from(digests.len()).unwrap_or(u32::MAX));
                self.growths.grew(self.metainfo.digest());
                heard
            }
            Growth::Alive => {
                let digest = *self.metainfo.digest();
                let _ = self.events.send(Event::Followed { digest, word: Word::Alive }).await;
                true
            }
        }
    }
}
