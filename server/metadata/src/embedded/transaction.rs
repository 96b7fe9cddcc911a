//! The open transaction of the writing thread, as a change sees it: the database, and what the thread remembers about it.
//!
//! What is remembered is true of the open transaction. When anything is rolled back all of it is forgotten, which is rare and costs
//! one look-up each.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use shoal_oci::Repository;

use super::cache::{Cache, Keys};
use super::{outbox, rows};
use crate::Result;
use crate::clock::{self, UnixMillis};

/// Repositories whose numbers are remembered: some hundred kilobytes. Beyond it the thread starts afresh.
const REPOSITORIES_MAX: usize = 4096;

/// One transaction of the writing thread.
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    memory: &'a Memory,
    /// When it began: the time of all that it changes.
    now: UnixMillis,
    /// Whether the change that is being applied can be undone by itself.
    savepoint: Cell<bool>,
    /// Answers that are wrong once this is committed.
    outdated: RefCell<Vec<u64>>,
}

/// What the writing thread remembers from one transaction to the next.
pub(super) struct Memory {
    shared: Arc<Shared>,
    outbox_len_max: u64,
    repositories: RefCell<HashMap<String, i64>>,
    /// Messages in the outbox; `None` when they must be counted.
    outbox_len: Cell<Option<u64>>,
    /// Messages dropped since the start.
    outbox_dropped: Cell<u64>,
}

/// What the writing thread tells the others.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cache: Cache,
    /// Messages in the outbox, as of the last commit.
    pub(super) outbox_waiting: AtomicU64,
    /// Messages dropped since the start.
    pub(super) outbox_dropped: AtomicU64,
}

impl Memory {
    pub(super) fn new(shared: Arc<Shared>, outbox_len_max: u64) -> Self {
        Self {
            shared,
            outbox_len_max,
            repositories: RefCell::default(),
            outbox_len: Cell::default(),
            outbox_dropped: Cell::default(),
        }
    }

    /// Tells what is true now that a transaction is committed.
    fn publish(&self) {
        if let Some(len) = self.outbox_len.get() {
            self.shared.outbox_waiting.store(len, Ordering::Relaxed);
        }
        self.shared.outbox_dropped.store(self.outbox_dropped.get(), Ordering::Relaxed);
    }

    fn forget(&self) {
        self.repositories.borrow_mut().clear();
        self.outbox_len.set(None);
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl<'a> Transaction<'a> {
    /// Begins one. It must end with [`Self::commit`] or [`Self::roll_back`].
    pub(super) fn begin(connection: &'a Connection, memory: &'a Memory) -> Result<Self> {
        execute(connection, "BEGIN IMMEDIATE")?;
        Ok(Self {
            connection,
            memory,
            now: clock::now(),
            savepoint: Cell::new(false),
            outdated: RefCell::default(),
        })
    }

    /// Makes all of it durable. Readers get no outdated answer from memory once the database gives the new one.
    pub(super) fn commit(&self) -> Result<()> {
        let change = self.memory.shared.cache.change(&self.outdated.take());
        let committed = execute(self.connection, "COMMIT");
        drop(change);
        if committed.is_ok() {
            self.memory.publish();
        }
        committed
    }

    /// Undoes all of it, unless SQLite has done so.
    pub(super) fn roll_back(&self) -> Result<()> {
        self.memory.forget();
        if self.is_autocommit() { Ok(()) } else { execute(self.connection, "ROLLBACK") }
    }

    /// Lets the change that is being applied be undone by itself. A change of one statement does without: a statement that fails
    /// has done nothing.
    pub(super) fn guard(&self) -> Result<()> {
        if !self.savepoint.replace(true) {
            execute(self.connection, "SAVEPOINT change")?;
        }
        Ok(())
    }

    /// Ends one change, and undoes it if it is not kept.
    pub(super) fn end_change(&self, keep: bool) -> Result<()> {
        if !self.savepoint.replace(false) {
            return Ok(());
        }
        if !keep {
            self.memory.forget();
            execute(self.connection, "ROLLBACK TO change")?;
        }
        execute(self.connection, "RELEASE change")
    }

    /// When this transaction began, as it is stored.
    pub(super) fn now_column(&self) -> i64 {
        rows::moment(self.now)
    }

    /// The names of answers that readers may remember.
    pub(super) fn keys(&self) -> &Keys {
        self.memory.shared.cache.keys()
    }

    /// Notes that an answer that readers may remember under this key is outdated.
    pub(super) fn outdates(&self, key: u64) {
        self.outdated.borrow_mut().push(key);
    }

    /// Messages that wait.
    pub(super) fn outbox_len(&self) -> Result<u64> {
        match self.memory.outbox_len.get() {
            Some(len) => Ok(len),
            None => outbox::count(self.connection),
        }
    }

    pub(super) fn set_outbox_len(&self, len: u64) {
        self.memory.outbox_len.set(Some(len));
    }

    /// Messages beyond which the oldest are dropped.
    pub(super) const fn outbox_len_max(&self) -> u64 {
        self.memory.outbox_len_max
    }

    /// Counts messages that were dropped.
    pub(super) fn note_dropped(&self, count: u64) {
        self.memory.outbox_dropped.set(self.memory.outbox_dropped.get() + count);
    }

    /// The repository's number, if it has one.
    pub(super) fn repository(&self, repository: &Repository) -> Result<Option<i64>> {
        if let Some(id) = self.memory.repositories.borrow().get(repository.as_str()) {
            return Ok(Some(*id));
        }
        let found = rows::repository_id(self.connection, repository)?;
        if let Some(id) = found {
            self.remember(repository, id);
        }
        Ok(found)
    }

    /// The repository's number, given to it now if it has none; then the change can be undone by itself.
    pub(super) fn repository_or_new(&self, repository: &Repository) -> Result<i64> {
        if let Some(id) = self.repository(repository)? {
            return Ok(id);
        }
        self.guard()?;
        self.prepare_cached("INSERT INTO repositories (name) VALUES (?1)")?.execute([repository.as_str()])?;
        let id = self.last_insert_rowid();
        self.remember(repository, id);
        Ok(id)
    }

    /// Removes the row of a repository that has nothing any more.
    pub(super) fn drop_if_empty(&self, repository: &Repository, id: i64) -> Result<()> {
        let removed = self
            .prepare_cached(
                "DELETE FROM repositories WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM links WHERE repository = ?1)
                 AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository = ?1)",
            )?
            .execute([id])?;
        if removed > 0 {
            self.memory.repositories.borrow_mut().remove(repository.as_str());
        }
        Ok(())
    }

    fn remember(&self, repository: &Repository, id: i64) {
        let mut repositories = self.memory.repositories.borrow_mut();
        if repositories.len() >= REPOSITORIES_MAX {
            repositories.clear();
        }
        repositories.insert(repository.as_str().to_owned(), id);
    }
}

impl Shared {
    pub(super) fn new(cache_len_max: usize, outbox_waiting: u64) -> Self {
        Self {
            cache: Cache::new(cache_len_max),
            outbox_waiting: AtomicU64::new(outbox_waiting),
            outbox_dropped: AtomicU64::new(0),
        }
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<()> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests;
