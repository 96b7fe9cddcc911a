//! Which blobs a repository has.

use rusqlite::{Connection, params};
use shoal_oci::{Digest, Repository};

use super::rows::{self, DigestColumn};
use crate::{Error, Result};

pub(super) fn link(
    connection: &Connection,
    repository: &Repository,
    digest: &Digest,
    size: u64,
) -> Result<()> {
    let column = i64::try_from(size).map_err(|_| Error::TooLarge { what: "the blob's size" })?;
    let id = rows::repository_id_or_new(connection, repository)?;
    let added = connection
        .prepare_cached(
            "INSERT INTO links (repository, digest, size) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?
        .execute(params![id, DigestColumn(digest), column])?;
    match if added == 0 { size_in(connection, repository, digest)? } else { None } {
        Some(linked) if linked != size => Err(Error::SizeConflict { digest: *digest, linked, offered: size }),
        _ => Ok(()),
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

pub(super) fn unlink(connection: &Connection, repository: &Repository, digest: &Digest) -> Result<bool> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM links WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND digest = ?2",
        )?
        .execute(params![repository.as_str(), DigestColumn(digest)])?;
    Ok(removed > 0)
}
