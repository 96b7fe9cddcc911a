//! What the registry asks the cluster's memory: links, manifests, tags, referrers.
//!
//! The role `tags` implements [`Tags`]; the role `registry` uses it and knows nothing of what is behind. Every word that changes
//! something is one transaction, durable when the answer is there, and visible to every later question.

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::{Annotations, Descriptor, Digest, Reference, Repository, Tag};

/// One entry of a list of referrers: `media_type`, `digest`, `size`, `artifact_type` and `annotations` are set, nothing else.
pub type Referrer = Descriptor;

/// What the registry needs to remember and to find again.
#[async_trait]
pub trait Tags: Send + Sync + 'static {
    /// Makes a blob of `size` bytes part of `repository`. Linking what is linked changes nothing.
    async fn link_blob(&self, repository: &Repository, digest: &Digest, size: u64) -> Result<(), TagsError>;

    /// The size in bytes of a blob that is part of `repository`; `None` when it is not, even if the cluster has the blob.
    async fn blob_in(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, TagsError>;

    /// Some repository that a blob is part of, and the blob's size in bytes.
    async fn blob_anywhere(&self, digest: &Digest) -> Result<Option<(Repository, u64)>, TagsError>;

    /// Ends a blob being part of `repository`; `false` when it was not. The content stays.
    async fn unlink_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, TagsError>;

    /// Stores a manifest and moves its tags to it, or does nothing at all and says what is missing.
    async fn put_manifest(&self, manifest: PutManifest) -> Result<PutOutcome, TagsError>;

    /// The manifest that `reference` names in `repository`.
    async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, TagsError>;

    /// The digest that a tag names: [`Tags::manifest`] without the bytes.
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, TagsError>;

    /// Removes a manifest and every tag that names it; `false` when it was not there.
    async fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Result<bool, TagsError>;

    /// Removes a tag and leaves its manifest; `false` when it was not there.
    async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool, TagsError>;

    /// The tags of a repository in byte order; `None` when the repository has neither manifests nor blobs.
    async fn tags(&self, repository: &Repository, page: PageAfter) -> Result<Option<Page<Tag>>, TagsError>;

    /// The repositories that have manifests or blobs, in byte order of their names.
    async fn repositories(&self, page: PageAfter) -> Result<Page<Repository>, TagsError>;

    /// The manifests in `repository` whose subject is `subject`, of one artifact type or of all; empty when there are none.
    ///
    /// Ordered by digest. `page.last` is a digest as text; one that does not parse counts as "from the start".
    /// A page may be shorter than asked for when its annotations are large: `more` tells.
    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: PageAfter,
    ) -> Result<Page<Referrer>, TagsError>;
}

/// A manifest on its way in. What it references was read from `bytes` with `shoal_oci::Manifest`.
#[derive(Clone, Debug, PartialEq)]
pub struct PutManifest {
    /// Where it will be.
    pub repository: Repository,
    /// The address of `bytes`.
    pub digest: Digest,
    /// The content type under which it is served.
    pub media_type: String,
    /// The document exactly as it was pushed.
    pub bytes: Bytes,
    /// The blobs that must be part of the repository.
    pub blobs: Vec<Digest>,
    /// The blobs that may be missing (non-distributable layers). Remembered, so that they are kept when they are here.
    pub blobs_optional: Vec<Digest>,
    /// The manifests that must be in the repository.
    pub children: Vec<Digest>,
    /// The manifest that this one refers to; it need not exist.
    pub subject: Option<Digest>,
    /// The type shown in a list of referrers.
    pub artifact_type: Option<String>,
    /// The annotations shown in a list of referrers.
    pub annotations: Annotations,
    /// The tags that will name this manifest.
    pub tags: Vec<Tag>,
    /// Whether what it references is checked.
    pub references: References,
}

/// Whether a manifest may reference what is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// Everything must be there: what a push promises.
    #[default]
    Required,
    /// Anything may be missing: sparse indexes, and mirrors that fill on demand.
    Sparse,
}

/// What became of a [`PutManifest`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutOutcome {
    /// Stored, and the tags moved.
    Stored,
    /// Nothing was changed, because these are not in the repository.
    Missing {
        /// Blobs that are not linked.
        blobs: Vec<Digest>,
        /// Manifests that do not exist.
        children: Vec<Digest>,
    },
}

/// A stored manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The address of `bytes`.
    pub digest: Digest,
    /// The content type under which it is served.
    pub media_type: String,
    /// The document exactly as it was pushed.
    pub bytes: Bytes,
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAfter {
    /// Only items after this one in the list's order; it need not exist.
    pub last: Option<String>,
    /// At most this many items. The implementation has a limit of its own and may return fewer with `more` set; 0 asks for none.
    pub limit: usize,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Whether there are items after these. `false` when none were asked for.
    pub more: bool,
}

/// What a caller can do about a [`TagsError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagsErrorKind {
    /// What was asked about does not exist.
    NotFound,
    /// The change contradicts what is there.
    Conflict,
    /// Not now; the same request may succeed later.
    Unavailable,
    /// A fault on our side.
    Internal,
}

/// A question that got no answer, or a change that was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TagsError {
    /// What a caller can do about it.
    pub kind: TagsErrorKind,
    /// The sentence for a human; safe to show to a client.
    pub message: String,
}

impl TagsError {
    /// An error of this kind.
    pub fn new(kind: TagsErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.kind == TagsErrorKind::Unavailable
    }
}
