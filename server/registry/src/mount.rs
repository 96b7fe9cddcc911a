//! Cross-repository mount: a blob becomes part of a second repository without a byte sent.
//!
//! The lease covers the look and the link, so that the collector cannot take the content in between.
//!
//! A mount is a read of the repository that it takes from: without the right to pull there, it is as if the blob were not there
//! (CVE-2024-39897 is what happens otherwise).

use shoal_auth::Action;
use shoal_http::Response;
use shoal_oci::{Digest, ErrorCode, Repository};
use shoal_telemetry::rooms::registry::UploadResult;

use crate::call::Call;
use crate::context::Context;
use crate::error::Refusal;
use crate::{events, push};

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
    let found = match call.query.from() {
        Ok(Some(from)) if call.access.may(Action::Pull, &from) => {
            cx.blob_in(&from, &digest).await?.map(|size| (from, size))
        }
        Ok(Some(from)) => {
            let refused = Refusal::new(ErrorCode::Denied, "no right to pull from there");
            // The client gets a session instead, and is not told.
            _ = call.access.deny(Action::Pull, &from, &digest.to_string(), "mount", refused);
            None
        }
        Ok(None) => anywhere(cx, call, &digest).await?,
        Err(_) => None,
    };
    let Some((from, size)) = found else { return Ok(None) };
    let outbox = events::blob_linked(cx, call, repository, digest, size, Some(from));
    cx.tags.link_blob(repository, &digest, size, outbox).await?;
    cx.metrics.uploads.of(UploadResult::Mounted).inc();
    Ok(Some(push::created(repository, &digest)))
}

/// Some repository that has a blob and that the caller may pull from, and the blob's size.
///
/// With a token, those are the few that it names. Without one (Basic, certificates) the first repository that has the blob is asked about
/// and no other: a miss costs the client an upload of what is here already, and nothing else.
async fn anywhere(cx: &Context, call: &Call, digest: &Digest) -> Result<Option<(Repository, u64)>, Refusal> {
    if let Some(named) = call.access.scoped_for_pull() {
        for repository in named {
            if let Some(size) = cx.blob_in(&repository, digest).await? {
                return Ok(Some((repository, size)));
            }
        }
        return Ok(None);
    }
    let found = cx.tags.blob_anywhere(digest).await?;
    let readable = found.filter(|(repository, _)| call.access.may(Action::Pull, repository));
    let Some((repository, _)) = readable else { return Ok(None) };
    Ok(cx.stat(digest)?.map(|size| (repository, size)))
}
