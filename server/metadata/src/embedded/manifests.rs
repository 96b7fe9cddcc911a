//! Manifests, what they reference, and the tags that name them.

use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use shoal_oci::{Digest, Reference, Repository, Tag};

use super::outbox;
use super::rows::{self, DigestColumn};
use super::transaction::Transaction;
use crate::catalog::{
    Condition, DeleteOutcome, Manifest, PAGE_LIMIT_MAX, PutManifest, PutOutcome, References,
};
use crate::{Error, Result};

/// `refs.kind` of a blob that must be there.
const BLOB: i64 = 0;
/// `refs.kind` of a blob that may be missing.
const BLOB_OPTIONAL: i64 = 1;
/// `refs.kind` of a manifest.
const CHILD: i64 = 2;

/// What a tag names before the change.
type Named<'a> = (&'a Tag, Option<Digest>);

pub(super) fn put(transaction: &Transaction<'_>, manifest: &PutManifest) -> Result<PutOutcome> {
    transaction.guard()?;
    let repository = transaction.repository(&manifest.repository)?;
    let tags = named(transaction, repository, &manifest.tags)?;
    if let Some(refused) = refused(transaction, repository, manifest, &tags)? {
        return Ok(refused);
    }
    if manifest.references == References::Required
        && let Some(missing) = missing(transaction, repository, manifest)?
    {
        return Ok(missing);
    }
    let repository = transaction.repository_or_new(&manifest.repository)?;
    let (id, created) = insert(transaction, repository, manifest)?;
    let moved = move_tags(transaction, repository, id, manifest, tags)?;
    outbox::append(transaction, &manifest.outbox)?;
    Ok(PutOutcome::Stored { moved, created })
}

fn named<'a>(
    transaction: &Transaction<'_>,
    repository: Option<i64>,
    tags: &'a [Tag],
) -> Result<Vec<Named<'a>>> {
    let mut named: Vec<Named<'_>> = Vec::with_capacity(tags.len());
    for tag in tags {
        if named.iter().all(|(seen, _)| *seen != tag) {
            named.push((tag, digest_of(transaction, repository, tag)?));
        }
    }
    Ok(named)
}

/// What a tag names. Nothing is in a repository without a number: no row has NULL there.
fn digest_of(transaction: &Transaction<'_>, repository: Option<i64>, tag: &Tag) -> Result<Option<Digest>> {
    let mut statement = transaction.prepare_cached(
        "SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest WHERE t.repository = ?1 AND t.name = ?2",
    )?;
    rows::first(&mut statement, params![repository, tag.as_str()], |row| rows::digest(row, 0))
}

/// The number of a manifest. Nothing is in a repository without a number: no row has NULL there.
pub(super) fn id_of(
    transaction: &Transaction<'_>,
    repository: Option<i64>,
    digest: &Digest,
) -> Result<Option<i64>> {
    let mut statement =
        transaction.prepare_cached("SELECT id FROM manifests WHERE repository = ?1 AND digest = ?2")?;
    rows::first(&mut statement, params![repository, DigestColumn(digest)], |row| Ok(row.get(0)?))
}

/// Why the tags do not become names of this manifest; `None` when they may.
fn refused(
    transaction: &Transaction<'_>,
    repository: Option<i64>,
    manifest: &PutManifest,
    tags: &[Named<'_>],
) -> Result<Option<PutOutcome>> {
    let PutManifest { digest, condition, .. } = manifest;
    let is_made = !tags.is_empty() && tags.iter().all(|(_, current)| current.as_ref() == Some(digest));
    let if_match = if is_made { None } else { condition.if_match.clone() };
    let condition = Condition { if_match, if_none_match: condition.if_none_match.clone() };
    let failed = if tags.is_empty() {
        let current = id_of(transaction, repository, digest)?.map(|_| *digest);
        (!condition.holds(current.as_ref())).then_some(current)
    } else {
        tags.iter().map(|(_, current)| *current).find(|current| !condition.holds(current.as_ref()))
    };
    if let Some(current) = failed {
        return Ok(Some(PutOutcome::PreconditionFailed { current }));
    }
    let may_move = |tag: &Tag| manifest.overwrite && !manifest.immutable.contains(tag);
    let kept = tags.iter().find_map(|(tag, current)| match current {
        Some(current) if current != digest && !may_move(tag) => Some(((*tag).clone(), *current)),
        _ => None,
    });
    Ok(kept.map(|(tag, current)| PutOutcome::TagExists { tag, current }))
}

/// What the repository lacks of what the manifest references; `None` when nothing.
fn missing(
    transaction: &Transaction<'_>,
    repository: Option<i64>,
    manifest: &PutManifest,
) -> Result<Option<PutOutcome>> {
    let absent = |sql, digests: &[Digest]| -> Result<Vec<Digest>> {
        let mut statement = transaction.prepare_cached(sql)?;
        let mut absent = Vec::new();
        for digest in digests {
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

fn move_tags(
    transaction: &Transaction<'_>,
    repository: i64,
    id: i64,
    manifest: &PutManifest,
    tags: Vec<Named<'_>>,
) -> Result<Vec<(Tag, Option<Digest>)>> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO tags (repository, name, manifest, moved_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest, moved_at = excluded.moved_at",
    )?;
    let mut moved = Vec::new();
    for (tag, before) in tags {
        if before != Some(manifest.digest) {
            statement.execute(params![repository, tag.as_str(), id, transaction.now_column()])?;
            transaction.outdates(transaction.keys().tag(&manifest.repository, tag));
            moved.push((tag.clone(), before));
        }
    }
    Ok(moved)
}

/// The manifest's number, and whether it is new. A digest stands for its bytes, so only the media type of a stored one can be news.
fn insert(transaction: &Transaction<'_>, repository: i64, manifest: &PutManifest) -> Result<(i64, bool)> {
    let known = id_of(transaction, Some(repository), &manifest.digest)?;
    if let Some(id) = known {
        let changed = transaction
            .prepare_cached("UPDATE manifests SET media_type = ?2 WHERE id = ?1 AND media_type <> ?2")?
            .execute(params![id, manifest.media_type])?;
        if changed > 0 {
            transaction.outdates(transaction.keys().manifest(&manifest.repository, &manifest.digest));
        }
        note_pushed(transaction, id)?;
        return Ok((id, false));
    }
    let annotations = annotations(manifest)?;
    transaction
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
    let id = transaction.last_insert_rowid();
    note_pushed(transaction, id)?;
    insert_refs(transaction, repository, id, manifest)?;
    Ok((id, true))
}

fn note_pushed(transaction: &Transaction<'_>, id: i64) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO manifest_times (manifest, pushed_at) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET pushed_at = excluded.pushed_at WHERE pushed_at < excluded.pushed_at",
        )?
        .execute([id, transaction.now_column()])?;
    Ok(())
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

fn insert_refs(
    transaction: &Transaction<'_>,
    repository: i64,
    id: i64,
    manifest: &PutManifest,
) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO refs (manifest, digest, kind, repository) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    let kinds =
        [(BLOB, &manifest.blobs), (BLOB_OPTIONAL, &manifest.blobs_optional), (CHILD, &manifest.children)];
    for (kind, digests) in kinds {
        for digest in digests {
            statement.execute(params![id, DigestColumn(digest), kind, repository])?;
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

/// The tags that need a blob or a manifest: they name it, or what references it, over any number of indexes.
pub(super) fn tags_needing(
    connection: &Connection,
    repository: &Repository,
    digest: &Digest,
) -> Result<Vec<Tag>> {
    let mut statement = connection.prepare_cached(
        "WITH RECURSIVE home (id) AS (SELECT id FROM repositories WHERE name = ?1),
             needing (digest) AS (
                 VALUES (?2)
                 UNION
                 SELECT m.digest FROM needing n JOIN refs r ON r.repository = (SELECT id FROM home) AND r.digest = n.digest
                     JOIN manifests m ON m.id = r.manifest)
         SELECT t.name FROM needing n JOIN manifests m ON m.repository = (SELECT id FROM home) AND m.digest = n.digest
             JOIN tags t ON t.manifest = m.id
         ORDER BY t.name LIMIT ?3",
    )?;
    let mut rows =
        statement.query(params![repository.as_str(), DigestColumn(digest), PAGE_LIMIT_MAX as i64])?;
    let mut tags = Vec::new();
    while let Some(row) = rows.next()? {
        tags.push(rows::name(row, 0)?);
    }
    Ok(tags)
}

/// The manifest's tags and references go with it: their rows are bound to its row.
pub(super) fn delete(
    transaction: &Transaction<'_>,
    repository: &Repository,
    digest: &Digest,
    condition: &Condition,
    outbox: &[Bytes],
) -> Result<DeleteOutcome> {
    transaction.guard()?;
    let id = transaction.repository(repository)?;
    let manifest = id_of(transaction, id, digest)?;
    let current = manifest.map(|_| *digest);
    if !condition.holds(current.as_ref()) {
        return Ok(DeleteOutcome::PreconditionFailed { current });
    }
    let (Some(id), Some(manifest)) = (id, manifest) else { return Ok(DeleteOutcome::NotFound) };
    let tags = remove(transaction, repository, id, manifest, digest)?;
    outbox::append(transaction, outbox)?;
    Ok(DeleteOutcome::Deleted { digest: *digest, tags })
}

/// Removes the manifest with the number `manifest`, and gives the tags that went with it.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    repository: &Repository,
    id: i64,
    manifest: i64,
    digest: &Digest,
) -> Result<Vec<Tag>> {
    let mut tags = Vec::new();
    {
        let mut statement =
            transaction.prepare_cached("SELECT name FROM tags WHERE manifest = ?1 ORDER BY name")?;
        let mut rows = statement.query([manifest])?;
        while let Some(row) = rows.next()? {
            // One that cannot be read goes as well; nobody can have it in memory.
            if let Ok(tag) = rows::name::<Tag>(row, 0) {
                transaction.outdates(transaction.keys().tag(repository, &tag));
                tags.push(tag);
            }
        }
    }
    transaction.prepare_cached("DELETE FROM manifests WHERE id = ?1")?.execute([manifest])?;
    transaction.outdates(transaction.keys().manifest(repository, digest));
    transaction.drop_if_empty(repository, id)?;
    Ok(tags)
}

pub(super) fn delete_tag(
    transaction: &Transaction<'_>,
    repository: &Repository,
    tag: &Tag,
    condition: &Condition,
    outbox: &[Bytes],
) -> Result<DeleteOutcome> {
    transaction.guard()?;
    let id = transaction.repository(repository)?;
    let current = digest_of(transaction, id, tag)?;
    if !condition.holds(current.as_ref()) {
        return Ok(DeleteOutcome::PreconditionFailed { current });
    }
    let (Some(id), Some(digest)) = (id, current) else { return Ok(DeleteOutcome::NotFound) };
    transaction
        .prepare_cached("DELETE FROM tags WHERE repository = ?1 AND name = ?2")?
        .execute(params![id, tag.as_str()])?;
    transaction.outdates(transaction.keys().tag(repository, tag));
    outbox::append(transaction, outbox)?;
    Ok(DeleteOutcome::Deleted { digest, tags: vec![tag.clone()] })
}
