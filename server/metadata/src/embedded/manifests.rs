//! Manifests, what they reference, and the tags that name them.

use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use shoal_oci::{Digest, Reference, Repository, Tag};

use super::rows::{self, DigestColumn};
use crate::catalog::{Manifest, PutManifest, PutOutcome, References};
use crate::{Error, Result};

/// `refs.kind` of a blob that must be there.
const BLOB: i64 = 0;
/// `refs.kind` of a blob that may be missing.
const BLOB_OPTIONAL: i64 = 1;
/// `refs.kind` of a manifest.
const CHILD: i64 = 2;

pub(super) fn put(connection: &Connection, manifest: &PutManifest) -> Result<PutOutcome> {
    if manifest.references == References::Required
        && let Some(missing) = missing(connection, manifest)?
    {
        return Ok(missing);
    }
    let repository = rows::repository_id_or_new(connection, &manifest.repository)?;
    let id = insert(connection, repository, manifest)?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO tags (repository, name, manifest) VALUES (?1, ?2, ?3)
         ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest",
    )?;
    for tag in &manifest.tags {
        statement.execute(params![repository, tag.as_str(), id])?;
    }
    Ok(PutOutcome::Stored)
}

/// What the repository lacks of what the manifest references; `None` when nothing.
fn missing(connection: &Connection, manifest: &PutManifest) -> Result<Option<PutOutcome>> {
    let repository = rows::repository_id(connection, &manifest.repository)?;
    let absent = |sql, digests: &[Digest]| -> Result<Vec<Digest>> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut absent = Vec::new();
        for digest in digests {
            // Nothing is in a repository without a number: no row has NULL there.
            if !statement.exists(params![repository, DigestColumn(digest)])? {
                absent.push(*digest);
            }
        }
        Ok(absent)
    };
    let blobs = absent("SELECT 1 FROM links WHERE repository = ?1 AND digest = ?2", &manifest.blobs)?;
    let children =
        absent("SELECT 1 FROM manifests WHERE repository = ?1 AND digest = ?2", &manifest.children)?;
    let complete = blobs.is_empty() && children.is_empty();
    Ok((!complete).then_some(PutOutcome::Missing { blobs, children }))
}

/// The manifest's number. A digest stands for its bytes, so only the media type of a stored one can be news.
fn insert(connection: &Connection, repository: i64, manifest: &PutManifest) -> Result<i64> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM manifests WHERE repository = ?1 AND digest = ?2")?;
    let known: Option<i64> =
        rows::first(&mut statement, params![repository, DigestColumn(&manifest.digest)], |row| {
            Ok(row.get(0)?)
        })?;
    if let Some(id) = known {
        connection
            .prepare_cached("UPDATE manifests SET media_type = ?2 WHERE id = ?1 AND media_type <> ?2")?
            .execute(params![id, manifest.media_type])?;
        return Ok(id);
    }
    let annotations = annotations(manifest)?;
    connection
        .prepare_cached(
            "INSERT INTO manifests (repository, digest, media_type, subject, artifact_type, annotations, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            repository,
            DigestColumn(&manifest.digest),
            manifest.media_type,
            manifest.subject.as_ref().map(DigestColumn),
            manifest.artifact_type,
            annotations,
            &manifest.bytes[..],
        ])?;
    let id = connection.last_insert_rowid();
    insert_refs(connection, id, manifest)?;
    Ok(id)
}

/// Annotations are repeated in a column only where a list of referrers needs them.
fn annotations(manifest: &PutManifest) -> Result<Option<String>> {
    if manifest.subject.is_none() || manifest.annotations.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(&manifest.annotations)
        .map(Some)
        .map_err(|_| Error::Damaged { what: "list of annotations" })
}

fn insert_refs(connection: &Connection, id: i64, manifest: &PutManifest) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO refs (manifest, digest, kind) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    let kinds =
        [(BLOB, &manifest.blobs), (BLOB_OPTIONAL, &manifest.blobs_optional), (CHILD, &manifest.children)];
    for (kind, digests) in kinds {
        for digest in digests {
            statement.execute(params![id, DigestColumn(digest), kind])?;
        }
    }
    Ok(())
}

pub(super) fn get(
    connection: &Connection,
    repository: &Repository,
    reference: &Reference,
) -> Result<Option<Manifest>> {
    match reference {
        Reference::Digest(digest) => {
            let mut statement = connection.prepare_cached(
                "SELECT digest, media_type, bytes FROM manifests
                 WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND digest = ?2",
            )?;
            rows::first(&mut statement, params![repository.as_str(), DigestColumn(digest)], manifest)
        }
        Reference::Tag(tag) => {
            let mut statement = connection.prepare_cached(
                "SELECT m.digest, m.media_type, m.bytes FROM tags t JOIN manifests m ON m.id = t.manifest
                 WHERE t.repository = (SELECT id FROM repositories WHERE name = ?1) AND t.name = ?2",
            )?;
            rows::first(&mut statement, [repository.as_str(), tag.as_str()], manifest)
        }
    }
}

fn manifest(row: &Row<'_>) -> Result<Manifest> {
    let bytes = row.get_ref(2)?.as_blob().map_err(|_| Error::Damaged { what: "manifest" })?;
    Ok(Manifest {
        digest: rows::digest(row, 0)?,
        media_type: row.get(1)?,
        bytes: Bytes::copy_from_slice(bytes),
    })
}

pub(super) fn resolve(connection: &Connection, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
    let mut statement = connection.prepare_cached(
        "SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest
         WHERE t.repository = (SELECT id FROM repositories WHERE name = ?1) AND t.name = ?2",
    )?;
    rows::first(&mut statement, [repository.as_str(), tag.as_str()], |row| rows::digest(row, 0))
}

/// The manifest's tags and references go with it: their rows are bound to its row.
pub(super) fn delete(connection: &Connection, repository: &Repository, digest: &Digest) -> Result<bool> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM manifests WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND digest = ?2",
        )?
        .execute(params![repository.as_str(), DigestColumn(digest)])?;
    Ok(removed > 0)
}

pub(super) fn delete_tag(connection: &Connection, repository: &Repository, tag: &Tag) -> Result<bool> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM tags WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND name = ?2",
        )?
        .execute([repository.as_str(), tag.as_str()])?;
    Ok(removed > 0)
}
