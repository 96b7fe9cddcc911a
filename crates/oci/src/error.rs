//! Errors in the protocol's own words: code, HTTP status and the JSON body of the distribution specification.
//!
//! Every 4xx and 5xx that leaves a `/v2/` listener goes through [`OciError`]; no other place invents a status.

use serde_json::{Value, json};

/// The error codes of distribution-spec "Error Codes", with the ones that every registry adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The blob is not known to the registry, or not in this repository.
    BlobUnknown,
    /// The upload cannot go on as asked.
    BlobUploadInvalid,
    /// There is no such upload session.
    BlobUploadUnknown,
    /// The digest is malformed or does not match the content.
    DigestInvalid,
    /// A manifest references a blob or manifest that is not there.
    ManifestBlobUnknown,
    /// The manifest is malformed.
    ManifestInvalid,
    /// The manifest is not known to the registry.
    ManifestUnknown,
    /// The repository name is malformed.
    NameInvalid,
    /// The repository is not known to the registry.
    NameUnknown,
    /// The body is not as long as stated.
    SizeInvalid,
    /// The tag is malformed.
    TagInvalid,
    /// The requested or sent range cannot be satisfied.
    RangeInvalid,
    /// A paging number is malformed.
    PaginationNumberInvalid,
    /// Authentication is needed.
    Unauthorized,
    /// The action is not allowed.
    Denied,
    /// The operation is not supported.
    Unsupported,
    /// What `If-Match` or `If-None-Match` guards is not as the client thinks.
    PreconditionFailed,
    /// The client asks too often.
    TooManyRequests,
    /// The registry cannot do this now.
    Unavailable,
    /// A fault on our side.
    Unknown,
}

impl ErrorCode {
    /// The code as it stands in the JSON body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The HTTP status that goes with the code unless [`OciError::with_status`] says otherwise.
    pub const fn status(self) -> u16 {
        match self {
            Self::BlobUnknown | Self::BlobUploadUnknown | Self::ManifestUnknown | Self::NameUnknown => 404,
            Self::RangeInvalid => 416,
            Self::Unauthorized => 401,
            Self::Denied => 403,
            Self::Unsupported => 405,
            Self::PreconditionFailed => 412,
            Self::TooManyRequests => 429,
            Self::Unavailable => 503,
            Self::Unknown => 500,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid
            | Self::TagInvalid
            | Self::PaginationNumberInvalid => 400,
        }
    }
}

/// One error answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct OciError {
    /// The machine's word.
    pub code: ErrorCode,
    /// The HTTP status.
    pub status: u16,
    /// The human's sentence. Never holds text of the client unescaped: JSON encoding takes care of that.
    pub message: String,
    /// Facts that help, or null.
    pub detail: Value,
}

impl OciError {
    /// An error with the code's own status and no detail.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, status: code.status(), message: message.into(), detail: Value::Null }
    }

    /// The same error under another HTTP status (for example 413 for a manifest that is too large).
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same error with facts.
    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The JSON body: `{"errors":[{"code","message","detail"}]}`.
    pub fn to_json(&self) -> String {
        json!({"errors": [{"code": self.code.as_str(), "message": self.message, "detail": self.detail}]})
            .to_string()
    }
}
