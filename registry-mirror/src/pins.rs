//! What an operator wants to stay on this machine: names of images or digests, and the blobs that they mean.
//!
//! One small JSON file beside the cache. A pin is of the content that a name meant when it was set: a tag that moves is pinned again by
//! whoever moves it. Pinned blobs are not evicted, count for the capacity, and need not be here yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_oci::Digest;
use shoal_store::Store;

/// Names at most, so that a script that runs wild does not fill the disk with pins.
const NAMES_MAX: usize = 1000;

/// The pins. Clones share them.
#[derive(Clone)]
pub struct Pins(Arc<Inner>);

struct Inner {
    file: PathBuf,
    store: Store,
    pins: Mutex<BTreeMap<String, BTreeSet<Digest>>>,
}

impl Pins {
    /// Reads the pins in `file` and keeps what they mean in `store`. A file that cannot be read is none. Blocks.
    pub fn open(file: PathBuf, store: Store) -> Self {
        let pins: BTreeMap<String, BTreeSet<Digest>> = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(%error, file = %file.display(), "the pins cannot be read; nothing is pinned");
                BTreeMap::new()
            }),
            Err(_absent) => BTreeMap::new(),
        };
        pins.values().flatten().for_each(|digest| store.keep(*digest));
        Self(Arc::new(Inner { file, store, pins: Mutex::new(pins) }))
    }

    /// Pins what `name` means. Blocks.
    ///
    /// # Errors
    /// When there are too many, or the file cannot be written; then nothing has changed.
    pub fn add(&self, name: &str, digests: impl IntoIterator<Item = Digest>) -> io::Result<()> {
        let mut pins = self.lock();
        let mut changed = pins.clone();
        changed.insert(name.to_owned(), digests.into_iter().collect());
        if changed.len() > NAMES_MAX {
            return Err(io::Error::other(format!("there are {NAMES_MAX} pins already; unpin some")));
        }
        self.write(&changed)?;
        self.apply(&pins, &changed);
        *pins = changed;
        Ok(())
    }

    /// Takes a pin away; false when there is none of that name. Blocks.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing has changed.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let mut pins = self.lock();
        let mut changed = pins.clone();
        if changed.remove(name).is_none() {
            return Ok(false);
        }
        self.write(&changed)?;
        self.apply(&pins, &changed);
        *pins = changed;
        Ok(true)
    }

    /// All of them.
    pub fn list(&self) -> BTreeMap<String, BTreeSet<Digest>> {
        self.lock().clone()
    }

    fn write(&self, pins: &BTreeMap<String, BTreeSet<Digest>>) -> io::Result<()> {
        crate::references::write_aside(&self.0.file, &serde_json::to_vec(pins)?)
    }

    /// Tells the store what has changed.
    fn apply(&self, before: &BTreeMap<String, BTreeSet<Digest>>, now: &BTreeMap<String, BTreeSet<Digest>>) {
        let all = |pins: &BTreeMap<String, BTreeSet<Digest>>| -> BTreeSet<Digest> {
            pins.values().flatten().copied().collect()
        };
        let (before, now) = (all(before), all(now));
        now.difference(&before).for_each(|digest| self.0.store.keep(*digest));
        before.difference(&now).for_each(|digest| _ = self.0.store.unkeep(digest));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<Digest>>> {
        self.0.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use shoal_store::Options;

    use super::*;

    #[test]
    fn pins_outlive_the_process_and_share_blobs() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&directory.path().join("blobs"), Options::cache(1000)).unwrap();
        let digests = [b"a", b"b", b"c"].map(|bytes| Digest::sha256(bytes));
        let file = directory.path().join("pins.json");
        let pins = Pins::open(file.clone(), store.clone());
        pins.add("one", [digests[0], digests[1]]).unwrap();
        pins.add("two", [digests[1], digests[2]]).unwrap();
        assert!(pins.remove("one").unwrap() && !pins.remove("one").unwrap());
        let kept = |store: &Store| digests.map(|digest| store.is_kept(&digest));
        assert_eq!(kept(&store), [false, true, true]);
        drop((pins, store));
        let (store, _) = Store::open(&directory.path().join("blobs"), Options::cache(1000)).unwrap();
        let pins = Pins::open(file.clone(), store.clone());
        assert_eq!((kept(&store), pins.list().len()), ([false, true, true], 1));
        std::fs::write(&file, b"{").unwrap();
        assert!(Pins::open(file, store).list().is_empty());
    }
}
