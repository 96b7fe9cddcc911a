//! Verified bytes where they are: a part of a file that may be sent, or read, without looking at the bytes again.
//!
//! Whoever sends it does so on a thread that must not wait for the disk, so a range can say whether its bytes are in memory, and can
//! be brought there by a thread that may wait. The price of asking is one system call per 64 KiB.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags};

/// One page of each so many bytes is asked for when it matters whether a file is in memory. Pages come and go in larger groups, so
/// this finds a cold file; a single missing page costs one read of the disk.
const PROBE_STEP: usize = 64 * 1024;

/// Verified bytes of a blob where they are: [`FileRange::len`] bytes of [`FileRange::file`] from [`FileRange::offset`] on.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The blob's file. Read it; never write to it.
    pub file: Arc<File>,
    /// Where the bytes begin.
    pub offset: u64,
    /// How many they are.
    pub len: u64,
}

impl FileRange {
    /// The part from `at` on, at most `len` bytes of it.
    #[must_use]
    pub fn part(&self, at: u64, len: u64) -> Self {
        let at = at.min(self.len);
        Self { file: Arc::clone(&self.file), offset: self.offset + at, len: len.min(self.len - at) }
    }

    /// Whether all of it seems to be in memory. Never waits for the disk.
    ///
    /// # Errors
    /// The disk's, and [`io::ErrorKind::UnexpectedEof`] when the file has become shorter.
    pub fn is_warm(&self) -> io::Result<bool> {
        let last = self.len.saturating_sub(1);
        for step in (0..last).step_by(PROBE_STEP).chain([last]) {
            let mut byte = [0];
            match self.read_now(step, &mut byte)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Reads all of it, so that it is in memory. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Self::is_warm`].
    pub fn warm(&self) -> io::Result<()> {
        let mut scratch = vec![0; PROBE_STEP];
        let mut at = 0;
        while at < self.len {
            match self.read(at, &mut scratch)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => at += len as u64,
            }
        }
        Ok(())
    }

    /// Reads what is in memory of the bytes from `at` on; `None` when the disk would have to be waited for, or that cannot be told.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_now(&self, at: u64, into: &mut [u8]) -> io::Result<Option<usize>> {
        let into = self.fitting(at, into);
        let slices = &mut [io::IoSliceMut::new(into)];
        match rustix::io::preadv2(&*self.file, slices, self.offset + at, ReadWriteFlags::NOWAIT) {
            Ok(len) => Ok(Some(len)),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads some of the bytes from `at` on: none at the end. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let into = self.fitting(at, into);
        loop {
            match rustix::io::pread(&*self.file, &mut *into, self.offset + at) {
                Err(Errno::INTR) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    /// As much of `into` as the range has bytes from `at` on.
    fn fitting<'a>(&self, at: u64, into: &'a mut [u8]) -> &'a mut [u8] {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = into.len().min(left);
        &mut into[..len]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn range(content: &[u8], offset: u64, len: u64) -> FileRange {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        FileRange { file: Arc::new(file), offset, len }
    }

    #[test]
    fn reads_nothing_beyond_itself() {
        let range = range(b"0123456789", 2, 5);
        let mut bytes = [0; 100];
        assert_eq!(range.read(0, &mut bytes).unwrap(), 5);
        assert_eq!(&bytes[..5], b"23456");
        assert_eq!(range.read(4, &mut bytes).unwrap(), 1);
        assert_eq!(range.read(5, &mut bytes).unwrap(), 0);
        let part = range.part(3, 100);
        assert_eq!((part.offset, part.len), (5, 2));
        assert_eq!(range.part(9, 1).len, 0);
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error_and_never_silence() {
        let range = range(&[7; 100_000], 0, 200_000);
        assert_eq!(range.is_warm().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(range.warm().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(range.part(0, 100_000).warm().is_ok());
    }
}
