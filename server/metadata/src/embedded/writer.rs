//! The thread that writes, and group commit: all changes that wait become one transaction and share one flush of the disk.
//!
//! A change is in exactly one state: queued, applied in the open transaction, or answered. Nothing is answered before COMMIT has
//! returned. Each change runs in a savepoint of its own, so that one that fails takes nothing with it.

use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::log::LogWatch;
use super::transaction::{Memory, Transaction};
use crate::{Error, Result};

/// Changes that may wait for the writer. A flush takes about a millisecond, so this is well below a second of work.
const QUEUE_LEN: usize = 1024;
/// Changes in one transaction: keeps the wait of the first one short, and is far beyond where sharing a flush still helps.
const BATCH_LEN_MAX: usize = 256;
/// Bytes of manifests after which a transaction takes no further change, so that the log stays small.
const BATCH_COST_MAX: usize = 16 << 20;

/// The door to the writing thread.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Change>>>,
    thread: Option<JoinHandle<()>>,
}

/// One change, whatever its result is.
pub(super) trait Change: Send {
    /// About how many bytes it writes.
    fn cost(&self) -> usize;
    /// Whether nobody waits for the answer any more.
    fn abandoned(&self) -> bool;
    /// Applies the change; `false` when what it did must be undone.
    fn apply(&mut self, transaction: &Transaction<'_>) -> bool;
    /// Answers, now that the transaction's fate is known.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Request<T, F> {
    cost: usize,
    work: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Change for Request<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T> + Send,
{
    fn cost(&self) -> usize {
        self.cost
    }

    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn apply(&mut self, transaction: &Transaction<'_>) -> bool {
        self.outcome = self.work.take().map(|work| work(transaction));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let outcome = match (self.outcome, committed) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(shared)) => Err(shared),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(Error::Closed), // it was abandoned, so nobody reads this
        };
        // A caller that went away does not need the answer.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    /// Starts the thread, which owns the connection.
    pub(super) fn start(connection: Connection, memory: Memory, log: LogWatch) -> Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_LEN);
        let thread =
            super::readers::spawn("metadata-write", move || write(&connection, &memory, &log, waiting))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// A second door, for a thread that ends before this one does.
    pub(super) fn door(&self) -> Result<Door> {
        self.queue.clone().map(Door).ok_or(Error::Closed)
    }

    /// Queues a change and waits until it is durable.
    pub(super) async fn run<T, F>(&self, cost: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = Request { cost, work: Some(work), outcome: None, reply };
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        queue.send(Box::new(request)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// Queues changes from a thread of the engine.
pub(super) struct Door(mpsc::Sender<Box<dyn Change>>);

impl Door {
    /// Queues a change and waits until it is durable. Blocking.
    pub(super) fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = Request { cost: 0, work: Some(work), outcome: None, reply };
        self.0.blocking_send(Box::new(request)).map_err(|_| Error::Closed)?;
        answer.blocking_recv().map_err(|_| Error::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there was reported there
        }
    }
}

fn write(
    connection: &Connection,
    memory: &Memory,
    log: &LogWatch,
    mut waiting: mpsc::Receiver<Box<dyn Change>>,
) {
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = gather(first, &mut waiting);
        let committed = transact(connection, memory, &mut batch);
        if let Err(error) = &committed {
            tracing::error!(%error, changes = batch.len(), "metadata changes could not be committed");
        }
        for change in batch {
            change.answer(committed.clone());
        }
        log.after_commit(connection);
    }
}

/// The first change and those that are waiting behind it now.
fn gather(first: Box<dyn Change>, waiting: &mut mpsc::Receiver<Box<dyn Change>>) -> Vec<Box<dyn Change>> {
    let mut cost = first.cost();
    let mut batch = vec![first];
    while batch.len() < BATCH_LEN_MAX && cost < BATCH_COST_MAX {
        let Ok(next) = waiting.try_recv() else { break };
        cost += next.cost();
        batch.push(next);
    }
    batch
}

/// Applies all of `batch` and commits; on error nothing of it is left.
fn transact(connection: &Connection, memory: &Memory, batch: &mut [Box<dyn Change>]) -> Result<()> {
    let transaction = Transaction::begin(connection, memory)?;
    let result = apply_all(&transaction, batch).and_then(|()| transaction.commit());
    if result.is_err() {
        transaction.roll_back()?;
    }
    result
}

fn apply_all(transaction: &Transaction<'_>, batch: &mut [Box<dyn Change>]) -> Result<()> {
    for change in batch.iter_mut().filter(|change| !change.abandoned()) {
        let keep = change.apply(transaction);
        if transaction.is_autocommit() {
            // A full disk or an I/O error makes SQLite roll back everything; the changes before this one are gone as well.
            let message = "the transaction was rolled back after a disk error".to_owned();
            return Err(Error::Database { kind: crate::ErrorKind::Unavailable, message });
        }
        transaction.end_change(keep)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
