//! A buffer's way to the end of a file: whole blocks past the page cache, the rest of the last block through it.
//!
//! The two meet in one block at most. When the next buffer continues in the middle of a block, the bytes that are there are put
//! before it and the block is written once more, as a whole; nothing else is ever written twice. The kernel keeps both ways
//! consistent: a direct write first writes back and then drops what the page cache has of its range (open(2), "O_DIRECT").
//!
//! Order matters more than speed: bytes go to the file from the first to the last, because the file's length says how far the
//! upload is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::direct::{self, BLOCK_LEN, Buffer, Buffers};
use crate::faults::Faults;
use crate::writer::Outcome;

/// The file of an upload.
#[derive(Clone)]
pub(crate) struct Files {
    /// Through the page cache.
    pub(crate) cached: Arc<File>,
    /// Past it, once that was asked for.
    pub(crate) direct: Option<Arc<File>>,
}

/// One buffer on its way.
pub(crate) struct Append {
    pub(crate) files: Files,
    pub(crate) buffer: Arc<Buffer>,
    /// Where the buffer's first own byte goes.
    pub(crate) offset: u64,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) faults: Arc<Faults>,
}

impl Append {
    /// Writes all of it; tells how many of the buffer's bytes are in the file.
    pub(crate) fn run(self) -> Outcome {
        let lead = self.buffer.lead();
        let (mut end, mut result) = (0, Ok(()));
        if let Some(file) = &self.files.direct {
            (end, result) = self.write_blocks(file);
        }
        let mut end = end.max(lead);
        if result.is_ok() {
            let rest = &self.buffer.blocks()[end..];
            let offset = self.start() + end as u64;
            let (written, outcome) = write_all(&self.files.cached, rest, offset, &self.faults);
            end += written as usize;
            result = outcome;
            if self.files.direct.is_none() {
                // The kernel begins now with what it would otherwise do at commit, all at once.
                direct::let_go(&self.files.cached, offset, written);
            }
        }
        ((end - lead) as u64, result)
    }

    /// Where the buffer's first block begins.
    fn start(&self) -> u64 {
        self.offset - self.buffer.lead() as u64
    }

    /// Writes the whole blocks; tells up to where. A file system that refuses is not asked again, and what it left is somebody
    /// else's.
    fn write_blocks(&self, file: &File) -> (usize, io::Result<()>) {
        let blocks = self.buffer.blocks();
        let whole = blocks.len() / BLOCK_LEN * BLOCK_LEN;
        let mut end = 0;
        // After a write that ends within a block only the page cache can go on.
        while end < whole && end.is_multiple_of(BLOCK_LEN) {
            let tried = self.faults.limit(whole - end);
            let at = self.start() + end as u64;
            match tried.and_then(|len| file.write_at(&blocks[end..end + len], at)) {
                Ok(0) => return (end, Err(io::ErrorKind::WriteZero.into())),
                Ok(len) => end += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if direct::is_refusal(&error) => {
                    self.buffers.give_up_direct();
                    break;
                }
                Err(error) => return (end, Err(error)),
            }
        }
        (end, Ok(()))
    }
}

/// Writes `bytes` at `offset`; tells how many got there, and why not all.
pub(crate) fn write_all(file: &File, bytes: &[u8], offset: u64, faults: &Faults) -> Outcome {
    let mut written = 0;
    while written < bytes.len() {
        let rest = &bytes[written..];
        let tried = faults.limit(rest.len());
        match tried.and_then(|len| file.write_at(&rest[..len], offset + written as u64)) {
            Ok(0) => return (written as u64, Err(io::ErrorKind::WriteZero.into())),
            Ok(len) => written += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written as u64, Err(error)),
        }
    }
    (written as u64, Ok(()))
}
