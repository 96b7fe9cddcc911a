//! Readers of the OCI words: whatever comes in, no panic, and what is accepted says the same when it is written and read again.

use shoal_oci::range::{parse_chunk, request_range};
use shoal_oci::{Digest, EntityTags, Manifest, Query, Reference, Repository, Route, Selection, Tag};

/// Paths of `/v2/`.
pub fn routes(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    if let Ok(route) = Route::parse(path) {
        let written = route.to_path();
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%'), "{written}");
        assert!(!written.contains("/../") && !written.contains("//"), "{written}");
        assert_eq!(Route::parse(&written), Ok(route));
    }
    if let Ok((_, route)) = Route::parse_mirror(path) {
        assert_eq!(Route::parse(&route.to_path()), Ok(route));
    }
}

/// Names, tags, digests, references and hosts.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(repository) = text.parse::<Repository>() {
        assert_eq!(repository.as_str(), text);
        assert!(text.split('/').all(|segment| !segment.is_empty() && segment != ".."), "{text}");
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert!(tag.as_str() == text && !text.contains('/'), "{text}");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string(), text);
    }
    if let Ok(host) = text.parse::<shoal_oci::Host>() {
        assert!(!host.to_string().contains('/'), "{text}");
    }
}

/// Queries.
pub fn queries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(query) = Query::parse(Some(text)) else { return };
    _ = (query.digest(), query.digest_algorithm(), query.mount(), query.from(), query.ns());
    _ = (query.artifact_type().map(drop), query.page());
    if let Ok(tags) = query.tags() {
        assert!(tags.len() <= shoal_oci::query::TAGS_MAX);
    }
}

/// `Range`, `Content-Range` and entity tags: eight bytes of size, then the header.
pub fn ranges(data: &[u8]) {
    let Some((size, header)) = data.split_first_chunk::<8>() else { return };
    let size = u64::from_be_bytes(*size);
    let Ok(header) = std::str::from_utf8(header) else { return };
    if let Selection::Part(part) = Selection::of(Some(header), size) {
        assert!(part.start < part.end && part.end <= size, "{header}");
        assert_eq!(Selection::of(Some(&request_range(&part)), size), Selection::Part(part));
    }
    if let Ok(chunk) = parse_chunk(header) {
        assert!(chunk.start < chunk.end, "{header}");
    }
    if let Some(EntityTags::Listed(tags)) = EntityTags::parse(header) {
        assert!(!tags.is_empty());
        for tag in tags {
            if let Some(digest) = tag.digest() {
                assert_eq!(digest.to_string(), tag.opaque);
            }
        }
    }
}

/// Manifests: the content type, a line break, the document.
pub fn manifests(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (head, document) = data.split_at(at);
    let content_type = std::str::from_utf8(head).ok().filter(|text| !text.is_empty());
    let document = document.get(1..).unwrap_or_default();
    let Ok(manifest) = Manifest::parse(document, content_type) else { return };
    let (blobs, optional, children) = (manifest.blobs(), manifest.blobs_optional(), manifest.children());
    assert!(children.is_empty() || manifest.media_type().is_index());
    assert!(optional.is_empty() || !manifest.media_type().is_index());
    let required: std::collections::BTreeSet<_> = manifest.required_blobs().map(|blob| blob.digest).collect();
    assert_eq!(required.len(), blobs.len());
    for blob in manifest.required_blobs() {
        assert!(blob.size <= shoal_oci::descriptor::DESCRIPTOR_SIZE_MAX && !blob.media_type.is_empty());
    }
    _ = (manifest.subject(), manifest.artifact_type(), manifest.annotations());
}
