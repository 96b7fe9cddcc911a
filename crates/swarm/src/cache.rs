//! Verified pieces kept in memory for a moment.
//!
//! A piece that has just been stored is about to be read: by the client whose response streams behind the download, and by the
//! peers who were told that we have it. Both take it from here, without a disk read and a second hash. First in, first out: what
//! is older than a moment belongs to the kernel's page cache. Bounded by bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use crate::limits::READ_BUFFER_LEN;

type Key = (Digest, PieceIndex);

/// A bounded set of pieces, all of them verified before they were put in.
pub(crate) struct PieceCache {
    held: Mutex<Held>,
    bytes_max: usize,
}

#[derive(Default)]
struct Held {
    pieces: HashMap<Key, Bytes>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl PieceCache {
    /// An empty cache of at most `bytes_max` bytes; 0 keeps nothing.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { held: Mutex::default(), bytes_max }
    }

    /// Keeps a verified piece, and lets go of the oldest ones as needed.
    pub(crate) fn put(&self, digest: Digest, index: PieceIndex, piece: &Bytes) {
        if piece.len() > self.bytes_max {
            return;
        }
        // A short piece may be a view into a whole read buffer; a copy of it costs less than what it would hold on to.
        let piece = if piece.len() < READ_BUFFER_LEN { Bytes::copy_from_slice(piece) } else { piece.clone() };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let len = piece.len();
        if held.pieces.insert((digest, index), piece).is_none() {
            held.order.push_back((digest, index));
            held.bytes += len;
        }
        while held.bytes > self.bytes_max {
            held.drop_oldest();
        }
    }

    /// A piece, if it is held.
    pub(crate) fn get(&self, digest: &Digest, index: PieceIndex) -> Option<Bytes> {
        if self.bytes_max == 0 {
            return None;
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.pieces.get(&(*digest, index)).cloned()
    }
}

impl Held {
    fn drop_oldest(&mut self) {
        let Some(key) = self.order.pop_front() else { return };
        if let Some(piece) = self.pieces.remove(&key) {
            self.bytes -= piece.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_latest_pieces_within_its_bytes() {
        let cache = PieceCache::new(100);
        let digest = Digest::sha256(b"x");
        for index in 0..5 {
            cache.put(digest, PieceIndex(index), &Bytes::from(vec![index as u8; 40]));
        }
        assert_eq!(cache.get(&digest, PieceIndex(2)), None);
        assert_eq!(cache.get(&digest, PieceIndex(3)).unwrap()[..], [3; 40]);
        assert_eq!(cache.get(&digest, PieceIndex(4)).unwrap()[..], [4; 40]);
    }

    #[test]
    fn putting_a_piece_twice_counts_it_once() {
        let cache = PieceCache::new(100);
        let digest = Digest::sha256(b"x");
        for _ in 0..10 {
            cache.put(digest, PieceIndex(0), &Bytes::from(vec![7; 40]));
        }
        cache.put(digest, PieceIndex(1), &Bytes::from(vec![8; 40]));
        assert!(cache.get(&digest, PieceIndex(0)).is_some());
    }

    #[test]
    fn a_piece_larger_than_the_cache_is_not_kept() {
        let cache = PieceCache::new(10);
        let digest = Digest::sha256(b"x");
        cache.put(digest, PieceIndex(0), &Bytes::from(vec![7; 11]));
        assert_eq!(cache.get(&digest, PieceIndex(0)), None);
    }
}
