//! The moment at which an upload becomes a blob: verified, durable, linked, and only then acknowledged.
//!
//! The promise: the bytes are on the disk under their digest, the link's transaction is on the disk, and 201 is sent after both. A
//! large blob is linked after it is stored; for a small one that was verified, both are written at the same time, which halves the
//! wait. A crash in between leaves content that no repository shows, or a link without content, which counts as absent everywhere
//! (`Context::blob_in`) until somebody pushes the content. The lease on the digest covers both steps, so that the collector does not
//! take what is stored and not linked yet.

use bytes::Bytes;
use shoal_api::events::Action;
use shoal_http::Response;
use shoal_oci::{Digest, Repository};
use shoal_store::{SMALL_SIZE_MAX, Store, Upload};
use shoal_telemetry::rooms::registry::UploadResult;

use crate::call::Call;
use crate::context::Context;
use crate::error::{self, Answer, Refusal};
use crate::receive::{self, Batch, Received};
use crate::{answer, events, small};

/// Ends an upload as the blob `digest` of `repository`. A mismatch ends the upload as well: its bytes are of no use to anyone.
pub(crate) async fn commit(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    upload: Upload,
    digest: Digest,
) -> Answer {
    let _lease = cx.leases.hold(&digest).await;
    let committed = cx
        .blocking_push(move |_| {
            upload.commit(&digest).map(|metainfo| metainfo.size()).map_err(|error| error::of_push(&error))
        })
        .await?;
    link(cx, call, repository, digest, committed).await
}

/// Stores content that is at hand as the blob `digest` of `repository`.
pub(crate) async fn content(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    digest: Digest,
    bytes: Bytes,
) -> Answer {
    let _lease = cx.leases.hold(&digest).await;
    let size = bytes.len() as u64;
    let submitted = small::submit(cx, digest, bytes);
    // Whoever has not shown the content gets no link to it; and no message of a push is written before the push is certain.
    if !submitted.is_accepted() || cx.events.wants(Action::Push) {
        let stored = submitted.stored().await;
        return link(cx, call, repository, digest, stored).await;
    }
    let linked = cx.tags.link_blob(repository, &digest, size, Vec::new()).await;
    let stored = submitted.stored().await;
    end(cx, repository, digest, stored.and_then(|_| linked.map_err(Refusal::from)))
}

/// Takes a blob that comes whole in one request (POST with a digest). The session behind it, if one is needed, is never told to
/// the client, so it ends with the request either way.
pub(crate) async fn whole(cx: &Context, call: &mut Call, repository: &Repository, digest: Digest) -> Answer {
    if let Some(len) = small::stated(call) {
        let (bytes, failure) = small::gather(cx, call, len).await;
        return match failure {
            Some(failure) => Err(failure.into()),
            None => content(cx, call, repository, digest, bytes).await,
        };
    }
    let first = Batch::gather(cx, call).await;
    // Small after all, only nobody had said so.
    if call.body_len.is_none() && matches!(first.end, Some(Ok(()))) && first.len() <= SMALL_SIZE_MAX {
        return content(cx, call, repository, digest, first.concat()).await;
    }
    let label = repository.clone();
    let upload = cx.blocking_push(move |store| begin(store, &label)).await??;
    let id = *upload.id();
    let answer = through_session(cx, call, repository, upload, first, digest).await;
    if answer.is_err() {
        // Most failures end the upload by themselves; what is left of it would only take up room until it expires.
        _ = cx.blocking_push(move |store| store.open_upload(&id).map(Upload::cancel)).await?;
    }
    answer
}

async fn through_session(
    cx: &Context,
    call: &mut Call,
    repository: &Repository,
    upload: Upload,
    first: Batch,
    digest: Digest,
) -> Answer {
    let stated = call.body_len;
    let Received { upload, failure } = receive::append(cx, call, upload, Some(first), stated).await?;
    match failure {
        Some(failure) => Err(failure.into()),
        None => commit(cx, call, repository, upload, digest).await,
    }
}

/// The answer to a blob that is here now.
pub(crate) fn created(repository: &Repository, digest: &Digest) -> Response {
    answer::created_blob(repository, digest)
}

fn begin(store: &Store, repository: &Repository) -> Result<Upload, Refusal> {
    store
        .create_upload(repository.as_str())
        .and_then(|id| store.open_upload(&id))
        .map_err(|error| error::of_push(&error))
}

/// Makes a committed blob part of `repository`, and ends the upload.
async fn link(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    digest: Digest,
    committed: Result<u64, Refusal>,
) -> Answer {
    let linked = match committed {
        Ok(size) => {
            let outbox = events::blob_linked(cx, call, repository, digest, size, None);
            cx.tags.link_blob(repository, &digest, size, outbox).await.map_err(Refusal::from)
        }
        Err(refusal) => Err(refusal),
    };
    end(cx, repository, digest, linked)
}

/// Counts what came of an upload, and answers it.
fn end(cx: &Context, repository: &Repository, digest: Digest, linked: Result<(), Refusal>) -> Answer {
    let result = if linked.is_ok() { UploadResult::Committed } else { UploadResult::Failed };
    cx.metrics.uploads.of(result).inc();
    linked.map(|()| created(repository, &digest))
}
