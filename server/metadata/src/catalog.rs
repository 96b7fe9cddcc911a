//! The questions and changes that every engine understands.
//!
//! Every change is one transaction: durable when the answer is there, visible to every later question, and whole or absent after
//! a crash.

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::{Annotations, Descriptor, Digest, Reference, Repository, Tag};

use crate::Result;

/// The most items in one page, whatever is asked for: a page is held in memory and may become one HTTP answer.
pub const PAGE_LIMIT_MAX: usize = 10_000;

/// The most bytes of names and annotations in one page of referrers (at least one item is always given). Registries are asked to
/// keep that answer below 4 MiB.
pub const REFERRERS_BYTES_MAX: usize = 3 << 20;

/// What repositories hold.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Makes a blob of `size` bytes part of `repository`. Linking what is linked changes nothing; with another size it is refused.
    async fn link_blob(&self, repository: &Repository, digest: &Digest, size: u64) -> Result<()>;

    /// The size in bytes of a blob that is part of `repository`.
    async fn blob_in(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>>;

    /// Some repository that a blob is part of, and the blob's size in bytes.
    async fn blob_anywhere(&self, digest: &Digest) -> Result<Option<(Repository, u64)>>;

    /// Ends a blob being part of `repository`; `false` when it was not.
    async fn unlink_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool>;

    /// Stores a manifest and moves its tags to it, or changes nothing and says what is missing. What the manifest references is
    /// checked inside the transaction, so that a concurrent unlink or delete comes before or after it.
    async fn put_manifest(&self, manifest: PutManifest) -> Result<PutOutcome>;

    /// The manifest that `reference` names in `repository`.
    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Option<Manifest>>;

    /// The digest that a tag names.
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>>;

    /// Removes a manifest and every tag that names it; `false` when it was not there.
    async fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Result<bool>;

    /// Removes a tag and leaves its manifest; `false` when it was not there.
    async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool>;

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

/// A manifest on its way in.
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
    /// The blobs that must be linked in the repository.
    pub blobs: Vec<Digest>,
    /// The blobs that may be missing, remembered as references all the same.
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
    /// Everything must be there.
    #[default]
    Required,
    /// Anything may be missing.
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
