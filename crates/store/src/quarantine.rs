//! Damaged blobs of a durable store: out of the way, so that they count as absent and a push is taken, but not thrown away, because
//! most of their bytes are good and may be the only ones.
//!
//! The data's rename is the moment at which the blob leaves the store; the metainfo follows. What is here keeps its place in the
//! capacity, is never served, and goes when the same digest is committed again, when somebody says so, or back when it reads
//! right after all. A cache has none of this: it fetches what it lacks. Small content in the pack is not kept either, only dropped.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use shoal_oci::Digest;

use crate::disk;
use crate::error::{Error, Result};
use crate::index::Entry;
use crate::locks::hold;
use crate::paths::{ALGORITHMS, Part, parse_digest_file};
use crate::scrub::{self, Scrubbed};
use crate::space::Class;
use crate::steps::{Step, passed};
use crate::store::{Shared, Store};

/// A damaged blob that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The blob.
    pub digest: Digest,
    /// Bytes that its file has.
    pub size: u64,
}

/// What is set aside, so that a commit need not ask the disk.
#[derive(Default)]
pub(crate) struct Quarantine {
    sizes: Mutex<HashMap<Digest, u64>>,
}

impl Store {
    /// Sets a blob aside because it is damaged: it counts as absent until it is pushed, repaired or released. False when there is no
    /// such blob. Small content in the pack is dropped instead.
    ///
    /// # Errors
    /// The disk's error; the blob is then still there.
    pub fn quarantine(&self, digest: &Digest) -> Result<bool> {
        let shared = self.shared();
        if shared.remove_packed(digest)? {
            return Ok(true);
        }
        match shared.pin(digest)? {
            Some(pin) => shared.quarantine_entry(pin.entry()),
            None => Ok(false),
        }
    }

    /// The blobs that are set aside, in the order of their digests.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        let sizes = hold(&self.shared().quarantine.sizes);
        let mut all: Vec<_> =
            sizes.iter().map(|(digest, size)| Quarantined { digest: *digest, size: *size }).collect();
        all.sort_unstable_by_key(|one| one.digest);
        all
    }

    /// Reads a blob that is set aside, and puts it back if it is whole after all (a cable was loose). The result says what was found.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`] when it is not set aside; the disk's error.
    pub fn release(&self, digest: &Digest) -> Result<Scrubbed> {
        let shared = self.shared();
        if !shared.quarantine.contains(digest) {
            return Err(Error::BlobNotFound(*digest));
        }
        let path = |part| shared.paths.quarantined(digest, part);
        let (found, metainfo) =
            scrub::check(shared, &path(Part::Data), &path(Part::Metainfo), digest, &mut |_| {})?;
        if let Some(metainfo) = metainfo {
            if found == Scrubbed::Restored {
                disk::write_small(&path(Part::Metainfo), &metainfo.encode(), shared.options.is_durable())?;
            }
            shared.unquarantine(digest)?;
        }
        Ok(found)
    }

    /// Throws away a blob that is set aside; false when it is not.
    pub fn forget_quarantined(&self, digest: &Digest) -> bool {
        let shared = self.shared();
        let _stripe = shared.stripes.hold(digest);
        shared.forget_quarantined(digest)
    }
}

impl Quarantine {
    fn contains(&self, digest: &Digest) -> bool {
        hold(&self.sizes).contains_key(digest)
    }
}

impl Shared {
    /// Finds what was set aside before. Called once, at start.
    pub(crate) fn recover_quarantine(&self) -> Result<()> {
        for algorithm in ALGORITHMS {
            let dir = self.paths.quarantine(algorithm);
            let fail = |source| Error::io("read", &dir, source);
            let mut metainfos = Vec::new();
            for entry in fs::read_dir(&dir).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let (Some((digest, part)), Ok(file)) =
                    (parse_digest_file(algorithm, &entry.file_name()), entry.metadata())
                else {
                    continue;
                };
                match part {
                    Part::Data => self.found_quarantined(&digest, file.len()),
                    Part::Metainfo | Part::Have => metainfos.push((digest, entry.path())),
                }
            }
            // A metainfo alone is what a release or an end has left.
            metainfos.retain(|(digest, _)| !self.quarantine.contains(digest));
            metainfos.iter().for_each(|(_, path)| disk::remove_leftover(path));
        }
        Ok(())
    }

    fn found_quarantined(&self, digest: &Digest, size: u64) {
        self.space.found(Class::Quarantine, size);
        hold(&self.quarantine.sizes).insert(*digest, size);
        if self.paths.blob(digest, Part::Data).exists() {
            // It was pushed again, and the end of that was cut off.
            self.forget_quarantined(digest);
        }
    }

    /// Sets exactly this blob aside; false when it has left the store already.
    pub(crate) fn quarantine_entry(&self, entry: &Arc<Entry>) -> Result<bool> {
        let digest = entry.digest();
        let _stripe = self.stripes.hold(digest);
        if !self.index.take_entry(entry) {
            return Ok(false);
        }
        self.verified.forget(digest);
        let place = |part| self.paths.quarantined(digest, part);
        match disk::rename(&self.paths.blob(digest, Part::Data), &place(Part::Data)) {
            Ok(()) => {}
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.space.give_back(Class::Blob, entry.size());
                disk::remove_leftover(&self.paths.blob(digest, Part::Metainfo));
                return Ok(true);
            }
            Err(error) => {
                self.index.put_back(entry.clone());
                return Err(error);
            }
        }
        passed(Step::DataSetAside);
        self.space.transfer(Class::Blob, Class::Quarantine, entry.size());
        if let Some(former) = hold(&self.quarantine.sizes).insert(*digest, entry.size()) {
            self.space.give_back(Class::Quarantine, former);
        }
        // The blob is aside from here on. What fails below costs the knowledge of which pieces are good, or comes back after a
        // power failure and is found damaged again.
        let rest = disk::rename(&self.paths.blob(digest, Part::Metainfo), &place(Part::Metainfo))
            .and_then(|()| disk::sync_dir(&self.paths.quarantine(digest.algorithm())))
            .and_then(|()| disk::sync_dir(&self.paths.shard_of(digest)));
        if let Err(error) = rest {
            tracing::warn!(%digest, %error, "a damaged blob was set aside without its metainfo, or not durably");
        }
        passed(Step::MetainfoSetAside);
        Ok(true)
    }

    /// Puts a blob back into the store as it is; false when it is not set aside, or is in the store again.
    pub(crate) fn unquarantine(&self, digest: &Digest) -> Result<bool> {
        let _stripe = self.stripes.hold(digest);
        let Some(size) = hold(&self.quarantine.sizes).get(digest).copied() else { return Ok(false) };
        // The index may not know yet of all that is on the disk.
        if self.index.pin(digest).is_some() || !disk::is_absent(&self.paths.blob(digest, Part::Data)) {
            return Ok(false);
        }
        let place = |part| self.paths.quarantined(digest, part);
        self.make_shard(digest)?;
        match disk::rename(&place(Part::Metainfo), &self.paths.blob(digest, Part::Metainfo)) {
            Ok(()) => {}
            // It is made again from good bytes, and bad ones are of no use without it.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        disk::rename(&place(Part::Data), &self.paths.blob(digest, Part::Data))?;
        if self.options.is_durable() {
            disk::sync_dir(&self.paths.shard_of(digest))?;
        }
        hold(&self.quarantine.sizes).remove(digest);
        self.space.transfer(Class::Quarantine, Class::Blob, size);
        drop(self.index.insert(*digest, size));
        Ok(true)
    }

    /// Removes what is set aside under a digest. The caller holds the stripe.
    pub(crate) fn forget_quarantined(&self, digest: &Digest) -> bool {
        let Some(size) = hold(&self.quarantine.sizes).remove(digest) else { return false };
        disk::remove_leftover(&self.paths.quarantined(digest, Part::Data));
        disk::remove_leftover(&self.paths.quarantined(digest, Part::Metainfo));
        self.space.give_back(Class::Quarantine, size);
        true
    }
}
