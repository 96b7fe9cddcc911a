//! Blobs: whole or in part, streamed in order while the rest is still arriving.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use http::header::{IF_RANGE, RANGE};
use http::{Method, StatusCode};
use shoal_http::{Body, BodySender, Request, Response};
use shoal_oci::{Digest, ErrorCode, Host, OciError, Repository, Selection, reply};
use shoal_store::FileRange;
use shoal_swarm::Part;
use shoal_telemetry::MirrorMetrics;
use shoal_telemetry::rooms::mirror::{AnswerSource, RequestKind};

use super::{Rooms, WRITE_AHEAD, with_headers};
use crate::fetch::{BlobStream, FetchError};

/// Bytes handed to a connection at once, and slices that wait beside the piece that is being cut: together [`WRITE_AHEAD`].
const SLICE_LEN: usize = WRITE_AHEAD;
const SLICES_WAITING: usize = 1;

/// Bytes of a file handed to a connection at once: as many as it gives to the kernel in one call. They take no memory, but count as sent
/// from then on; each costs a turn of two tasks, about as much as sending 64 KiB.
const FILE_SLICE_LEN: u64 = 512 * 1024;

/// Answers GET and HEAD of a blob.
pub(super) async fn serve(
    rooms: &Rooms,
    request: &Request,
    host: Option<&Host>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Response, OciError> {
    let started = Instant::now();
    let source = if rooms.fetch.is_local(digest) { AnswerSource::Cache } else { AnswerSource::Swarm };
    let refused = |error: FetchError| {
        rooms.metrics.request(RequestKind::Blob, AnswerSource::Miss);
        tracing::info!(%digest, %repository, %error, "a blob cannot be given");
        OciError::new(ErrorCode::BlobUnknown, format!("{digest}: {error}"))
    };
    let repositories = rooms.resolver.blob_candidates(host, repository);
    if repositories.is_empty() {
        rooms.metrics.request(RequestKind::Blob, AnswerSource::Miss);
        return Err(OciError::new(ErrorCode::BlobUnknown, "this mirror does not answer for that registry"));
    }
    let mut stream = rooms.fetch.open(digest, &repositories).await.map_err(refused)?;
    let head = reply::blob(digest, stream.size(), &selection(request, digest, stream.size()));
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
    if request.method() == Method::HEAD || head.body.is_empty() {
        rooms.metrics.request(RequestKind::Blob, source);
        return Ok(with_headers(status, &head.headers, Body::empty()));
    }
    let first = stream.first(&head.body).await.map_err(refused)?;
    rooms.metrics.request(RequestKind::Blob, source);
    rooms.metrics.first_byte_seconds.observe(started.elapsed().as_secs_f64());
    let (sender, body) = Body::channel(SLICES_WAITING);
    let pump = Pump { stream, sender, metrics: rooms.metrics.clone(), started };
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
}

impl Pump {
    /// Runs until the range is sent, the client is gone, or the bytes cannot be had; then the body is cut, never ended.
    async fn run(mut self, first: Part, mut range: Range<u64>) {
        let mut part = first;
        loop {
            range.start += part.len();
            if self.send(part).await.is_err() {
                return;
            }
            if range.is_empty() {
                self.metrics.blob_seconds.observe(self.started.elapsed().as_secs_f64());
                // The client may already be gone with all it wanted.
                let _ = self.sender.finish().await;
                return;
            }
            let next = tokio::select! {
                next = self.stream.next(&range) => next,
                () = self.sender.closed() => return,
            };
            part = match next {
                Ok(part) => part,
                Err(error) => {
                    tracing::warn!(at = range.start, %error, "a blob's stream is cut");
                    self.metrics.aborted_bodies.inc();
                    self.stream.give_up();
                    self.sender.abort();
                    return;
                }
            };
        }
    }

    async fn send(&self, part: Part) -> Result<(), shoal_http::Closed> {
        match part {
            Part::Bytes(bytes) => self.send_bytes(bytes).await,
            Part::File(range) => self.send_file(range).await,
        }
    }

    async fn send_file(&self, range: FileRange) -> Result<(), shoal_http::Closed> {
        let mut at = 0;
        while at < range.len {
            let FileRange { file, offset, len } = range.part(at, FILE_SLICE_LEN);
            self.sender.send_file(file, offset, len).await?;
            self.metrics.sent_bytes.inc_by(len);
            at += len;
        }
        Ok(())
    }

    async fn send_bytes(&self, mut bytes: Bytes) -> Result<(), shoal_http::Closed> {
        while !bytes.is_empty() {
            let slice = bytes.split_to(bytes.len().min(SLICE_LEN));
            let len = slice.len() as u64;
            self.sender.send(slice).await?;
            self.metrics.sent_bytes.inc_by(len);
        }
        Ok(())
    }
}
