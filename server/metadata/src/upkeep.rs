//! What the collector asks: walks over everything that is stored, and removals that look again before they remove.
//!
//! A walk goes on past what it cannot read: a damaged row is a [`Fault`] in its page, never the end of the walk. What a walk says is
//! outdated when it is read; only the removals decide, each inside its own transaction.

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::{Digest, Repository, Tag};

use crate::catalog::Catalog;
use crate::clock::UnixMillis;
use crate::{Outbox, Result};

/// The most rows that one step of a walk looks at: a step takes a few milliseconds of one reading thread, and nothing of the writer.
pub const STEP_LEN_MAX: usize = 1000;

/// Care for what is stored, beside the questions and changes of [`Catalog`].
#[async_trait]
pub trait Upkeep: Catalog + Outbox {
    /// Links that no manifest of their repository references and that were made before `older_than`. A step looks at no more than
    /// `limit` links, so a page may be empty and still have a next one.
    async fn unreferenced_links(
        &self,
        after: Option<Cursor>,
        older_than: UnixMillis,
        limit: usize,
    ) -> Result<Walk<UnreferencedLink>>;

    /// Removes a link, if it is still as [`Upkeep::unreferenced_links`] said; `false` when it is not and stays, or is gone.
    async fn remove_link_if_unreferenced(
        &self,
        repository: &Repository,
        digest: &Digest,
        older_than: UnixMillis,
    ) -> Result<bool>;

    /// Whether any repository has the blob, or references it (a sparse index, a layer that may be missing).
    async fn is_linked(&self, digest: &Digest) -> Result<bool>;

    /// Every repository, those included that have nothing.
    async fn walk_repositories(&self, after: Option<Cursor>, limit: usize) -> Result<Walk<Repository>>;

    /// The tags of a repository.
    async fn walk_tags(
        &self,
        repository: &Repository,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Walk<TagRecord>>;

    /// The manifests of a repository.
    async fn walk_manifests(
        &self,
        repository: &Repository,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Walk<ManifestRecord>>;

    /// Removes a manifest that nothing needs: no tag names it, no other manifest of the repository references it, what it refers to
    /// (its subject) is not there, and it was neither pushed nor pulled since it was listed as `record`. `false` when it stays, or
    /// is gone; then no message is queued.
    async fn remove_manifest_if_unused(
        &self,
        repository: &Repository,
        record: &ManifestRecord,
        outbox: Vec<Bytes>,
    ) -> Result<bool>;

    /// Removes a tag that was neither moved nor pulled since it was listed as `record`. `false` when it stays, or is gone; then no
    /// message is queued.
    async fn remove_tag_if_unchanged(
        &self,
        repository: &Repository,
        record: &TagRecord,
        outbox: Vec<Bytes>,
    ) -> Result<bool>;

    /// Writes what [`Catalog::pulled`] was told and is still only in memory.
    async fn flush_pulled(&self) -> Result<()>;
}

/// Where a walk goes on. Only for the walk that gave it, of the same repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number of the last row's repository.
    pub(crate) repository: i64,
    /// The last row's key within it, as it is stored.
    pub(crate) key: Vec<u8>,
}

/// One step of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk<T> {
    /// What was found.
    pub items: Vec<T>,
    /// What could not be read and was passed over.
    pub faults: Vec<Fault>,
    /// Where the next step begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// Something stored that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which row, in words for an operator.
    pub row: String,
    /// What is wrong with it.
    pub why: String,
}

/// A link that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreferencedLink {
    /// Where it is.
    pub repository: Repository,
    /// Of which blob.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// When it was made, or made again.
    pub linked_at: UnixMillis,
}

/// A tag, for retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRecord {
    /// Its name.
    pub tag: Tag,
    /// What it names.
    pub digest: Digest,
    /// When it was made to name that.
    pub moved_at: UnixMillis,
    /// When it was last pulled, as far as that is written ([`Upkeep::flush_pulled`]).
    pub pulled_at: Option<UnixMillis>,
}

/// A manifest, for retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRecord {
    /// Its address.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last pushed.
    pub pushed_at: UnixMillis,
    /// When it was last pulled, under its digest or a tag, as far as that is written.
    pub pulled_at: Option<UnixMillis>,
    /// Whether a tag names it.
    pub tagged: bool,
    /// Whether another manifest of the repository (an index) references it.
    pub referenced: bool,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// Whether its subject is in the repository; `false` without a subject.
    pub subject_present: bool,
}
