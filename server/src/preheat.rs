//! Joins preheat notifications to the origin beside them: two rooms that do not know each other.

use async_trait::async_trait;
use shoal_api::preheat::{Preheat, PreheatImage, Preheated};
use shoal_origin::Origin;

/// The origin of this process, which makes blobs ready for peers.
pub(crate) struct OriginPreheat(pub(crate) Origin);

#[async_trait]
impl Preheat for OriginPreheat {
    /// Opens every blob: its metainfo is in memory then, which is what a peer asks for first. The origin serves whatever its store
    /// has, so nothing else has to be set up.
    async fn preheat(&self, image: &PreheatImage) -> Preheated {
        let mut done = Preheated::default();
        for blob in &image.blobs {
            match self.0.metainfo(blob).await {
                Ok(Some(_)) => done.ready += 1,
                Ok(None) => done.missing += 1,
                Err(error) => {
                    tracing::warn!(digest = %blob, %error, "a blob to preheat cannot be read");
                    done.missing += 1;
                }
            }
        }
        done
    }
}
