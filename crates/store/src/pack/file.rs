//! A segment's file: the few calls that the pack makes on it, and the place where a test makes them fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(crate) use self::faulty::{Fault, Faults};

/// Nothing fails on purpose.
#[cfg(not(test))]
#[derive(Clone, Default)]
pub(crate) struct Faults {}

#[cfg(not(test))]
#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "the same words as in tests, where they can fail"
)]
impl Faults {
    const fn before_write(&self, len: usize) -> (usize, io::Result<()>) {
        (len, Ok(()))
    }

    const fn before_sync(&self) -> io::Result<()> {
        Ok(())
    }

    const fn before_cut(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An open segment file. Those who read it keep it open, whatever becomes of its name.
pub(crate) struct SegmentFile {
    file: File,
    path: PathBuf,
    faults: Faults,
}

impl SegmentFile {
    pub(crate) fn new(file: File, path: PathBuf, faults: Faults) -> Self {
        Self { file, path, faults }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of `bytes` at `at`; after an error any part of them may be there.
    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let (len, fault) = self.faults.before_write(bytes.len());
        self.file.write_all_at(bytes.get(..len).unwrap_or(bytes), at)?;
        fault
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.faults.before_sync()?;
        self.file.sync_data()
    }

    /// Makes the file `len` bytes long.
    pub(crate) fn cut(&self, len: u64) -> io::Result<()> {
        self.faults.before_cut()?;
        self.file.set_len(len)
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(crate) fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }

    /// Reads only what is in the page cache; `None` when some of it is not, or the file system cannot tell.
    pub(crate) fn read_cached(&self, bytes: &mut [u8], at: u64) -> Option<()> {
        let len = bytes.len();
        let mut parts = [io::IoSliceMut::new(bytes)];
        let read = rustix::io::preadv2(&self.file, &mut parts, at, rustix::io::ReadWriteFlags::NOWAIT);
        read.is_ok_and(|got| got == len).then_some(())
    }
}

#[cfg(test)]
mod faulty {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// What goes wrong, once.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// A write ends after so many bytes, because the disk is full.
        WriteFull(usize),
        /// The disk loses what was written.
        SyncLost,
        /// A file keeps its length.
        CutRefused,
    }

    /// Faults to come, in order; each waits for the call that it is about.
    #[derive(Clone, Default)]
    pub(crate) struct Faults(Arc<Mutex<VecDeque<Fault>>>);

    impl Faults {
        pub(crate) fn add(&self, fault: Fault) {
            self.0.lock().unwrap().push_back(fault);
        }

        fn take(&self, wanted: impl Fn(Fault) -> bool) -> Option<Fault> {
            let mut faults = self.0.lock().unwrap();
            faults.pop_front_if(|fault| wanted(*fault))
        }

        pub(super) fn before_write(&self, len: usize) -> (usize, io::Result<()>) {
            match self.take(|fault| matches!(fault, Fault::WriteFull(_))) {
                Some(Fault::WriteFull(part)) => (part.min(len), Err(io::ErrorKind::StorageFull.into())),
                _ => (len, Ok(())),
            }
        }

        pub(super) fn before_sync(&self) -> io::Result<()> {
            let lost = self.take(|fault| fault == Fault::SyncLost);
            lost.map_or(Ok(()), |_| Err(nix::errno::Errno::EIO.into()))
        }

        pub(super) fn before_cut(&self) -> io::Result<()> {
            let refused = self.take(|fault| fault == Fault::CutRefused);
            refused.map_or(Ok(()), |_| Err(nix::errno::Errno::EIO.into()))
        }
    }
}
