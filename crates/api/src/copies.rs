//! What the registry asks about repositories that are copies of an upstream's: fetched when they are pulled, and kept.
//!
//! A copy has the name of its registry as first path segment (`docker.io/library/nginx`, `registry.corp_5000/team/app`). Nobody pushes
//! there; what is in it came from the upstream. The room that fills copies and the registry meet in [`Copies`], that room and the owner of
//! blobs in [`Intake`].

use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use shoal_http::Body;
use shoal_oci::{Descriptor, Digest, Host, Reference, Repository, Tag};

use crate::tags::PageAfter;

/// The header that says who vouches for a manifest of a copy, and on a refusal why there is none. See [`Freshness`] and
/// [`CopyErrorKind`].
pub const FRESHNESS: &str = "shoal-freshness";

/// What a client shows an upstream by way of us: the value of its `Authorization`. Its own header, because ours is for us.
pub const UPSTREAM_AUTHORIZATION: &str = "shoal-upstream-authorization";

/// Fills repositories from upstreams.
#[async_trait]
pub trait Copies: Send + Sync + 'static {
    /// The copy of `repository` of the registry `host`; `None` when that is no upstream.
    fn of(&self, host: &Host, repository: &Repository) -> Option<Repository>;

    /// The copy that is meant by a repository of ours, by its one name; `None` when it is no copy.
    fn canonical(&self, repository: &Repository) -> Option<Repository>;

    /// What `reference` means in a copy. The manifest is in the cluster's memory when this returns.
    ///
    /// # Errors
    /// [`CopyError`].
    async fn manifest(&self, copy: &Repository, reference: &Reference) -> Result<Resolution, CopyError>;

    /// A blob that is to be pulled from a copy, which begins to arrive when it is not here. Returns when its size is known.
    ///
    /// # Errors
    /// [`CopyError`].
    async fn blob(&self, copy: &Repository, digest: &Digest) -> Result<Arrival, CopyError>;

    /// The bytes of `range` of a blob that is coming, for somebody who was told so by [`Self::blob`]. See [`Intake::coming`].
    async fn coming(&self, digest: &Digest, range: Range<u64>) -> Option<Body>;

    /// A page of the tags that the upstream has, in its order. `page.last` is an entry, or the `next` of the page before.
    ///
    /// # Errors
    /// [`CopyError`].
    async fn tags(&self, copy: &Repository, page: PageAfter) -> Result<ListedOf<Tag>, CopyError>;

    /// A page of what refers to `subject` at the upstream, of one type or any. `page.last` as in [`Self::tags`].
    ///
    /// # Errors
    /// [`CopyError`].
    async fn referrers(
        &self,
        copy: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: PageAfter,
    ) -> Result<ListedOf<Descriptor>, CopyError>;

    /// Whether a blob is on its way into `copy`, or into any when none is named.
    fn is_arriving(&self, copy: Option<&Repository>, digest: &Digest) -> bool;
}

/// Takes blobs in.
#[async_trait]
pub trait Intake: Send + Sync + 'static {
    /// The size in bytes of a blob that is here.
    ///
    /// # Errors
    /// [`IntakeError`] when the disk does not tell.
    fn size(&self, digest: &Digest) -> Result<Option<u64>, IntakeError>;

    /// Takes in the blob `digest` from `body`, and returns its size when it is durable and was verified. Whoever comes while it is on its
    /// way shares what comes of it.
    ///
    /// # Errors
    /// [`IntakeError`]; nothing of the blob is then visible.
    async fn take_in(&self, digest: &Digest, size: Option<u64>, body: Body) -> Result<u64, IntakeError>;

    /// The bytes of `range` of a blob that is being taken in, or is about to be, as a body that goes on while they come and is cut when they do
    /// not. Returns with the first of them. `None` when nothing is to be had before the whole.
    async fn coming(&self, digest: &Digest, range: Range<u64>) -> Option<Body>;
}

/// Why a blob was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct IntakeError {
    /// Whether the bytes were not those that the digest names.
    pub is_wrong: bool,
    /// In words.
    pub why: String,
}

/// What a reference means, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The manifest.
    pub digest: Digest,
    /// Who says so.
    pub freshness: Freshness,
    /// How long ago the upstream said so; `None` when that is not known any more.
    pub age: Option<Duration>,
}

/// Who says what a reference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nobody has to: it never changes.
    Immutable,
    /// The upstream, not longer ago than the policy allows.
    Fresh,
    /// The upstream, just now.
    Revalidated,
    /// The upstream, which cannot be asked now.
    Stale,
}

impl Freshness {
    /// As [`FRESHNESS`] says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Immutable => "immutable",
            Self::Fresh => "fresh",
            Self::Revalidated => "revalidated",
            Self::Stale => "stale",
        }
    }

    /// What [`FRESHNESS`] said.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Immutable, Self::Fresh, Self::Revalidated, Self::Stale]
            .into_iter()
            .find(|known| known.as_str() == text)
    }
}

/// A page of a list that an upstream has.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedOf<T> {
    /// Its entries.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
    /// Who says so.
    pub freshness: Freshness,
    /// How long ago the upstream said so; `None` when that is not known.
    pub age: Option<Duration>,
}

/// A blob that is here or comes.
pub struct Arrival {
    /// Its size in bytes, when it is known.
    pub size: Option<u64>,
    /// Its size when it is here, verified and part of the copy.
    pub ended: Pin<Box<dyn Future<Output = Result<u64, CopyError>> + Send>>,
}

/// What a caller can do about a [`CopyError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyErrorKind {
    /// The upstream says that there is no such thing.
    NotFound,
    /// The upstream does not give it to us, or our rules forbid to ask.
    Refused,
    /// Not now.
    Unavailable,
}

impl CopyErrorKind {
    /// As [`FRESHNESS`] says it on a refusal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }

    /// What [`FRESHNESS`] said.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::NotFound, Self::Refused, Self::Unavailable].into_iter().find(|known| known.as_str() == text)
    }
}

/// An upstream's content that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CopyError {
    /// What a caller can do about it.
    pub kind: CopyErrorKind,
    /// The sentence for a human; holds no secret.
    pub message: String,
}

impl CopyError {
    /// An error of this kind.
    pub fn new(kind: CopyErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
