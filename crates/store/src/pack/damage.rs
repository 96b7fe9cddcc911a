//! Packed blobs that no longer verify: they leave the store when they are met, so that a push brings them back.
//!
//! Nothing is written for that: a disk that lies once may have told the truth at the next start. The place of the bad record is
//! remembered until a good one takes over, or the blob is removed, because then the bad one has to die for good.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use shoal_oci::Digest;

use super::Inner;
use super::record::{HEADER_LEN, Spot, record_len};
use super::table::Place;
use crate::error::Result;
use crate::locks::hold;
use crate::piece::is_damage;
use crate::space::Class;

/// What was found damaged since the start.
#[derive(Default)]
pub(crate) struct Damages {
    spots: Mutex<HashMap<Digest, Spot>>,
    count: AtomicU64,
}

impl Damages {
    /// How often a damaged blob was met.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The damage is over: a good copy has come, or the blob has gone.
    pub(crate) fn forget(&self, digest: &Digest) {
        hold(&self.spots).remove(digest);
    }
}

impl Inner {
    /// Takes a blob out that does not verify at `place`.
    pub(crate) fn report_damage(&self, digest: &Digest, place: &Place) {
        let Some(place) = self.table.take(digest, place.spot) else { return };
        let Spot { segment, offset } = place.spot;
        tracing::error!(%digest, segment, offset, "a small blob is damaged on the disk and has left the store; push it again");
        hold(&self.damages.spots).insert(*digest, place.spot);
        self.damages.count.fetch_add(1, Ordering::Relaxed);
        self.deaden(&place);
        self.space.give_back(Class::Blob, u64::from(place.len));
    }

    /// Where a damaged record of this blob is.
    pub(crate) fn damaged_spot(&self, digest: &Digest) -> Option<Spot> {
        hold(&self.damages.spots).get(digest).copied()
    }

    /// The record at `place` belongs to no blob any more.
    pub(crate) fn deaden(&self, place: &Place) {
        if let Some(segment) = self.segment(place.spot.segment) {
            segment.deaden(record_len(place.len));
        }
    }

    /// Whether the store has exactly these bytes under this digest. A damaged copy leaves the store.
    pub(crate) fn is_intact(&self, digest: &Digest, bytes: &[u8]) -> bool {
        let Some((place, segment)) = self.locate(digest) else { return false };
        let mut stored = vec![0; HEADER_LEN + place.len as usize];
        match segment.file.read(&mut stored, u64::from(place.spot.offset)) {
            Ok(()) => {}
            Err(error) if is_damage(&error) => {
                self.report_damage(digest, &place);
                return false;
            }
            Err(_) => return false,
        }
        let intact = segment.content_of(digest, &place, &stored).is_some() && stored[HEADER_LEN..] == *bytes;
        if !intact {
            self.report_damage(digest, &place);
        }
        intact
    }

    /// The same, as far as the page cache can tell without waiting for the disk.
    pub(crate) fn is_intact_in_memory(&self, digest: &Digest, bytes: &[u8]) -> bool {
        matches!(self.small(digest), Some(Ok(stored)) if *stored == *bytes)
    }

    /// What a blob's record holds, read whole and verified; `None` when it is damaged.
    pub(crate) fn read_record(&self, digest: &Digest, place: &Place) -> Result<Option<Vec<u8>>> {
        let Some(segment) = self.segment(place.spot.segment) else { return Ok(None) };
        let mut stored = vec![0; HEADER_LEN + place.len as usize];
        match segment.file.read(&mut stored, u64::from(place.spot.offset)) {
            Ok(()) => Ok(segment.content_of(digest, place, &stored).map(|_| stored)),
            Err(error) if is_damage(&error) => Ok(None),
            Err(source) => Err(crate::Error::io("read", segment.file.path(), source)),
        }
    }
}
