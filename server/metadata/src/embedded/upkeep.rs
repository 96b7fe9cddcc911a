//! Walks over the tables, and removals that look again.
//!
//! A step reads a bounded number of rows of one table in the order of its key, from a snapshot of its own. What is wrong with a row
//! becomes a fault, and so does a page of the file that SQLite cannot read: the walk then goes on with the next repository, because
//! the end of the damage is not known.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, Params, Row, params};
use shoal_oci::{Digest, Reference, Repository};

use super::rows::{self, DigestColumn};
use super::transaction::Transaction;
use super::{Embedded, manifests, outbox, pulls};
use crate::clock::UnixMillis;
use crate::upkeep::{Cursor, Fault, ManifestRecord, STEP_LEN_MAX, TagRecord, UnreferencedLink, Upkeep, Walk};
use crate::{Error, Result};

/// One step of a walk in the making.
struct Step<T> {
    walk: Walk<T>,
    limit: usize,
    /// The last row that was looked at, or where the step began.
    at: Cursor,
}

impl<T> Step<T> {
    fn new(at: Cursor, limit: usize) -> Self {
        let walk = Walk { items: Vec::new(), faults: Vec::new(), next: None };
        Self { walk, limit: limit.clamp(1, STEP_LEN_MAX), at }
    }

    fn fault(&mut self, row: String, why: &Error) {
        self.walk.faults.push(Fault { row, why: why.to_string() });
    }

    /// Looks at the rows of `statement`; `key` finds a row's place, `read` its meaning. The error is one of SQLite's, after
    /// which the rows behind it cannot be reached.
    fn read(
        &mut self,
        statement: &mut CachedStatement<'_>,
        parameters: impl Params,
        key: impl Fn(&Row<'_>) -> Result<Cursor>,
        read: impl Fn(&Row<'_>) -> Result<Option<T>>,
    ) -> Result<()> {
        let mut seen = 0;
        let mut rows = statement.query(parameters)?;
        while let Some(row) = rows.next()? {
            self.at = key(row)?;
            seen += 1;
            match read(row) {
                Ok(item) => self.walk.items.extend(item),
                Err(error) => self.fault(describe(&self.at), &error),
            }
        }
        self.walk.next = (seen == self.limit).then(|| self.at.clone());
        Ok(())
    }
}

fn describe(at: &Cursor) -> String {
    let key: String = at.key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the row of repository number {} with the key x'{key}'", at.repository)
}

/// The bytes of a column, whatever its type.
fn bytes(row: &Row<'_>, column: usize) -> Result<Vec<u8>> {
    Ok(row.get_ref(column)?.as_bytes_or_null().ok().flatten().unwrap_or_default().to_vec())
}

fn start() -> Cursor {
    Cursor { repository: i64::MIN, key: Vec::new() }
}

fn unreferenced_links(
    connection: &Connection,
    after: Option<Cursor>,
    older_than: UnixMillis,
    limit: usize,
) -> Result<Walk<UnreferencedLink>> {
    let mut step = Step::new(after.unwrap_or_else(start), limit);
    let mut statement = connection.prepare_cached(
        "SELECT l.repository, l.digest, l.size, l.linked_at, r.name,
             EXISTS (SELECT 1 FROM refs f WHERE f.digest = l.digest AND f.repository = l.repository)
         FROM links l LEFT JOIN repositories r ON r.id = l.repository
         WHERE (l.repository, l.digest) > (?1, ?2) ORDER BY l.repository, l.digest LIMIT ?3",
    )?;
    let (from, rows_max) = (step.at.clone(), step.limit as i64);
    let parameters = params![from.repository, from.key, rows_max];
    let key = |row: &Row<'_>| Ok(Cursor { repository: row.get(0)?, key: bytes(row, 1)? });
    let read = |row: &Row<'_>| {
        let referenced: bool = row.get(5)?;
        let linked_at = rows::moment_at(row, 3)?;
        let digest = rows::digest(row, 1)?; // read in any case: damage is worth a word
        if referenced || linked_at >= older_than {
            return Ok(None);
        }
        Ok(Some(UnreferencedLink {
            repository: rows::name(row, 4)?,
            digest,
            size: rows::size(row, 2)?,
            linked_at,
        }))
    };
    if let Err(error) = step.read(&mut statement, parameters, key, read) {
        step.fault(format!("links after {}", describe(&step.at)), &error);
        step.walk.next = next_repository(connection, step.at.repository)?;
    }
    Ok(step.walk)
}

/// The beginning of the next repository that has links.
fn next_repository(connection: &Connection, after: i64) -> Result<Option<Cursor>> {
    let mut statement = connection.prepare_cached("SELECT min(id) FROM repositories WHERE id > ?1")?;
    let next: Option<i64> = statement.query_row([after], |row| row.get(0))?;
    Ok(next.map(|repository| Cursor { repository, key: Vec::new() }))
}

fn remove_link_if_unreferenced(
    transaction: &Transaction<'_>,
    repository: &Repository,
    digest: &Digest,
    older_than: UnixMillis,
) -> Result<bool> {
    let Some(id) = transaction.repository(repository)? else { return Ok(false) };
    transaction.guard()?;
    let removed = transaction
        .prepare_cached(
            "DELETE FROM links WHERE repository = ?1 AND digest = ?2 AND linked_at < ?3
                 AND NOT EXISTS (SELECT 1 FROM refs WHERE digest = ?2 AND repository = ?1)",
        )?
        .execute(params![id, DigestColumn(digest), rows::moment(older_than)])?;
    if removed == 0 {
        return Ok(false);
    }
    transaction.outdates(transaction.keys().blob(repository, digest));
    transaction.drop_if_empty(repository, id)?;
    Ok(true)
}

fn is_linked(connection: &Connection, digest: &Digest) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM links WHERE digest = ?1) OR EXISTS (SELECT 1 FROM refs WHERE digest = ?1)",
    )?;
    Ok(statement.query_row([DigestColumn(digest)], |row| row.get(0))?)
}

fn repositories(connection: &Connection, after: Option<Cursor>, limit: usize) -> Result<Walk<Repository>> {
    let mut step = Step::new(after.unwrap_or_else(start), limit);
    let mut statement =
        connection.prepare_cached("SELECT id, name FROM repositories WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let (from, rows_max) = (step.at.repository, step.limit as i64);
    let parameters = params![from, rows_max];
    let key = |row: &Row<'_>| Ok(Cursor { repository: row.get(0)?, key: Vec::new() });
    if let Err(error) = step.read(&mut statement, parameters, key, |row| rows::name(row, 1).map(Some)) {
        step.fault(format!("repositories after number {}", step.at.repository), &error);
    }
    Ok(step.walk)
}

fn tags(
    connection: &Connection,
    repository: &Repository,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Walk<TagRecord>> {
    let id = rows::repository_id(connection, repository)?;
    let mut step = Step::new(after.unwrap_or_else(start), limit);
    let mut statement = connection.prepare_cached(
        "SELECT t.name, m.digest, t.moved_at, t.pulled_at FROM tags t LEFT JOIN manifests m ON m.id = t.manifest
         WHERE t.repository = ?1 AND t.name > CAST(?2 AS TEXT) ORDER BY t.name LIMIT ?3",
    )?;
    let (from, rows_max) = (step.at.key.clone(), step.limit as i64);
    let parameters = params![id, from, rows_max];
    let key = |row: &Row<'_>| Ok(Cursor { repository: id.unwrap_or_default(), key: bytes(row, 0)? });
    let read = |row: &Row<'_>| {
        Ok(Some(TagRecord {
            tag: rows::name(row, 0)?,
            digest: rows::digest(row, 1)?,
            moved_at: rows::moment_at(row, 2)?,
            pulled_at: rows::moment_or_null(row, 3)?,
        }))
    };
    if let Err(error) = step.read(&mut statement, parameters, key, read) {
        step.fault(format!("tags after {}", describe(&step.at)), &error);
    }
    Ok(step.walk)
}

/// What is said of a manifest; the columns are those that [`record`] reads.
const RECORD: &str = "m.digest, length(m.bytes), t.pushed_at, t.pulled_at,
    EXISTS (SELECT 1 FROM tags WHERE manifest = m.id),
    EXISTS (SELECT 1 FROM refs WHERE digest = m.digest AND repository = m.repository AND kind = 2),
    m.subject,
    EXISTS (SELECT 1 FROM manifests s WHERE s.repository = m.repository AND s.digest = m.subject)
    FROM manifests m LEFT JOIN manifest_times t ON t.manifest = m.id";

fn record(row: &Row<'_>) -> Result<ManifestRecord> {
    let times = row.get_ref(2)?.as_i64().map_err(|_| Error::Damaged { what: "time of a push" });
    let subject = row.get_ref(6)?.as_blob_or_null().map_err(|_| Error::Damaged { what: "subject" })?;
    Ok(ManifestRecord {
        digest: rows::digest(row, 0)?,
        size: rows::size(row, 1)?,
        pushed_at: times?.max(0).cast_unsigned(),
        pulled_at: rows::moment_or_null(row, 3)?,
        tagged: row.get(4)?,
        referenced: row.get(5)?,
        subject: subject.map(|_| rows::digest(row, 6)).transpose()?,
        subject_present: row.get(7)?,
    })
}

fn walk_manifests(
    connection: &Connection,
    repository: &Repository,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Walk<ManifestRecord>> {
    let id = rows::repository_id(connection, repository)?;
    let mut step = Step::new(after.unwrap_or_else(start), limit);
    let sql = format!("SELECT {RECORD} WHERE m.repository = ?1 AND m.digest > ?2 ORDER BY m.digest LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let (from, rows_max) = (step.at.key.clone(), step.limit as i64);
    let parameters = params![id, from, rows_max];
    let key = |row: &Row<'_>| Ok(Cursor { repository: id.unwrap_or_default(), key: bytes(row, 0)? });
    if let Err(error) = step.read(&mut statement, parameters, key, |row| record(row).map(Some)) {
        step.fault(format!("manifests after {}", describe(&step.at)), &error);
    }
    Ok(step.walk)
}

fn remove_manifest_if_unused(
    transaction: &Transaction<'_>,
    repository: &Repository,
    listed: &ManifestRecord,
    messages: &[Bytes],
) -> Result<bool> {
    let Some(id) = transaction.repository(repository)? else { return Ok(false) };
    transaction.guard()?;
    let sql = format!("SELECT {RECORD} WHERE m.repository = ?1 AND m.digest = ?2");
    let found = {
        let mut statement = transaction.prepare_cached(&sql)?;
        rows::first(&mut statement, params![id, DigestColumn(&listed.digest)], record)?
    };
    let unused = found.is_some_and(|now| {
        !now.tagged
            && !now.referenced
            && !now.subject_present
            && (now.pushed_at, now.pulled_at) == (listed.pushed_at, listed.pulled_at)
    });
    let manifest = manifests::id_of(transaction, Some(id), &listed.digest)?;
    let (true, Some(manifest)) = (unused, manifest) else { return Ok(false) };
    manifests::remove(transaction, repository, id, manifest, &listed.digest)?;
    outbox::append(transaction, messages)?;
    Ok(true)
}

fn remove_tag_if_unchanged(
    transaction: &Transaction<'_>,
    repository: &Repository,
    listed: &TagRecord,
    messages: &[Bytes],
) -> Result<bool> {
    let Some(id) = transaction.repository(repository)? else { return Ok(false) };
    transaction.guard()?;
    let removed = transaction
        .prepare_cached(
            "DELETE FROM tags WHERE repository = ?1 AND name = ?2 AND moved_at = ?4 AND pulled_at IS ?5
                 AND manifest = (SELECT id FROM manifests WHERE repository = ?1 AND digest = ?3)",
        )?
        .execute(params![
            id,
            listed.tag.as_str(),
            DigestColumn(&listed.digest),
            rows::moment(listed.moved_at),
            listed.pulled_at.map(rows::moment),
        ])?;
    if removed == 0 {
        return Ok(false);
    }
    transaction.outdates(transaction.keys().tag(repository, &listed.tag));
    outbox::append(transaction, messages)?;
    Ok(true)
}

#[async_trait]
impl Upkeep for Embedded {
    async fn unreferenced_links(
        &self,
        after: Option<Cursor>,
        older_than: UnixMillis,
        limit: usize,
    ) -> Result<Walk<UnreferencedLink>> {
        self.read(move |connection| unreferenced_links(connection, after, older_than, limit)).await
    }

    async fn remove_link_if_unreferenced(
        &self,
        repository: &Repository,
        digest: &Digest,
        older_than: UnixMillis,
    ) -> Result<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(0, move |transaction| {
            remove_link_if_unreferenced(transaction, &repository, &digest, older_than)
        })
        .await
    }

    async fn is_linked(&self, digest: &Digest) -> Result<bool> {
        let digest = *digest;
        self.read(move |connection| is_linked(connection, &digest)).await
    }

    async fn walk_repositories(&self, after: Option<Cursor>, limit: usize) -> Result<Walk<Repository>> {
        self.read(move |connection| repositories(connection, after, limit)).await
    }

    async fn walk_tags(
        &self,
        repository: &Repository,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Walk<TagRecord>> {
        let repository = repository.clone();
        self.read(move |connection| tags(connection, &repository, after, limit)).await
    }

    async fn walk_manifests(
        &self,
        repository: &Repository,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Walk<ManifestRecord>> {
        let repository = repository.clone();
        self.read(move |connection| walk_manifests(connection, &repository, after, limit)).await
    }

    async fn remove_manifest_if_unused(
        &self,
        repository: &Repository,
        record: &ManifestRecord,
        outbox: Vec<Bytes>,
    ) -> Result<bool> {
        let (repository, record) = (repository.clone(), record.clone());
        let pulls = Arc::clone(&self.0.pulls);
        self.write(0, move |transaction| {
            let pulled = pulls.contains(&repository, &Reference::Digest(record.digest));
            Ok(!pulled && remove_manifest_if_unused(transaction, &repository, &record, &outbox)?)
        })
        .await
    }

    async fn remove_tag_if_unchanged(
        &self,
        repository: &Repository,
        record: &TagRecord,
        outbox: Vec<Bytes>,
    ) -> Result<bool> {
        let (repository, record) = (repository.clone(), record.clone());
        let pulls = Arc::clone(&self.0.pulls);
        self.write(0, move |transaction| {
            let pulled = pulls.contains(&repository, &Reference::Tag(record.tag.clone()));
            Ok(!pulled && remove_tag_if_unchanged(transaction, &repository, &record, &outbox)?)
        })
        .await
    }

    async fn flush_pulled(&self) -> Result<()> {
        let taken = self.0.pulls.take();
        for batch in taken.chunks(pulls::BATCH_LEN) {
            let (work, kept) = (batch.to_vec(), batch.to_vec());
            let written = self.write(0, move |transaction| pulls::write(transaction, &work)).await;
            if written.is_err() {
                self.0.pulls.put_back(kept);
            }
            written?;
        }
        Ok(())
    }
}
