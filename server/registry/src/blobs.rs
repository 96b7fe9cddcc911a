//! Reading blobs, whole or in part, and ending a blob's place in a repository.
//!
//! A blob is read piece by piece, and each piece is verified before a byte of it is sent. The first piece is read before the
//! head of the answer goes out, so a blob that cannot be read is an error and not a broken 200; damage further on cuts the
//! connection. Price: a read of one byte reads one piece (64 KiB to 4 MiB).

use std::ops::Range;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use shoal_http::{Body, BodySender};
use shoal_oci::{Digest, ErrorCode, Repository, Selection, reply};
use shoal_store::{Blob, ErrorKind, Store};
use shoal_telemetry::RegistryMetrics;

use crate::call::Call;
use crate::context::Context;
use crate::error::{self, Answer, Refusal};
use crate::{answer, condition};

/// Pieces that wait between disk and network. With one waiting and one being read, disk and network work at the same time, and
/// a reader of the largest blobs holds 12 MiB.
const PIECES_WAITING: usize = 1;

/// GET and HEAD.
pub(crate) async fn get(cx: &Context, call: &Call, repository: &Repository, digest: Digest) -> Answer {
    let Some(size) = cx.blob_in(repository, &digest).await? else { return Err(error::blob_unknown(&digest)) };
    if let Some(answer) = condition::of_read(call, &digest)? {
        return Ok(answer);
    }
    let selection = selection(call, &digest, size)?;
    let head = reply::blob(&digest, size, &selection);
    if selection == Selection::Unsatisfiable {
        let refusal = Refusal::new(ErrorCode::RangeInvalid, format!("the blob has {size} bytes"));
        let kept =
            head.headers.into_iter().filter(|(name, _)| matches!(*name, "content-range" | "accept-ranges"));
        return Err(refusal.with_headers(kept.collect()));
    }
    let body = if call.method == Method::HEAD { Body::empty() } else { body(cx, digest, head.body).await? };
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
    Ok(answer::with(status, head.headers, body))
}

/// DELETE: the blob leaves this repository. Its content stays for the others, until it is collected.
pub(crate) async fn delete(cx: &Context, repository: &Repository, digest: Digest) -> Answer {
    if cx.tags.unlink_blob(repository, &digest, Vec::new()).await? {
        Ok(answer::empty(StatusCode::ACCEPTED, Vec::new()))
    } else {
        Err(error::blob_unknown(&digest))
    }
}

/// What the request selects. `Range` means nothing to HEAD, nor when `If-Range` names other content (RFC 9110 §13.1.5, §14.2).
fn selection(call: &Call, digest: &Digest, size: u64) -> Result<Selection, Refusal> {
    let other_content = call.header(&header::IF_RANGE)?.is_some_and(|tag| tag != reply::etag(digest));
    if call.method != Method::GET || other_content {
        return Ok(Selection::Whole);
    }
    Ok(Selection::of(call.header(&header::RANGE)?, size))
}

/// The bytes of `range` as a body.
async fn body(cx: &Context, digest: Digest, range: Range<u64>) -> Result<Body, Refusal> {
    let (reader, first) = cx.blocking(move |store| Reader::open(store, digest, range)).await??;
    let Some(first) = first else { return Ok(Body::empty()) };
    if reader.rest.is_empty() {
        cx.metrics.sent_bytes.inc_by(first.len() as u64);
        return Ok(first.into());
    }
    let (sender, body) = Body::channel(PIECES_WAITING);
    tokio::spawn(send(reader, first, sender, cx.metrics.clone()));
    Ok(body)
}

/// A part of a blob that is read from its first to its last byte. Holds the blob, so it is not evicted meanwhile.
struct Reader {
    store: Store,
    blob: Blob,
    /// What is still to be read.
    rest: Range<u64>,
}

impl Reader {
    /// Finds the blob and reads the beginning of `range`; `None` when the range is empty.
    fn open(store: &Store, digest: Digest, range: Range<u64>) -> Result<(Self, Option<Bytes>), Refusal> {
        let blob = store.blob(&digest).map_err(|error| error::of_pull(&digest, &error))?;
        let mut reader = Self { store: store.clone(), blob, rest: range };
        let first = reader.next().transpose().map_err(|error| error::of_pull(&digest, &error))?;
        Ok((reader, first))
    }

    /// The next bytes, verified, up to the end of a piece.
    fn next(&mut self) -> Option<shoal_store::Result<Bytes>> {
        if self.rest.is_empty() {
            return None;
        }
        let layout = self.blob.metainfo().layout();
        let index = layout.piece_at(self.rest.start);
        let at = layout.piece_range(index);
        let read = self.blob.read_piece(index).inspect_err(|error| self.report(error));
        // Offsets within a piece, which is at most 4 MiB long.
        let within = |offset: u64| (offset.clamp(at.start, at.end) - at.start) as usize;
        let wanted = within(self.rest.start)..within(self.rest.end);
        self.rest.start = at.end;
        Some(read.map(|piece| piece.slice(wanted)))
    }

    /// Logs a piece that cannot be sent, and takes a damaged blob out of the complete ones: then it is no longer offered, and
    /// pushing it again repairs it.
    fn report(&self, error: &shoal_store::Error) {
        let digest = self.blob.digest();
        tracing::error!(%digest, %error, "a stored blob cannot be read");
        if error.kind() == ErrorKind::Corrupt {
            self.set_aside();
        }
    }

    fn set_aside(&self) {
        let digest = self.blob.digest();
        let outcome = self.store.demote(digest).and_then(|partial| {
            // The disk may have lied once only.
            let whole = partial.have().iter_missing().next().is_none();
            if whole { partial.commit().map(drop) } else { Ok(()) }
        });
        if let Err(error) = outcome
            && error.kind() != ErrorKind::NotFound
        {
            tracing::error!(%digest, %error, "the damaged blob could not be set aside");
        }
    }
}

/// Sends a reader's bytes. Leaving early drops `sender`, which cuts the connection.
async fn send(mut reader: Reader, first: Bytes, sender: BodySender, metrics: RegistryMetrics) {
    let mut chunk = first;
    loop {
        let len = chunk.len() as u64;
        if sender.send(chunk).await.is_err() {
            return;
        }
        metrics.sent_bytes.inc_by(len);
        let read = tokio::task::spawn_blocking(move || {
            let next = reader.next();
            (reader, next)
        });
        (reader, chunk) = match read.await {
            Ok((reader, Some(Ok(chunk)))) => (reader, chunk),
            Ok((_, None)) => break,
            Ok((_, Some(Err(_)))) | Err(_) => return,
        };
    }
    // With a Content-Length the client may be gone already, and content.
    _ = sender.finish().await;
}
