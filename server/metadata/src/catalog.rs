//! The questions and changes that every engine understands.
//!
//! Every change is one transaction: durable when the answer is there, visible to every later question, and whole or absent after
//! a crash.

mod change;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::{Descriptor, Digest, Reference, Repository, Tag};

use crate::Result;
pub use change::{Condition, DeleteOutcome, Match, PutManifest, PutOutcome, References};

/// The most items in one page, whatever is asked for: a page is held in memory and may become one HTTP answer.
pub const PAGE_LIMIT_MAX: usize = 10_000;

/// The most bytes of names and annotations in one page of referrers (at least one item is always given). Registries are asked to
/// keep that answer below 4 MiB.
pub const REFERRERS_BYTES_MAX: usize = 3 << 20;

/// What repositories hold.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Makes a blob of `size` bytes part of `repository`, and queues the messages of `outbox` with it. Linking what is linked changes
    /// nothing but when it was linked; with another size it is refused.
    async fn link_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        outbox: Vec<Bytes>,
    ) -> Result<()>;

    /// The size in bytes of a blob that is part of `repository`.
    async fn blob_in(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>>;

    /// Some repository that a blob is part of, and the blob's size in bytes.
    async fn blob_anywhere(&self, digest: &Digest) -> Result<Option<(Repository, u64)>>;

    /// Ends a blob being part of `repository`; `false` when it was not, and then no message is queued.
    async fn unlink_blob(&self, repository: &Repository, digest: &Digest, outbox: Vec<Bytes>)
    -> Result<bool>;

    /// Stores a manifest and moves its tags to it, or changes nothing and says why. What the manifest references, what its
    /// tags name now and whether they may move is checked inside the transaction, so that a concurrent change comes before or after it.
    async fn put_manifest(&self, manifest: PutManifest) -> Result<PutOutcome>;

    /// The manifest that `reference` names in `repository`.
    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Option<Manifest>>;

    /// The digest that a tag names.
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>>;

    /// Removes a manifest and every tag that names it, if the condition holds for the manifest.
    async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        condition: Condition,
        outbox: Vec<Bytes>,
    ) -> Result<DeleteOutcome>;

    /// Removes a tag and leaves its manifest, if the condition holds for what the tag names.
    async fn delete_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        condition: Condition,
        outbox: Vec<Bytes>,
    ) -> Result<DeleteOutcome>;

    /// The tags that need a blob or a manifest, in byte order; at most [`PAGE_LIMIT_MAX`]. They name it, or a manifest that references
    /// it, be it through indexes. A subject is no reference.
    async fn tags_needing(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Tag>>;

    /// Remembers that a manifest was pulled just now. Written in batches, at the latest after a minute and when the engine closes.
    fn pulled(&self, repository: &Repository, reference: &Reference);

    /// [`Catalog::blob_in`] at once, if the answer is at hand: `None` says nothing about the blob.
    fn blob_in_cached(&self, _repository: &Repository, _digest: &Digest) -> Option<Option<u64>> {
        None
    }

    /// [`Catalog::resolve`] at once, if the answer is at hand: `None` says nothing about the tag.
    fn resolve_cached(&self, _repository: &Repository, _tag: &Tag) -> Option<Digest> {
        None
    }

    /// [`Catalog::manifest`] at once, if the answer is at hand: `None` says nothing about the manifest.
    fn manifest_cached(&self, _repository: &Repository, _reference: &Reference) -> Option<Arc<Manifest>> {
        None
    }

    /// The tags of a repository in byte order; `None` when the repository has neither manifests nor blobs.
    async fn tags(&self, repository: &Repository, page: PageAfter) -> Result<Option<Page<Tag>>>;

    /// The repositories that have manifests or blobs, in byte order.
    async fn repositories(&self, page: PageAfter) -> Result<Page<Repository>>;

    /// The manifests in `repository` whose subject is `subject`, of one artifact type or of all, ordered by digest. `page.last` is a
    /// digest as text; one that does not parse counts as "from the start".
    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: PageAfter,
    ) -> Result<Page<Descriptor>>;
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
    /// At most this many items, and at most [`PAGE_LIMIT_MAX`]; 0 asks for none.
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
