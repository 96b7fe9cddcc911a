//! What every handler of the role works with, and the way from the asynchronous side to the store's blocking words.

use std::sync::Arc;

use shoal_api::tags::Tags;
use shoal_oci::{Digest, Repository};
use shoal_store::Store;
use shoal_telemetry::RegistryMetrics;

use crate::error::{self, Refusal};
use crate::options::RegistryOptions;

/// The rooms below and the options.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) tags: Arc<dyn Tags>,
    pub(crate) metrics: RegistryMetrics,
    pub(crate) options: RegistryOptions,
}

impl Context {
    /// Runs `work` where it may block. Work that was begun is finished even when nobody waits for it any more.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> T + Send + 'static,
    {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store))
            .await
            .map_err(|error| error::internal("a task of the store ended early", &error))
    }

    /// The size in bytes of a blob that is part of `repository` and whose content is here.
    ///
    /// A link without content (a disk was lost) counts as absent: clients skip blobs that the registry claims to have, so
    /// only this way does a second push repair the image.
    pub(crate) async fn blob_in(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, Refusal> {
        if self.tags.blob_in(repository, digest).await?.is_none() {
            return Ok(None);
        }
        let size = self.store.stat(digest);
        if size.is_none() {
            tracing::warn!(%repository, %digest, "a linked blob is not in the store; it has to be pushed again");
        }
        Ok(size)
    }
}
