//! The body of an answer on its way into hyper.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::region::Region;
use super::streams::StreamWatch;
use super::watch::Busy;
use crate::{Body, BodyError};

/// Parts of files below this are copied: one packet with the head is cheaper than two calls and two packets.
const SENDFILE_LEN_MIN: u64 = 64 * 1024;

/// The most that one HTTP/2 stream hands over at once, so that a slow client shows soon, and holds little.
const STREAM_CHUNK_LEN_MAX: usize = 64 * 1024;

/// How the connection carries bodies.
#[derive(Clone, Debug)]
pub(super) enum Carriage {
    /// HTTP/1.1 over TCP: files go from the page cache to the socket.
    Plain,
    /// HTTP/1.1 over TLS.
    Encrypted,
    /// HTTP/2.
    Stream(Arc<StreamWatch>),
}

/// A part of a body, which keeps the connection busy until the kernel has it.
pub(super) struct Chunk {
    data: Data,
    busy: Busy,
}

enum Data {
    Bytes(Bytes),
    File(Region),
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match &self.data {
            Data::Bytes(bytes) => bytes.len(),
            Data::File(region) => region.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::File(region) => region.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.data {
            Data::Bytes(bytes) => bytes.advance(count),
            Data::File(region) => {
                region.advance(count);
                if region.was_copied() {
                    self.busy.watch().spoil();
                }
            }
        }
    }
}

/// An answer's body, which keeps the connection busy until hyper drops it.
///
/// hyper throws away what it has not written yet when a body of HTTP/1.1 fails. So a failure is held back until the bytes before it
/// are with the kernel: the client gets all that was sent, and a resumed transfer starts there. Over HTTP/2 a failure becomes
/// RST_STREAM at once.
pub(super) struct Answer {
    body: Body,
    busy: Busy,
    carriage: Carriage,
    /// What is left of a part that was too large for a stream.
    rest: Bytes,
    /// The failure that is held back.
    cut: Option<BodyError>,
}

impl Answer {
    pub(super) fn new(mut body: Body, busy: Busy, carriage: Carriage) -> Self {
        if matches!(carriage, Carriage::Stream(_)) {
            body.read_files_by(STREAM_CHUNK_LEN_MAX);
        }
        Self { body, busy, carriage, rest: Bytes::new(), cut: None }
    }

    fn frame(&self, data: Data) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        Poll::Ready(Some(Ok(Frame::data(Chunk { data, busy: self.busy.chunk() }))))
    }

    fn poll_cut(&mut self) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        // Whoever waits to write wakes the connection when it can go on, which polls the body again.
        if self.busy.watch().unsent() {
            return Poll::Pending;
        }
        Poll::Ready(self.cut.take().map(Err))
    }

    fn fail(&mut self, cx: &Context<'_>, error: BodyError) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        if matches!(error, BodyError::File(_) | BodyError::FileEnded { .. }) {
            tracing::warn!(%error, "a file could not be sent to its end; the answer is cut");
        }
        if matches!(self.carriage, Carriage::Stream(_)) {
            return Poll::Ready(Some(Err(error)));
        }
        self.cut = Some(error);
        // hyper flushes when a body pauses.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl HttpBody for Answer {
    type Data = Chunk;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        if self.cut.is_some() {
            return self.poll_cut();
        }
        match &self.carriage {
            Carriage::Stream(stream) => stream.asked(),
            Carriage::Plain => {
                ready!(self.body.poll_next(cx));
                if let Some((file, offset, len)) = self.body.take_file(SENDFILE_LEN_MIN) {
                    let region = Region::new(file, offset, len);
                    self.busy.watch().push_file(region.source());
                    return self.frame(Data::File(region));
                }
            }
            Carriage::Encrypted => {}
        }
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return self.fail(cx, error),
                // Trailers have no place in what we serve.
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
            }
        }
        let part = match &self.carriage {
            Carriage::Stream(stream) => {
                stream.handed();
                let len = self.rest.len().min(STREAM_CHUNK_LEN_MAX);
                self.rest.split_to(len)
            }
            Carriage::Plain | Carriage::Encrypted => std::mem::take(&mut self.rest),
        };
        self.frame(Data::Bytes(part))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
