//! From the frames of a request's body to the store, in one pass and within a fixed amount of memory.
//!
//! Frames are gathered into batches. A batch begins with the frames as they are; when bytes keep coming they are copied into a
//! buffer that the disk takes as it is ([`shoal_store::Buffer`]). While one batch is hashed and written on blocking threads, one more waits and the next one fills, so
//! an upload holds three at most, and a fast client keeps network, processor and disk busy at once. A slow client holds neither a
//! thread nor memory: what it sent is written as soon as nothing follows at once, and it never gets a buffer.

use std::time::Duration;

use bytes::Bytes;
use shoal_store::{Buffer, Upload};

use self::pipe::Pipe;
use crate::call::{BodyFailure, Call};
use crate::context::Context;
use crate::error::Refusal;

mod pipe;

/// Bytes in a batch before it asks for a buffer: a client that sends this much without a pause is not slow.
const SMALL_LEN_MAX: usize = 64 * 1024;

/// Bytes in a batch when all buffers are in use. Handing a batch to a thread costs some 20 µs; hashing this much 200.
const UNBUFFERED_LEN_MAX: usize = 256 * 1024;

/// How long a batch that has begun waits for more. At the rate where it matters, 50 writes a second are cheap.
const LINGER: Duration = Duration::from_millis(20);

/// Bytes that arrived together.
pub(crate) struct Batch {
    bytes: Gathered,
    /// The rest of the last frame, for which there was no room. It counts for the next batch.
    left: Bytes,
    /// Set when nothing follows.
    pub(crate) end: Option<Result<(), BodyFailure>>,
}

pub(crate) enum Gathered {
    /// As they came.
    Frames {
        frames: Vec<Bytes>,
        len: usize,
    },
    Large(Buffer),
}

impl Gathered {
    const fn new() -> Self {
        Self::Frames { frames: Vec::new(), len: 0 }
    }

    /// Bytes gathered.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Frames { len, .. } => *len,
            Self::Large(buffer) => buffer.len(),
        }
    }

    const fn is_full(&self) -> bool {
        match self {
            Self::Frames { len, .. } => *len >= UNBUFFERED_LEN_MAX,
            Self::Large(buffer) => buffer.room() == 0,
        }
    }

    /// Adds bytes; gives back what there is no room for.
    fn add(&mut self, mut bytes: Bytes) -> Bytes {
        match self {
            Self::Frames { frames, len } => {
                *len += bytes.len();
                frames.push(bytes);
                Bytes::new()
            }
            Self::Large(buffer) => bytes.split_off(buffer.extend(&bytes)),
        }
    }

    /// Drops what lies beyond the first `len` bytes.
    fn truncate(&mut self, mut len: usize) {
        match self {
            Self::Frames { frames, len: sum } => {
                *sum = len.min(*sum);
                for frame in frames {
                    frame.truncate(len);
                    len -= frame.len();
                }
            }
            Self::Large(buffer) => buffer.truncate(len),
        }
    }
}

impl Batch {
    /// Gathers the first batch of an upload.
    pub(crate) async fn gather(cx: &Context, call: &mut Call) -> Self {
        Self::gather_at(cx, call, 0, Bytes::new()).await
    }

    /// Gathers a batch whose first byte goes to `offset` of the upload, beginning with what was `left` from the one before. It has
    /// bytes in it, or `end` is set.
    async fn gather_at(cx: &Context, call: &mut Call, offset: u64, left: Bytes) -> Self {
        let mut batch = Self { bytes: Gathered::new(), left: Bytes::new(), end: None };
        batch.push(cx, offset, left);
        while batch.end.is_none() && batch.left.is_empty() && !batch.bytes.is_full() {
            let next = call.next(cx.options.body_stall_max);
            let next = match batch.bytes.len() {
                0 => next.await,
                _ => match tokio::time::timeout(LINGER, next).await {
                    Ok(next) => next,
                    Err(_elapsed) => break,
                },
            };
            match next {
                Ok(Some(frame)) => {
                    cx.metrics.received_bytes.inc_by(frame.len() as u64);
                    batch.push(cx, offset, frame);
                }
                Ok(None) => batch.end = Some(Ok(())),
                Err(failure) => batch.end = Some(Err(failure)),
            }
        }
        batch
    }

    fn push(&mut self, cx: &Context, offset: u64, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        if let Gathered::Frames { frames, len } = &self.bytes
            && *len + frame.len() > SMALL_LEN_MAX
            && let Some(mut buffer) = cx.store.buffer(offset)
        {
            // Fewer bytes than a batch without a buffer may have, so they all fit.
            for frame in frames {
                buffer.extend(frame);
            }
            self.bytes = Gathered::Large(buffer);
        }
        self.left = self.bytes.add(frame);
    }

    /// Bytes in the batch.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes in one piece.
    pub(crate) fn concat(self) -> Bytes {
        match self.bytes {
            Gathered::Frames { mut frames, .. } if frames.len() == 1 => frames.remove(0),
            Gathered::Frames { frames, .. } => frames.concat().into(),
            Gathered::Large(buffer) => Bytes::copy_from_slice(buffer.bytes()),
        }
    }

    /// Drops what lies beyond the next `len` bytes; whether there was any.
    fn cut(&mut self, len: u64) -> bool {
        let before = self.len();
        self.bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        self.len() < before || (self.len() == len && !self.left.is_empty())
    }
}

/// What came of a body.
pub(crate) struct Received {
    /// The upload with everything that arrived.
    pub(crate) upload: Upload,
    /// Why the body is not whole, if it is not.
    pub(crate) failure: Option<BodyFailure>,
}

/// Appends the rest of the body to `upload`, `first` before it. With `stated`, no byte beyond that many is taken, and fewer or more
/// of them are a failure.
///
/// What arrived before a failure stays: the next request can go on from there.
pub(crate) async fn append(
    cx: &Context,
    call: &mut Call,
    upload: Upload,
    first: Option<Batch>,
    stated: Option<u64>,
) -> Result<Received, Refusal> {
    let start = upload.size();
    let pipe = Pipe::new(upload);
    let mut taken = 0;
    let mut batch = match first {
        Some(batch) => batch,
        None => Batch::gather_at(cx, call, start, Bytes::new()).await,
    };
    loop {
        let arrived = taken + batch.len() + batch.left.len() as u64;
        let too_long = stated.is_some_and(|stated| batch.cut(stated - taken));
        taken += batch.len();
        let Batch { bytes, left, end } = batch;
        pipe.push(cx, bytes).await?;
        let failure = match end {
            _ if too_long => Some(BodyFailure::Len { stated: taken, got: arrived }),
            None => {
                batch = Batch::gather_at(cx, call, start + taken, left).await;
                continue;
            }
            Some(Err(failure)) => Some(failure),
            Some(Ok(())) => {
                stated.filter(|stated| taken < *stated).map(|stated| BodyFailure::Len { stated, got: taken })
            }
        };
        return Ok(Received { upload: pipe.finish().await?, failure });
    }
}
