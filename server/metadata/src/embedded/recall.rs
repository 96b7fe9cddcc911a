//! Questions about tags and manifests whose answers are remembered for the next one who asks.

use std::sync::Arc;

use rusqlite::Connection;
use shoal_oci::{Digest, Reference, Repository, Tag};

use super::cache::Cache;
use super::manifests;
use crate::Result;
use crate::catalog::Manifest;

/// How often a tag is looked up again because its manifest was deleted in between. Twice in a row takes two deletions within
/// microseconds of each other.
const ATTEMPTS: usize = 3;

pub(super) fn tag(
    connection: &Connection,
    cache: &Cache,
    repository: &Repository,
    tag: &Tag,
) -> Result<Option<Digest>> {
    let ticket = cache.ticket(cache.keys().tag(repository, tag));
    let found = manifests::resolve(connection, repository, tag)?;
    if let Some(digest) = found {
        cache.keep_tag(ticket, repository, tag, digest);
    }
    Ok(found)
}

fn at_digest(
    connection: &Connection,
    cache: &Cache,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<Arc<Manifest>>> {
    if let Some(found) = cache.manifest(repository, digest) {
        return Ok(Some(found));
    }
    let ticket = cache.ticket(cache.keys().manifest(repository, digest));
    let found = manifests::get(connection, repository, &Reference::Digest(*digest))?.map(Arc::new);
    if let Some(manifest) = &found {
        cache.keep_manifest(ticket, repository, Arc::clone(manifest));
    }
    Ok(found)
}

/// By tag in two steps, so that each step's answer can be remembered for itself.
pub(super) fn manifest(
    connection: &Connection,
    cache: &Cache,
    repository: &Repository,
    reference: &Reference,
) -> Result<Option<Arc<Manifest>>> {
    let name = match reference {
        Reference::Digest(digest) => return at_digest(connection, cache, repository, digest),
        Reference::Tag(name) => name,
    };
    for _ in 0..ATTEMPTS {
        let Some(digest) = tag(connection, cache, repository, name)? else { return Ok(None) };
        if let Some(manifest) = at_digest(connection, cache, repository, &digest)? {
            return Ok(Some(manifest));
        }
    }
    Ok(manifests::get(connection, repository, reference)?.map(Arc::new))
}
