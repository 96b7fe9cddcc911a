//! Joins the tracker to the origin beside it: two roles that do not know each other.

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::Digest;
use shoal_origin::{Origin, OriginError};
use shoal_swarm_types::{Metainfo, PeerInfo};
use shoal_tracker::{MetainfoSource, SourceError};

/// The origin of this process as the tracker's source.
pub(crate) struct OwnerSource(pub(crate) Origin);

#[async_trait]
impl MetainfoSource for OwnerSource {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, SourceError> {
        self.0.expected_size(digest).map_err(|error| SourceError(error.to_string()))
    }

    async fn metainfo(&self, digest: &Digest) -> Result<Option<Metainfo>, SourceError> {
        self.0.metainfo(digest).await.map_err(|error| SourceError(error.to_string()))
    }

    async fn lost(&self, digest: &Digest) -> Result<Option<Metainfo>, SourceError> {
        self.0.lost(digest).await.map_err(|error| SourceError(error.to_string()))
    }

    fn bring_back(&self, digest: &Digest, holders: Vec<PeerInfo>) {
        let (origin, digest) = (self.0.clone(), *digest);
        // While one goes on, the others end at once.
        tokio::spawn(async move {
            match origin.mend(&digest, holders).await {
                Ok(true) => tracing::info!(%digest, "a blob that was lost is back, from agents"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%digest, %error, "a blob that was lost could not be got back"),
            }
        });
    }

    async fn content(&self, digest: &Digest, size_max: u64) -> Result<Option<Bytes>, SourceError> {
        match self.0.content(digest, size_max).await {
            // The swarm takes over.
            Err(OriginError::Busy) => Ok(None),
            content => content.map_err(|error| SourceError(error.to_string())),
        }
    }
}
