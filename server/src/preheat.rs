//! Joins preheat notifications to the origin and the registry beside them: rooms that do not know each other.

use std::net::SocketAddr;

use async_trait::async_trait;
use http::request::Parts;
use shoal_api::preheat::{Preheat, PreheatImage, Preheated};
use shoal_events::PreheatGate;
use shoal_http::Response;
use shoal_oci::Repository;
use shoal_origin::Origin;
use shoal_registry::Registry;

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

/// The registry of this process, which decides who may pull.
pub(crate) struct RegistryGate(pub(crate) Registry);

#[async_trait]
impl PreheatGate for RegistryGate {
    async fn admit(
        &self,
        request: &Parts,
        peer: SocketAddr,
        repositories: &[Repository],
    ) -> Result<String, Response> {
        self.0.admit_pull(request, peer, repositories).await
    }
}
