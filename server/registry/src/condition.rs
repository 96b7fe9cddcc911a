//! Preconditions (RFC 9110 §13): a client says which content it means, and is told when that has changed.
//!
//! On reads they save a transfer. On writes they make a tag update atomic, so there they are decided inside the transaction that
//! moves the tag; this file only reads them. A guard that cannot be read refuses a write: ignoring it would be the accident that it
//! is there to prevent.

use http::{HeaderName, StatusCode, header};
use shoal_api::tags::{Condition, Match};
use shoal_http::Response;
use shoal_oci::{Digest, EntityTag, EntityTags, ErrorCode};

use crate::answer;
use crate::call::Call;
use crate::error::Refusal;

/// What the preconditions of a read say about the content under `digest`: `Some` is the answer 304, `None` is "go on".
///
/// # Errors
/// 412 when `If-Match` names other content.
pub(crate) fn of_read(call: &Call, digest: &Digest) -> Result<Option<Response>, Refusal> {
    if let Some(text) = call.list(&header::IF_MATCH)?
        && !EntityTags::parse(&text).is_some_and(|tags| tags.names(digest))
    {
        return Err(failed(Some(digest)));
    }
    match call.list(&header::IF_NONE_MATCH)? {
        Some(text) if shoal_oci::reply::not_modified(&text, digest) => Ok(Some(answer::not_modified(digest))),
        _ => Ok(None),
    }
}

/// What guards a write, to be decided in its transaction.
///
/// # Errors
/// 400 when a header cannot be read.
pub(crate) fn of_write(call: &Call) -> Result<Condition, Refusal> {
    Ok(Condition {
        if_match: guard(call, &header::IF_MATCH, |tag| !tag.weak)?,
        if_none_match: guard(call, &header::IF_NONE_MATCH, |_| true)?,
    })
}

/// What `name` says; only the tags that `counts` lets through can match.
fn guard(
    call: &Call,
    name: &HeaderName,
    counts: impl Fn(&EntityTag<'_>) -> bool,
) -> Result<Option<Match>, Refusal> {
    let Some(text) = call.list(name)? else { return Ok(None) };
    match EntityTags::parse(&text) {
        Some(EntityTags::Any) => Ok(Some(Match::Any)),
        Some(EntityTags::Listed(tags)) => {
            let named = tags.iter().filter(|tag| counts(tag)).filter_map(EntityTag::digest);
            Ok(Some(Match::Digests(named.collect())))
        }
        None => {
            let message = format!("{name} holds * or digests in quotes, as in \"sha256:9f86d0…\"");
            Err(Refusal::new(ErrorCode::Unsupported, message).with_status(StatusCode::BAD_REQUEST))
        }
    }
}

/// The answer to a precondition that does not hold; `current` is what is there.
pub(crate) fn failed(current: Option<&Digest>) -> Refusal {
    let refusal = Refusal::new(
        ErrorCode::PreconditionFailed,
        "If-Match or If-None-Match does not hold; read the tag again and decide anew",
    )
    .with_detail(serde_json::json!({ "current": current }));
    match current {
        Some(digest) => refusal.with_header("etag", shoal_oci::reply::etag(digest)),
        None => refusal,
    }
}
