//! Upload sessions: POST opens one, PATCH appends, GET tells how far it is, PUT finishes it, DELETE gives it up.
//!
//! A session belongs to one repository and has one writer at a time. Whatever a request appended before it failed counts, and
//! GET tells the true offset; only PUT (and POST with a digest) makes anything visible, and only as a whole.

use std::ops::Range;

use http::{StatusCode, header};
use shoal_oci::{Digest, ErrorCode, Repository, Route, range, reply};
use shoal_store::{ErrorKind, Store, Upload, UploadId, UploadStatus};
use shoal_telemetry::rooms::registry::UploadResult;

use crate::call::{BodyFailure, Call};
use crate::context::Context;
use crate::error::{self, Answer, Refusal};
use crate::receive::{self, Received};
use crate::{answer, mount, push, small};

/// A session as a request names it.
#[derive(Clone)]
pub(crate) struct Session {
    repository: Repository,
    id: UploadId,
}

impl Session {
    /// # Errors
    /// 404 for an identifier that we never give.
    pub(crate) fn new(repository: Repository, id: &str) -> Result<Self, Refusal> {
        let id = id.parse().map_err(|_| error::upload_unknown())?;
        Ok(Self { repository, id })
    }

    /// The headers that tell a client where it is.
    fn headers(&self, size: u64) -> reply::Headers {
        let id = self.id.to_string();
        let path = Route::Upload { repository: self.repository.clone(), id: id.clone() }.to_path();
        vec![("location", path), ("range", range::received_range(size)), ("docker-upload-uuid", id)]
    }

    /// How far the session is. A session of another repository does not exist here.
    fn status(&self, store: &Store) -> Result<UploadStatus, Refusal> {
        let status = store.upload_status(&self.id).map_err(|error| error::of_push(&error))?;
        if status.label == self.repository.as_str() { Ok(status) } else { Err(error::upload_unknown()) }
    }

    /// Becomes the session's only writer, at the offset where `chunk` begins if there is one.
    fn open(&self, store: &Store, chunk: Option<&Range<u64>>) -> Result<Upload, Refusal> {
        let status = self.status(store)?;
        let upload = store.open_upload(&self.id).map_err(|error| match (error.kind(), chunk) {
            // A client that counts can ask how far the other writer came and go on from there.
            (ErrorKind::Busy, Some(_)) => self.out_of_order(status.size),
            _ => error::of_push(&error),
        })?;
        let size = upload.size();
        if chunk.is_some_and(|chunk| chunk.start != size) {
            upload.suspend();
            return Err(self.out_of_order(size));
        }
        Ok(upload)
    }

    fn out_of_order(&self, size: u64) -> Refusal {
        Refusal::new(ErrorCode::RangeInvalid, format!("the next chunk of this upload begins at {size}"))
            .with_headers(self.headers(size))
    }
}

/// POST: mounts a blob, takes a whole blob, or opens a session.
pub(crate) async fn post(cx: &Context, call: &mut Call, repository: Repository) -> Answer {
    if let Some(digest) = call.query.mount()?
        && let Some(mounted) = mount::mount(cx, call, &repository, digest).await?
    {
        return Ok(mounted);
    }
    // Checked, not kept: the store hashes with whatever algorithm the last request names.
    call.query.digest_algorithm()?;
    if let Some(digest) = call.query.digest()? {
        return push::whole(cx, call, &repository, digest).await;
    }
    // Needs no disk until the first byte arrives.
    let id = cx.store.create_upload(repository.as_str()).map_err(|error| error::of_push(&error))?;
    Ok(answer::empty(StatusCode::ACCEPTED, Session { repository, id }.headers(0)))
}

/// GET: how far the session is.
pub(crate) async fn get(cx: &Context, session: Session) -> Answer {
    let asked = session.clone();
    let status = cx.blocking(move |store| asked.status(store)).await??;
    Ok(answer::empty(StatusCode::NO_CONTENT, session.headers(status.size)))
}

/// PATCH: appends a chunk, or a stream of unknown length.
pub(crate) async fn patch(cx: &Context, call: &mut Call, session: Session) -> Answer {
    let Received { upload, failure } = append(cx, call, &session).await?;
    let size = upload.size();
    cx.blocking_push(move |_| upload.suspend()).await?;
    match failure {
        Some(failure) => Err(broken(&session, size, failure)),
        None => Ok(answer::empty(StatusCode::ACCEPTED, session.headers(size))),
    }
}

/// PUT: appends the last chunk, if there is one, and makes the blob visible.
pub(crate) async fn put(cx: &Context, call: &mut Call, session: Session) -> Answer {
    let Some(digest) = call.query.digest()? else {
        return Err(Refusal::new(
            ErrorCode::DigestInvalid,
            "an upload is finished with ?digest=algorithm:hex",
        ));
    };
    if let Some(len) = small::stated(call)
        && session.status(&cx.store).is_ok_and(|status| status.size == 0)
    {
        return put_small(cx, call, session, digest, len).await;
    }
    let received = match append(cx, call, &session).await {
        Ok(received) => received,
        // The first answer to this PUT was lost on its way and the client, or a proxy, sent it again.
        Err(refusal) if refusal.is(ErrorCode::BlobUploadUnknown) => {
            return match cx.blob_in(&session.repository, &digest).await? {
                Some(_) => Ok(push::created(&session.repository, &digest)),
                None => Err(refusal),
            };
        }
        Err(refusal) => return Err(refusal),
    };
    if let Some(failure) = received.failure {
        let size = received.upload.size();
        cx.blocking_push(move |_| received.upload.suspend()).await?;
        return Err(broken(&session, size, failure));
    }
    push::commit(cx, call, &session.repository, received.upload, digest).await
}

/// PUT of a small blob into a session that has no byte yet: the session is taken, and the bytes do not go through its file.
async fn put_small(cx: &Context, call: &mut Call, session: Session, digest: Digest, len: usize) -> Answer {
    let chunk = chunk(call)?;
    let mut upload = session.open(&cx.store, chunk.as_ref())?;
    let (bytes, failure) = small::gather(cx, call, len).await;
    if let Some(failure) = failure {
        // Too much of it is no beginning of anything; too little is, as in any other request.
        let arrived = bytes.slice(..bytes.len().min(len));
        let written = cx.blocking_push(move |_| {
            let written = upload.write(&arrived).map(|()| upload.size());
            upload.suspend();
            written.map_err(|error| error::of_push(&error))
        });
        return Err(broken(&session, written.await??, failure));
    }
    let answer = push::content(cx, call, &session.repository, digest, bytes).await;
    match &answer {
        Err(refusal) if !refusal.is(ErrorCode::DigestInvalid) => upload.suspend(),
        _ => upload.cancel(),
    }
    answer
}

/// DELETE: gives the session up.
pub(crate) async fn delete(cx: &Context, session: Session) -> Answer {
    cx.blocking_push(move |store| session.open(store, None).map(Upload::cancel)).await??;
    cx.metrics.uploads.of(UploadResult::Cancelled).inc();
    Ok(answer::empty(StatusCode::NO_CONTENT, Vec::new()))
}

/// Appends the request's body to the session.
async fn append(cx: &Context, call: &mut Call, session: &Session) -> Result<Received, Refusal> {
    let chunk = chunk(call)?;
    let stated = chunk.as_ref().map(|chunk| chunk.end - chunk.start).or(call.body_len);
    let opened = session.clone();
    let upload = cx.blocking_push(move |store| opened.open(store, chunk.as_ref())).await??;
    receive::append(cx, call, upload, None, stated).await
}

/// The `Content-Range` of a chunk, if there is one. It has to agree with the length of the body when that is known.
fn chunk(call: &Call) -> Result<Option<Range<u64>>, Refusal> {
    let Some(text) = call.header(&header::CONTENT_RANGE)? else { return Ok(None) };
    let chunk = range::parse_chunk(text)?;
    let stated = chunk.end - chunk.start;
    match call.body_len {
        Some(len) if len != stated => {
            let message = format!("Content-Range has {stated} bytes, the body has {len}");
            Err(Refusal::new(ErrorCode::SizeInvalid, message))
        }
        _ => Ok(Some(chunk)),
    }
}

/// The answer to a body that did not arrive whole, with the offset at which to go on.
fn broken(session: &Session, size: u64, failure: BodyFailure) -> Refusal {
    tracing::debug!(repository = %session.repository, upload = %session.id, size, %failure, "upload interrupted");
    Refusal::from(failure).with_headers(session.headers(size))
}
