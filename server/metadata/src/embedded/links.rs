//! Which blobs a repository has.

use bytes::Bytes;
use rusqlite::{Connection, params};
use shoal_oci::{Digest, Repository};

use super::outbox;
use super::rows::{self, DigestColumn};
use super::transaction::Transaction;
use crate::{Error, Result};

/// One statement, and no more, when the repository is known and there are no messages: what most pushes of small blobs cost.
pub(super) fn link(
    transaction: &Transaction<'_>,
    repository: &Repository,
    digest: &Digest,
    size: u64,
    outbox: &[Bytes],
) -> Result<()> {
    let column = i64::try_from(size).map_err(|_| Error::TooLarge { what: "the blob's size" })?;
    if !outbox.is_empty() {
        transaction.guard()?;
    }
    let id = transaction.repository_or_new(repository)?;
    let added = transaction
        .prepare_cached(
            "INSERT INTO links (repository, digest, size, linked_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET linked_at = excluded.linked_at
                 WHERE size = excluded.size AND linked_at < excluded.linked_at",
        )?
        .execute(params![id, DigestColumn(digest), column, transaction.now_column()])?;
    let linked = if added == 0 { size_in(transaction, repository, digest)? } else { None };
    match linked {
        Some(linked) if linked != size => Err(Error::SizeConflict { digest: *digest, linked, offered: size }),
        _ => outbox::append(transaction, outbox),
    }
}

pub(super) fn size_in(
    connection: &Connection,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<u64>> {
    let mut statement = connection.prepare_cached(
        "SELECT size FROM links WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND digest = ?2",
    )?;
    rows::first(&mut statement, params![repository.as_str(), DigestColumn(digest)], |row| rows::size(row, 0))
}

pub(super) fn anywhere(connection: &Connection, digest: &Digest) -> Result<Option<(Repository, u64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT r.name, l.size FROM links l JOIN repositories r ON r.id = l.repository WHERE l.digest = ?1 LIMIT 1",
    )?;
    rows::first(&mut statement, params![DigestColumn(digest)], |row| {
        Ok((rows::name(row, 0)?, rows::size(row, 1)?))
    })
}

pub(super) fn unlink(
    transaction: &Transaction<'_>,
    repository: &Repository,
    digest: &Digest,
    outbox: &[Bytes],
) -> Result<bool> {
    let Some(id) = transaction.repository(repository)? else { return Ok(false) };
    transaction.guard()?;
    let removed = transaction
        .prepare_cached("DELETE FROM links WHERE repository = ?1 AND digest = ?2")?
        .execute(params![id, DigestColumn(digest)])?;
    if removed == 0 {
        return Ok(false);
    }
    transaction.outdates(transaction.keys().blob(repository, digest));
    transaction.drop_if_empty(repository, id)?;
    outbox::append(transaction, outbox)?;
    Ok(true)
}
