//! How our values are written in columns and read back.

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, ToSql};
use shoal_oci::{Algorithm, Digest, Repository};

use crate::clock::UnixMillis;
use crate::{Error, Result};

/// A digest as one byte for its algorithm and the raw hash.
pub(super) struct DigestColumn<'a>(pub(super) &'a Digest);

impl ToSql for DigestColumn<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Blob(encode(self.0))))
    }
}

/// The column's bytes: their order is the order of pages of referrers.
fn encode(digest: &Digest) -> Vec<u8> {
    let algorithm = match digest.algorithm() {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    };
    let mut column = Vec::with_capacity(1 + digest.as_bytes().len());
    column.push(algorithm);
    column.extend_from_slice(digest.as_bytes());
    column
}

/// Reads a [`DigestColumn`].
pub(super) fn digest(row: &Row<'_>, column: usize) -> Result<Digest> {
    let bytes = row.get_ref(column)?.as_blob().map_err(|_| Error::Damaged { what: "digest" })?;
    let digest = match bytes.split_first() {
        Some((1, hash)) => Digest::from_bytes(Algorithm::Sha256, hash),
        Some((2, hash)) => Digest::from_bytes(Algorithm::Sha512, hash),
        _ => None,
    };
    digest.ok_or(Error::Damaged { what: "digest" })
}

/// Reads a column that holds a name of ours.
pub(super) fn name<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> Result<T> {
    let text = row.get_ref(column)?.as_str().map_err(|_| Error::Damaged { what: "name" })?;
    text.parse().map_err(|_| Error::Damaged { what: "name" })
}

/// Reads a size in bytes.
pub(super) fn size(row: &Row<'_>, column: usize) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| Error::Damaged { what: "size" })
}

/// The first row of `statement` through `read`.
pub(super) fn first<T>(
    statement: &mut CachedStatement<'_>,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(read).transpose()
}

/// The repository's number, if it has one.
pub(super) fn repository_id(connection: &Connection, repository: &Repository) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM repositories WHERE name = ?1")?;
    Ok(statement.query_row([repository.as_str()], |row| row.get(0)).optional()?)
}

/// A moment as it is stored. SQLite's numbers end in the year 292 million.
pub(super) fn moment(at: UnixMillis) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

/// Reads a moment.
pub(super) fn moment_at(row: &Row<'_>, column: usize) -> Result<UnixMillis> {
    Ok(row.get::<_, i64>(column)?.max(0).cast_unsigned())
}

/// Reads a moment that may not have been yet.
pub(super) fn moment_or_null(row: &Row<'_>, column: usize) -> Result<Option<UnixMillis>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|at| at.max(0).cast_unsigned()))
}
