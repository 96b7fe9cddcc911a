//! From a reference to every blob that a pull of it needs.

use std::collections::BTreeSet;

use shoal_api::preheat::PreheatImage;
use shoal_api::tags::Tags;
use shoal_oci::{Digest, Manifest, Reference};

use super::notification::Wanted;

/// Most manifests below one index, indexes in it included. Images for every platform and their attestations are some thirty.
const MANIFESTS_MAX: usize = 1000;

/// An image and what it lacks.
pub(super) struct Resolved {
    pub(super) image: PreheatImage,
    /// Manifests that an index names and that are not here, or cannot be read.
    pub(super) missing: usize,
}

/// Why there is no image.
pub(super) enum Unresolved {
    NotFound,
    Unavailable,
}

/// Looks the image up, and everything below it.
pub(super) async fn resolve(tags: &dyn Tags, wanted: &Wanted) -> Result<Resolved, Unresolved> {
    let top =
        tags.manifest(&wanted.repository, &wanted.reference).await.map_err(|error| unavailable(&error))?;
    let top = top.ok_or(Unresolved::NotFound)?;
    let manifest = top.digest;
    let (mut blobs, mut missing) = (BTreeSet::new(), 0);
    let mut seen = BTreeSet::from([manifest]);
    let mut waiting = vec![top];
    while let Some(document) = waiting.pop() {
        let Ok(parsed) = Manifest::parse(&document.bytes, Some(&document.media_type)) else {
            missing += 1;
            continue;
        };
        blobs.extend(parsed.blobs());
        for child in parsed.children() {
            if seen.len() > MANIFESTS_MAX || !seen.insert(child) {
                continue;
            }
            match tags
                .manifest(&wanted.repository, &Reference::Digest(child))
                .await
                .map_err(|error| unavailable(&error))?
            {
                Some(document) => waiting.push(document),
                // An index may name platforms that were never copied here.
                None => missing += 1,
            }
        }
    }
    let blobs: Vec<Digest> = blobs.into_iter().collect();
    Ok(Resolved { image: PreheatImage { repository: wanted.repository.clone(), manifest, blobs }, missing })
}

fn unavailable(error: &shoal_api::tags::TagsError) -> Unresolved {
    tracing::warn!(%error, "an image to preheat cannot be looked up");
    Unresolved::Unavailable
}
