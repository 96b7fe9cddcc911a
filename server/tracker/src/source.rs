//! Where the tracker learns whether a blob exists and how it is cut.

use async_trait::async_trait;
use shoal_oci::Digest;
use shoal_swarm_types::Metainfo;

/// The owners of blobs, as the tracker sees them.
#[async_trait]
pub trait MetainfoSource: Send + Sync + 'static {
    /// Size of a blob in bytes; `None` when no owner has it.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, SourceError>;

    /// Metainfo of a blob; `None` when no owner has it.
    async fn metainfo(&self, digest: &Digest) -> Result<Option<Metainfo>, SourceError>;
}

/// The owners could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the owners could not be asked: {0}")]
pub struct SourceError(pub String);
