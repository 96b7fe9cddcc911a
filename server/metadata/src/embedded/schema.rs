//! The database's tables, their versions, and how a connection to them is made.
//!
//! `PRAGMA user_version` counts the migrations that were applied. A migration, once released, never changes; the next one does.
//! Rows name repositories and manifests by small integers, so that an index entry is some forty bytes.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::{Error, Result};

/// "Shoa": says whose database this is (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i64 = 0x5368_6f61;

/// How long a connection waits for another one's lock. Only an operator's sqlite3 shell ever makes us wait.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// Statements kept compiled per connection: more than the house has.
const STATEMENTS_MAX: usize = 64;

/// Page cache in KiB of the connection that writes, and of each one that reads. The operating system caches the file as well; this
/// only saves system calls, of which the writer makes more: every change touches a few pages at random places.
const WRITER_CACHE_KIB: i64 = 8192;
const READER_CACHE_KIB: i64 = 1024;

/// The log is cut back to this many bytes after it was folded into the database, so that one large batch does not keep the disk.
const LOG_LEN_MAX: i64 = 64 << 20;

/// Migration `n` leads from version `n` to version `n + 1`.
///
/// Digests are stored as one byte for the algorithm and the raw hash. `bytes` is the last column of its table because SQLite reads
/// a row from the left, and large values lie on pages of their own. `refs.kind`: 0 a blob, 1 a blob that may be missing, 2 a manifest.
pub(super) const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE repositories (
        id   INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE links (
        repository INTEGER NOT NULL REFERENCES repositories (id),
        digest     BLOB    NOT NULL,
        size       INTEGER NOT NULL,
        PRIMARY KEY (repository, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX links_by_digest ON links (digest);
    CREATE TABLE manifests (
        id            INTEGER PRIMARY KEY,
        repository    INTEGER NOT NULL REFERENCES repositories (id),
        digest        BLOB    NOT NULL,
        media_type    TEXT    NOT NULL,
        subject       BLOB,
        artifact_type TEXT,
        annotations   TEXT,
        bytes         BLOB    NOT NULL,
        UNIQUE (repository, digest)
    ) STRICT;
    CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;
    CREATE TABLE tags (
        repository INTEGER NOT NULL REFERENCES repositories (id),
        name       TEXT    NOT NULL,
        manifest   INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
        PRIMARY KEY (repository, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tags_by_manifest ON tags (manifest);
    CREATE TABLE refs (
        manifest INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
        digest   BLOB    NOT NULL,
        kind     INTEGER NOT NULL,
        PRIMARY KEY (manifest, digest, kind)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX refs_by_digest ON refs (digest);
",
    // Times are milliseconds since 1970. What was here before counts as new. The times of a manifest have a
    // table of their own: to change a row is to write all of it, document included. `refs.repository` repeats its manifest's, so that one
    // look-up says whether a repository references a blob, however many others do.
    "
    ALTER TABLE links ADD COLUMN linked_at INTEGER NOT NULL DEFAULT 0;
    UPDATE links SET linked_at = CAST(unixepoch('subsec') * 1000 AS INTEGER);
    CREATE TABLE manifest_times (
        manifest  INTEGER PRIMARY KEY REFERENCES manifests (id) ON DELETE CASCADE,
        pushed_at INTEGER NOT NULL,
        pulled_at INTEGER
    ) STRICT;
    INSERT INTO manifest_times (manifest, pushed_at)
        SELECT id, CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM manifests;
    ALTER TABLE tags ADD COLUMN moved_at INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE tags ADD COLUMN pulled_at INTEGER;
    UPDATE tags SET moved_at = CAST(unixepoch('subsec') * 1000 AS INTEGER);
    ALTER TABLE refs ADD COLUMN repository INTEGER NOT NULL DEFAULT 0;
    UPDATE refs SET repository = (SELECT repository FROM manifests WHERE id = refs.manifest);
    DROP INDEX refs_by_digest;
    CREATE INDEX refs_by_digest ON refs (digest, repository, kind);
    DELETE FROM repositories WHERE
        NOT EXISTS (SELECT 1 FROM links WHERE repository = repositories.id)
        AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository = repositories.id);
    CREATE TABLE outbox (
        id        INTEGER PRIMARY KEY AUTOINCREMENT,
        next_at   INTEGER NOT NULL,
        queued_at INTEGER NOT NULL,
        attempts  INTEGER NOT NULL DEFAULT 0,
        payload   BLOB    NOT NULL
    ) STRICT;
    CREATE INDEX outbox_by_time ON outbox (next_at, id);
",
];

/// Opens the database for writing and brings it to the newest version.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let version = check(&connection, path)?;
    prepare(&connection, WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL flushes the log at every commit; NORMAL would only at checkpoints and lose acknowledged changes with the power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_LEN_MAX)?;
    migrate(&connection, version)?;
    Ok(connection)
}

/// Opens one more connection to an existing database, for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&connection, READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Opens one more connection to an existing database, to copy from it or to fold the log into it.
pub(super) fn open_tender(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&connection, READER_CACHE_KIB)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_LEN_MAX)?;
    Ok(connection)
}

fn prepare(connection: &Connection, cache_kib: i64) -> Result<()> {
    connection.busy_timeout(LOCK_WAIT_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

/// The database's version, before anything in it is touched.
fn check(connection: &Connection, path: &Path) -> Result<usize> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (found, application) = (pragma("user_version")?, pragma("application_id")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let supported = MIGRATIONS.len() as i64;
    let fresh = found == 0 && application == 0 && tables == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(Error::Foreign { path: path.to_owned() });
    }
    match usize::try_from(found) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(Error::Newer { path: path.to_owned(), found, supported }),
    }
}

fn migrate(connection: &Connection, version: usize) -> Result<()> {
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
        tracing::info!(version = index + 1, "metadata schema upgraded");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_store_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.db");
        open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error, Error::Newer { path: path.clone(), found: 99, supported: MIGRATIONS.len() as i64 });
        assert!(error.to_string().contains("newer program"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_is_not_our_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
        assert_eq!(open(&path).unwrap_err(), Error::Foreign { path: path.clone() });
        std::fs::write(&path, "not a database at all, but long enough to be looked at".repeat(100)).unwrap();
        assert!(matches!(open(&path).unwrap_err(), Error::Database { .. }));
    }

    #[test]
    fn the_writer_flushes_at_every_commit() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(&directory.path().join("metadata.db")).unwrap();
        let text = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0)).unwrap();
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(
            (text("journal_mode").as_str(), number("synchronous"), number("foreign_keys")),
            ("wal", 2, 1)
        );
    }

    #[test]
    fn opening_again_migrates_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.db");
        drop(open(&path).unwrap());
        let connection = open(&path).unwrap();
        assert_eq!(check(&connection, &path), Ok(MIGRATIONS.len()));
    }
}
