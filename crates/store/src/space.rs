//! How many bytes the store holds, and whether it may take more.
//!
//! Sizes of contents are counted; metainfos (32 bytes per piece, about 0.05 %) and directories are not. A download counts with its
//! full size from the moment it begins, so that one that was let in can also end; its bytes that are not yet on the disk are
//! *promised*: the disk's own figure of free bytes does not know of them.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::sys::statvfs::statvfs;

use crate::error::{Error, NoSpace, Result};
use crate::locks::hold;
use crate::options::Options;

/// What bytes are held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Blob,
    Partial,
    Upload,
    /// Damaged blobs that were set aside.
    Quarantine,
}

/// Bytes that may be taken before the disk is asked for its free space again. Small against any sensible reserve, large enough
/// that a stream of small writes does not ask each time.
const FREE_CHECK_LEN: u64 = 8 * 1024 * 1024;

/// With less room than this a store counts as full: pushes take bytes in batches of a megabyte, so a push that is refused leaves the
/// store this near to its limit.
const ROOM_MIN: u64 = 8 * 1024 * 1024;

/// A small capacity is full when less than this part of it is left.
const ROOM_MIN_PART: u64 = 100;

/// The limit that a store has come near, so that it takes little more or nothing. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The configured capacity.
    Capacity {
        /// Held and not to be evicted.
        held: u64,
        /// The limit.
        capacity: u64,
    },
    /// The disk, of which a part has to stay free.
    Disk {
        /// What a process without privileges may still write, with what can be evicted.
        free: u64,
        /// What has to stay free.
        free_min: u64,
        /// What downloads under way will still write.
        promised: u64,
    },
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Capacity { held, capacity } => {
                write!(f, "{held} bytes of a capacity of {capacity} are taken")
            }
            Self::Disk { free, free_min, promised } => {
                write!(f, "the disk has {free} bytes of room, {free_min} have to stay free")?;
                if *promised > 0 { write!(f, " and downloads will write {promised}") } else { Ok(()) }
            }
        }
    }
}

/// Bytes held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) blobs: u64,
    pub(crate) partials: u64,
    pub(crate) uploads: u64,
    pub(crate) quarantine: u64,
}

impl Held {
    pub(crate) const fn total(&self) -> u64 {
        self.blobs.saturating_add(self.partials).saturating_add(self.uploads).saturating_add(self.quarantine)
    }

    fn of(&mut self, class: Class) -> &mut u64 {
        match class {
            Class::Blob => &mut self.blobs,
            Class::Partial => &mut self.partials,
            Class::Upload => &mut self.uploads,
            Class::Quarantine => &mut self.quarantine,
        }
    }
}

/// Too little room: which limit, and how many bytes would have to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortfall {
    pub(crate) missing: u64,
    pub(crate) limit: NoSpace,
}

/// The counters and their limits.
pub(crate) struct Space {
    root: PathBuf,
    capacity: Option<u64>,
    free_min: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Held,
    promised: u64,
    /// Bytes that the last look at the disk still allows.
    credit: u64,
}

impl Space {
    pub(crate) fn new(root: &Path, options: &Options) -> Self {
        Self {
            root: root.to_owned(),
            capacity: options.capacity,
            free_min: options.free_min,
            state: Mutex::default(),
        }
    }

    pub(crate) fn held(&self) -> Held {
        hold(&self.state).held
    }

    /// Takes `len` bytes for `class` if both limits allow it. With `len` 0 it tells whether the limits are kept as it is.
    pub(crate) fn take(&self, class: Class, len: u64) -> Result<std::result::Result<(), Shortfall>> {
        let mut state = hold(&self.state);
        if let Some(short) = self.over_capacity(&state.held, len) {
            return Ok(Err(short));
        }
        if let Some(short) = self.over_disk(&mut state, len)? {
            return Ok(Err(short));
        }
        *state.held.of(class) += len;
        Ok(Ok(()))
    }

    /// Counts bytes that are on the disk already, whatever the limits say.
    pub(crate) fn found(&self, class: Class, len: u64) {
        *hold(&self.state).held.of(class) += len;
    }

    pub(crate) fn give_back(&self, class: Class, len: u64) {
        let mut state = hold(&self.state);
        let held = state.held.of(class);
        *held = held.saturating_sub(len);
        // The disk has more room than we knew: look again next time.
        state.credit = 0;
    }

    /// The same bytes, under another class.
    pub(crate) fn transfer(&self, from: Class, to: Class, len: u64) {
        let mut state = hold(&self.state);
        let held = state.held.of(from);
        *held = held.saturating_sub(len);
        *state.held.of(to) += len;
    }

    /// `len` more bytes will be written into files that exist.
    pub(crate) fn promise(&self, len: u64) {
        let mut state = hold(&self.state);
        state.promised = state.promised.saturating_add(len);
        state.credit = 0;
    }

    /// `len` promised bytes were written, or will not be.
    pub(crate) fn settle(&self, len: u64) {
        let mut state = hold(&self.state);
        state.promised = state.promised.saturating_sub(len);
    }

    /// Which limit is near, counting `evictable` bytes as room.
    pub(crate) fn shortage(&self, evictable: u64) -> Result<Option<Shortage>> {
        let (held, promised) = {
            let state = hold(&self.state);
            (state.held.total().saturating_sub(evictable), state.promised)
        };
        if let Some(capacity) = self.capacity {
            let room_min = ROOM_MIN.min(capacity / ROOM_MIN_PART).max(1);
            if held.saturating_add(room_min) > capacity {
                return Ok(Some(Shortage::Capacity { held, capacity }));
            }
        }
        let (free, free_min) = (self.free()?.saturating_add(evictable), self.free_min);
        let short = free < free_min.saturating_add(promised).saturating_add(ROOM_MIN);
        Ok(short.then_some(Shortage::Disk { free, free_min, promised }))
    }

    fn over_capacity(&self, held: &Held, len: u64) -> Option<Shortfall> {
        let missing = held.total().saturating_add(len).saturating_sub(self.capacity?);
        (missing > 0).then_some(Shortfall { missing, limit: NoSpace::Capacity { wanted: len } })
    }

    fn over_disk(&self, state: &mut State, len: u64) -> Result<Option<Shortfall>> {
        if len > 0 && state.credit >= len {
            state.credit -= len;
            return Ok(None);
        }
        let wanted = self.free_min.saturating_add(state.promised).saturating_add(len);
        let free = self.free()?;
        if free < wanted {
            let missing = wanted - free;
            return Ok(Some(Shortfall { missing, limit: NoSpace::FreeMin { wanted: len } }));
        }
        state.credit = (free - wanted).min(FREE_CHECK_LEN);
        Ok(None)
    }

    /// Bytes that a process without privileges may still write.
    fn free(&self) -> Result<u64> {
        let disk = statvfs(&self.root)
            .map_err(|errno| Error::io("ask for the free space of", &self.root, errno.into()))?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(capacity: Option<u64>, free_min: u64) -> (tempfile::TempDir, Space) {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path(), &Options { capacity, free_min, ..Options::cache(0) });
        (dir, space)
    }

    #[test]
    fn capacity_counts_every_class() {
        let (_dir, space) = space(Some(10), 0);
        space.take(Class::Blob, 4).unwrap().unwrap();
        space.take(Class::Partial, 4).unwrap().unwrap();
        space.take(Class::Upload, 2).unwrap().unwrap();
        let short = space.take(Class::Blob, 3).unwrap().unwrap_err();
        assert_eq!(short, Shortfall { missing: 3, limit: NoSpace::Capacity { wanted: 3 } });
        space.give_back(Class::Partial, 4);
        space.transfer(Class::Upload, Class::Blob, 2);
        space.take(Class::Blob, 3).unwrap().unwrap();
        assert_eq!(space.held(), Held { blobs: 9, ..Held::default() });
    }

    #[test]
    fn the_disk_keeps_its_reserve() {
        let (_dir, greedy) = space(None, u64::MAX);
        assert!(matches!(
            greedy.take(Class::Blob, 1).unwrap(),
            Err(Shortfall { limit: NoSpace::FreeMin { .. }, .. })
        ));
        let (_dir, modest) = space(None, 1);
        modest.take(Class::Blob, 1).unwrap().unwrap();
        modest.promise(u64::MAX);
        assert!(modest.take(Class::Blob, 1).unwrap().is_err(), "promised bytes count");
        modest.settle(u64::MAX);
        modest.take(Class::Blob, 1).unwrap().unwrap();
    }

    #[test]
    fn without_a_reserve_the_disk_itself_is_still_a_limit() {
        let (_dir, space) = space(None, 0);
        space.take(Class::Partial, 1).unwrap().unwrap();
        assert_eq!(
            space.take(Class::Partial, u64::MAX).unwrap().map_err(|short| short.limit),
            Err(NoSpace::FreeMin { wanted: u64::MAX })
        );
    }

    #[test]
    fn a_limit_is_near_before_it_is_reached_and_no_longer_when_room_is_made() {
        let (_dir, space) = space(Some(1000), 0);
        space.take(Class::Blob, 990).unwrap().unwrap();
        assert_eq!(space.shortage(0).unwrap(), None);
        space.take(Class::Upload, 5).unwrap().unwrap();
        assert_eq!(space.shortage(0).unwrap(), Some(Shortage::Capacity { held: 995, capacity: 1000 }));
        assert_eq!(space.shortage(500).unwrap(), None, "what can be evicted is room");
        space.give_back(Class::Upload, 5);
        assert_eq!(space.shortage(0).unwrap(), None);
    }

    #[test]
    fn a_disk_below_its_reserve_is_a_shortage() {
        let (_dir, greedy) = space(None, u64::MAX);
        let shortage = greedy.shortage(0).unwrap().unwrap();
        assert!(matches!(shortage, Shortage::Disk { free_min: u64::MAX, promised: 0, .. }), "{shortage}");
        let (_dir, modest) = space(None, 1);
        assert_eq!(modest.shortage(0).unwrap(), None);
        modest.promise(u64::MAX);
        assert!(modest.shortage(0).unwrap().is_some(), "promised bytes count");
    }

    #[test]
    fn sums_do_not_overflow() {
        let (_dir, space) = space(Some(u64::MAX - 1), 0);
        space.take(Class::Blob, 5).unwrap().unwrap();
        assert!(space.take(Class::Blob, u64::MAX).unwrap().is_err());
    }
}
