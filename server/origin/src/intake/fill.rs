//! A body goes to the store: gathered into portions, hashed and written on a blocking thread while the next portion comes.
//!
//! The bytes go through the page cache, unlike those of a push: they are about to be sent to others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_http::Body;
use shoal_store::{Inflow, Upload};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::TakeInError;
use super::arrival::Arrival;

/// How long a body may bring nothing. Clients that wait for it give up at this age at the latest.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);

/// Bytes that are handed to a thread at once: handing over costs some 20 µs, hashing so much 800.
const PORTION_LEN: usize = 1024 * 1024;

/// How long a portion that has begun waits for more.
const LINGER: Duration = Duration::from_millis(20);

/// Bytes written in one call, below what the store would send past the page cache.
const WRITE_LEN: usize = 128 * 1024;

/// Where bytes go.
pub(super) enum Sink {
    /// Nobody can have any of them before the end.
    Upload(Box<Upload>),
    /// Others have the pieces as they come.
    Inflow(Box<Inflow>),
}

impl Sink {
    /// Bytes written so far.
    pub(super) const fn size(&self) -> u64 {
        match self {
            Self::Upload(upload) => upload.size(),
            Self::Inflow(inflow) => inflow.size(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> shoal_store::Result<()> {
        match self {
            Self::Upload(upload) => bytes.chunks(WRITE_LEN).try_for_each(|part| upload.write(part)),
            Self::Inflow(inflow) => inflow.write(bytes),
        }
    }

    /// Removes what has come. Blocks.
    pub(super) fn discard(self) {
        match self {
            Self::Upload(upload) => upload.cancel(),
            Self::Inflow(inflow) => drop(inflow),
        }
    }
}

/// A body, read portion by portion.
pub(super) struct Source {
    body: Body,
    /// The size of the blob.
    stated: Option<u64>,
    /// The blob's byte that comes next.
    at: u64,
    /// Why nothing comes any more, for when what came before is dealt with.
    failure: Option<TakeInError>,
}

/// Some of the body, and whether it was the last.
struct Portion {
    frames: Vec<Bytes>,
    is_last: bool,
}

/// What became of the last portion.
type Writing = JoinHandle<(Sink, shoal_store::Result<()>)>;

/// Why not all of a body is in the store, and what is, unless the store is the reason.
pub(super) type Failure = (Option<Sink>, TakeInError);

/// Appends all of a body to `sink`; `arrival` is told how far it is.
pub(super) async fn fill(
    sink: Sink,
    mut source: Source,
    arrival: Option<Arc<Arrival>>,
) -> Result<Sink, Failure> {
    if source.at > sink.size() {
        let error = TakeInError::Gap { from: source.at, got: sink.size() };
        return Err((Some(sink), error));
    }
    let mut skip = sink.size() - source.at;
    let mut sink = Some(sink);
    let mut writing: Option<Writing> = None;
    loop {
        let portion = source.gather(&mut skip).await;
        if let Some(writing) = writing.take() {
            sink = Some(settle(writing).await?);
        }
        let Some(own) = sink.take() else { return Err((None, TakeInError::Stopped)) };
        let Portion { frames, is_last } = match portion {
            Ok(portion) => portion,
            Err(error) => return Err((Some(own), error)),
        };
        if is_last {
            return settle(write(own, frames, arrival)).await;
        }
        writing = Some(write(own, frames, arrival.clone()));
    }
}

/// Writes on a thread that also tells of it: what follows may be long in coming.
fn write(mut sink: Sink, frames: Vec<Bytes>, arrival: Option<Arc<Arrival>>) -> Writing {
    tokio::task::spawn_blocking(move || {
        let written = frames.iter().try_for_each(|frame| sink.write(frame));
        if let Some(arrival) = arrival {
            arrival.note(sink.size());
        }
        (sink, written)
    })
}

async fn settle(writing: Writing) -> Result<Sink, Failure> {
    let (sink, written) = writing.await.map_err(|_panicked| (None, TakeInError::Stopped))?;
    match written {
        Ok(()) => Ok(sink),
        // Not to be gone on with: the hashes may be ahead of the file.
        Err(error) => Err((Some(sink), error.into())),
    }
}

impl Source {
    /// A body whose first byte is the blob's byte `from`.
    pub(super) const fn new(body: Body, from: u64, stated: Option<u64>) -> Self {
        Self { body, stated, at: from, failure: None }
    }

    /// The next bytes behind those to `skip`: not much later than they come, and no more than a portion.
    async fn gather(&mut self, skip: &mut u64) -> Result<Portion, TakeInError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let (mut frames, mut len) = (Vec::new(), 0);
        while len < PORTION_LEN {
            let limit = if len == 0 { STALL_MAX } else { LINGER };
            let frame = match timeout(limit, self.body.frame_data()).await {
                Ok(frame) => frame.transpose().map_err(|error| self.broken(&error)),
                Err(_elapsed) if len == 0 => Err(TakeInError::Stalled { got: self.at }),
                Err(_elapsed) => break,
            };
            let mut frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) if self.stated.is_none_or(|stated| self.at == stated) => {
                    return Ok(Portion { frames, is_last: true });
                }
                Ok(None) => return self.fail(frames, self.broken(&"it ended too early")),
                Err(error) => return self.fail(frames, error),
            };
            self.at += frame.len() as u64;
            if let Some(stated) = self.stated.filter(|stated| self.at > *stated) {
                return Err(TakeInError::TooLong { stated });
            }
            let passed_over = usize::try_from(*skip).unwrap_or(usize::MAX).min(frame.len());
            *skip -= passed_over as u64;
            let frame = frame.split_off(passed_over);
            if !frame.is_empty() {
                len += frame.len();
                frames.push(frame);
            }
        }
        Ok(Portion { frames, is_last: false })
    }

    /// What came before a failure counts.
    fn fail(&mut self, frames: Vec<Bytes>, error: TakeInError) -> Result<Portion, TakeInError> {
        if frames.is_empty() {
            return Err(error);
        }
        self.failure = Some(error);
        Ok(Portion { frames, is_last: false })
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> TakeInError {
        TakeInError::Broken { got: self.at, reason: reason.to_string() }
    }
}
