//! One process at a time: the lock on the directory.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Error, Result};

/// The file whose lock says that a process has the store open.
const NAME: &str = "metadata.lock";

/// Held while the engine is open.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self> {
        let path = directory.join(NAME);
        let options = File::options().create(true).truncate(false).write(true).open(&path);
        let file = options.map_err(|error| super::io("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path }),
            Err(TryLockError::Error(error)) => Err(super::io("lock", &path, &error)),
        }
    }
}

impl Drop for Lock {
    /// Closing the file may not be enough: a child process that is just being started has a copy of every open file until it runs
    /// its program.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the lock of the metadata store ends with its file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::take(directory.path()).unwrap();
        assert!(matches!(Lock::take(directory.path()), Err(Error::Locked { .. })));
        let copy = lock.0.try_clone().unwrap(); // what a child process has between fork and exec
        drop(lock);
        let again = Lock::take(directory.path());
        drop(copy);
        assert!(again.is_ok());
    }
}
