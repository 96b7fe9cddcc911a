//! Reference → manifest: asked of the server, remembered, and served from memory when the server is away.
//!
//! A tag is asked for each time, with the digest that is already here, so an unmoved tag costs one small round trip and a moved one is
//! seen at once. A digest never changes, so a manifest that is here is served without asking. When the server cannot be reached the
//! last known answer is served and says how old it is: a machine that restarts its containers at night must not depend on us being
//! up. Everything is bounded by one budget for each pull, whatever the number of candidates.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderValue, Method, StatusCode};
use shoal_api::copies::FRESHNESS;
use shoal_api::{CopyErrorKind, Freshness as CopyFreshness};
use shoal_http::{Body, Client};
use shoal_oci::media_type::MANIFEST_ACCEPT;
use shoal_oci::{Digest, Host, MANIFEST_SIZE_MAX, Reference, Repository, Route, reply};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fetch::{BlobStream, Fetch, FetchError};
use crate::hedge::{PATIENCE, hedged};
use crate::leads::Leads;
use crate::manifest_cache::ManifestCache;
use crate::namespace::Namespaces;
use crate::recent::Recent;
use crate::references::{References, Resolved};
use crate::upstream::Through;

/// For one resolution in all. A runtime waits for the manifest before it does anything else, and containerd 2.3 gives up after 30 s;
/// a server on the same network answers in milliseconds or is down.
const BUDGET: Duration = Duration::from_secs(3);

/// How much longer the server may take when nothing is remembered and it answers other questions: then it asks an upstream, for a token first
/// and across an ocean. A runtime waits for 30 s.
const BUDGET_MORE: Duration = Duration::from_secs(9);

/// An answer that is the same as the last one is noted again when the note is so old: writing files for each question about a tag takes
/// longer than asking it, and while the server is away it does not matter whether the answer is some seconds older than it says.
const NOTE_AGE_MAX: Duration = Duration::from_secs(10);

/// For the server to say that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// Names that mean several repositories, of which one was found to have the manifest: far more than a machine pulls in a day.
const FOUND_MAX: usize = 1_000;

/// A manifest and how sure we are of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its address.
    pub digest: Digest,
    /// Its media type, exactly as it was pushed.
    pub media_type: String,
    /// Its bytes, which hash to `digest`.
    pub bytes: Bytes,
    /// Who says so.
    pub freshness: Freshness,
    /// What the server said of its copy of an upstream's repository; `None` for its own.
    pub copy: Option<Copied>,
}

/// What a server says of a manifest of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Who says what the reference means.
    pub freshness: CopyFreshness,
    /// How long ago the upstream said so, in seconds.
    pub age: Option<u64>,
}

/// Who says that a reference means a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The server, just now.
    Server,
    /// Nobody has to: it was asked for by digest, and it is here.
    Immutable,
    /// The server said so this long ago and cannot be reached now.
    Stale(Duration),
}

/// Why there is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The registry that is meant is not one that the cluster answers for.
    #[error("this mirror does not answer for that registry")]
    NotOurs,
    /// The server does not have it.
    #[error("the server has no such manifest")]
    NotFound,
    /// The server cannot be reached, and nothing is remembered.
    #[error("the server cannot be reached and nothing is cached: {0}")]
    Unreachable(String),
}

/// Resolves references.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    server: String,
    client: Client,
    namespaces: Namespaces,
    references: References,
    manifests: ManifestCache,
    leads: Leads,
    through: Through,
    /// Of several candidates, by the first of them, the one that had the last manifest.
    found: Recent<Repository, Repository>,
}

/// What the server said about one candidate.
enum Answer {
    Found(Box<Found>),
    NotFound,
    Unreachable(String),
    /// An answer about a copy, for which no other candidate is asked.
    OfCopy(Box<Answer>),
}

/// What one GET brought.
enum Got {
    Found(Found),
    NotFound,
    /// The server has a copy of what is meant, and cannot give this of it.
    OfCopy(CopyErrorKind),
}

impl Resolver {
    /// A resolver that asks the server's registry at `server` (`http://host:port`, without a slash at the end).
    pub fn new(
        server: String,
        client: Client,
        namespaces: Namespaces,
        references: References,
        manifests: ManifestCache,
        leads: Leads,
    ) -> Self {
        let found = Recent::new(FOUND_MAX);
        let through = Through::new(server.clone(), client.clone());
        Self(Arc::new(Inner { server, client, namespaces, references, manifests, leads, through, found }))
    }

    /// The repositories on the server that may be meant.
    pub fn candidates(&self, host: Option<&Host>, repository: &Repository) -> Vec<Repository> {
        self.0.namespaces.candidates(host, repository)
    }

    /// Opens a blob of one of `repositories`; one of a copy is brought to the cluster first.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn open(
        &self,
        fetch: &Fetch,
        digest: &Digest,
        repositories: &[Repository],
    ) -> Result<BlobStream, FetchError> {
        self.0.through.open(fetch, digest, repositories).await
    }

    /// The way to blobs of copies.
    pub(crate) fn through(&self) -> &Through {
        &self.0.through
    }

    /// The same for a blob: first the one whose manifest was asked for, of which the blob will be.
    pub fn blob_candidates(&self, host: Option<&Host>, repository: &Repository) -> Vec<Repository> {
        let mut candidates = self.candidates(host, repository);
        if let [first, _, ..] = candidates.as_slice()
            && let Some(found) = self.0.found.of(first)
        {
            candidates.sort_by_key(|candidate| *candidate != found);
        }
        candidates
    }

    fn note(&self, candidates: &[Repository], found: &Repository) {
        if let [first, _, ..] = candidates {
            self.0.found.note(first.clone(), found.clone());
        }
    }

    /// Drops the oldest manifests and references beyond their limits.
    pub async fn trim(&self) {
        let inner = Arc::clone(&self.0);
        let trim = move || inner.references.trim().and_then(|()| inner.manifests.trim());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(trim).await {
            tracing::warn!(%error, "old manifests could not be dropped");
        }
    }

    /// The manifest that `reference` means, within three seconds.
    ///
    /// # Errors
    /// [`ResolveError`] says why there is none.
    pub async fn manifest(
        &self,
        host: Option<&Host>,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Found, ResolveError> {
        let candidates = self.candidates(host, repository);
        if candidates.is_empty() {
            return Err(ResolveError::NotOurs);
        }
        if let Reference::Digest(_) = reference
            && let Some(found) = self.remembered(&candidates, reference).await
        {
            let copy = found.copy.map(|_| Copied { freshness: CopyFreshness::Immutable, age: None });
            return Ok(Found { freshness: Freshness::Immutable, copy, ..found });
        }
        let deadline = Instant::now() + BUDGET;
        let mut unreachable = None;
        let mut ahead = self.ask_ahead(&candidates, reference, deadline);
        for candidate in &candidates {
            let answer = match ahead.take_if(|(asked, _)| asked == candidate) {
                Some((_, mut task)) => task.join_next().await.and_then(Result::ok),
                None => None,
            };
            let answer = match answer {
                Some(answer) => answer,
                None => self.ask(candidate, reference, deadline).await,
            };
            match answer {
                Answer::Found(found) => {
                    self.note(&candidates, candidate);
                    return Ok(*found);
                }
                Answer::NotFound => {}
                Answer::Unreachable(why) => unreachable = Some(why),
                Answer::OfCopy(last) => {
                    if let Answer::Unreachable(why) = *last {
                        unreachable = Some(why);
                    }
                    break;
                }
            }
        }
        let Some(why) = unreachable else { return Err(ResolveError::NotFound) };
        tracing::warn!(%repository, %reference, why, "the server cannot be asked for a manifest");
        self.remembered(&candidates, reference).await.ok_or(ResolveError::Unreachable(why))
    }

    /// Begins to ask about the candidate that had the last manifest, while those before it are asked: it costs one round trip then, as if
    /// it had been named itself. Others are not asked before their turn, because the server counts what is pulled.
    fn ask_ahead(
        &self,
        candidates: &[Repository],
        reference: &Reference,
        deadline: Instant,
    ) -> Option<(Repository, JoinSet<Answer>)> {
        let (first, others) = candidates.split_first()?;
        if others.is_empty() {
            return None;
        }
        let likely = self.0.found.of(first).filter(|found| others.contains(found))?;
        let (resolver, candidate, reference) = (self.clone(), likely.clone(), reference.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { resolver.ask(&candidate, &reference, deadline).await });
        Some((likely, task))
    }

    /// What is known without asking.
    async fn remembered(&self, candidates: &[Repository], reference: &Reference) -> Option<Found> {
        let (inner, names, reference) = (Arc::clone(&self.0), candidates.to_vec(), reference.clone());
        let look = move || {
            names.into_iter().find_map(|name| inner.recall(&name, &reference).map(|found| (name, found)))
        };
        let (name, found) = tokio::task::spawn_blocking(look).await.ok().flatten()?;
        self.note(candidates, &name);
        Some(found)
    }

    /// Asks the server about one candidate, within what is left of the budget.
    async fn ask(&self, repository: &Repository, reference: &Reference, deadline: Instant) -> Answer {
        // A digest is asked for only when it is not remembered, and a tag always.
        let known = match reference {
            Reference::Tag(_) => self.remembered(std::slice::from_ref(repository), reference).await,
            Reference::Digest(_) => None,
        };
        let last = deadline + BUDGET_MORE;
        let mut question = std::pin::pin!(self.0.request(repository, reference, known.as_ref(), last));
        let mut asked = tokio::time::timeout_at(deadline, question.as_mut()).await;
        if asked.is_err() && known.is_none() && self.0.lives().await {
            asked = tokio::time::timeout_at(last, question).await;
        }
        match asked {
            Err(_elapsed) => Answer::Unreachable(format!("{} did not answer in time", self.0.server)),
            Ok(Err(why)) => Answer::Unreachable(why),
            Ok(Ok(Got::NotFound)) => {
                self.forget(repository, reference).await;
                Answer::NotFound
            }
            Ok(Ok(Got::OfCopy(kind))) => {
                self.0.through.note(repository);
                Answer::OfCopy(Box::new(match kind {
                    CopyErrorKind::Unavailable => {
                        Answer::Unreachable("the upstream cannot be asked".to_owned())
                    }
                    CopyErrorKind::NotFound | CopyErrorKind::Refused => {
                        self.forget(repository, reference).await;
                        Answer::NotFound
                    }
                }))
            }
            Ok(Ok(Got::Found(found))) => {
                if !known.as_ref().is_some_and(|known| is_noted(known, &found)) {
                    self.remember(repository, reference, &found).await;
                }
                Answer::Found(Box::new(found))
            }
        }
    }

    async fn forget(&self, repository: &Repository, reference: &Reference) {
        let (inner, repository, reference) = (Arc::clone(&self.0), repository.clone(), reference.clone());
        let forget = move || inner.references.forget(&repository, &reference);
        // The task does not panic, and a failure to forget only costs a stale answer while the server is away.
        let _ = tokio::task::spawn_blocking(forget).await;
    }

    async fn remember(&self, repository: &Repository, reference: &Reference, found: &Found) {
        let (inner, repository) = (Arc::clone(&self.0), repository.clone());
        let (reference, found) = (reference.clone(), found.clone());
        let remember = move || inner.keep(&repository, &reference, &found);
        let _ = tokio::task::spawn_blocking(remember).await;
    }
}

/// Whether what was remembered a moment ago says the same.
fn is_noted(known: &Found, now: &Found) -> bool {
    let is_recent = matches!(known.freshness, Freshness::Stale(age) if age < NOTE_AGE_MAX);
    is_recent && known.digest == now.digest && known.copy.is_some() == now.copy.is_some()
}

impl Inner {
    /// Whether the server answers at all.
    async fn lives(&self) -> bool {
        let request = http::Request::get(format!("{}/v2/", self.server)).body(Body::empty());
        let Ok(request) = request else { return false };
        self.client.send(request, SIGN_OF_LIFE).await.is_ok()
    }

    /// What is on disk for a reference.
    fn recall(&self, repository: &Repository, reference: &Reference) -> Option<Found> {
        let resolved = self.references.get(repository, reference)?;
        let bytes = self.manifests.get(&resolved.digest)?;
        self.leads.note_manifest(&resolved.digest, &resolved.media_type, &bytes);
        let freshness = Freshness::Stale(resolved.age());
        let copy = resolved.is_copy.then_some(Copied { freshness: CopyFreshness::Stale, age: None });
        if copy.is_some() {
            self.through.note(repository);
        }
        Some(Found { digest: resolved.digest, media_type: resolved.media_type, bytes, freshness, copy })
    }

    /// Keeps an answer under the reference and under the digest, by which the runtime asks next.
    fn keep(&self, repository: &Repository, reference: &Reference, found: &Found) {
        self.leads.note_manifest(&found.digest, &found.media_type, &found.bytes);
        if found.copy.is_some() {
            self.through.note(repository);
        }
        let by_digest = Reference::Digest(found.digest);
        let kept = self.manifests.put(&found.digest, &found.bytes).and_then(|()| {
            for reference in [reference, &by_digest] {
                let resolved = Resolved::new(repository, reference, found.digest, found.media_type.clone());
                let resolved = Resolved { is_copy: found.copy.is_some(), ..resolved };
                self.references.put(repository, reference, &resolved)?;
            }
            Ok(())
        });
        if let Err(error) = kept {
            tracing::warn!(%repository, %reference, %error, "a manifest could not be cached");
        }
    }

    /// One GET at the server.
    async fn request(
        &self,
        repository: &Repository,
        reference: &Reference,
        known: Option<&Found>,
        deadline: Instant,
    ) -> Result<Got, String> {
        let route = Route::Manifest { repository: repository.clone(), reference: reference.clone() };
        let url = format!("{}{}", self.server, route.to_path());
        let response = hedged(PATIENCE, || async {
            let mut request =
                http::Request::builder().method(Method::GET).uri(&url).header(ACCEPT, MANIFEST_ACCEPT);
            if let Some(known) = known {
                request = request.header(IF_NONE_MATCH, reply::etag(&known.digest));
            }
            let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
            let left = deadline.saturating_duration_since(Instant::now());
            self.client.send(request, left).await.map_err(|error| error.to_string())
        });
        let response = response.await?;
        let copy = copied(&response);
        match (response.status(), known) {
            (StatusCode::OK, _) => Ok(Got::Found(Found { copy, ..read(response, reference).await? })),
            (StatusCode::NOT_MODIFIED, Some(known)) => {
                Ok(Got::Found(Found { freshness: Freshness::Server, copy, ..known.clone() }))
            }
            (StatusCode::NOT_FOUND, _) => {
                let said = text(&response, FRESHNESS).and_then(CopyErrorKind::parse);
                Ok(said.map_or(Got::NotFound, Got::OfCopy))
            }
            (status, _) => Err(format!("{url} answered {status}")),
        }
    }
}

fn text<'a>(response: &'a shoal_http::Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// What an answer says of a copy; `None` when it is about no copy.
fn copied(response: &shoal_http::Response) -> Option<Copied> {
    let freshness = text(response, FRESHNESS).and_then(CopyFreshness::parse)?;
    Some(Copied { freshness, age: text(response, "age").and_then(|age| age.parse().ok()) })
}

/// Reads and checks a manifest that the server sent.
async fn read(response: shoal_http::Response, reference: &Reference) -> Result<Found, String> {
    let header =
        |name: &str| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let stated: Option<Digest> = header("docker-content-digest").and_then(|text| text.parse().ok());
    let media_type = header(CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
    let bytes =
        response.into_body().collect(MANIFEST_SIZE_MAX as usize).await.map_err(|error| error.to_string())?;
    let expected = match reference {
        Reference::Digest(digest) => Some(*digest),
        Reference::Tag(_) => stated,
    };
    let digest = match expected {
        Some(expected) if Digest::of(expected.algorithm(), &bytes) == expected => expected,
        Some(expected) => return Err(format!("the server sent bytes that are not {expected}")),
        None => Digest::sha256(&bytes),
    };
    Ok(Found { digest, media_type, bytes, freshness: Freshness::Server, copy: None })
}
