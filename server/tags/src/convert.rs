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
        condition: expected,
        immutable,
        overwrite,
        outbox,
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
        condition: condition(expected),
        immutable,
        overwrite,
        outbox,
    }
}

pub(crate) fn condition(condition: api::Condition) -> metadata::Condition {
    let convert = |expected| match expected {
        api::Match::Any => metadata::Match::Any,
        api::Match::Digests(digests) => metadata::Match::Digests(digests),
    };
    metadata::Condition {
        if_match: condition.if_match.map(convert),
        if_none_match: condition.if_none_match.map(convert),
    }
}

pub(crate) fn outcome(outcome: metadata::PutOutcome) -> api::PutOutcome {
    use metadata::PutOutcome as Outcome;
    match outcome {
        Outcome::Stored { moved, created } => api::PutOutcome::Stored { moved, created },
        Outcome::Missing { blobs, children } => api::PutOutcome::Missing { blobs, children },
        Outcome::PreconditionFailed { current } => api::PutOutcome::PreconditionFailed { current },
        Outcome::TagExists { tag, current } => api::PutOutcome::TagExists { tag, current },
    }
}

pub(crate) fn deleted(outcome: metadata::DeleteOutcome) -> api::DeleteOutcome {
    use metadata::DeleteOutcome as Outcome;
    match outcome {
        Outcome::Deleted { digest, tags } => api::DeleteOutcome::Deleted { digest, tags },
        Outcome::NotFound => api::DeleteOutcome::NotFound,
        Outcome::PreconditionFailed { current } => api::DeleteOutcome::PreconditionFailed { current },
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
