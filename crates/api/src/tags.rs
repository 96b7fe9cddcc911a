//! What the registry asks the cluster's memory: links, manifests, tags, referrers.
//!
//! The role `tags` implements [`Tags`]; the role `registry` uses it and knows nothing of what is behind. Every word that changes
//! something is one transaction, durable when the answer is there, and visible to every later question.

mod change;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::{Descriptor, Digest, Reference, Repository, Tag};

pub use change::{Condition, DeleteOutcome, Match, PutManifest, PutOutcome, References};

/// One entry of a list of referrers: `media_type`, `digest`, `size`, `artifact_type` and `annotations` are set, nothing else.
pub type Referrer = Descriptor;

/// The most tags that [`Tags::tags_needing`] names. Who gets this many does not know all of them.
pub const TAGS_NEEDING_MAX: usize = 10_000;

/// What the registry needs to remember and to find again.
#[async_trait]
pub trait Tags: Send + Sync + 'static {
    /// Makes a blob of `size` bytes part of `repository`, and queues the messages of `outbox` with it. Linking what is linked changes
    /// nothing but when it was linked; its messages are queued all the same.
    async fn link_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        outbox: Vec<Bytes>,
    ) -> Result<(), TagsError>;

    /// The size in bytes of a blob that is part of `repository`; `None` when it is not, even if the cluster has the blob.
    async fn blob_in(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, TagsError>;

    /// Some repository that a blob is part of, and the blob's size in bytes.
    async fn blob_anywhere(&self, digest: &Digest) -> Result<Option<(Repository, u64)>, TagsError>;

    /// Ends a blob being part of `repository`; `false` when it was not, and then no message is queued. The content stays.
    async fn unlink_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        outbox: Vec<Bytes>,
    ) -> Result<bool, TagsError>;

    /// Stores a manifest and moves its tags to it, or does nothing at all and says why.
    async fn put_manifest(&self, manifest: PutManifest) -> Result<PutOutcome, TagsError>;

    /// The manifest that `reference` names in `repository`.
    async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, TagsError>;

    /// The digest that a tag names: [`Tags::manifest`] without the bytes.
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, TagsError>;

    /// Removes a manifest and every tag that names it, if the condition holds for the manifest.
    async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        condition: Condition,
        outbox: Vec<Bytes>,
    ) -> Result<DeleteOutcome, TagsError>;

    /// Removes a tag and leaves its manifest, if the condition holds for what the tag names.
    async fn delete_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        condition: Condition,
        outbox: Vec<Bytes>,
    ) -> Result<DeleteOutcome, TagsError>;

    /// The tags that need a blob or a manifest, in byte order; at most [`TAGS_NEEDING_MAX`] of them. They name it, or a manifest that
    /// references it, be it through indexes. A subject is no reference.
    async fn tags_needing(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Tag>, TagsError>;

    /// Remembers that a manifest was pulled just now. Kept in memory and written in batches, at the latest after a minute and at
    /// shutdown; a crash forgets those that were not written.
    fn pulled(&self, _repository: &Repository, _reference: &Reference) {}

    /// [`Tags::blob_in`] at once, if the answer is at hand: `None` says nothing about the blob.
    fn blob_in_cached(&self, _repository: &Repository, _digest: &Digest) -> Option<Option<u64>> {
        None
    }

    /// [`Tags::resolve`] at once, if the answer is at hand: `None` says nothing about the tag.
    fn resolve_cached(&self, _repository: &Repository, _tag: &Tag) -> Option<Digest> {
        None
    }

    /// [`Tags::manifest`] at once, if the answer is at hand: `None` says nothing about the manifest.
    fn manifest_cached(&self, _repository: &Repository, _reference: &Reference) -> Option<Arc<Manifest>> {
        None
    }

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
