//! Every unfinished download: which digests have files, and the one live handle that all callers of a digest share.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};

use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, Metainfo};

use crate::blob;
use crate::disk;
use crate::error::{Error, Result};
use crate::evict::{Candidate, Kind};
use crate::locks::hold;
use crate::partial::{Live, Partial};
use crate::paths::Part;
use crate::piece;
use crate::space::{Class, Space};
use crate::steps::{Step, passed};
use crate::store::Shared;

/// The place of one digest. Its lock orders creation, resumption and the end of the download.
pub(crate) struct Slot {
    digest: Digest,
    /// Bytes counted for it; set when its files are made.
    size: AtomicU64,
    /// Promised bytes that are not on the disk yet.
    unwritten: AtomicU64,
    /// Number of the last use, for the evictor.
    used: AtomicU64,
    pub(crate) state: Mutex<SlotState>,
}

/// Where a download stands.
pub(crate) enum SlotState {
    /// No files yet.
    Fresh,
    /// Files, and perhaps a live handle.
    Stored(Weak<Live>),
    /// No files any more; the slot is out of the table, whoever still waits for it looks there again.
    Ended,
}

impl Slot {
    fn new(digest: Digest, size: u64, state: SlotState) -> Arc<Self> {
        let (unwritten, used) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { digest, size: AtomicU64::new(size), unwritten, used, state: Mutex::new(state) })
    }

    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// `len` bytes of the data file will be written.
    pub(crate) fn promise(&self, space: &Space, len: u64) {
        self.unwritten.fetch_add(len, Ordering::Relaxed);
        space.promise(len);
    }

    /// `len` bytes of the data file are on the disk, or never will be.
    pub(crate) fn settle(&self, space: &Space, len: u64) {
        let less = |left: u64| Some(left.saturating_sub(len));
        // The closure always gives a value, so both arms carry the former one.
        let (Ok(before) | Err(before)) =
            self.unwritten.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        space.settle(before.min(len));
    }

    /// Notes what the files will count for.
    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Notes that somebody opens the download now.
    pub(crate) fn note_use(&self, number: u64) {
        self.used.store(number, Ordering::Relaxed);
    }

    fn candidate(&self) -> Candidate {
        let used = self.used.load(Ordering::Relaxed);
        Candidate { kind: Kind::Partial, used, digest: self.digest, size: self.size() }
    }
}

/// The table of downloads.
#[derive(Default)]
pub(crate) struct Partials {
    slots: Mutex<HashMap<Digest, Arc<Slot>>>,
}

impl Partials {
    pub(crate) fn digests(&self) -> Vec<Digest> {
        hold(&self.slots).keys().copied().collect()
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        hold(&self.slots).contains_key(digest)
    }

    fn get(&self, digest: &Digest) -> Option<Arc<Slot>> {
        hold(&self.slots).get(digest).cloned()
    }

    pub(crate) fn get_or_insert(&self, digest: &Digest) -> Arc<Slot> {
        let mut slots = hold(&self.slots);
        slots.entry(*digest).or_insert_with(|| Slot::new(*digest, 0, SlotState::Fresh)).clone()
    }

    /// Downloads that nobody has open.
    pub(crate) fn idle(&self) -> Vec<Candidate> {
        let slots = hold(&self.slots);
        slots.values().filter(|slot| try_idle(slot).is_some()).map(|slot| slot.candidate()).collect()
    }

    /// Ends a slot whose files are gone. The caller holds its state.
    pub(crate) fn end(&self, slot: &Arc<Slot>, state: &mut SlotState) {
        *state = SlotState::Ended;
        let mut slots = hold(&self.slots);
        if slots.get(&slot.digest).is_some_and(|found| Arc::ptr_eq(found, slot)) {
            slots.remove(&slot.digest);
        }
    }
}

/// The state of a slot that has files and no live handle; `None` also when somebody is just opening it.
fn try_idle(slot: &Slot) -> Option<MutexGuard<'_, SlotState>> {
    let state = match slot.state.try_lock() {
        Ok(state) => state,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    matches!(&*state, SlotState::Stored(live) if live.strong_count() == 0).then_some(state)
}

impl Shared {
    /// Counts a download found at start. `on_disk` = bytes of its data file that occupy the disk.
    pub(crate) fn found_partial(&self, digest: Digest, size: u64, on_disk: u64) {
        let slot = Slot::new(digest, size, SlotState::Stored(Weak::new()));
        self.space.found(Class::Partial, size);
        slot.promise(&self.space, size.saturating_sub(on_disk));
        hold(&self.partials.slots).insert(digest, slot);
    }

    /// Evicts a download unless somebody has it open.
    pub(crate) fn drop_idle_partial(&self, digest: &Digest) -> bool {
        let Some(slot) = self.partials.get(digest) else { return false };
        let Some(mut state) = try_idle(&slot) else { return false };
        self.remove_partial_files(&slot);
        self.partials.end(&slot, &mut state);
        true
    }

    /// Removes a download's files and gives back what it held. The caller holds the slot's state and ends it.
    pub(crate) fn remove_partial_files(&self, slot: &Slot) {
        disk::remove_leftover(&self.paths.partial(&slot.digest, Part::Data));
        passed(Step::DataUnlinked);
        self.remove_partial_records(slot);
        self.space.give_back(Class::Partial, slot.size());
    }

    /// Removes what describes a download, when its data is gone or is a blob by now.
    pub(crate) fn remove_partial_records(&self, slot: &Slot) {
        disk::remove_leftover(&self.paths.partial(&slot.digest, Part::Have));
        disk::remove_leftover(&self.paths.partial(&slot.digest, Part::Metainfo));
        slot.settle(&self.space, u64::MAX);
        passed(Step::LeftoversRemoved);
    }

    /// Writes what describes a download. The data file comes last: a download exists from the moment that it does. One whose digests are not
    /// all known has no metainfo on the disk, so no later process takes it up.
    pub(crate) fn describe_partial(&self, metainfo: &Metainfo, have: &Bitfield) -> Result<()> {
        let durable = self.options.is_durable();
        let digest = metainfo.digest();
        let claims: Vec<u8> = piece::indices(metainfo).map(|index| u8::from(have.has(index))).collect();
        disk::write_small(&self.paths.partial(digest, Part::Have), &claims, durable)?;
        if metainfo.is_whole() {
            disk::write_small(&self.paths.partial(digest, Part::Metainfo), &metainfo.encode(), durable)?;
        }
        passed(Step::PartialDescribed);
        Ok(())
    }
}

/// Joins, resumes or begins the download of a blob.
pub(crate) fn open(shared: &Arc<Shared>, metainfo: &Metainfo) -> Result<Partial> {
    loop {
        let slot = shared.partials.get_or_insert(metainfo.digest());
        let mut state = hold(&slot.state);
        let live = match &*state {
            SlotState::Ended => continue,
            SlotState::Fresh => match begin(shared, &slot, metainfo) {
                Ok(live) => live,
                Err(error) => {
                    shared.partials.end(&slot, &mut state);
                    return Err(error);
                }
            },
            SlotState::Stored(weak) => match weak.upgrade() {
                Some(live) => return join(live, metainfo),
                None => match resume_slot(shared, &slot, metainfo)? {
                    Some(live) => live,
                    None => {
                        shared.remove_partial_files(&slot);
                        shared.partials.end(&slot, &mut state);
                        continue;
                    }
                },
            },
        };
        slot.note_use(shared.index.next_use());
        *state = SlotState::Stored(Arc::downgrade(&live));
        return Ok(Partial::new(live));
    }
}

fn join(live: Arc<Live>, metainfo: &Metainfo) -> Result<Partial> {
    // One that is arriving learns from the other, which may know less.
    if *live.metainfo() == *metainfo || live.metainfo().absorb(metainfo).is_ok() {
        return Ok(Partial::new(live));
    }
    Err(Error::MetainfoConflict(*metainfo.digest()))
}

/// Opens a download that has files, by what they say.
pub(crate) fn resume(shared: &Arc<Shared>, digest: &Digest) -> Result<Partial> {
    let missing = || Error::PartialNotFound(*digest);
    let slot = shared.partials.get(digest).ok_or_else(missing)?;
    let live = match &*hold(&slot.state) {
        SlotState::Stored(weak) => weak.upgrade(),
        SlotState::Fresh | SlotState::Ended => return Err(missing()),
    };
    if let Some(live) = live {
        return Ok(Partial::new(live));
    }
    let metainfo = blob::read_metainfo(&shared.paths.partial(digest, Part::Metainfo))?;
    open(shared, &metainfo.filter(|metainfo| metainfo.digest() == digest).ok_or_else(missing)?)
}

/// Makes the files of a new download.
fn begin(shared: &Arc<Shared>, slot: &Arc<Slot>, metainfo: &Metainfo) -> Result<Arc<Live>> {
    shared.reserve(Class::Partial, metainfo.size())?;
    slot.set_size(metainfo.size());
    slot.promise(&shared.space, metainfo.size());
    let have = Bitfield::empty(metainfo.layout().piece_count());
    let live =
        shared.describe_partial(metainfo, &have).and_then(|()| open_files(shared, slot, metainfo, have));
    if live.is_err() {
        shared.remove_partial_files(slot);
    }
    passed(Step::PartialCreated);
    live
}

/// Opens the files of a download and verifies each piece that they claim; `None` when they belong to another metainfo, which
/// means that nobody can use them.
fn resume_slot(shared: &Arc<Shared>, slot: &Arc<Slot>, metainfo: &Metainfo) -> Result<Option<Arc<Live>>> {
    let digest = metainfo.digest();
    let stored = blob::read_metainfo(&shared.paths.partial(digest, Part::Metainfo))?;
    if stored.as_ref() != Some(metainfo) {
        return Ok(None);
    }
    let path = shared.paths.partial(digest, Part::Data);
    let claimed = read_claims(shared, metainfo)?;
    let good = match File::open(&path) {
        Ok(data) => piece::verified(&data, &path, metainfo, &claimed)?,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("open", &path, source)),
    };
    if good.count() < claimed.count() {
        tracing::info!(%digest, claimed = claimed.count(), verified = good.count(), "pieces did not survive");
        shared.describe_partial(metainfo, &good)?;
    }
    open_files(shared, slot, metainfo, good).map(Some)
}

/// Which pieces the side file claims; a missing, short or garbled file claims less.
fn read_claims(shared: &Shared, metainfo: &Metainfo) -> Result<Bitfield> {
    let path = shared.paths.partial(metainfo.digest(), Part::Have);
    let mut claims = vec![0; metainfo.layout().piece_count() as usize];
    match File::open(&path).and_then(|file| file.read_at(&mut claims, 0)) {
        Ok(_) => {}
        Err(source) if source.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::io("read", &path, source)),
    }
    let mut have = Bitfield::empty(metainfo.layout().piece_count());
    piece::indices(metainfo).zip(&claims).filter(|(_, claim)| **claim == 1).for_each(|(index, _)| {
        have.set(index);
    });
    Ok(have)
}

/// Opens the files for writing, the data file at its full size.
pub(crate) fn open_files(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    metainfo: &Metainfo,
    have: Bitfield,
) -> Result<Arc<Live>> {
    let path = shared.paths.partial(metainfo.digest(), Part::Data);
    let claims_path = shared.paths.partial(metainfo.digest(), Part::Have);
    let claims = disk::open_for_writing(&claims_path, true)?;
    let data = disk::open_for_writing(&path, true)?;
    data.set_len(metainfo.size()).map_err(|source| Error::io("set the size of", &path, source))?;
    Ok(Arc::new(Live::new(shared, slot, metainfo.clone(), data, claims, have)))
}
