//! The engine that needs no other service: SQLite inside this process.
//!
//! One thread writes and gathers every waiting change into one transaction, so that one flush of the disk serves them all; a few
//! threads read, each from its own snapshot, and never wait for the writer. The price: a write costs at least one disk flush of
//! latency, and one process at a time owns the directory (a lock file says so).

mod cache;
mod links;
mod lists;
mod manifests;
mod outbox;
mod readers;
mod rows;
mod schema;
mod transaction;
mod writer;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use shoal_oci::{Descriptor, Digest, Reference, Repository, Tag};

use crate::catalog::{Catalog, Condition, DeleteOutcome, Manifest, Page, PageAfter, PutManifest, PutOutcome};
use crate::{Error, Result};
use readers::Readers;
use transaction::Transaction;
use writer::Writer;

/// The database in the data directory; SQLite adds `-wal` and `-shm` beside it.
const DATABASE: &str = "metadata.db";
/// The file whose lock says that a process has the store open.
const LOCK: &str = "metadata.lock";

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

/// The fields are dropped in this order: the last connection to close is the writer's, which folds the log into the database, and
/// the lock outlives both.
struct Engine {
    readers: Readers,
    writer: Writer,
    _lock: File,
}

impl Embedded {
    /// Opens the store in `directory`, or makes one there. Blocking.
    ///
    /// Finishes what a crash left undone and upgrades an older schema. Fails when another process has the store open, when a newer
    /// program wrote it, or when the directory holds somebody else's database.
    pub fn open(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).map_err(|error| io("create", directory, &error))?;
        let lock = lock(&directory.join(LOCK))?;
        let database = directory.join(DATABASE);
        let connection = schema::open(&database)?;
        File::open(directory)
            .and_then(|file| file.sync_all())
            .map_err(|error| io("sync", directory, &error))?;
        let readers = Readers::start(&database)?;
        let writer = Writer::start(connection)?;
        Ok(Self(Arc::new(Engine { readers, writer, _lock: lock })))
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

fn lock(path: &Path) -> Result<File> {
    let options = File::options().create(true).truncate(false).write(true).open(path);
    let file = options.map_err(|error| io("open", path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io("lock", path, &error)),
    }
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
        let (repository, digest) = (repository.clone(), *digest);
        self.read(move |connection| links::size_in(connection, &repository, &digest)).await
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
        let (repository, reference) = (repository.clone(), reference.clone());
        self.read(move |connection| manifests::get(connection, &repository, &reference)).await
    }

    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        let (repository, tag) = (repository.clone(), tag.clone());
        self.read(move |connection| manifests::resolve(connection, &repository, &tag)).await
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

    async fn tags_of(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Tag>> {
        let (repository, digest) = (repository.clone(), *digest);
        self.read(move |connection| manifests::tags_of(connection, &repository, &digest)).await
    }

    fn pulled(&self, _repository: &Repository, _reference: &Reference) {}

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
