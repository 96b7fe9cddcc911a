//! Files that are open for peers and for downloads.
//!
//! A partial stays open while its download runs. A complete blob is opened when a peer asks for a piece and closed when nobody has
//! asked for a while, because an open blob cannot be evicted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shoal_oci::Digest;
use shoal_store::{ErrorKind, Store};
use tokio::time::Instant;

use crate::view::Storage;

/// Open files by digest.
#[derive(Default)]
pub(crate) struct Handles {
    open: Mutex<HashMap<Digest, Handle>>,
}

struct Handle {
    storage: Storage,
    used: Instant,
}

impl Handles {
    /// Keeps a file open, in place of the one that was.
    pub(crate) fn put(&self, digest: Digest, storage: Storage) {
        let handle = Handle { storage, used: Instant::now() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, handle);
    }

    /// The open file of a blob.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Storage> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = open.get_mut(digest)?;
        handle.used = Instant::now();
        Some(handle.storage.clone())
    }

    /// The open file of a blob, opened if need be. Blocks on the disk.
    ///
    /// While a blob is turned back into a download there is a moment when the store has neither; the store makes whoever asks for
    /// the download then wait for it, so that nobody is told that a good piece is gone.
    pub(crate) fn get_or_open(&self, store: &Store, digest: &Digest) -> shoal_store::Result<Storage> {
        if let Some(storage) = self.get(digest) {
            return Ok(storage);
        }
        match store.blob(digest) {
            Ok(blob) => Ok(self.put_if_absent(*digest, Storage::Blob(blob))),
            // Not kept: a download is kept open by whoever runs it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                store.resume(digest).map(Storage::Partial).map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps a file open, unless there is one already, which is then the answer.
    fn put_if_absent(&self, digest: Digest, storage: Storage) -> Storage {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(digest).or_insert(Handle { storage, used: Instant::now() }).storage.clone()
    }

    /// Lets go of a file.
    pub(crate) fn close(&self, digest: &Digest) {
        // The file itself is closed at the end of the function, after the lock is free.
        let _closed = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// Lets go of complete blobs that were not used for `idle`.
    pub(crate) fn sweep(&self, idle: Duration) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, handle| {
            matches!(handle.storage, Storage::Partial(_)) || handle.used.elapsed() < idle
        });
    }
}
