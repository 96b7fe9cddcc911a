//! The metainfo of a blob that is still arriving at the cluster: its size is known, its piece digests come one after the other.
//!
//! Whoever makes the list ends it with the digest of the last piece, and only when the blob's own digest was right. So a list that is whole
//! is a verdict: until then nobody can verify the last piece, and so nobody has the whole blob. What was said once stays: a list that says
//! something else later is of other bytes, and one of the two is wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_oci::Digest;

use super::{DecodeMetainfoError, List, Metainfo, PieceDigest, digests, take_head};
use crate::layout::{Layout, PieceIndex};

/// What a metainfo begins with of which digests are missing.
pub(super) const MAGIC_GROWING: &[u8; 8] = b"shoalmi\x02";

/// Digests from the first piece on.
#[derive(Debug, Default)]
pub(super) struct Growing(Mutex<Vec<PieceDigest>>);

/// Two lists of digests of one blob do not say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the digests of piece {0} do not agree, or those before it are missing")]
pub struct Disagreement(pub u32);

impl Growing {
    pub(super) fn get(&self, index: PieceIndex) -> Option<PieceDigest> {
        self.lock().get(index.0 as usize).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PieceDigest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metainfo {
    /// The metainfo of a blob of `size` bytes of which no piece is known yet.
    pub fn growing(digest: Digest, size: u64) -> Self {
        Self { digest, layout: Layout::for_size(size), pieces: List::Growing(Arc::default()) }
    }

    /// Whether every piece digest is known.
    pub fn is_whole(&self) -> bool {
        match &self.pieces {
            List::Whole { .. } => true,
            List::Growing(growing) => growing.lock().len() == self.layout.piece_count() as usize,
        }
    }

    /// Whether this is a clone of the other, which learns what the other learns.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.pieces, &other.pieces) {
            (List::Growing(ours), List::Growing(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    /// Whether the digest of a piece is known.
    pub fn knows(&self, index: PieceIndex) -> bool {
        self.pieces.get(index).is_some()
    }

    /// How many pieces are known, from the first one on.
    pub fn known_count(&self) -> u32 {
        match &self.pieces {
            List::Whole { .. } => self.layout.piece_count(),
            // Never more than there are pieces, whose number is a u32.
            List::Growing(growing) => u32::try_from(growing.lock().len()).unwrap_or(u32::MAX),
        }
    }

    /// The digests that are known, from the first one on.
    pub fn known(&self) -> Vec<PieceDigest> {
        match &self.pieces {
            List::Whole { pieces, .. } => pieces.to_vec(),
            List::Growing(growing) => growing.lock().clone(),
        }
    }

    /// The digests that are known from piece `first` on, at most `limit` of them.
    pub fn known_from(&self, first: u32, limit: usize) -> Vec<PieceDigest> {
        let some = |list: &[PieceDigest]| list.iter().skip(first as usize).take(limit).copied().collect();
        match &self.pieces {
            List::Whole { pieces, .. } => some(pieces),
            List::Growing(growing) => some(&growing.lock()),
        }
    }

    /// Takes over digests from piece `first` on; those that are known must be the same, and none may be left out.
    ///
    /// # Errors
    /// [`Disagreement`]; nothing from that piece on was taken over.
    pub fn learn(&self, first: u32, digests: &[PieceDigest]) -> Result<(), Disagreement> {
        let count = self.layout.piece_count();
        let numbered = (first..).zip(digests);
        match &self.pieces {
            List::Whole { pieces, .. } => numbered.into_iter().try_for_each(|(index, digest)| {
                let same = pieces.get(index as usize) == Some(digest);
                same.then_some(()).ok_or(Disagreement(index))
            }),
            List::Growing(growing) => {
                let mut list = growing.lock();
                numbered.into_iter().try_for_each(|(index, digest)| {
                    if index as usize == list.len() && index < count {
                        list.push(*digest);
                    }
                    let same = list.get(index as usize) == Some(digest);
                    same.then_some(()).ok_or(Disagreement(index))
                })
            }
        }
    }

    /// Takes over what another metainfo of this blob knows.
    ///
    /// # Errors
    /// [`Disagreement`], also when it is of another blob or size.
    pub fn absorb(&self, other: &Self) -> Result<(), Disagreement> {
        if (self.digest, self.layout) != (other.digest, other.layout) {
            return Err(Disagreement(0));
        }
        self.learn(0, &other.known())
    }

    /// Reads the form that begins with [`MAGIC_GROWING`].
    pub(super) fn decode_growing(bytes: &[u8]) -> Result<Self, DecodeMetainfoError> {
        let mut rest = bytes;
        let (digest, layout) = take_head(&mut rest, MAGIC_GROWING)?;
        // One that knows everything has the other form.
        if !rest.len().is_multiple_of(32) || rest.len() / 32 >= layout.piece_count() as usize {
            return Err(DecodeMetainfoError::Length);
        }
        let growing = Growing(Mutex::new(digests(rest)));
        Ok(Self { digest, layout, pieces: List::Growing(Arc::new(growing)) })
    }
}

impl PartialEq for List {
    /// Whether both know the same.
    fn eq(&self, other: &Self) -> bool {
        let digests = |list: &Self| match list {
            Self::Whole { pieces, .. } => pieces.clone(),
            Self::Growing(growing) => growing.lock().as_slice().into(),
        };
        match (self, other) {
            (Self::Whole { root: ours, .. }, Self::Whole { root: theirs, .. }) if ours != theirs => false,
            _ => digests(self) == digests(other),
        }
    }
}

impl Eq for List {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PieceDigester;

    fn content(size: u32) -> Vec<u8> {
        (0..size).map(|number| (number ^ (number >> 8)) as u8).collect()
    }

    #[test]
    fn a_digester_that_knows_the_size_tells_each_piece_with_its_last_byte() {
        for size in [64 * 1024 + 1, 3 * 64 * 1024, 33 * 1024 * 1024 + 5] {
            let bytes = content(size);
            let whole = Metainfo::of(Digest::sha256(&bytes), &bytes);
            let layout = *whole.layout();
            let mut digester = PieceDigester::for_size(size.into());
            let growing = Metainfo::growing(*whole.digest(), size.into());
            for index in (0..layout.piece_count()).map(PieceIndex) {
                let range = layout.piece_range(index);
                digester.update(&bytes[range.start as usize..range.end as usize - 1]);
                assert_eq!(digester.known().len(), index.0 as usize);
                digester.update(&bytes[range.end as usize - 1..range.end as usize]);
                let known = digester.known().len() as u32;
                let is_last = index.0 + 1 == layout.piece_count();
                assert_eq!(known, if is_last { index.0 } else { index.0 + 1 }, "{size}");
                growing.learn(0, digester.known()).unwrap();
                assert_eq!(growing.known_count(), known);
                let piece = &bytes[range.start as usize..range.end as usize];
                assert_eq!(growing.verify(index, piece), !is_last);
            }
            assert!(!growing.is_whole() && growing.root().is_none());
            assert_eq!(digester.finish(*whole.digest()), whole);
            growing.absorb(&whole).unwrap();
            assert!(growing.is_whole());
            assert_eq!((growing.root(), growing.encode()), (whole.root(), whole.encode()));
            assert_eq!(growing, whole);
        }
    }

    #[test]
    fn a_piece_is_checked_before_its_digest_is_known_and_judged_after() {
        let bytes = content(200_000);
        let whole = Metainfo::of(Digest::sha256(&bytes), &bytes);
        let growing = Metainfo::growing(*whole.digest(), 200_000);
        let (mut early, mut late) =
            (growing.check(PieceIndex(0)).unwrap(), growing.check(PieceIndex(0)).unwrap());
        early.update(&bytes[..65_536]);
        late.update(&bytes[..65_536]);
        assert!(!early.is_known() && !early.finish().is_good(PieceIndex(0), 65_536));
        growing.learn(0, &whole.known_from(0, 1)).unwrap();
        assert!(late.is_known() && late.finish().is_good(PieceIndex(0), 65_536));
        assert!(growing.check(PieceIndex(4)).is_none());
    }

    #[test]
    fn what_was_said_stays_and_nothing_is_left_out() {
        let (bytes, other) = (content(200_000), vec![7; 200_000]);
        let whole = Metainfo::of(Digest::sha256(&bytes), &bytes);
        let other = Metainfo::of(*whole.digest(), &other);
        let growing = Metainfo::growing(*whole.digest(), 200_000);
        assert_eq!(growing.learn(1, &whole.known_from(1, 1)), Err(Disagreement(1)));
        growing.learn(0, &whole.known_from(0, 2)).unwrap();
        assert_eq!(growing.absorb(&other), Err(Disagreement(0)));
        assert_eq!(growing.learn(2, &[PieceDigest([0; 32]); 3]), Err(Disagreement(4)), "beyond the end");
        assert_eq!(whole.absorb(&other), Err(Disagreement(0)));
        assert_eq!(growing.absorb(&Metainfo::growing(*whole.digest(), 200_001)), Err(Disagreement(0)));
    }

    #[test]
    fn the_form_with_digests_missing_is_read_back_and_is_not_taken_for_the_other() {
        let bytes = content(200_000);
        let whole = Metainfo::of(Digest::sha256(&bytes), &bytes);
        for known in 0..4 {
            let growing = Metainfo::growing(*whole.digest(), 200_000);
            growing.learn(0, &whole.known_from(0, known)).unwrap();
            let encoded = growing.encode();
            let read = Metainfo::decode(&encoded).unwrap();
            assert_eq!((read.is_whole(), known == 4), (growing.is_whole(), growing.is_whole()));
            assert_eq!((&read, read.encode()), (&growing, encoded.clone()));
            if known < 4 {
                let longer = [encoded.as_slice(), &[0; 32].repeat(4 - known)].concat();
                assert_eq!(Metainfo::decode(&longer), Err(DecodeMetainfoError::Length), "all are known");
                assert_eq!(
                    Metainfo::decode(&encoded[..encoded.len() - 1]).err(),
                    Some(DecodeMetainfoError::Length)
                );
            }
        }
    }
}
