//! One record of a segment: a header of 128 bytes, then the content, then zeros up to a multiple of 8.
//!
//! ```text
//!   0  "shpk"          magic
//!   4  1               version
//!   5  kind            1 = content, 2 = kill
//!   6  algorithm       1 = sha256, 2 = sha512; 0 in a kill
//!   7  0
//!   8  len             of the content, u32; integers are big-endian
//!  12  seconds         when the content came, since 1970, u32
//!  16  kills           segment (u32, 0 = none) and offset (u32) of a record that this one makes dead
//!  24  digest          64 bytes, zeros after a shorter one
//!  88  root            BLAKE3 of the content, which is its only piece digest
//! 120  check           first 8 bytes of BLAKE3, keyed with the segment's key, over the record's place and bytes 0 to 120
//! ```
//!
//! A kill names the *place* of what it kills, not the digest: so it says the same wherever it stands, and content that comes back
//! later is not touched. The key keeps content that looks like a record from being taken for one when a damaged segment is
//! searched for its next whole record: who pushes bytes does not know the key, nor where they will lie.

use std::time::{Duration, SystemTime};

use shoal_oci::{Algorithm, Digest};
use shoal_swarm_types::{Metainfo, PieceDigest};

/// Length of a header in bytes.
pub(crate) const HEADER_LEN: usize = 128;

/// Records begin at multiples of this, so that a search has fewer places to try.
pub(crate) const ALIGN: u64 = 8;

/// First bytes of every record.
pub(crate) const MAGIC: &[u8; 4] = b"shpk";

const VERSION: u8 = 1;
const CHECK_AT: usize = 120;

/// What a segment's checks are made with.
pub(crate) type Key = [u8; 32];

/// The place of a record in the pack. Segments count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// `None` in a kill, which is nothing but that.
    pub(crate) content: Option<Content>,
    /// A record that is dead from now on.
    pub(crate) kills: Option<Spot>,
}

/// The content that follows a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) digest: Digest,
    pub(crate) len: u32,
    /// When it came into the store, in seconds since 1970.
    pub(crate) seconds: u32,
    /// BLAKE3 of the bytes.
    pub(crate) root: PieceDigest,
}

/// Seconds since 1970, as records keep them: enough until 2106.
pub(crate) fn seconds_of(time: SystemTime) -> u32 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

/// The time that [`seconds_of`] was given, to the second.
pub(crate) fn time_of(seconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(seconds))
}

/// Bytes that a record with this much content takes in its segment.
pub(crate) const fn record_len(content_len: u32) -> u64 {
    (HEADER_LEN as u64 + content_len as u64).next_multiple_of(ALIGN)
}

/// The algorithm's number in files.
pub(crate) const fn number_of(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    }
}

/// The algorithm of a number in files.
pub(crate) const fn algorithm_of(number: u8) -> Option<Algorithm> {
    match number {
        1 => Some(Algorithm::Sha256),
        2 => Some(Algorithm::Sha512),
        _ => None,
    }
}

/// Reads a big-endian number; 0 beyond the end, which no caller asks for.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Reads the spot at `at`; `None` when it says none.
pub(crate) fn spot_at(bytes: &[u8], at: usize) -> Option<Spot> {
    let spot = Spot { segment: u32_at(bytes, at), offset: u32_at(bytes, at + 4) };
    (spot.segment != 0).then_some(spot)
}

impl Content {
    /// What a reader is handed with the bytes. `None` only for a length that no record has.
    pub(crate) fn metainfo(&self) -> Option<Metainfo> {
        let pieces = if self.len == 0 { Vec::new() } else { vec![self.root] };
        Metainfo::new(self.digest, u64::from(self.len), pieces)
    }

    /// The header's part that `metainfo` describes; `None` when it is not small.
    pub(crate) fn of(metainfo: &Metainfo, seconds: u32) -> Option<Self> {
        let len = u32::try_from(metainfo.size()).ok().filter(|_| metainfo.layout().piece_count() <= 1)?;
        Some(Self { digest: *metainfo.digest(), len, seconds, root: metainfo.root()? })
    }

    /// Whether these are the bytes.
    pub(crate) fn verify(&self, bytes: &[u8]) -> bool {
        // The digest of an only piece is plain BLAKE3, see the metainfo's own rules.
        bytes.len() == self.len as usize && *blake3::hash(bytes).as_bytes() == self.root.0
    }
}

impl Header {
    /// Bytes of the whole record.
    pub(crate) fn record_len(&self) -> u64 {
        record_len(self.content.map_or(0, |content| content.len))
    }

    /// The header as it stands in a segment, at its place.
    pub(crate) fn encode(&self, key: &Key, at: Spot) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..4].copy_from_slice(MAGIC);
        out[4] = VERSION;
        out[5] = if self.content.is_some() { 1 } else { 2 };
        if let Some(content) = &self.content {
            out[6] = number_of(content.digest.algorithm());
            out[8..12].copy_from_slice(&content.len.to_be_bytes());
            out[12..16].copy_from_slice(&content.seconds.to_be_bytes());
            let hash = content.digest.as_bytes();
            out[24..24 + hash.len()].copy_from_slice(hash);
            out[88..120].copy_from_slice(&content.root.0);
        }
        if let Some(kills) = &self.kills {
            out[16..20].copy_from_slice(&kills.segment.to_be_bytes());
            out[20..24].copy_from_slice(&kills.offset.to_be_bytes());
        }
        let check = check(key, at, &out[..CHECK_AT]);
        out[CHECK_AT..].copy_from_slice(&check);
        out
    }

    /// Reads a header; `None` when these bytes were not written as a header at this place.
    pub(crate) fn decode(bytes: &[u8], key: &Key, at: Spot) -> Option<Self> {
        let bytes = bytes.get(..HEADER_LEN)?;
        if !bytes.starts_with(MAGIC)
            || bytes[4] != VERSION
            || check(key, at, &bytes[..CHECK_AT]) != bytes[CHECK_AT..]
        {
            return None;
        }
        let content = match bytes[5] {
            1 => Some(decode_content(bytes)?),
            2 => None,
            _ => return None,
        };
        Some(Self { content, kills: spot_at(bytes, 16) })
    }
}

fn decode_content(bytes: &[u8]) -> Option<Content> {
    let algorithm = algorithm_of(bytes[6])?;
    let digest = Digest::from_bytes(algorithm, &bytes[24..24 + algorithm.byte_len()])?;
    let len = u32_at(bytes, 8);
    let root = PieceDigest(bytes[88..120].try_into().ok()?);
    (u64::from(len) <= crate::SMALL_SIZE_MAX).then_some(Content {
        digest,
        len,
        seconds: u32_at(bytes, 12),
        root,
    })
}

fn check(key: &Key, at: Spot, bytes: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&at.segment.to_be_bytes()).update(&at.offset.to_be_bytes()).update(bytes);
    let mut out = [0; 8];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8], algorithm: Algorithm) -> Header {
        let metainfo = Metainfo::of(Digest::of(algorithm, bytes), bytes);
        let kills = Some(Spot { segment: 3, offset: 64 });
        Header { content: Content::of(&metainfo, 1_700_000_000), kills }
    }

    #[test]
    fn headers_read_back_at_their_place_only() {
        let (key, at) = ([7; 32], Spot { segment: 1, offset: 64 });
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for bytes in [&b""[..], b"x", &[9; 65536]] {
                let header = header(bytes, algorithm);
                let encoded = header.encode(&key, at);
                assert_eq!(Header::decode(&encoded, &key, at), Some(header));
                assert_eq!(Header::decode(&encoded, &[8; 32], at), None);
                assert_eq!(Header::decode(&encoded, &key, Spot { offset: 72, ..at }), None);
                let content = header.content.unwrap();
                assert!(content.verify(bytes) && !content.verify(b"y"));
                assert_eq!(content.metainfo().unwrap(), Metainfo::of(content.digest, bytes));
            }
        }
        let kill = Header { content: None, kills: Some(at) };
        assert_eq!(Header::decode(&kill.encode(&key, at), &key, at), Some(kill));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let (key, at) = ([7; 32], Spot { segment: 1, offset: 64 });
        let encoded = header(b"x", Algorithm::Sha256).encode(&key, at);
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = encoded;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad, &key, at), None, "bit {bit}");
        }
        assert_eq!(Header::decode(&encoded[..HEADER_LEN - 1], &key, at), None);
    }

    #[test]
    fn what_is_not_small_has_no_record() {
        let metainfo = Metainfo::of(Digest::sha256(b"x"), &[0; 65537]);
        assert_eq!(Content::of(&metainfo, 0), None);
        assert_eq!((record_len(0), record_len(1), record_len(8)), (128, 136, 136));
    }

    #[test]
    fn times_are_kept_to_the_second() {
        let time = time_of(1_700_000_000);
        assert_eq!(seconds_of(time + Duration::from_millis(900)), 1_700_000_000);
        assert_eq!(seconds_of(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
