//! From the frames of a request's body to the store, in one pass and within a fixed amount of memory.
//!
//! Frames are gathered into batches, and while one batch is hashed and written on a blocking thread the next one arrives. So an
//! upload holds two batches at most, and a fast client keeps network and disk busy at once. A slow client holds neither a thread
//! nor much memory: what it sent is written as soon as nothing follows at once.

use std::time::Duration;

use bytes::Bytes;
use shoal_store::Upload;
use tokio::task::JoinHandle;

use crate::call::{BodyFailure, Call};
use crate::context::Context;
use crate::error::{self, Refusal};

/// Bytes in a batch before it is written. Handing a batch to a thread costs some 20 µs; hashing 1 MiB costs 600.
pub(crate) const BATCH_LEN: usize = 1024 * 1024;

/// How long a batch that has begun waits for more. A thousand clients at 1 MiB/s hold 20 MiB of batches with this; and at the
/// rate where it matters, 50 writes a second are cheap.
const LINGER: Duration = Duration::from_millis(20);

/// Bytes that arrived together.
#[derive(Default)]
pub(crate) struct Batch {
    frames: Vec<Bytes>,
    len: usize,
    /// Set when nothing follows.
    pub(crate) end: Option<Result<(), BodyFailure>>,
}

impl Batch {
    /// Gathers the next batch. It has bytes in it, or `end` is set.
    pub(crate) async fn gather(cx: &Context, call: &mut Call) -> Self {
        let mut batch = Self::default();
        while batch.end.is_none() && batch.len < BATCH_LEN {
            let next = call.next(cx.options.body_stall_max);
            let next = match batch.len {
                0 => next.await,
                _ => match tokio::time::timeout(LINGER, next).await {
                    Ok(next) => next,
                    Err(_elapsed) => break,
                },
            };
            match next {
                Ok(Some(frame)) => batch.push(cx, frame),
                Ok(None) => batch.end = Some(Ok(())),
                Err(failure) => batch.end = Some(Err(failure)),
            }
        }
        batch
    }

    fn push(&mut self, cx: &Context, frame: Bytes) {
        cx.metrics.received_bytes.inc_by(frame.len() as u64);
        self.len += frame.len();
        self.frames.push(frame);
    }

    /// Bytes in the batch.
    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// The bytes in one piece.
    pub(crate) fn concat(&self) -> Bytes {
        match self.frames.as_slice() {
            [one] => one.clone(),
            frames => frames.concat().into(),
        }
    }

    /// Drops what lies beyond the next `len` bytes; whether there was any.
    fn cut(&mut self, mut len: u64) -> bool {
        let before = self.len;
        self.len = 0;
        for frame in &mut self.frames {
            frame.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            len -= frame.len() as u64;
            self.len += frame.len();
        }
        self.len < before
    }
}

/// What came of a body.
pub(crate) struct Received {
    /// The upload with everything that arrived.
    pub(crate) upload: Upload,
    /// Why the body is not whole, if it is not.
    pub(crate) failure: Option<BodyFailure>,
}

/// Appends the rest of the body to `upload`, `first` before it. With `stated`, no byte beyond that many is taken, and fewer
/// or more of them are a failure.
///
/// What arrived before a failure stays: the next request can go on from there.
pub(crate) async fn append(
    cx: &Context,
    call: &mut Call,
    upload: Upload,
    first: Option<Batch>,
    stated: Option<u64>,
) -> Result<Received, Refusal> {
    let mut writer = Writer::Idle(upload);
    let mut taken = 0;
    let mut batch = match first {
        Some(batch) => batch,
        None => Batch::gather(cx, call).await,
    };
    loop {
        let arrived = taken + batch.len();
        let too_long = stated.is_some_and(|stated| batch.cut(stated - taken));
        taken += batch.len();
        let upload = writer.wait().await?;
        writer = Writer::start(upload, std::mem::take(&mut batch.frames));
        let failure = match batch.end.take() {
            _ if too_long => Some(BodyFailure::Len { stated: taken, got: arrived }),
            None => {
                batch = Batch::gather(cx, call).await;
                continue;
            }
            Some(Err(failure)) => Some(failure),
            Some(Ok(())) => {
                stated.filter(|stated| taken < *stated).map(|stated| BodyFailure::Len { stated, got: taken })
            }
        };
        return Ok(Received { upload: writer.wait().await?, failure });
    }
}

/// The one writer of an upload: at rest, or with a batch in hand.
enum Writer {
    Idle(Upload),
    Busy(JoinHandle<Result<Upload, Refusal>>),
}

impl Writer {
    fn start(upload: Upload, frames: Vec<Bytes>) -> Self {
        if frames.is_empty() {
            return Self::Idle(upload);
        }
        Self::Busy(tokio::task::spawn_blocking(move || write(upload, &frames)))
    }

    async fn wait(self) -> Result<Upload, Refusal> {
        match self {
            Self::Idle(upload) => Ok(upload),
            Self::Busy(task) => {
                task.await.map_err(|error| error::internal("a task of the store ended early", &error))?
            }
        }
    }
}

fn write(mut upload: Upload, frames: &[Bytes]) -> Result<Upload, Refusal> {
    for frame in frames {
        if let Err(error) = upload.write(frame) {
            // What was written before stays, so that the client can go on when there is room again.
            upload.suspend();
            return Err(error::of_push(&error));
        }
    }
    Ok(upload)
}
