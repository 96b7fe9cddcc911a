//! Images of upstreams, by way of the cluster: it is told that a blob is wanted, fetches it once for the whole fleet, and the swarm has it
//! from then on.
//!
//! Which repositories are copies of an upstream's is learnt from the server's answers about manifests, which a runtime asks for first. The
//! price: one more question to the server for each blob that is not on this machine's disk.

use std::time::Duration;

use http::Method;
use shoal_http::{Body, Client, StatusCode};
use shoal_oci::{Digest, Repository, Route};
use tokio::time::Instant;

use crate::fetch::{BlobStream, Fetch, FetchError};
use crate::recent::Recent;

/// For the server to hear from the upstream that it has the blob. A third of what containerd waits for a head is left for the first piece.
const BRING_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a blob that comes may take to be known to the tracker.
const COMING_FOR: Duration = Duration::from_secs(10);
const COMING_PAUSE: Duration = Duration::from_millis(100);

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
        let copy = repositories.iter().find(|repository| self.is_copy(repository));
        let Some(copy) = copy.filter(|_| !fetch.is_local(digest)) else {
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
}
