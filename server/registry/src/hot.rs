//! Reads that are answered from memory, without a thread and with hardly any allocation: a blob's head, a small blob.
//!
//! Most requests to a registry are of this kind: "is this layer there", configs, tiny layers. When anything is not at hand, nothing
//! is answered here and the general way in [`crate::blobs`] takes over; it gives the same answers.

use http::{HeaderValue, Method, header};
use shoal_http::{Body, Response};
use shoal_oci::media_type::OCTET_STREAM;
use shoal_oci::{Digest, Repository};

use crate::call::Call;
use crate::context::Context;
use crate::error::Refusal;
use crate::{answer, condition, events};

/// GET and HEAD of a whole blob; `None` when it takes the general way.
pub(crate) fn blob(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<Response>, Refusal> {
    if call.headers.contains_key(header::RANGE) {
        return Ok(None);
    }
    let (Some(Some(_)), Some(size)) = (cx.tags.blob_in_cached(repository, digest), cx.stat(digest)?) else {
        return Ok(None);
    };
    // Looked up once more after the vouch: what the collector removed before it is seen now, and after it nothing goes.
    let stays = cx.leases.try_vouch(repository, digest)
        && matches!(cx.tags.blob_in_cached(repository, digest), Some(Some(_)));
    if !stays {
        return Ok(None);
    }
    if let Some(answer) = condition::of_read(call, digest)? {
        return Ok(Some(answer));
    }
    let bytes = match call.method {
        Method::HEAD => None,
        // A blob that cannot be read is dealt with by the general way.
        _ => match cx.store.small(digest) {
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(_)) | None => return Ok(None),
        },
    };
    let mut response = answer::content(digest, HeaderValue::from_static(OCTET_STREAM), size);
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(bytes) = bytes {
        cx.metrics.sent_bytes.inc_by(bytes.len() as u64);
        events::blob_pulled(cx, call, repository, digest, size);
        *response.body_mut() = Body::from(bytes);
    }
    Ok(Some(response))
}
