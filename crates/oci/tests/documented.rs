//! Every error code stands in the API reference with its status: whoever writes a client reads it there.

use shoal_oci::ErrorCode;

/// The reference.
const PAGE: &str = include_str!("../../../docs/reference/api.md");
/// Where the codes are.
const HOME: &str = include_str!("../src/error.rs");

const CODES: [ErrorCode; 20] = [
    ErrorCode::BlobUnknown,
    ErrorCode::BlobUploadInvalid,
    ErrorCode::BlobUploadUnknown,
    ErrorCode::DigestInvalid,
    ErrorCode::ManifestBlobUnknown,
    ErrorCode::ManifestInvalid,
    ErrorCode::ManifestUnknown,
    ErrorCode::NameInvalid,
    ErrorCode::NameUnknown,
    ErrorCode::SizeInvalid,
    ErrorCode::TagInvalid,
    ErrorCode::RangeInvalid,
    ErrorCode::PaginationNumberInvalid,
    ErrorCode::Unauthorized,
    ErrorCode::Denied,
    ErrorCode::Unsupported,
    ErrorCode::PreconditionFailed,
    ErrorCode::TooManyRequests,
    ErrorCode::Unavailable,
    ErrorCode::Unknown,
];

#[test]
fn the_reference_has_every_code_with_its_status() {
    for code in CODES {
        let start = format!("| `{}` |", code.as_str());
        let row = PAGE.lines().find_map(|line| line.strip_prefix(start.as_str()));
        let statuses = row.and_then(|row| row.split('|').next()).unwrap_or_default();
        let shown = statuses.split(',').any(|status| status.trim() == code.status().to_string());
        assert!(shown, "docs/reference/api.md lacks {} with {}", code.as_str(), code.status());
    }
    assert_eq!(HOME.matches("=> \"").count(), CODES.len(), "a new code is missing in this list");
}
