//! The blobs that have files, found in the background after a durable store was opened, so that a start takes as long with a million
//! blobs as with none.
//!
//! Nothing depends on it: until it is finished, a blob that is missing in the index is looked for on the disk, under exactly its
//! name ([`Shared::pin`]). What it meets that is not simply a whole blob it leaves to that look, and remembers the digest, so that
//! repairs (which may read gigabytes) are made when somebody asks for the blob, and never here. It removes nothing
//! that could be of use: a metainfo without data is what is left of a blob that was lost.
//!
//! A directory that cannot be read ends it: then every miss goes on to be looked up, and the store says that it is still counting.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use shoal_oci::{Algorithm, Digest};
use shoal_swarm_types::MetainfoHead;

use crate::disk;
use crate::error::{Error, Result};
use crate::index::{Index, Pin};
use crate::locks::{Stripes, hold};
use crate::open::{Parts, Recovery, find, list, list_shards};
use crate::paths::{ALGORITHMS, Part, Paths};
use crate::space::{Class, Space};
use crate::store::Shared;

/// Blobs that are looked at per second at most: a tenth of what a disk with everything in memory gives, so that a start does not
/// take it away from pulls.
const BLOBS_PER_SECOND: u32 = 50_000;

/// Pauses are at least this long, as shorter ones take longer than they say.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// How long opening waits for the count: a small store then has exact figures from the beginning.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// The count of one store.
#[derive(Default)]
pub(crate) struct Counting {
    progress: Arc<Progress>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread shares with those who ask.
#[derive(Default)]
struct Progress {
    running: AtomicBool,
    /// Blobs that are not whole as they lie there, or were not readable.
    odd: Mutex<HashSet<Digest>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    ended: bool,
    recovery: Recovery,
}

/// What the thread works with. Not the whole store, which ends when its last handle is dropped.
struct Counter {
    paths: Paths,
    index: Arc<Index>,
    space: Arc<Space>,
    stripes: Arc<Stripes>,
    progress: Arc<Progress>,
    /// Blobs looked at since the last pause.
    unpaused: u32,
}

impl Counting {
    /// Begins to count, and waits a moment for the end.
    pub(crate) fn start(&self, shared: &Shared) -> Result<()> {
        let counter = Counter {
            paths: shared.paths.clone(),
            index: shared.index.clone(),
            space: shared.space.clone(),
            stripes: shared.stripes.clone(),
            progress: self.progress.clone(),
            unpaused: 0,
        };
        self.progress.running.store(true, Ordering::Release);
        let thread = thread::Builder::new().name("store-count".to_owned()).spawn(move || counter.run());
        let thread = thread.map_err(|source| Error::io("start a thread for", shared.paths.root(), source))?;
        *hold(&self.thread) = Some(thread);
        self.progress.wait(WAIT_MAX);
        Ok(())
    }

    /// Whether files may exist that the index does not know of.
    pub(crate) fn is_running(&self) -> bool {
        self.progress.running.load(Ordering::Acquire)
    }

    fn may_miss(&self, digest: &Digest) -> bool {
        self.is_running() || hold(&self.progress.odd).contains(digest)
    }

    /// Waits for the end, and gives what was found.
    pub(crate) fn finish(&self) -> Recovery {
        while self.is_running() && !self.progress.wait(Duration::from_secs(1)) {}
        hold(&self.progress.state).recovery
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        hold(&self.progress.state).stopped = true;
        self.progress.changed.notify_all();
        if let Some(thread) = hold(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that counts blobs has panicked");
        }
    }
}

impl Progress {
    /// Waits until the thread is done; false when that takes longer.
    fn wait(&self, time: Duration) -> bool {
        let busy = |state: &mut State| !state.ended;
        let waited = self.changed.wait_timeout_while(hold(&self.state), time, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Lets time pass; false when there is to be an end.
    fn pause(&self, time: Duration) -> bool {
        let going_on = |state: &mut State| !state.stopped;
        let waited = self.changed.wait_timeout_while(hold(&self.state), time, going_on);
        waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Counter {
    fn run(mut self) {
        let mut recovery = Recovery::default();
        match self.count(&mut recovery) {
            Ok(true) => self.progress.running.store(false, Ordering::Release),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the blobs cannot be counted; each is looked for when it is asked for");
            }
        }
        tracing::debug!(%recovery, "the blobs were counted");
        let mut state = hold(&self.progress.state);
        state.recovery = recovery;
        state.ended = true;
        drop(state);
        self.progress.changed.notify_all();
    }

    /// Looks at every directory; false when it was stopped.
    fn count(&mut self, recovery: &mut Recovery) -> Result<bool> {
        for algorithm in ALGORITHMS {
            for first in list_shards(&self.paths.blobs(algorithm), recovery)? {
                if !self.count_shard(algorithm, first, recovery)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn count_shard(&mut self, algorithm: Algorithm, first: u8, recovery: &mut Recovery) -> Result<bool> {
        let dir = self.paths.shard(algorithm, first);
        let found = list(&dir, algorithm, |digest| digest.as_bytes().first() == Some(&first), recovery)?;
        for (digest, parts) in found {
            self.enter(&digest, &parts, recovery);
            self.unpaused += 1;
            let owed = Duration::from_secs(1) * self.unpaused / BLOBS_PER_SECOND;
            if owed >= PAUSE_MIN {
                self.unpaused = 0;
                if !self.progress.pause(owed) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn enter(&self, digest: &Digest, parts: &Parts, recovery: &mut Recovery) {
        let data = self.paths.blob(digest, Part::Data);
        if parts.have.is_some() {
            crate::open::remove(&self.paths.blob(digest, Part::Have), recovery);
        }
        // A metainfo alone is what is left of a blob that was lost, and stays: see [`crate::lost`].
        let Some(file) = &parts.data else { return };
        let expected = MetainfoHead::encoded_len_for(digest, file.len());
        if parts.metainfo.as_ref().is_none_or(|metainfo| metainfo.len() != expected) {
            hold(&self.progress.odd).insert(*digest);
            return;
        }
        let modified = file.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let _stripe = self.stripes.hold(digest);
        // Somebody may have asked for it, or removed it, since the directory was read.
        if self.index.size(digest).is_none() && !disk::is_absent(&data) {
            self.index.insert_found(*digest, file.len(), modified);
            self.space.found(Class::Blob, file.len());
            recovery.blobs += 1;
            recovery.bytes += file.len();
        }
    }
}

impl Shared {
    /// The entry of a blob that has files. While these are being counted, a miss asks the disk.
    ///
    /// # Errors
    /// The disk's error: whether the blob is there is then not known.
    pub(crate) fn pin(&self, digest: &Digest) -> Result<Option<Pin>> {
        // Asked first: what the count enters before it ends is seen below.
        let may_miss = self.counting.may_miss(digest);
        if let Some(pin) = self.index.pin(digest) {
            return Ok(Some(pin));
        }
        if !may_miss {
            return Ok(None);
        }
        let found = find(self, digest)?;
        hold(&self.counting.progress.odd).remove(digest);
        Ok(found)
    }

    /// Size of a complete blob, packed or with files.
    ///
    /// # Errors
    /// The disk's error: whether the blob is there is then not known.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        if let Some(size) = self.pack.as_ref().and_then(|pack| pack.size(digest)) {
            return Ok(Some(size));
        }
        Ok(self.pin(digest)?.map(|pin| pin.entry().size()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shoal_swarm_types::PieceIndex;

    use super::*;
    use crate::{Options, Store};

    const SIZE: usize = 200_000;

    /// A store that has one blob with files, and does not know of it yet.
    fn counting() -> (tempfile::TempDir, Store, Vec<u8>, Digest) {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::durable()).unwrap();
        let bytes: Vec<u8> = (0..SIZE).map(|at| (at * 31 % 251) as u8).collect();
        let digest = Digest::sha256(&bytes);
        store.put(&digest, &bytes).unwrap();
        store.finish_counting();
        let shared = store.shared();
        shared.index.take(&digest).unwrap();
        shared.space.give_back(Class::Blob, SIZE as u64);
        shared.counting.progress.running.store(true, Ordering::Release);
        (dir, store, bytes, digest)
    }

    fn data(store: &Store, digest: &Digest) -> std::path::PathBuf {
        store.shared().paths.blob(digest, Part::Data)
    }

    #[test]
    fn a_blob_is_found_before_it_is_counted_and_counted_once() {
        let (_dir, store, bytes, digest) = counting();
        assert!(store.usage().counting && store.usage().blobs == 0);
        assert_eq!(store.stat(&Digest::sha256(b"other")).unwrap(), None);
        assert_eq!(store.blob(&digest).unwrap().read_piece(PieceIndex(0)).unwrap(), bytes[..65536]);
        assert_eq!(store.stat(&digest).unwrap(), Some(SIZE as u64));
        drop(hold(&store.shared().counting.thread).take());
        hold(&store.shared().counting.progress.state).ended = false;
        store.shared().counting.start(store.shared()).unwrap();
        store.finish_counting();
        let usage = store.usage();
        assert_eq!((usage.blobs, usage.bytes, usage.counting), (1, SIZE as u64, false));
    }

    #[test]
    fn a_blob_that_was_not_counted_is_removed_and_not_stored_twice() {
        let (_dir, store, bytes, digest) = counting();
        store.put(&digest, &bytes).unwrap();
        assert_eq!((store.usage().blobs, store.usage().bytes), (1, SIZE as u64));
        let (_dir, store, _, digest) = counting();
        assert!(store.remove(&digest).unwrap() && !store.remove(&digest).unwrap());
        assert!(!data(&store, &digest).exists() && store.usage().bytes == 0);
    }

    #[test]
    fn odd_blobs_are_left_to_who_asks_for_them() {
        let (dir, store, bytes, digest) = counting();
        let path = data(&store, &digest);
        drop(store);
        fs::File::options().write(true).open(&path).unwrap().set_len(70_000).unwrap();
        let (store, _) = Store::open(dir.path(), Options::durable()).unwrap();
        store.finish_counting();
        assert!(path.exists() && store.usage().blobs == 0 && !store.usage().counting);
        assert_eq!(store.stat(&digest).unwrap(), None);
        assert_eq!((store.partials(), path.exists()), (vec![digest], false), "its good pieces are kept");
        let partial = store.resume(&digest).unwrap();
        assert_eq!(partial.read_piece(PieceIndex(0)).unwrap(), bytes[..65536]);
        assert_eq!(store.usage().partial_bytes, SIZE as u64);
    }
}
