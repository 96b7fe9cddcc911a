//! Reading blobs, whole or in part, and ending a blob's place in a repository.
//!
//! Every byte was verified before it is sent. What was read before, and has not changed since, goes from the page cache to the
//! network without passing through this process; anything else is read and verified some pieces at a time. The beginning is read
//! before the head of the answer goes out, so a blob that cannot be read is an error and not a broken 200; damage further on cuts
//! the connection, and the store sets the blob aside, so that the next push of it is taken. Price: the first read of one byte reads
//! one piece (64 KiB to 4 MiB).

use std::ops::Range;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use shoal_http::{Body, BodySender};
use shoal_oci::{Digest, ErrorCode, Reference, Repository, Selection, reply};
use shoal_store::{Blob, FileRange, Store};
use shoal_telemetry::RegistryMetrics;

use crate::call::Call;
use crate::context::Context;
use crate::copies::Coming;
use crate::error::{self, Answer, Refusal};
use crate::room::{Crowded, Room};
use crate::{answer, condition, copies, events, tag_rights};

/// Reads that wait between disk and network. With one waiting and one being read, disk and network work at the same time, and a
/// reader of the largest blobs holds 12 MiB.
const READS_WAITING: usize = 1;

/// Bytes that the store reads at once, unless a piece is longer.
const READ_LEN_MAX: usize = 256 * 1024;

/// A range shorter than this is read and sent from memory, known or not: it is one read, and starting to send a file costs as much.
const SMALL_LEN: u64 = 64 * 1024;

/// GET and HEAD.
pub(crate) async fn get(cx: &Context, call: &Call, repository: &Repository, digest: Digest) -> Answer {
    let (size, coming) = match cx.blob_in(repository, &digest).await? {
        Some(size) => (size, None),
        None => {
            let coming = copies::bring(cx, repository, &digest).await?;
            let mut coming = coming.ok_or_else(|| error::blob_unknown(&digest))?;
            (coming.size().await?, Some(coming))
        }
    };
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
    let from_start = head.body.start == 0;
    let body = match coming {
        _ if call.method == Method::HEAD => Body::empty(),
        Some(coming) => coming_body(cx, coming, digest, head.body).await?,
        None => body(cx, digest, head.body).await?,
    };
    if call.method == Method::GET && from_start {
        // A transfer that is resumed is one pull, not two.
        events::blob_pulled(cx, call, repository, &digest, size);
    }
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
    Ok(answer::with(status, head.headers, body))
}

/// DELETE: the blob leaves this repository. Its content stays for the others, until it is collected.
pub(crate) async fn delete(cx: &Context, call: &Call, repository: &Repository, digest: Digest) -> Answer {
    let outbox = events::deleted(cx, call, repository, &Reference::Digest(digest));
    let _order = tag_rights::check_delete_digest(cx, call, repository, &digest).await?;
    if cx.tags.unlink_blob(repository, &digest, outbox).await? {
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
    match cx.blocking(move |store| find(store, digest, range)).await?? {
        Found::Bytes(bytes) => {
            cx.metrics.sent_bytes.inc_by(bytes.len() as u64);
            Ok(bytes.into())
        }
        Found::File(FileRange { file, offset, len }) => {
            cx.metrics.sent_bytes.inc_by(len);
            Ok(Body::file(file, offset, len))
        }
        Found::Unread(reader) => stream(cx, reader).await,
    }
}

/// The bytes of `range` of a blob that a copy is to have, as they come or from the disk.
async fn coming_body(
    cx: &Context,
    mut coming: Coming,
    digest: Digest,
    range: Range<u64>,
) -> Result<Body, Refusal> {
    match coming.body(cx, &digest, range.clone()).await? {
        Some(passed_on) => {
            cx.metrics.sent_bytes.inc_by(range.end.saturating_sub(range.start));
            Ok(passed_on)
        }
        None => body(cx, digest, range).await,
    }
}

/// The bytes of `reader` as a body, verified on their way. The first of them are read before the answer begins, so that damage there is
/// told as such.
async fn stream(cx: &Context, mut reader: Reader) -> Result<Body, Refusal> {
    let digest = *reader.blob.digest();
    let taken = cx.reads.take(reader.step_len_max()).await.map_err(|Crowded| error::crowded())?;
    let read = cx.blocking(move |_| reader.next().map(|first| (reader, first))).await?;
    let (reader, first) = read.map_err(|error| error::of_pull(&digest, &error))?;
    let (sender, body) = Body::channel(READS_WAITING);
    tokio::spawn(send(reader, taken.hold(first), sender, cx.reads.clone(), cx.metrics.clone()));
    Ok(body)
}

/// How a range is sent.
enum Found {
    /// All of it, verified just now.
    Bytes(Bytes),
    /// All of it, verified before.
    File(FileRange),
    /// Who reads it: it is long, and not known to be good.
    Unread(Reader),
}

fn find(store: &Store, digest: Digest, range: Range<u64>) -> Result<Found, Refusal> {
    let refuse = |error: shoal_store::Error| error::of_pull(&digest, &error);
    let blob = store.blob(&digest).map_err(refuse)?;
    let len = range.end.saturating_sub(range.start);
    if len >= SMALL_LEN
        && let Some(known) = blob.file_range(range.clone())
    {
        return Ok(Found::File(known));
    }
    let mut reader = Reader { blob, rest: range };
    if len >= SMALL_LEN {
        return Ok(Found::Unread(reader));
    }
    let first = reader.next().map_err(refuse)?;
    if reader.rest.is_empty() {
        return Ok(Found::Bytes(first));
    }
    // At most two pieces hold it.
    Ok(Found::Bytes([first, reader.next().map_err(refuse)?].concat().into()))
}

/// A part of a blob that is read from its first to its last byte. Holds the blob, so it is not evicted meanwhile.
struct Reader {
    blob: Blob,
    /// What is still to be read.
    rest: Range<u64>,
}

impl Reader {
    /// The most bytes that [`Self::next`] reads.
    fn step_len_max(&self) -> usize {
        let piece_len = self.blob.metainfo().layout().piece_length.get() as usize;
        piece_len.max(READ_LEN_MAX)
    }

    /// The next bytes, verified; none when there are no more.
    fn next(&mut self) -> shoal_store::Result<Bytes> {
        let read = self.blob.read_range(self.rest.clone()).inspect_err(|error| {
            tracing::error!(digest = %self.blob.digest(), %error, "a stored blob cannot be read");
        })?;
        self.rest.start += read.len() as u64;
        if read.is_empty() {
            self.rest.start = self.rest.end;
        }
        Ok(read)
    }
}

/// Sends a reader's bytes. Leaving early drops `sender`, which cuts the connection.
///
/// There is no bound to the wait for memory: an answer that has begun is not cut because others are slow, and who takes nothing at all is
/// cut by the listener.
async fn send(mut reader: Reader, first: Bytes, sender: BodySender, room: Room, metrics: RegistryMetrics) {
    let mut chunk = first;
    while !chunk.is_empty() {
        let len = chunk.len() as u64;
        if sender.send(chunk).await.is_err() {
            return;
        }
        metrics.sent_bytes.inc_by(len);
        let Some(taken) = room.take_in_turn(reader.step_len_max()).await else { return };
        let read = tokio::task::spawn_blocking(move || {
            let next = reader.next();
            (reader, next)
        });
        (reader, chunk) = match read.await {
            Ok((reader, Ok(chunk))) => (reader, taken.hold(chunk)),
            Ok((_, Err(_))) | Err(_) => return,
        };
    }
    // With a Content-Length the client may be gone already, and content.
    _ = sender.finish().await;
}
