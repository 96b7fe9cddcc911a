//! The engine that needs no other service: SQLite inside this process.
//!
//! One thread writes and gathers every waiting change into one transaction, so that one flush of the disk serves them all; a few
//! threads read, each from its own snapshot, and never wait for the writer. The price: a write costs at least one disk flush of
//! latency, and one process at a time owns the directory (a lock file says so).

mod backup;
mod cache;
mod links;
mod lists;
mod lock;
mod log;
mod manifests;
mod outbox;
mod pulls;
mod readers;
mod recall;
mod rows;
mod schema;
mod tender;
mod transaction;
mod upkeep;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use shoal_oci::{Descriptor, Digest, Reference, Repository, Tag};

use crate::catalog::{Catalog, Condition, DeleteOutcome, Manifest, Page, PageAfter, PutManifest, PutOutcome};
use crate::{Error, Result, clock};
use lock::Lock;
use log::LogWatch;
use pulls::Pulls;
use readers::Readers;
use tender::{Tender, Wake};
use transaction::{Memory, Shared, Transaction};
use writer::Writer;

/// The database in the data directory; SQLite adds `-wal` and `-shm` beside it.
const DATABASE: &str = "metadata.db";

/// How long a request waits in the queue and for its answer. Beyond this a client has given up or will soon; a healthy disk
/// answers in milliseconds.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// How an [`Embedded`] is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of memory for answers that are asked for often.
    pub cache_len_max: usize,
    /// Messages that the outbox holds before the oldest are dropped.
    pub outbox_len_max: u64,
}

impl Default for Options {
    /// 16 MiB hold some thousand manifests or a hundred thousand blobs' sizes. A million messages are a day of pushes to a webhook
    /// that does not answer, and about a gigabyte on the disk.
    fn default() -> Self {
        Self { cache_len_max: 16 << 20, outbox_len_max: 1_000_000 }
    }
}

/// A catalog in one directory. Clones share it; dropping the last one finishes what is queued and closes the files.
#[derive(Clone)]
pub struct Embedded(Arc<Engine>);

/// The fields are dropped in this order: pulls are written down, the last connection to close is the writer's, which folds the log
/// into the database, and the lock outlives all.
struct Engine {
    tender: Tender,
    readers: Readers,
    writer: Writer,
    pulls: Arc<Pulls>,
    shared: Arc<Shared>,
    database: PathBuf,
    _lock: Lock,
}

impl Embedded {
    /// Opens the store in `directory`, or makes one there. Blocking.
    ///
    /// Finishes what a crash left undone and upgrades an older schema. Fails when another process has the store open, when a newer
    /// program wrote it, or when the directory holds somebody else's database.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::open_with(directory, Options::default())
    }

    /// [`Embedded::open`] with limits of one's own.
    pub fn open_with(directory: &Path, options: Options) -> Result<Self> {
        std::fs::create_dir_all(directory).map_err(|error| io("create", directory, &error))?;
        let lock = Lock::take(directory)?;
        let database = directory.join(DATABASE);
        let mut connection = schema::open(&database)?;
        File::open(directory)
            .and_then(|file| file.sync_all())
            .map_err(|error| io("sync", directory, &error))?;
        let shared = Arc::new(Shared::new(options.cache_len_max, outbox::count(&connection)?));
        let pulls = Arc::new(Pulls::default());
        let (calls, called) = std::sync::mpsc::sync_channel(tender::CALLS_LEN);
        let log = LogWatch::start(&mut connection, calls.clone())?;
        let readers = Readers::start(&database)?;
        let writer =
            Writer::start(connection, Memory::new(Arc::clone(&shared), options.outbox_len_max), log)?;
        let tender = Tender::start(&database, writer.door()?, Arc::clone(&pulls), calls, called)?;
        Ok(Self(Arc::new(Engine { tender, readers, writer, pulls, shared, database, _lock: lock })))
    }

    /// Writes a copy of the store to `target`, which must not exist: every change that was acknowledged before the call is in it.
    /// Questions and changes go on meanwhile.
    ///
    /// The copy is a store: put it into an empty directory under the name `metadata.db` and open that.
    pub async fn backup(&self, target: &Path) -> Result<()> {
        let (engine, target) = (Arc::clone(&self.0), target.to_owned());
        let work = move || backup::write(&engine.database, &target);
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Closed))
    }

    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        in_time(self.0.readers.run(work)).await
    }

    /// `cost`: roughly how many bytes the change writes.
    async fn write<T, F>(&self, cost: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        in_time(self.0.writer.run(cost, work)).await
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let timeout = Error::Timeout { seconds: ANSWER_WAIT_MAX.as_secs() };
    tokio::time::timeout(ANSWER_WAIT_MAX, answer).await.unwrap_or(Err(timeout))
}

fn io(what: &'static str, path: &Path, error: &std::io::Error) -> Error {
    Error::Io { what, path: path.to_owned(), why: error.to_string() }
}

/// Bytes of messages.
fn len(outbox: &[Bytes]) -> usize {
    outbox.iter().map(Bytes::len).sum()
}

#[async_trait]
impl Catalog for Embedded {
    async fn link_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        outbox: Vec<Bytes>,
    ) -> Result<()> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(len(&outbox), move |transaction| {
            links::link(transaction, &repository, &digest, size, &outbox)
        })
        .await
    }

    async fn blob_in(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>> {
        if let Some(size) = self.0.shared.cache.blob(repository, digest) {
            return Ok(Some(size));
        }
        let (repository, digest, shared) = (repository.clone(), *digest, Arc::clone(&self.0.shared));
        self.read(move |connection| {
            let ticket = shared.cache.ticket(shared.cache.keys().blob(&repository, &digest));
            let size = links::size_in(connection, &repository, &digest)?;
            if let Some(size) = size {
                shared.cache.keep_blob(ticket, &repository, &digest, size);
            }
            Ok(size)
        })
        .await
    }

    async fn blob_anywhere(&self, digest: &Digest) -> Result<Option<(Repository, u64)>> {
        let digest = *digest;
        self.read(move |connection| links::anywhere(connection, &digest)).await
    }

    async fn unlink_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        outbox: Vec<Bytes>,
    ) -> Result<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(len(&outbox), move |transaction| links::unlink(transaction, &repository, &digest, &outbox))
            .await
    }

    async fn put_manifest(&self, manifest: PutManifest) -> Result<PutOutcome> {
        let cost = manifest.bytes.len() + len(&manifest.outbox);
        self.write(cost, move |transaction| manifests::put(transaction, &manifest)).await
    }

    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Option<Manifest>> {
        if let Some(found) = self.manifest_cached(repository, reference) {
            return Ok(Some(Manifest::clone(&found)));
        }
        let (repository, reference) = (repository.clone(), reference.clone());
        let shared = Arc::clone(&self.0.shared);
        self.read(move |connection| recall::manifest(connection, &shared.cache, &repository, &reference))
            .await
            .map(|found| found.map(|found| Manifest::clone(&found)))
    }

    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        if let Some(digest) = self.0.shared.cache.tag(repository, tag) {
            return Ok(Some(digest));
        }
        let (repository, tag, shared) = (repository.clone(), tag.clone(), Arc::clone(&self.0.shared));
        self.read(move |connection| recall::tag(connection, &shared.cache, &repository, &tag)).await
    }

    fn blob_in_cached(&self, repository: &Repository, digest: &Digest) -> Option<Option<u64>> {
        self.0.shared.cache.blob(repository, digest).map(Some)
    }

    fn resolve_cached(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        self.0.shared.cache.tag(repository, tag)
    }

    fn manifest_cached(&self, repository: &Repository, reference: &Reference) -> Option<Arc<Manifest>> {
        let cache = &self.0.shared.cache;
        match reference {
            Reference::Digest(digest) => cache.manifest(repository, digest),
            Reference::Tag(tag) => cache.manifest(repository, &cache.tag(repository, tag)?),
        }
    }

    async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        condition: Condition,
        outbox: Vec<Bytes>,
    ) -> Result<DeleteOutcome> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(len(&outbox), move |transaction| {
            manifests::delete(transaction, &repository, &digest, &condition, &outbox)
        })
        .await
    }

    async fn delete_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        condition: Condition,
        outbox: Vec<Bytes>,
    ) -> Result<DeleteOutcome> {
        let (repository, tag) = (repository.clone(), tag.clone());
        self.write(len(&outbox), move |transaction| {
            manifests::delete_tag(transaction, &repository, &tag, &condition, &outbox)
        })
        .await
    }

    async fn tags_needing(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Tag>> {
        let (repository, digest) = (repository.clone(), *digest);
        self.read(move |connection| manifests::tags_needing(connection, &repository, &digest)).await
    }

    fn pulled(&self, repository: &Repository, reference: &Reference) {
        if self.0.pulls.note(repository, reference, clock::now()) {
            self.0.tender.wake(Wake::Pulls);
        }
    }

    async fn tags(&self, repository: &Repository, page: PageAfter) -> Result<Option<Page<Tag>>> {
        let repository = repository.clone();
        self.read(move |connection| lists::tags(connection, &repository, &page)).await
    }

    async fn repositories(&self, page: PageAfter) -> Result<Page<Repository>> {
        self.read(move |connection| lists::repositories(connection, &page)).await
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: PageAfter,
    ) -> Result<Page<Descriptor>> {
        let (repository, subject) = (repository.clone(), *subject);
        let artifact_type = artifact_type.map(str::to_owned);
        self.read(move |connection| {
            lists::referrers(connection, &repository, &subject, artifact_type.as_deref(), &page)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
