//! The time in the one form in which events and audit lines carry it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// This moment as RFC 3339 in UTC.
pub(crate) fn now_text() -> String {
    // The format knows every moment that a clock can show.
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
