//! What changes a repository, under which condition, and what became of it.
//!
//! Whether a tag is created or moved, and whether the condition holds, is decided inside the transaction that makes the change: what
//! a caller looked up before may be outdated when the change is made.

use bytes::Bytes;
use shoal_oci::{Annotations, Digest, Manifest, Repository, Tag};

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
    /// What must be true of every tag in `tags`, or of the manifest itself when there are none.
    pub condition: Condition,
    /// Those of `tags` that may be created and then never move.
    pub immutable: Vec<Tag>,
    /// Whether tags that exist may move to this manifest; `false` for a caller who may only create.
    pub overwrite: bool,
    /// Messages that are queued in the same transaction, if the outcome is [`PutOutcome::Stored`].
    pub outbox: Vec<Bytes>,
}

impl PutManifest {
    /// A manifest as it was read from `bytes`, under no condition; every reference is checked, tags may move, and nothing is queued.
    pub fn of(
        repository: Repository,
        digest: Digest,
        bytes: Bytes,
        manifest: &Manifest,
        tags: Vec<Tag>,
    ) -> Self {
        Self {
            repository,
            digest,
            media_type: manifest.media_type().to_string(),
            bytes,
            blobs: manifest.blobs(),
            blobs_optional: manifest.blobs_optional(),
            children: manifest.children(),
            subject: manifest.subject().map(|subject| subject.digest),
            artifact_type: manifest.artifact_type().map(str::to_owned),
            annotations: manifest.annotations().clone(),
            tags,
            references: References::Required,
            condition: Condition::default(),
            immutable: Vec::new(),
            overwrite: true,
            outbox: Vec::new(),
        }
    }
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

/// The `If-Match` and `If-None-Match` of a change; both must hold. The default holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// What must be there now (RFC 9110 §13.1.1).
    pub if_match: Option<Match>,
    /// What must not be there now (RFC 9110 §13.1.2).
    pub if_none_match: Option<Match>,
}

/// The entity tags of one header field; those of other forms than a digest match nothing and are left out by whoever reads the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `*`: whatever is there.
    Any,
    /// One of these.
    Digests(Vec<Digest>),
}

/// What became of a [`PutManifest`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutOutcome {
    /// Stored, and the tags moved. Also the answer when all of it was so before, in which case nothing has moved.
    Stored {
        /// The tags that named something else before, or nothing.
        moved: Vec<(Tag, Option<Digest>)>,
        /// Whether the repository did not have the manifest before.
        created: bool,
    },
    /// Nothing was changed, because these are not in the repository.
    Missing {
        /// Blobs that are not linked.
        blobs: Vec<Digest>,
        /// Manifests that do not exist.
        children: Vec<Digest>,
    },
    /// Nothing was changed, because the condition does not hold.
    ///
    /// An `If-Match` that fails because the change was made already (all tags name this manifest) is no failure but
    /// [`Self::Stored`], as RFC 9110 §13.1.1 allows: a repeated request gets the answer of the first. `If-None-Match` knows no such
    /// exception; `current` then tells the caller that the content is its own.
    PreconditionFailed {
        /// What the tag names.
        current: Option<Digest>,
    },
    /// Nothing was changed, because a tag exists and may not move.
    TagExists {
        /// The tag.
        tag: Tag,
        /// What it names.
        current: Digest,
    },
}

/// What became of a wish to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum DeleteOutcome {
    /// It is gone.
    Deleted {
        /// The manifest that was deleted, or that the deleted tag named.
        digest: Digest,
        /// The tags that are gone.
        tags: Vec<Tag>,
    },
    /// It was not there.
    NotFound,
    /// Nothing was changed, because the condition does not hold.
    PreconditionFailed {
        /// What is there.
        current: Option<Digest>,
    },
}
