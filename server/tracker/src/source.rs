//! Where the tracker learns whether a blob exists and how it is cut.

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Metainfo, PeerInfo};

/// The owners of blobs, as the tracker sees them.
#[async_trait]
pub trait MetainfoSource: Send + Sync + 'static {
    /// Size of a blob in bytes; `None` when no owner has it.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, SourceError>;

    /// Metainfo of a blob; `None` when no owner has it.
    async fn metainfo(&self, digest: &Digest) -> Result<Option<Metainfo>, SourceError>;

    /// Metainfo of a blob that the owners had and lost: those who have it can share it all the same.
    async fn lost(&self, _digest: &Digest) -> Result<Option<Metainfo>, SourceError> {
        Ok(None)
    }

    /// Somebody asks for a blob that the owners have lost, and these peers have it. Returns at once.
    fn bring_back(&self, _digest: &Digest, _holders: Vec<PeerInfo>) {}

    /// The whole of a blob of at most `size_max` bytes, if it can be had without much ado. `None` says nothing about the blob.
    async fn content(&self, digest: &Digest, size_max: u64) -> Result<Option<Bytes>, SourceError>;
}

/// The owners could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the owners could not be asked: {0}")]
pub struct SourceError(pub String);
