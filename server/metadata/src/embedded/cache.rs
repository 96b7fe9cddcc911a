//! Answers at hand.

use std::hash::{BuildHasher as _, RandomState};

use shoal_oci::{Digest, Repository, Tag};

/// Makes the short names of answers: keyed hashes, so that nobody from outside can make two of them meet.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    /// The size of a blob in a repository.
    pub(super) fn blob(&self, repository: &Repository, digest: &Digest) -> u64 {
        self.0.hash_one((0_u8, repository, digest))
    }

    /// What a tag names.
    pub(super) fn tag(&self, repository: &Repository, tag: &Tag) -> u64 {
        self.0.hash_one((1_u8, repository, tag))
    }

    /// A manifest under its digest.
    pub(super) fn manifest(&self, repository: &Repository, digest: &Digest) -> u64 {
        self.0.hash_one((2_u8, repository, digest))
    }
}
