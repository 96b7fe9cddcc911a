//! Writing past the page cache: aligned memory, and whether the file system takes it.
//!
//! A large push fills the page cache with bytes that nobody may ever read, and on a machine whose memory is full (or not yet backed
//! by its host) getting those pages costs more than hashing what is in them. With `O_DIRECT` the disk takes the bytes out of the
//! buffer that the network filled: no second copy, nothing to write back at commit, no surprise.
//!
//! Goals: a fixed amount of memory however many pushes run; nothing held by a push that stands still; no `unsafe`: the alignment
//! comes from a slightly larger `Vec` whose first aligned byte is found once. Non-goal: asynchronous system calls, since one thread
//! per write is cheap at a megabyte a time. Price: [`BUFFERS_MAX`] MiB at most while pushes run, and one `Vec` of a block too many.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::disk;
use crate::id::UploadId;
use crate::locks::hold;
use crate::paths::Paths;

/// Every disk and file system in use takes direct writes in units of this: the page size, and the largest sector of a disk.
pub(crate) const BLOCK_LEN: usize = 4096;

/// Bytes in a buffer. At 1 MiB the disk is at its full rate, and handing a buffer from thread to thread (some 20 µs) is lost beside
/// hashing it (800 µs).
pub(crate) const BUFFER_LEN: usize = 1024 * 1024;

/// Buffers in use at once. A push at full rate has three: one that fills, one that waits, one that is hashed and written. So five
/// pushes run at full rate, which is more than one disk can take, and the others write small portions through the page cache.
const BUFFERS_MAX: usize = 16;

/// The buffers of one store.
#[derive(Default)]
pub(crate) struct Buffers {
    pool: Mutex<Pool>,
    /// Whether files are written with `O_DIRECT`. Cleared when the file system goes back on it.
    direct: AtomicBool,
}

#[derive(Default)]
struct Pool {
    free: Vec<Memory>,
    out: usize,
}

/// Memory whose part from `start` on is aligned.
struct Memory {
    bytes: Vec<u8>,
    start: usize,
}

impl Memory {
    fn new() -> Self {
        let bytes = vec![0; BUFFER_LEN + BLOCK_LEN];
        let start = bytes.as_ptr().align_offset(BLOCK_LEN);
        // align_offset may decline to answer; then the memory is used as it is, and direct writes of it fail and are repeated
        // through the page cache.
        Self { bytes, start: if start < BLOCK_LEN { start } else { 0 } }
    }

    fn aligned(&self) -> &[u8] {
        &self.bytes[self.start..self.start + BUFFER_LEN]
    }

    fn aligned_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + BUFFER_LEN]
    }
}

impl Buffers {
    /// Finds out whether the file system under `paths` takes direct writes.
    pub(crate) fn new(paths: &Paths) -> Self {
        let buffers = Self::default();
        buffers.direct.store(takes_direct_writes(paths), Ordering::Relaxed);
        buffers
    }

    /// Whether files are written with `O_DIRECT`.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// From now on everything goes through the page cache.
    pub(crate) fn give_up_direct(&self) {
        self.direct.store(false, Ordering::Relaxed);
    }

    /// A buffer for bytes that belong at `offset` of a file; `None` when all are in use.
    pub(crate) fn take(self: &Arc<Self>, offset: u64) -> Option<Buffer> {
        let memory = {
            let mut pool = hold(&self.pool);
            if pool.out >= BUFFERS_MAX {
                return None;
            }
            pool.out += 1;
            pool.free.pop()
        };
        let lead = (offset % BLOCK_LEN as u64) as usize;
        let memory = Some(memory.unwrap_or_else(Memory::new));
        Some(Buffer { memory, lead, end: lead, home: self.clone() })
    }

    fn give_back(&self, memory: Memory) {
        let mut pool = hold(&self.pool);
        pool.out -= 1;
        pool.free.push(memory);
        if pool.out == 0 {
            // Nobody pushes: the memory goes back to the system.
            pool.free = Vec::new();
        }
    }

    #[cfg(test)]
    pub(crate) fn in_use_and_free(&self) -> (usize, usize) {
        let pool = hold(&self.pool);
        (pool.out, pool.free.len())
    }
}

/// Up to 1 MiB of an upload, in memory that the disk can take as it is. Made by [`crate::Store::buffer`], written by
/// [`crate::Upload::write_buffer`], and back in the store's pool when dropped.
pub struct Buffer {
    /// `None` only while it is dropped.
    memory: Option<Memory>,
    /// Bytes before ours in the first block; whoever writes the buffer fetches them from the file.
    lead: usize,
    end: usize,
    home: Arc<Buffers>,
}

impl Buffer {
    /// Copies as much of `bytes` as there is room for; returns how many bytes that was.
    pub fn extend(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.room());
        let end = self.end;
        self.aligned_mut()[end..end + len].copy_from_slice(&bytes[..len]);
        self.end += len;
        len
    }

    /// Bytes that still fit.
    pub const fn room(&self) -> usize {
        BUFFER_LEN - self.end
    }

    /// Bytes in the buffer.
    pub const fn len(&self) -> usize {
        self.end - self.lead
    }

    /// Whether nothing is in it.
    pub const fn is_empty(&self) -> bool {
        self.end == self.lead
    }

    /// Drops what lies beyond the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.lead.saturating_add(len));
    }

    /// The bytes in the buffer.
    pub fn bytes(&self) -> &[u8] {
        &self.aligned()[self.lead..self.end]
    }

    /// Bytes of the first block that come before ours.
    pub(crate) const fn lead(&self) -> usize {
        self.lead
    }

    /// Where [`Self::lead`] bytes of the file go before the buffer is written.
    pub(crate) fn lead_mut(&mut self) -> &mut [u8] {
        let lead = self.lead;
        &mut self.aligned_mut()[..lead]
    }

    /// Everything from the first block's beginning to the last byte: aligned, and its length is a multiple of nothing.
    pub(crate) fn blocks(&self) -> &[u8] {
        &self.aligned()[..self.end]
    }

    /// All of the memory, for reading a file into it.
    pub(crate) fn aligned_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], Memory::aligned_mut)
    }

    fn aligned(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], Memory::aligned)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.home.give_back(memory);
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// Opens a file for reading and writing past the page cache.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_DIRECT).open(path)
}

/// Opens a file for reading past the page cache.
pub(crate) fn open_for_reading(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECT).open(path)
}

/// Whether an error means that this file system, after all, does not do what was asked of it.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput || error.kind() == io::ErrorKind::Unsupported
}

/// Tries it: some file systems accept the flag and refuse the write.
fn takes_direct_writes(paths: &Paths) -> bool {
    let Ok(id) = UploadId::random() else { return false };
    let path = paths.tmp_file(&id);
    let memory = Memory::new();
    let tried = disk::create_new(&path)
        .map_err(io::Error::other)
        .and_then(|_| open(&path))
        .and_then(|file| file.write_at(&memory.aligned()[..BLOCK_LEN], 0));
    disk::remove_leftover(&path);
    matches!(tried, Ok(BLOCK_LEN))
}

/// Tells the kernel that nobody needs these bytes in the page cache: it starts to write back what is changed and forgets what is
/// not. A hint; a failure changes nothing.
pub(crate) fn let_go(file: &File, offset: u64, len: u64) {
    advise(file, offset, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

/// Tells the kernel that these bytes will be read soon.
pub(crate) fn read_ahead(file: &File, offset: u64, len: u64) {
    advise(file, offset, len, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
}

/// Tells the kernel that the file is read from its beginning to its end: it reads twice as far ahead.
pub(crate) fn read_in_order(file: &File) {
    advise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
}

fn advise(file: &File, offset: u64, len: u64, advice: PosixFadviseAdvice) {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
    _ = posix_fadvise(file, offset, len, advice);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers() -> Arc<Buffers> {
        Arc::new(Buffers::default())
    }

    #[test]
    fn a_buffer_is_aligned_and_takes_what_fits() {
        let buffers = buffers();
        let mut buffer = buffers.take(3 * BLOCK_LEN as u64 + 5).unwrap();
        assert_eq!(buffer.blocks().as_ptr().align_offset(BLOCK_LEN), 0);
        assert_eq!((buffer.lead(), buffer.room(), buffer.is_empty()), (5, BUFFER_LEN - 5, true));
        assert_eq!(buffer.extend(b"abc"), 3);
        assert_eq!(buffer.extend(&vec![7; BUFFER_LEN]), BUFFER_LEN - 8);
        assert_eq!((buffer.room(), buffer.extend(b"x"), buffer.len()), (0, 0, BUFFER_LEN - 5));
        buffer.truncate(2);
        assert_eq!((buffer.bytes(), buffer.room()), (&b"ab"[..], BUFFER_LEN - 7));
    }

    #[test]
    fn buffers_are_bounded_reused_and_freed_when_nobody_has_one() {
        let buffers = buffers();
        let mut out: Vec<_> = (0..BUFFERS_MAX).map(|_| buffers.take(0).unwrap()).collect();
        assert!(buffers.take(0).is_none());
        out.pop();
        assert_eq!(buffers.in_use_and_free(), (BUFFERS_MAX - 1, 1));
        out.push(buffers.take(0).unwrap());
        assert_eq!(buffers.in_use_and_free(), (BUFFERS_MAX, 0));
        drop(out);
        assert_eq!(buffers.in_use_and_free(), (0, 0));
    }
}
