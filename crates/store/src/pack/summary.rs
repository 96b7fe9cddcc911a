//! What is in a sealed segment, in a file beside it, so that a start does not read the segment itself.
//!
//! ```text
//!  0  "shoalpi\x01"   magic and version
//!  8  id              u32
//! 12  count           of entries, u32
//! 16  len             of the segment in use, u64
//! 24  key             of the segment
//! 56  entries         offset u32, kills segment u32 and offset u32, kind u8 (0 = kill, else the algorithm), 3 zeros,
//!                     and of content: len u32, seconds u32, the hash (32 or 64 bytes)
//!     check           BLAKE3 over all before it
//! ```
//!
//! It says what was written, not what is alive: that follows from all segments together. It is never needed: what is missing or
//! damaged is made again by reading the segment. So it is not synced.

use std::fs;
use std::io;

use super::record::{Header, Key, Spot, algorithm_of, number_of, record_len, spot_at, u32_at};
use crate::disk::Staged;
use crate::error::{Error, Result};
use crate::paths::Paths;

const MAGIC: &[u8; 8] = b"shoalpi\x01";
const HEAD_LEN: usize = 56;
const CHECK_LEN: usize = 32;
const ENTRY_LEN: usize = 16;

/// Entries as they are collected while a segment grows: already in the file's form, because an active segment may have half a
/// million of them.
#[derive(Clone, Default)]
pub(crate) struct Summary {
    count: u32,
    entries: Vec<u8>,
}

/// One record of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) offset: u32,
    pub(crate) kills: Option<Spot>,
    pub(crate) content: Option<EntryContent<'a>>,
}

/// The content of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryContent<'a> {
    pub(crate) algorithm: shoal_oci::Algorithm,
    pub(crate) hash: &'a [u8],
    pub(crate) len: u32,
    pub(crate) seconds: u32,
}

impl Summary {
    /// Adds a record.
    pub(crate) fn add(&mut self, offset: u32, header: &Header) {
        let kills = header.kills.unwrap_or(Spot { segment: 0, offset: 0 });
        for number in [offset, kills.segment, kills.offset] {
            self.entries.extend_from_slice(&number.to_be_bytes());
        }
        let kind = header.content.map_or(0, |content| number_of(content.digest.algorithm()));
        self.entries.extend_from_slice(&[kind, 0, 0, 0]);
        if let Some(content) = &header.content {
            self.entries.extend_from_slice(&content.len.to_be_bytes());
            self.entries.extend_from_slice(&content.seconds.to_be_bytes());
            self.entries.extend_from_slice(content.digest.as_bytes());
        }
        self.count += 1;
    }

    /// The records, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = self.entries.as_slice();
        std::iter::from_fn(move || take_entry(&mut rest))
    }

    /// Writes the file of segment `id`.
    pub(crate) fn write(&self, paths: &Paths, id: u32, key: &Key, len: u64) -> Result<()> {
        Staged::write(paths, &self.encode(id, key, len), false)?.rename(&paths.segment_summary(id))
    }

    fn encode(&self, id: u32, key: &Key, len: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_LEN + self.entries.len() + CHECK_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&self.entries);
        let check = blake3::hash(&out);
        out.extend_from_slice(check.as_bytes());
        out
    }

    /// Reads the file of segment `id`, with the segment's key and length; `None` when it is missing or is not one.
    pub(crate) fn read(paths: &Paths, id: u32) -> Result<Option<(Self, Key, u64)>> {
        let path = paths.segment_summary(id);
        match fs::read(&path) {
            Ok(bytes) => Ok(Self::decode(bytes, id)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("read", &path, source)),
        }
    }

    fn decode(mut bytes: Vec<u8>, id: u32) -> Option<(Self, Key, u64)> {
        let body = bytes.len().checked_sub(CHECK_LEN).filter(|body| *body >= HEAD_LEN)?;
        let is_whole = bytes.starts_with(MAGIC) && *blake3::hash(&bytes[..body]).as_bytes() == bytes[body..];
        if !is_whole || u32_at(&bytes, 8) != id {
            return None;
        }
        let count = u32_at(&bytes, 12);
        let len = u64::from_be_bytes(bytes[16..24].try_into().ok()?);
        let key = bytes[24..56].try_into().ok()?;
        bytes.truncate(body);
        bytes.drain(..HEAD_LEN);
        let summary = Self { count, entries: bytes };
        let fits = |entry: Entry<'_>| {
            let content = entry.content.map_or(0, |content| content.len);
            u64::from(entry.offset) + record_len(content) <= len
        };
        (summary.iter().map(fits).filter(|fits| *fits).count() == count as usize)
            .then_some((summary, key, len))
    }
}

fn take_entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let (head, tail) = rest.split_at_checked(ENTRY_LEN)?;
    let (offset, kills) = (u32_at(head, 0), spot_at(head, 4));
    let Some(algorithm) = algorithm_of(head[12]) else {
        *rest = tail;
        return Some(Entry { offset, kills, content: None });
    };
    let (numbers, tail) = tail.split_at_checked(8)?;
    let (hash, tail) = tail.split_at_checked(algorithm.byte_len())?;
    *rest = tail;
    let content = EntryContent { algorithm, hash, len: u32_at(numbers, 0), seconds: u32_at(numbers, 4) };
    Some(Entry { offset, kills, content: Some(content) })
}

#[cfg(test)]
mod tests {
    use shoal_oci::{Algorithm, Digest};
    use shoal_swarm_types::Metainfo;

    use super::*;
    use crate::pack::record::Content;

    fn sample() -> Summary {
        let mut summary = Summary::default();
        for (offset, algorithm) in [(64, Algorithm::Sha256), (200, Algorithm::Sha512)] {
            let metainfo = Metainfo::of(Digest::of(algorithm, b"x"), b"x");
            let kills = (offset > 64).then_some(Spot { segment: 1, offset: 64 });
            summary.add(offset, &Header { content: Content::of(&metainfo, 7), kills });
        }
        summary.add(336, &Header { content: None, kills: Some(Spot { segment: 2, offset: 9 }) });
        summary
    }

    #[test]
    fn a_summary_reads_back_and_a_damaged_one_does_not() {
        let bytes = sample().encode(4, &[5; 32], 464);
        let (read, key, len) = Summary::decode(bytes.clone(), 4).unwrap();
        assert_eq!((key, len), ([5; 32], 464));
        assert_eq!(read.iter().collect::<Vec<_>>(), sample().iter().collect::<Vec<_>>());
        assert_eq!(read.iter().count(), 3);
        assert!(Summary::decode(bytes.clone(), 5).is_none());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Summary::decode(bad, 4).is_none(), "{at}");
            assert!(Summary::decode(bytes[..at].to_vec(), 4).is_none(), "{at}");
        }
    }

    #[test]
    fn a_summary_that_goes_beyond_its_segment_is_refused() {
        assert!(Summary::decode(sample().encode(4, &[5; 32], 463), 4).is_none());
    }
}
