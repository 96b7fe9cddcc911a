//! Which pieces of a blob somebody has. Piece 0 is the highest bit of the first byte, as in BitTorrent (BEP 3).
//!
//! A field is kept in whole words of 64 pieces, because a scheduler combines fields of thousands of pieces for every request. The price
//! is up to seven bytes of padding.

use crate::PieceIndex;

/// A fixed-length set of pieces.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bitfield {
    /// The wire form, then zeros up to a multiple of eight.
    bits: Vec<u8>,
    len: u32,
    count: u32,
}

impl Bitfield {
    /// A field of `len` pieces, none of them set.
    pub fn empty(len: u32) -> Self {
        Self { bits: vec![0; padded(len)], len, count: 0 }
    }

    /// A field of `len` pieces, all of them set.
    pub fn full(len: u32) -> Self {
        let mut bits = vec![0xff; wire_len(len)];
        if let (Some(last), spare @ 1..) = (bits.last_mut(), len.div_ceil(8) * 8 - len) {
            *last <<= spare;
        }
        bits.resize(padded(len), 0);
        Self { bits, len, count: len }
    }

    /// A field from the wire; `None` when the byte count is wrong or a spare bit is set.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() != wire_len(len) {
            return None;
        }
        let spare = len.div_ceil(8) * 8 - len;
        if bytes.last().is_some_and(|last| u32::from(last.trailing_zeros() as u8) < spare && *last != 0) {
            return None;
        }
        let count = bytes.iter().map(|byte| byte.count_ones()).sum();
        let mut bits = bytes.to_vec();
        bits.resize(padded(len), 0);
        Some(Self { bits, len, count })
    }

    /// The wire form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits[..wire_len(self.len)]
    }

    /// The field in words of 64 pieces, the first piece of each being its highest bit; zeros fill up the last.
    pub fn words(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.bits.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word))
    }

    /// Number of pieces the field speaks of.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the field speaks of no piece at all (that of an empty blob).
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of pieces set.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether every piece is set.
    pub const fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether a piece is set; false beyond the end.
    pub fn has(&self, piece: PieceIndex) -> bool {
        piece.0 < self.len && self.bits[(piece.0 / 8) as usize] & mask(piece) != 0
    }

    /// Sets a piece; returns whether that changed anything. An index beyond the end changes nothing.
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        if piece.0 >= self.len || self.has(piece) {
            return false;
        }
        self.bits[(piece.0 / 8) as usize] |= mask(piece);
        self.count += 1;
        true
    }

    /// Unsets a piece; returns whether that changed anything.
    pub fn unset(&mut self, piece: PieceIndex) -> bool {
        if !self.has(piece) {
            return false;
        }
        self.bits[(piece.0 / 8) as usize] &= !mask(piece);
        self.count -= 1;
        true
    }

    /// The pieces that are set, in order.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        set_bits(self.words())
    }

    /// The pieces that are not set, in order.
    pub fn iter_missing(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        let len = self.len;
        set_bits(self.words().map(|word| !word)).take_while(move |piece| piece.0 < len)
    }
}

/// Where a piece is in words as those of [`Bitfield::words`]: the number of the word, and its bit there.
pub const fn word_bit(piece: PieceIndex) -> (usize, u64) {
    (piece.0 as usize / 64, 1 << (63 - piece.0 % 64))
}

/// The pieces whose bits are set in words as those of [`Bitfield::words`], in order.
pub fn set_bits(words: impl Iterator<Item = u64>) -> impl Iterator<Item = PieceIndex> {
    (0_u32..).step_by(64).zip(words).flat_map(|(base, word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.leading_zeros();
            rest &= !(1 << (63 - bit));
            Some(PieceIndex(base + bit))
        })
    })
}

/// Bytes of a field of `len` pieces on the wire.
const fn wire_len(len: u32) -> usize {
    len.div_ceil(8) as usize
}

/// The same in whole words.
const fn padded(len: u32) -> usize {
    len.div_ceil(64) as usize * 8
}

const fn mask(piece: PieceIndex) -> u8 {
    0x80 >> (piece.0 % 8)
}

impl std::fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitfield({}/{})", self.count, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_counts_and_iterates() {
        let mut field = Bitfield::empty(10);
        assert!(field.set(PieceIndex(9)) && !field.set(PieceIndex(9)) && !field.set(PieceIndex(10)));
        assert_eq!(field.count(), 1);
        assert_eq!(field.iter().collect::<Vec<_>>(), [PieceIndex(9)]);
        assert_eq!(field.iter_missing().count(), 9);
        assert!(field.unset(PieceIndex(9)) && field.count() == 0);
    }

    #[test]
    fn full_leaves_spare_bits_clear() {
        for len in [0, 1, 7, 8, 9, 64, 513] {
            let field = Bitfield::full(len);
            assert!(field.is_full());
            assert_eq!(field.iter().count(), len as usize);
            assert_eq!(Bitfield::from_bytes(field.as_bytes(), len), Some(field));
        }
    }

    #[test]
    fn words_hold_the_same_pieces() {
        let mut field = Bitfield::empty(130);
        [0, 63, 64, 129].into_iter().for_each(|piece| assert!(field.set(PieceIndex(piece))));
        assert_eq!(field.words().collect::<Vec<_>>(), [1 << 63 | 1, 1 << 63, 1 << 62]);
        assert_eq!(field.iter().collect::<Vec<_>>(), [0, 63, 64, 129].map(PieceIndex));
        assert_eq!((field.iter_missing().count(), field.as_bytes().len()), (126, 17));
        assert_eq!(Bitfield::from_bytes(field.as_bytes(), 130), Some(field));
    }

    #[test]
    fn refuses_wrong_wire_forms() {
        assert_eq!(Bitfield::from_bytes(&[0xff], 9), None);
        assert_eq!(Bitfield::from_bytes(&[0xff], 7), None);
        assert_eq!(Bitfield::from_bytes(&[0x00], 7), Some(Bitfield::empty(7)));
    }
}
