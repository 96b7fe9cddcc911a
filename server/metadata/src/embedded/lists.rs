//! Lists, one page at a time. Every page starts at an index entry, so that the last page of a million tags costs what the first does.

use rusqlite::{CachedStatement, Connection, Params, Row, params};
use shoal_oci::{Annotations, Descriptor, Digest, Repository, Tag};

use super::rows::{self, DigestColumn};
use crate::catalog::{PAGE_LIMIT_MAX, Page, PageAfter, REFERRERS_BYTES_MAX};
use crate::{Error, Result};

pub(super) fn tags(
    connection: &Connection,
    repository: &Repository,
    page: &PageAfter,
) -> Result<Option<Page<Tag>>> {
    // One snapshot for both questions.
    let snapshot = connection.unchecked_transaction()?;
    let Some(id) = filled_repository(&snapshot, repository)? else { return Ok(None) };
    let mut statement = snapshot
        .prepare_cached("SELECT name FROM tags WHERE repository = ?1 AND name > ?2 ORDER BY name LIMIT ?3")?;
    let last = page.last.as_deref().unwrap_or_default();
    collect(&mut statement, params![id, last, rows_needed(page)], page, |row| rows::name(row, 0), |_| true)
        .map(Some)
}

/// The number of a repository that has something.
fn filled_repository(connection: &Connection, repository: &Repository) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM repositories r WHERE name = ?1 AND (
             EXISTS (SELECT 1 FROM manifests WHERE repository = r.id)
             OR EXISTS (SELECT 1 FROM links WHERE repository = r.id))",
    )?;
    rows::first(&mut statement, [repository.as_str()], |row| Ok(row.get(0)?))
}

pub(super) fn repositories(connection: &Connection, page: &PageAfter) -> Result<Page<Repository>> {
    let mut statement = connection.prepare_cached(
        "SELECT name FROM repositories r WHERE name > ?1 AND (
             EXISTS (SELECT 1 FROM manifests WHERE repository = r.id)
             OR EXISTS (SELECT 1 FROM links WHERE repository = r.id))
         ORDER BY name LIMIT ?2",
    )?;
    let last = page.last.as_deref().unwrap_or_default();
    collect(&mut statement, params![last, rows_needed(page)], page, |row| rows::name(row, 0), |_| true)
}

/// One row more than the page has, to know whether there are more; none for an empty page.
fn rows_needed(page: &PageAfter) -> i64 {
    match page.limit.min(PAGE_LIMIT_MAX) {
        0 => 0,
        limit => limit as i64 + 1,
    }
}

/// Reads a page, which ends early (after one item at the earliest) at the first item that does not fit.
fn collect<T>(
    statement: &mut CachedStatement<'_>,
    parameters: impl Params,
    page: &PageAfter,
    read: impl Fn(&Row<'_>) -> Result<T>,
    mut fits: impl FnMut(&T) -> bool,
) -> Result<Page<T>> {
    let limit = page.limit.min(PAGE_LIMIT_MAX);
    let mut found = Page { items: Vec::new(), more: false };
    let mut rows = statement.query(parameters)?;
    while let Some(row) = rows.next()? {
        found.more = found.items.len() == limit;
        if found.more {
            break;
        }
        let item = read(row)?;
        found.more = !fits(&item) && !found.items.is_empty();
        if found.more {
            break;
        }
        found.items.push(item);
    }
    Ok(found)
}

pub(super) fn referrers(
    connection: &Connection,
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
    page: &PageAfter,
) -> Result<Page<Descriptor>> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, media_type, length(bytes), artifact_type, annotations FROM manifests
         WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND subject = ?2
             AND digest > coalesce(?3, x'') AND (?4 IS NULL OR artifact_type = ?4)
         ORDER BY digest LIMIT ?5",
    )?;
    let last: Option<Digest> = page.last.as_deref().and_then(|last| last.parse().ok());
    let parameters = params![
        repository.as_str(),
        DigestColumn(subject),
        last.as_ref().map(DigestColumn),
        artifact_type,
        rows_needed(page)
    ];
    let mut len = 0;
    collect(&mut statement, parameters, page, referrer, |descriptor| {
        len += descriptor_len(descriptor);
        len <= REFERRERS_BYTES_MAX
    })
}

/// About how many bytes a descriptor takes in JSON.
fn descriptor_len(descriptor: &Descriptor) -> usize {
    const FIXED_LEN: usize = 256; // digest, size, the keys
    let annotations: usize =
        descriptor.annotations.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
    FIXED_LEN
        + descriptor.media_type.len()
        + descriptor.artifact_type.as_ref().map_or(0, String::len)
        + annotations
}

fn referrer(row: &Row<'_>) -> Result<Descriptor> {
    let annotations: Option<Annotations> = row
        .get_ref(4)?
        .as_str_or_null()
        .map_err(|_| Error::Damaged { what: "list of annotations" })?
        .map(serde_json::from_str)
        .transpose()
        .map_err(|_| Error::Damaged { what: "list of annotations" })?;
    let mut descriptor =
        Descriptor::new(row.get::<_, String>(1)?, rows::digest(row, 0)?, rows::size(row, 2)?);
    descriptor.artifact_type = row.get(3)?;
    descriptor.annotations = annotations.unwrap_or_default();
    Ok(descriptor)
}
