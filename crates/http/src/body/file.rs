//! A part of a file as a body: blocks that are in memory are copied at once, others are read on the blocking pool.

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use super::BodyError;

/// How much is read at once. Fewer trips to the pool cost less, and a client that hangs up costs at most this.
const BLOCK_LEN: usize = 256 * 1024;

/// What is left of the part.
#[derive(Debug)]
pub(super) struct FilePart {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) block_len: usize,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FilePart {
    pub(super) fn new(file: Arc<File>, offset: u64, len: u64) -> Self {
        Self { file, offset, len, block_len: BLOCK_LEN, reading: None }
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
        let wanted = usize::try_from(self.len).unwrap_or(usize::MAX).min(self.block_len);
        if self.reading.is_none()
            && let Some(block) = read_cached(&self.file, self.offset, wanted)
        {
            return Poll::Ready(Some(self.took(Ok(block))));
        }
        let (file, offset) = (&self.file, self.offset);
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

/// What is in memory of the `wanted` bytes from `offset` on; `None` when that is nothing, or cannot be told. Never waits for the disk.
fn read_cached(file: &File, offset: u64, wanted: usize) -> Option<Bytes> {
    let mut block = vec![0; wanted];
    let slices = &mut [io::IoSliceMut::new(&mut block)];
    let len = rustix::io::preadv2(file, slices, offset, ReadWriteFlags::NOWAIT).ok()?;
    block.truncate(len);
    (len > 0).then(|| block.into())
}

/// At most `wanted` bytes from `offset` on; fewer only at the end of the file.
fn read_block(file: &File, offset: u64, wanted: usize) -> io::Result<Bytes> {
    let mut block = Vec::with_capacity(wanted);
    while block.len() < wanted {
        let at = offset + block.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut block), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more than was asked for.
    block.truncate(wanted);
    Ok(block.into())
}
