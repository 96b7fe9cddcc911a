//! Images of upstreams, by way of the cluster: it is told that a blob is wanted, fetches it once for the whole fleet, and the swarm has it
//! from then on.
//!
//! Which repositories are copies of an upstream's is learnt from the server's answers about manifests, which a runtime asks for first. The
//! price: one more question to the server for each blob that is not on this machine's disk.

use std::time::Duration;

use http::Method;
use shoal_http::{Body, Client, StatusCode};
use shoal_oci::{Digest, Repository, Route};
use shoal_swarm::whole::WHOLE_SIZE_MAX;
use tokio::time::Instant;

use crate::fetch::{BlobStream, Fetch, FetchError};
use crate::recent::Recent;

/// For the server to hear from the upstream that it has the blob. A third of what containerd waits for a head is left for the first piece.
const BRING_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a blob that comes may take to be known to the tracker.
const COMING_FOR: Duration = Duration::from_secs(10);
const COMING_PAUSE: Duration = Duration::from_millis(100);

/// How long a blob that nobody waits for is tried again: a small one of a slow upstream is to be had when all of it has come there.
const WARM_FOR: Duration = Duration::from_secs(120);
const WARM_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Repositories known to be copies: far more than a machine pulls from in a day.
const COPIES_MAX: usize = 1_000;

/// Knows the copies, and tells the server what is wanted of them. Clones share it.
#[derive(Clone)]
pub(crate) struct Through {
    server: String,
    client: Client,
    copies: Recent<Repository, ()>,
}

impl Through {
    /// For the server's registry at `server`.
    pub(crate) fn new(server: String, client: Client) -> Self {
        Self { server, client, copies: Recent::new(COPIES_MAX) }
    }

    /// The server said that a repository is a copy.
    pub(crate) fn note(&self, repository: &Repository) {
        self.copies.note(repository.clone(), ());
    }

    /// Whether a repository is known to be a copy.
    pub(crate) fn is_copy(&self, repository: &Repository) -> bool {
        self.copies.of(repository).is_some()
    }

    /// Tells the server that a blob is wanted; whether it is there or comes.
    pub(crate) async fn bring(&self, repository: &Repository, digest: &Digest) -> bool {
        let route = Route::Blob { repository: repository.clone(), digest: *digest };
        let url = format!("{}{}", self.server, route.to_path());
        let request = http::Request::builder().method(Method::HEAD).uri(url).body(Body::empty());
        let Ok(request) = request else { return false };
        match self.client.send(request, BRING_TIMEOUT).await {
            Ok(answer) => answer.status() == StatusCode::OK,
            Err(error) => {
                tracing::debug!(%repository, %digest, %error, "the server could not be told that a blob is wanted");
                false
            }
        }
    }

    /// Opens a blob of one of `repositories`, of which the server is told first when it is one of a copy and not here.
    ///
    /// # Errors
    /// [`FetchError`], within twenty seconds and the bound of `fetch`.
    pub(crate) async fn open(
        &self,
        fetch: &Fetch,
        digest: &Digest,
        repositories: &[Repository],
    ) -> Result<BlobStream, FetchError> {
        let Some(copy) = self.to_bring(fetch, digest, repositories) else {
            return fetch.open(digest, repositories).await;
        };
        let deadline = Instant::now() + COMING_FOR;
        let comes = self.bring(copy, digest).await;
        loop {
            match fetch.open(digest, std::slice::from_ref(copy)).await {
                Err(FetchError::NotFound) if comes && Instant::now() < deadline => {
                    tokio::time::sleep(COMING_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }

    /// Fetches a blob of one of `repositories` to this machine's disk, for nobody who waits; the server is told first as by [`Self::open`].
    /// `size` hears how large it is.
    ///
    /// # Errors
    /// [`FetchError`], after [`WARM_FOR`] at the earliest when the server says that it comes.
    pub(crate) async fn warm(
        &self,
        fetch: &Fetch,
        digest: &Digest,
        repositories: &[Repository],
        mut size: impl FnMut(u64) + Send,
    ) -> Result<(), FetchError> {
        let Some(copy) = self.to_bring(fetch, digest, repositories) else {
            return fetch.warm(digest, repositories, &mut size).await;
        };
        let deadline = Instant::now() + WARM_FOR;
        let mut pause = COMING_PAUSE;
        loop {
            // Asked each time: what broke off is asked for anew, and what comes is joined.
            let comes = self.bring(copy, digest).await;
            match fetch.warm(digest, std::slice::from_ref(copy), &mut size).await {
                Err(error) if comes && Instant::now() < deadline => {
                    tracing::debug!(%copy, %digest, %error, "a blob that comes from an upstream is waited for");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(WARM_PAUSE_MAX);
                }
                ended => return ended,
            }
        }
    }

    /// Begins to fetch a blob that is small, unless it is here, because it will be asked for in a moment and its source may be gone then.
    pub(crate) fn prefetch(&self, fetch: &Fetch, digest: &Digest, size: u64, repositories: &[Repository]) {
        if size > WHOLE_SIZE_MAX || fetch.is_local(digest) {
            return;
        }
        let (through, fetch, digest) = (self.clone(), fetch.clone(), *digest);
        let repositories = repositories.to_vec();
        // Whoever asks for it meanwhile joins it, and hears what is wrong.
        tokio::spawn(async move { drop(through.warm(&fetch, &digest, &repositories, |_| {}).await) });
    }

    /// The copy of which the server is to be told that a blob is wanted: the likeliest, unless the blob is here.
    fn to_bring<'a>(
        &self,
        fetch: &Fetch,
        digest: &Digest,
        repositories: &'a [Repository],
    ) -> Option<&'a Repository> {
        repositories.iter().find(|repository| self.is_copy(repository)).filter(|_| !fetch.is_local(digest))
    }
}
