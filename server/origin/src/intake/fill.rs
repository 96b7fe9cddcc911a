//! A body becomes an upload: gathered into portions, hashed and written on a blocking thread while the next portion comes.
//!
//! The bytes go through the page cache, unlike those of a push: they are about to be sent to others.

use std::time::Duration;

use bytes::Bytes;
use shoal_http::Body;
use shoal_store::Upload;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{TakeInError, blocking};

/// How long a body may bring nothing. Clients that wait for it give up at this age at the latest.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);

/// Bytes that are handed to a thread at once: handing over costs some 20 µs, hashing so much 800.
const PORTION_LEN: usize = 1024 * 1024;

/// How long a portion that has begun waits for more.
const LINGER: Duration = Duration::from_millis(20);

/// Bytes written in one call, below what the store would send past the page cache.
const WRITE_LEN: usize = 128 * 1024;

/// A body, read portion by portion.
struct Source {
    body: Body,
    stated: Option<u64>,
    got: u64,
}

/// Some of the body, and whether it was the last.
struct Portion {
    frames: Vec<Bytes>,
    is_last: bool,
}

/// What became of the last portion.
type Writing = JoinHandle<(Upload, shoal_store::Result<()>)>;

/// Appends all of `body` to `upload`.
pub(super) async fn fill(upload: Upload, body: Body, stated: Option<u64>) -> Result<Upload, TakeInError> {
    let mut source = Source { body, stated, got: upload.size() };
    let mut upload = Some(upload);
    let mut writing: Option<Writing> = None;
    loop {
        let portion = source.gather().await;
        if let Some(writing) = writing.take() {
            upload = Some(settle(writing).await?);
        }
        let Some(own) = upload.take() else { return Err(TakeInError::Stopped) };
        let Portion { frames, is_last } = match portion {
            Ok(portion) => portion,
            Err(error) => {
                discard(own).await?;
                return Err(error);
            }
        };
        if is_last {
            return settle(write(own, frames)).await;
        }
        writing = Some(write(own, frames));
    }
}

fn write(mut upload: Upload, frames: Vec<Bytes>) -> Writing {
    tokio::task::spawn_blocking(move || {
        let mut parts = frames.iter().flat_map(|frame| frame.chunks(WRITE_LEN));
        let written = parts.try_for_each(|part| upload.write(part));
        (upload, written)
    })
}

async fn settle(writing: Writing) -> Result<Upload, TakeInError> {
    let (upload, written) = writing.await.map_err(|_panicked| TakeInError::Stopped)?;
    if let Err(error) = written {
        discard(upload).await?;
        return Err(error.into());
    }
    Ok(upload)
}

/// Removes what has come.
async fn discard(upload: Upload) -> Result<(), TakeInError> {
    let removed = move || {
        upload.cancel();
        Ok(())
    };
    blocking(removed).await
}

impl Source {
    /// The next bytes: not much later than they come, and no more than a portion.
    async fn gather(&mut self) -> Result<Portion, TakeInError> {
        let (mut frames, mut len) = (Vec::new(), 0);
        while len < PORTION_LEN {
            let limit = if len == 0 { STALL_MAX } else { LINGER };
            let frame = match timeout(limit, self.body.frame_data()).await {
                Ok(frame) => frame.transpose().map_err(|error| self.broken(&error))?,
                Err(_elapsed) if len == 0 => return Err(TakeInError::Stalled { got: self.got }),
                Err(_elapsed) => break,
            };
            let Some(frame) = frame else { return self.end(frames) };
            self.got += frame.len() as u64;
            if let Some(stated) = self.stated.filter(|stated| self.got > *stated) {
                return Err(TakeInError::TooLong { stated });
            }
            len += frame.len();
            frames.push(frame);
        }
        Ok(Portion { frames, is_last: false })
    }

    fn end(&self, frames: Vec<Bytes>) -> Result<Portion, TakeInError> {
        match self.stated {
            Some(stated) if self.got < stated => {
                Err(self.broken(&format_args!("it ended, and {stated} bytes were stated")))
            }
            _ => Ok(Portion { frames, is_last: true }),
        }
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> TakeInError {
        TakeInError::Broken { got: self.got, reason: reason.to_string() }
    }
}
