//! One segment: an append-only file of records behind a header, and the count of what in it is alive.
//!
//! ```text
//!  0  "shoalpk\x01"   magic and version
//!  8  id              u32
//! 12  0               u32
//! 16  key             32 random bytes, see `record`
//! 48  check           first 16 bytes of BLAKE3 over bytes 0 to 48
//! 64  records
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::file::{Faults, SegmentFile};
use super::record::{HEADER_LEN, Header, Key, Spot, u32_at};
use crate::disk;
use crate::error::{Error, Result};
use crate::locks::hold;

/// Length of a segment's own header: where its first record begins.
pub(crate) const START: u64 = 64;

const MAGIC: &[u8; 8] = b"shoalpk\x01";
const CHECK_AT: usize = 48;

/// An open segment.
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: SegmentFile,
    pub(crate) key: Key,
    /// No record is added any more.
    sealed: AtomicBool,
    tally: Mutex<Tally>,
}

/// What a segment's bytes are for.
#[derive(Default)]
struct Tally {
    /// Length of the part that is in use: whole, synced records.
    len: u64,
    /// Bytes of records whose content is a blob.
    live: u64,
    /// How many records of another segment are killed here.
    kills: BTreeMap<u32, u32>,
}

impl Segment {
    /// Makes the file of a new segment, durable with its name.
    pub(crate) fn create(path: &Path, id: u32, faults: Faults) -> Result<Self> {
        let mut key = Key::default();
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut key))
            .map_err(|source| Error::io("make a key for", path, source))?;
        let file = disk::create_new(path)?;
        let segment = Self::new(id, SegmentFile::new(file, path.to_owned(), faults), key, START);
        let made = segment
            .file
            .write(&encode_header(id, &key), 0)
            .and_then(|()| segment.file.sync())
            .map_err(|source| Error::io("write", path, source))
            .and_then(|()| path.parent().map_or(Ok(()), disk::sync_dir));
        if let Err(error) = made {
            disk::remove_leftover(path);
            return Err(error);
        }
        Ok(segment)
    }

    /// Wraps an open file whose header was read.
    pub(crate) fn new(id: u32, file: SegmentFile, key: Key, len: u64) -> Self {
        let tally = Mutex::new(Tally { len, ..Tally::default() });
        Self { id, file, key, sealed: AtomicBool::new(false), tally }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Bytes of the file that are in use, with the header.
    pub(crate) fn len(&self) -> u64 {
        hold(&self.tally).len
    }

    /// The file is in use up to `len`.
    pub(crate) fn grow_to(&self, len: u64) {
        hold(&self.tally).len = len;
    }

    /// `len` bytes more belong to a blob.
    pub(crate) fn enliven(&self, len: u64) {
        hold(&self.tally).live += len;
    }

    /// `len` bytes belong to no blob any more.
    pub(crate) fn deaden(&self, len: u64) {
        let mut tally = hold(&self.tally);
        tally.live = tally.live.saturating_sub(len);
    }

    /// A record here kills one of segment `target`.
    pub(crate) fn note_kill(&self, target: u32) {
        if target != self.id {
            *hold(&self.tally).kills.entry(target).or_default() += 1;
        }
    }

    /// Bytes that a compaction would not win: those of blobs, and of kills of segments that `exists` knows.
    pub(crate) fn needed(&self, exists: impl Fn(u32) -> bool) -> u64 {
        let tally = hold(&self.tally);
        let kills = tally.kills.iter().filter(|(target, _)| exists(**target));
        let kills: u64 = kills.map(|(_, count)| u64::from(*count)).sum();
        tally.live + kills * HEADER_LEN as u64
    }

    /// Reads and checks the header of a record.
    pub(crate) fn header_at(&self, offset: u32) -> std::io::Result<Option<Header>> {
        let mut bytes = [0; HEADER_LEN];
        self.file.read(&mut bytes, u64::from(offset))?;
        Ok(Header::decode(&bytes, &self.key, Spot { segment: self.id, offset }))
    }
}

fn encode_header(id: u32, key: &Key) -> [u8; START as usize] {
    let mut out = [0; START as usize];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&id.to_be_bytes());
    out[16..48].copy_from_slice(key);
    let check = blake3::hash(&out[..CHECK_AT]);
    out[CHECK_AT..].copy_from_slice(&check.as_bytes()[..16]);
    out
}

/// The key in a segment's header; `None` when these are not the first bytes of segment `id`.
pub(crate) fn decode_header(bytes: &[u8], id: u32) -> Option<Key> {
    let bytes = bytes.get(..START as usize)?;
    let is_ours = bytes.starts_with(MAGIC)
        && u32_at(bytes, 8) == id
        && blake3::hash(&bytes[..CHECK_AT]).as_bytes()[..16] == bytes[CHECK_AT..];
    if !is_ours {
        return None;
    }
    bytes[16..48].try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_a_damaged_one_does_not() {
        let key = [3; 32];
        let header = encode_header(5, &key);
        assert_eq!(decode_header(&header, 5), Some(key));
        assert_eq!(decode_header(&header, 6), None, "of another segment");
        assert_eq!(decode_header(&header[..40], 5), None);
        let mut bad = header;
        bad[20] ^= 1;
        assert_eq!(decode_header(&bad, 5), None);
    }

    #[test]
    fn kills_count_while_their_segment_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("2.data");
        let segment = Segment::create(&path, 2, Faults::default()).unwrap();
        segment.enliven(100);
        [1, 1, 2, 3].iter().for_each(|target| segment.note_kill(*target));
        assert_eq!(segment.needed(|_| true), 100 + 3 * 128, "kills within the segment go with it");
        assert_eq!(segment.needed(|target| target == 3), 100 + 128);
        segment.deaden(200);
        assert_eq!(segment.needed(|_| false), 0);
        assert!(Segment::create(&path, 2, Faults::default()).is_err(), "it exists");
    }
}
