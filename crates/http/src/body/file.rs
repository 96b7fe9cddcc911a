//! A part of a file as a body, read in blocks on the blocking pool.

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::BodyError;

/// How much is read at once. Fewer trips to the pool cost less, and a client that hangs up costs at most this.
const BLOCK_LEN: u64 = 256 * 1024;

/// What is left of the part.
#[derive(Debug)]
pub(super) struct FilePart {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) len: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FilePart {
    pub(super) fn new(file: Arc<File>, offset: u64, len: u64) -> Self {
        Self { file, offset, len, reading: None }
    }

    /// File, offset and length, when there are at least `len_min` bytes and none was read.
    pub(super) fn untouched(&self, len_min: u64) -> Option<(Arc<File>, u64, usize)> {
        if self.len < len_min || self.len == 0 || self.reading.is_some() {
            return None;
        }
        Some((Arc::clone(&self.file), self.offset, usize::try_from(self.len).ok()?))
    }

    /// The next block; `None` when all was read.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.len == 0 {
            return Poll::Ready(None);
        }
        let (offset, wanted) = (self.offset, self.len.min(BLOCK_LEN));
        let file = &self.file;
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            tokio::task::spawn_blocking(move || read_block(&file, offset, wanted))
        });
        let outcome = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(Some(self.took(outcome.unwrap_or_else(|error| Err(io::Error::other(error))))))
    }

    fn took(&mut self, outcome: io::Result<Bytes>) -> Result<Bytes, BodyError> {
        let left = self.len;
        // After a failure there is nothing more.
        self.len = 0;
        let block = outcome.map_err(BodyError::File)?;
        if block.is_empty() {
            return Err(BodyError::FileEnded { missing: left });
        }
        self.offset += block.len() as u64;
        self.len = left - block.len() as u64;
        Ok(block)
    }
}

/// At most `wanted` bytes from `offset`; fewer only at the end of the file.
fn read_block(file: &File, offset: u64, wanted: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(wanted.min(BLOCK_LEN)).unwrap_or(usize::MAX);
    let mut block = Vec::with_capacity(wanted);
    while block.len() < wanted {
        let at = offset + block.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut block), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    block.truncate(wanted);
    Ok(block.into())
}
