//! Cross-repository mount: a blob becomes part of a second repository without a byte sent.
//!
//! The lease covers the look and the link, so that the collector cannot take the content in between.
//!
//! Every repository of this registry is readable by whoever may push, so a mount gives away nothing. Where that changes, this
//! file has to ask whether the caller may read the repository that it takes from (CVE-2024-39897 is what happens otherwise).

use shoal_http::Response;
use shoal_oci::{Digest, Repository};
use shoal_telemetry::rooms::registry::UploadResult;

use crate::call::Call;
use crate::context::Context;
use crate::error::Refusal;
use crate::push;

/// Mounts `digest` into `repository` from the repository that `from` names, or from any when there is no `from`.
///
/// `None` when it is not there: the client then gets an ordinary session. A `from` that is no name of ours counts as not there,
/// since clients also send names of other registries.
pub(crate) async fn mount(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    digest: Digest,
) -> Result<Option<Response>, Refusal> {
    let _lease = cx.leases.hold(&digest).await;
    let size = match call.query.from() {
        Ok(Some(from)) => cx.blob_in(&from, &digest).await?,
        Ok(None) => cx.tags.blob_anywhere(&digest).await?.and_then(|_| cx.store.stat(&digest)),
        Err(_) => None,
    };
    let Some(size) = size else { return Ok(None) };
    cx.tags.link_blob(repository, &digest, size, Vec::new()).await?;
    cx.metrics.uploads.of(UploadResult::Mounted).inc();
    Ok(Some(push::created(repository, &digest)))
}
