//! Faults of the rooms below, said in the protocol's words.
//!
//! The only place where this role turns a kind of error into a code and a status. The handlers return [`Refusal`]s with `?` and
//! never write an error body themselves. What a fault on our side was in detail goes to the log, not to the client: it may
//! name files.

use http::{HeaderValue, StatusCode, header};
use shoal_api::tags::{TagsError, TagsErrorKind};
use shoal_http::Response;
use shoal_oci::{Digest, ErrorCode, OciError, Reference, Repository, reply};
use shoal_store::ErrorKind;

use crate::answer;
use crate::gate::Denied;

/// What a handler gives: an answer, or why there is none.
pub(crate) type Answer = Result<Response, Refusal>;

/// When a client should try again after a fault that passes by itself, in seconds. Clients that honour it wait at least
/// this long and back off further on their own; shorter would make a full disk a busy one as well.
const RETRY_AFTER_SECONDS: &str = "30";

/// An error answer: the protocol's error and the headers that go with it.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Parts>);

#[derive(Debug)]
struct Parts {
    error: OciError,
    headers: reply::Headers,
    denied: Option<Denied>,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        OciError::new(code, message).into()
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.error.status = status.as_u16();
        self
    }

    pub(crate) fn with_detail(mut self, detail: serde_json::Value) -> Self {
        self.0.error.detail = detail;
        self
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    pub(crate) fn with_headers(mut self, headers: reply::Headers) -> Self {
        self.0.headers.extend(headers);
        self
    }

    /// The same answer, noted as a refusal of access for this reason.
    pub(crate) fn denied(mut self, reason: &'static str) -> Self {
        self.0.denied = Some(Denied(reason));
        self
    }

    /// Whether the client is told `code`.
    pub(crate) fn is(&self, code: ErrorCode) -> bool {
        self.0.error.code == code
    }

    /// The answer. A 5xx is logged by whoever made it, with what the client is not told.
    pub(crate) fn into_response(self) -> Response {
        let Parts { error, mut headers, denied } = *self.0;
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        headers.extend(reply::error(&error));
        let mut response = answer::with(status, headers, error.to_json());
        if let Some(denied) = denied {
            response.extensions_mut().insert(denied);
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body may still come and must not be read as the next request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<OciError> for Refusal {
    fn from(error: OciError) -> Self {
        Self(Box::new(Parts { error, headers: Vec::new(), denied: None }))
    }
}

/// A fault of ours that the client cannot help.
pub(crate) fn internal(what: &str, error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(what, %error, "request failed");
    Refusal::new(ErrorCode::Unknown, format!("the registry failed: {what}; its log says why"))
}

/// Something that will work again later.
pub(crate) fn unavailable(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::Unavailable, message).with_header("retry-after", RETRY_AFTER_SECONDS)
}

/// More requests than there is memory or turns for; the rest of a body is not waited for.
pub(crate) fn crowded() -> Refusal {
    unavailable("the registry has too much to do at once").with_header("connection", "close")
}

/// There is no such blob in this repository.
pub(crate) fn blob_unknown(digest: &Digest) -> Refusal {
    Refusal::new(ErrorCode::BlobUnknown, "the blob is not in this repository")
        .with_detail(serde_json::json!({ "digest": digest }))
}

/// There is no such manifest in this repository.
pub(crate) fn manifest_unknown(reference: &Reference) -> Refusal {
    Refusal::new(ErrorCode::ManifestUnknown, "the manifest is not in this repository")
        .with_detail(serde_json::json!({ "reference": reference.to_string() }))
}

/// There is no such repository.
pub(crate) fn name_unknown(repository: Option<&Repository>) -> Refusal {
    Refusal::new(ErrorCode::NameUnknown, "there is no such repository")
        .with_detail(serde_json::json!({ "name": repository }))
}

/// There is no such upload, at least not in this repository.
pub(crate) fn upload_unknown() -> Refusal {
    Refusal::new(
        ErrorCode::BlobUploadUnknown,
        "there is no such upload; it was finished, cancelled or it expired",
    )
}

/// Whether the process or the machine has run out of what comes back by itself: open files (EMFILE, ENFILE), memory (ENOMEM), or the place
/// of small content in the queue to the disk.
fn is_exhausted(error: &shoal_store::Error) -> bool {
    const PASSING: [i32; 3] = [24, 23, 12];
    match error {
        shoal_store::Error::PackBusy => true,
        shoal_store::Error::Io { source, .. } => {
            source.raw_os_error().is_some_and(|errno| PASSING.contains(&errno))
        }
        _ => false,
    }
}

/// A fault of the store while bytes are pushed.
pub(crate) fn of_push(error: &shoal_store::Error) -> Refusal {
    match error.kind() {
        _ if is_exhausted(error) => {
            tracing::error!(%error, "push refused");
            crowded()
        }
        ErrorKind::NotFound => upload_unknown(),
        ErrorKind::Busy => busy(),
        ErrorKind::DigestMismatch => Refusal::new(ErrorCode::DigestInvalid, error.to_string()),
        ErrorKind::NoSpace => {
            tracing::error!(%error, "push refused");
            unavailable("the registry has no room for more content; pulls go on, pushes have to wait")
        }
        ErrorKind::Invalid | ErrorKind::Corrupt | ErrorKind::Io => internal("writing to the store", error),
    }
}

/// A fault of the store while a blob is read.
pub(crate) fn of_pull(digest: &Digest, error: &shoal_store::Error) -> Refusal {
    match error.kind() {
        ErrorKind::NotFound => blob_unknown(digest),
        _ if is_exhausted(error) => {
            tracing::error!(%error, "pull refused");
            crowded()
        }
        ErrorKind::Busy => unavailable("the blob is being replaced"),
        _ => internal("reading from the store", error),
    }
}

/// Another request writes to the same upload.
pub(crate) fn busy() -> Refusal {
    Refusal::new(
        ErrorCode::BlobUploadInvalid,
        "another request is writing to this upload; wait until it ends",
    )
    .with_status(StatusCode::CONFLICT)
}

impl From<TagsError> for Refusal {
    fn from(error: TagsError) -> Self {
        match error.kind {
            TagsErrorKind::NotFound => Self::new(ErrorCode::NameUnknown, error.message),
            TagsErrorKind::Conflict => {
                Self::new(ErrorCode::Denied, error.message).with_status(StatusCode::CONFLICT)
            }
            TagsErrorKind::Unavailable => {
                tracing::warn!(%error, "metadata is unavailable");
                unavailable(error.message)
            }
            TagsErrorKind::Internal => internal("asking for metadata", &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_for_a_moment_is_told_as_such() {
        let io = |errno| shoal_store::Error::Io {
            doing: "open",
            path: "/f".into(),
            source: std::io::Error::from_raw_os_error(errno),
        };
        for (error, code) in [
            (io(24), ErrorCode::Unavailable),
            (io(23), ErrorCode::Unavailable),
            (shoal_store::Error::PackBusy, ErrorCode::Unavailable),
            (io(5), ErrorCode::Unknown),
        ] {
            assert!(of_push(&error).is(code) && of_pull(&Digest::sha256(b""), &error).is(code), "{error}");
        }
    }
}
