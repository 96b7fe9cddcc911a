//! Between the words of the metadata and the words of the conversation. They look alike today; they change for different reasons:
//! the former with what engines can do, the latter with what programs of different versions say to one another.

use shoal_api::tags as api;
use shoal_metadata as metadata;

pub(crate) fn put(manifest: api::PutManifest) -> metadata::PutManifest {
    let api::PutManifest {
        repository,
        digest,
        media_type,
        bytes,
        blobs,
        blobs_optional,
        children,
        subject,
        artifact_type,
        annotations,
        tags,
        references,
    } = manifest;
    metadata::PutManifest {
        repository,
        digest,
        media_type,
        bytes,
        blobs,
        blobs_optional,
        children,
        subject,
        artifact_type,
        annotations,
        tags,
        references: match references {
            api::References::Required => metadata::References::Required,
            api::References::Sparse => metadata::References::Sparse,
        },
    }
}

pub(crate) fn outcome(outcome: metadata::PutOutcome) -> api::PutOutcome {
    match outcome {
        metadata::PutOutcome::Stored => api::PutOutcome::Stored,
        metadata::PutOutcome::Missing { blobs, children } => api::PutOutcome::Missing { blobs, children },
    }
}

pub(crate) fn manifest(manifest: metadata::Manifest) -> api::Manifest {
    let metadata::Manifest { digest, media_type, bytes } = manifest;
    api::Manifest { digest, media_type, bytes }
}

pub(crate) fn after(page: api::PageAfter) -> metadata::PageAfter {
    metadata::PageAfter { last: page.last, limit: page.limit }
}

pub(crate) fn page<T>(page: metadata::Page<T>) -> api::Page<T> {
    api::Page { items: page.items, more: page.more }
}

/// Faults are logged here with everything that is known; a client learns that there is one, and no paths and no SQL.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn error(error: metadata::Error) -> api::TagsError {
    let (kind, message) = match error.kind() {
        metadata::ErrorKind::Conflict => (api::TagsErrorKind::Conflict, error.to_string()),
        metadata::ErrorKind::Unavailable => {
            tracing::warn!(%error, "the metadata store is unavailable");
            (api::TagsErrorKind::Unavailable, "the metadata store is unavailable; try again".to_owned())
        }
        metadata::ErrorKind::Internal => {
            tracing::error!(%error, "the metadata store failed");
            (api::TagsErrorKind::Internal, "the metadata store failed; the server's log says why".to_owned())
        }
    };
    api::TagsError::new(kind, message)
}
