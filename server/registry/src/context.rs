//! What every handler of the role works with, and the way from the asynchronous side to the store's blocking words.

use std::sync::Arc;

use shoal_api::audit::{Audit, NoAudit};
use shoal_api::events::{Events, NoEvents};
use shoal_api::tags::Tags;
use shoal_api::{Copies, Leases};
use shoal_oci::{Digest, Repository};
use shoal_store::Store;
use shoal_telemetry::RegistryMetrics;

use crate::error::{self, Refusal};
use crate::lanes::{Lane, Lanes};
use crate::options::RegistryOptions;
use crate::room::Room;
use crate::tag_rights::FrozenTags;
use crate::tally::Tally;

/// The rooms below and the options.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) tags: Arc<dyn Tags>,
    pub(crate) leases: Leases,
    pub(crate) metrics: RegistryMetrics,
    pub(crate) tally: Tally,
    pub(crate) lanes: Lanes,
    pub(crate) room: Room,
    /// For what is read to be verified on its way out.
    pub(crate) reads: Room,
    pub(crate) frozen_tags: FrozenTags,
    pub(crate) options: RegistryOptions,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) audit: Arc<dyn Audit>,
    /// Who fills repositories from upstreams, if anybody does.
    pub(crate) copies: Option<Arc<dyn Copies>>,
}

impl Context {
    pub(crate) fn new(
        store: Store,
        tags: Arc<dyn Tags>,
        leases: Leases,
        metrics: RegistryMetrics,
        options: RegistryOptions,
    ) -> Self {
        Self {
            store,
            tags,
            leases,
            tally: Tally::new(metrics.clone()),
            metrics,
            lanes: Lanes::new(&options),
            frozen_tags: FrozenTags::default(),
            room: Room::new(options.upload_memory_max, options.wait_max),
            // A request that waits here has a turn, and most turns are for those who need no such memory.
            reads: Room::new(options.read_memory_max, options.wait_max).with_queue(options.pulls_max / 4),
            options,
            events: Arc::new(NoEvents),
            audit: Arc::new(NoAudit),
            copies: None,
        }
    }

    /// Runs `work` for a pull, where it may block. Work that was begun is finished even when nobody waits for it any more.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> T + Send + 'static,
    {
        self.run(&self.lanes.pulls, work).await
    }

    /// As [`Self::blocking`], for a push.
    pub(crate) async fn blocking_push<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> T + Send + 'static,
    {
        self.run(&self.lanes.pushes, work).await
    }

    async fn run<T, F>(&self, lane: &Lane, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> T + Send + 'static,
    {
        let store = self.store.clone();
        let place = lane.thread().await?;
        let task = tokio::task::spawn_blocking(move || {
            let outcome = work(&store);
            drop(place);
            outcome
        });
        task.await.map_err(|error| error::internal("a task of the store ended early", &error))
    }

    /// The size in bytes of a blob that is part of `repository`, as the link says.
    async fn linked(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Refusal> {
        match self.tags.blob_in_cached(repository, digest) {
            Some(answer) => Ok(answer),
            None => Ok(self.tags.blob_in(repository, digest).await?),
        }
    }

    /// The size in bytes of a blob that is part of `repository` and whose content is here.
    ///
    /// A link without content (a disk was lost) counts as absent: clients skip blobs that the registry claims to have, so
    /// only this way does a second push repair the image. What is said to be here stays for a while.
    pub(crate) async fn blob_in(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, Refusal> {
        if self.linked(repository, digest).await?.is_none() {
            return Ok(None);
        }
        // Only what is there is vouched for, so that questions about nothing fill no memory; and looked up once more, because the
        // collector may have removed it in between.
        self.leases.vouch(repository, digest).await;
        if self.linked(repository, digest).await?.is_none() {
            return Ok(None);
        }
        let size = self.stat(digest)?;
        if size.is_none() {
            tracing::warn!(%repository, %digest, "a linked blob is not in the store; it has to be pushed again");
        }
        Ok(size)
    }

    /// Size of a blob in the store. That the disk does not tell is no sign that it is not there.
    pub(crate) fn stat(&self, digest: &Digest) -> Result<Option<u64>, Refusal> {
        self.store.stat(digest).map_err(|error| error::of_pull(digest, &error))
    }
}
