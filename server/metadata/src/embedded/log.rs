//! Folding the log into the database, beside the commits and not within them.
//!
//! SQLite appends what is committed to a log (WAL) and copies it into the database now and then (a checkpoint). By default the commit
//! that makes the log long does the copying, and everybody behind it waits. Here another thread copies while commits go on. The log
//! starts again at its beginning only when all of it was copied and nobody reads it, which a busy writer never sees happen by itself;
//! so when the log has become long, the writing thread copies the little that is left, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use rusqlite::Connection;

use super::tender::Wake;
use crate::Result;

/// Pages in the log (4 KiB each) at which the other thread copies: 32 MiB, some ten thousand pushes. A page that changes often is copied
/// once for all its changes, so less would cost more; more would make opening after a crash slow.
const COPY_PAGES: usize = 8192;

/// Pages in the log at which the writing thread finishes the copying: 48 MiB. By then all but the newest were copied.
const FINISH_PAGES: usize = 12_288;

/// What the writing thread knows about the length of the log.
pub(super) struct LogWatch {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicUsize>,
    wake: SyncSender<Wake>,
}

impl LogWatch {
    /// Watches the log of the writing thread's connection, and takes the copying out of its commits.
    pub(super) fn start(connection: &mut Connection, wake: SyncSender<Wake>) -> Result<Self> {
        let pages = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            seen.store(usize::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, wake })
    }

    /// To be called between transactions.
    pub(super) fn after_commit(&self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages >= FINISH_PAGES {
            self.finish(connection);
        } else if pages >= COPY_PAGES {
            let _ = self.wake.try_send(Wake::Log); // when it is full, the thread is about to look anyway
        }
    }

    /// Copies what is left, so that the log starts again.
    fn finish(&self, connection: &Connection) {
        match copy(connection) {
            // Counted anew at the next commit. Whoever still reads the log, or copies it, is done soon.
            Ok(_) => self.pages.store(0, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the metadata log could not be folded into the database"),
        }
    }
}

/// Copies what can be copied without waiting for anyone; gives the pages of the log that were not.
pub(super) fn copy(connection: &Connection) -> Result<i64> {
    let left = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)
    })?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_long_log_calls_for_help_and_a_very_long_one_starts_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.db");
        let mut connection = super::super::schema::open(&path).unwrap();
        let (wake, called) = sync_channel(1);
        let watch = LogWatch::start(&mut connection, wake).unwrap();
        let add = |pages: usize| {
            connection.execute(
                "INSERT INTO outbox (next_at, queued_at, payload) VALUES (0, 0, zeroblob(?1))",
                [pages as i64 * 4096],
            )
        };
        let pages = || watch.pages.load(Ordering::Relaxed);
        add(COPY_PAGES / 2).unwrap();
        watch.after_commit(&connection);
        assert!(called.try_recv().is_err());
        add(COPY_PAGES / 2).unwrap();
        watch.after_commit(&connection);
        watch.after_commit(&connection); // the call waits already
        assert_eq!(called.try_recv(), Ok(Wake::Log));
        assert!(pages() >= COPY_PAGES, "no commit copies by itself");
        add(FINISH_PAGES - COPY_PAGES).unwrap();
        assert!(pages() >= FINISH_PAGES);
        watch.after_commit(&connection);
        add(1).unwrap();
        assert!(pages() < 100, "{}", pages());
    }

    #[test]
    fn another_connection_copies_what_this_one_committed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.db");
        let mut connection = super::super::schema::open(&path).unwrap();
        let _watch = LogWatch::start(&mut connection, sync_channel(1).0).unwrap();
        connection.execute("INSERT INTO repositories (name) VALUES ('a')", []).unwrap();
        let other = super::super::schema::open_tender(&path).unwrap();
        assert_eq!(copy(&other), Ok(0));
    }
}
