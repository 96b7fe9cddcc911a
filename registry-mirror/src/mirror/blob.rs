//! Blobs: whole or in part, streamed in order while the rest is still arriving.

use std::ops::Range;
use std::time::Instant;

use http::header::{IF_RANGE, RANGE};
use http::{Method, StatusCode};
use shoal_http::{Body, BodySender, Request, Response};
use shoal_oci::{Digest, ErrorCode, Host, OciError, Repository, Selection, reply};
use shoal_store::FileRange;
use shoal_swarm::Part;
use shoal_telemetry::MirrorMetrics;
use shoal_telemetry::rooms::mirror::{AnswerSource, RequestKind};

use super::stride::{PAUSE, Reader, Stride, is_open_ended};
use super::{Rooms, WRITE_AHEAD, with_headers};
use crate::fetch::{BlobStream, FetchError, Given};
use crate::why::{Outcome, Pull};

/// Bytes handed to a connection at once, and slices that wait beside the piece that is being cut: together [`WRITE_AHEAD`].
const SLICE_LEN: usize = WRITE_AHEAD;
const SLICES_WAITING: usize = 1;

/// Bytes of a file handed to a connection at once: as many as it gives to the kernel in one call. They take no memory, but count as sent
/// from then on; each costs a turn of two tasks, about as much as sending 64 KiB.
const FILE_SLICE_LEN: u64 = 512 * 1024;

/// The same for a range without an end: who reads so may hang up soon, see [`super::stride`].
const OPEN_SLICE_LEN: u64 = 64 * 1024;

/// Answers GET and HEAD of a blob.
pub(super) async fn serve(
    rooms: &Rooms,
    request: &Request,
    host: Option<&Host>,
    (repository, digest): (&Repository, &Digest),
    pull: &Pull,
) -> Result<Response, OciError> {
    let started = Instant::now();
    let asked = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
    pull.is_about(digest, asked);
    let source = if rooms.fetch.is_local(digest) { AnswerSource::Cache } else { AnswerSource::Swarm };
    let refused = |error: FetchError| {
        rooms.metrics.request(RequestKind::Blob, AnswerSource::Miss);
        tracing::info!(%digest, %repository, %error, trace = %pull.trace(), "a blob cannot be given");
        OciError::new(ErrorCode::BlobUnknown, format!("{digest}: {error}"))
    };
    let repositories = rooms.resolver.blob_candidates(host, repository);
    if repositories.is_empty() {
        rooms.metrics.request(RequestKind::Blob, AnswerSource::Miss);
        return Err(OciError::new(ErrorCode::BlobUnknown, "this mirror does not answer for that registry"));
    }
    let mut stream = rooms.resolver.open(&rooms.fetch, digest, &repositories).await.map_err(refused)?;
    pull.waited(started, || "somebody who has it".to_owned());
    let selection = selection(request, digest, stream.size());
    let head = reply::blob(digest, stream.size(), &selection);
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
    if request.method() == Method::HEAD || head.body.is_empty() {
        rooms.metrics.request(RequestKind::Blob, source);
        return Ok(with_headers(status, &head.headers, Body::empty()));
    }
    let opened = Instant::now();
    let first = stream.first(&head.body).await.map_err(refused)?;
    pull.waited(opened, || "the first byte".to_owned());
    rooms.metrics.request(RequestKind::Blob, source);
    rooms.metrics.first_byte_seconds.observe(started.elapsed().as_secs_f64());
    let is_open = asked.is_some_and(is_open_ended) && matches!(selection, Selection::Part(_));
    let reader = Reader::new(pull.address(), super::program(request));
    let stride = is_open.then(|| rooms.strides.open(reader, digest, head.body.start));
    let (sender, body) = Body::channel(SLICES_WAITING);
    let pump = Pump { stream, sender, metrics: rooms.metrics.clone(), started, stride, pull: pull.clone() };
    tokio::spawn(pump.run(first, head.body));
    Ok(with_headers(status, &head.headers, body))
}

/// The bytes that are asked for. Ranges are defined for GET alone (RFC 9110, 14.2), and a condition on another content voids them (13.1.5).
fn selection(request: &Request, digest: &Digest, size: u64) -> Selection {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let same = header(IF_RANGE).is_none_or(|validator| validator == reply::etag(digest));
    match header(RANGE) {
        Some(range) if request.method() == Method::GET && same => Selection::of(Some(range), size),
        _ => Selection::Whole,
    }
}

/// Moves one body from the swarm to the connection.
struct Pump {
    stream: BlobStream,
    sender: BodySender,
    metrics: MirrorMetrics,
    started: Instant,
    /// What is known of where the client will stop, when it left that open; nothing once it went on reading there.
    stride: Option<Stride>,
    pull: Pull,
}

impl Pump {
    /// Runs until the range is sent, the client is gone, or the bytes cannot be had; then the body is cut, never ended.
    async fn run(mut self, first: Given, mut range: Range<u64>) {
        let mut given = first;
        loop {
            let start = range.start;
            range.start += given.part.len();
            if self.send(given, start).await.is_err() {
                return self.pull.end(Outcome::ClientLeft);
            }
            if range.is_empty() {
                self.metrics.blob_seconds.observe(self.started.elapsed().as_secs_f64());
                self.pull.end(Outcome::Served);
                // The client may already be gone with all it wanted.
                let _ = self.sender.finish().await;
                return;
            }
            let asked = Instant::now();
            let next = tokio::select! {
                next = self.stream.next(&range) => next,
                () = self.sender.closed() => return self.pull.end(Outcome::ClientLeft),
            };
            self.pull.waited(asked, || format!("byte {}", range.start));
            given = match next {
                Ok(given) => given,
                Err(error) => return self.cut(range.start, &error),
            };
        }
    }

    /// No source has the rest.
    fn cut(self, at: u64, error: &FetchError) {
        tracing::warn!(at, %error, trace = %self.pull.trace(), "a blob's stream is cut");
        self.pull.event(format!("cut at byte {at}: {error}"));
        self.pull.end(Outcome::Cut);
        self.metrics.aborted_bodies.inc();
        self.stream.give_up();
        self.sender.abort();
    }

    /// Sends what was given, whose first byte is at `start` of the blob.
    async fn send(&mut self, given: Given, start: u64) -> Result<(), shoal_http::Closed> {
        let len = given.part.len();
        let mut sent = 0;
        while sent < len {
            let slice_len = self.slice_len(&given.part, start + sent).await?.min(len - sent);
            match &given.part {
                Part::File(range) => {
                    let FileRange { file, offset, len } = range.part(sent, slice_len);
                    self.sender.send_file(file, offset, len).await?;
                }
                Part::Bytes(bytes) => {
                    // Both are lengths within the bytes.
                    let slice = bytes.slice(sent as usize..(sent + slice_len) as usize);
                    self.sender.send(slice).await?;
                }
            }
            self.metrics.sent_bytes.inc_by(slice_len);
            self.pull.sent(start + sent..start + sent + slice_len, given.source);
            sent += slice_len;
        }
        Ok(())
    }

    /// How much to hand over at once from `at` on. Where the client will probably hang up, waits for that first.
    async fn slice_len(&mut self, part: &Part, at: u64) -> Result<u64, shoal_http::Closed> {
        let usual = if matches!(part, Part::File(_)) { FILE_SLICE_LEN } else { SLICE_LEN as u64 };
        let Some(stride) = &self.stride else { return Ok(usual) };
        match stride.end() {
            Some(end) if at < end => Ok(usual.min(end - at)),
            Some(_) => {
                if tokio::time::timeout(PAUSE, self.sender.closed()).await.is_ok() {
                    return Err(shoal_http::Closed);
                }
                // It reads on.
                self.stride = None;
                Ok(usual)
            }
            None => Ok(usual.min(OPEN_SLICE_LEN)),
        }
    }
}
