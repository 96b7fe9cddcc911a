//! Where a piece lies inside its blob.

use std::ops::Range;

/// Zero-based number of a piece inside its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceIndex(pub u32);

/// Length of every piece but the last, in bytes: a power of two from [`PieceLength::MIN`] to [`PieceLength::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceLength(u32);

impl PieceLength {
    /// 64 KiB: below it the cost per request outweighs what finer pieces gain.
    pub const MIN: Self = Self(64 * 1024);
    /// 4 MiB: above it a peer holds bytes back from its neighbours for too long.
    pub const MAX: Self = Self(4 * 1024 * 1024);
    /// How many pieces a blob should have. With M pieces a swarm of N peers needs at least 1 + log2(N)/M times the ideal
    /// time, so 512 keeps 2,600 peers within 2 % of it.
    const COUNT_WANTED: u64 = 512;

    /// The piece length for a blob of `size` bytes: about 1/512 of it. Never shrinks as `size` grows.
    pub fn for_size(size: u64) -> Self {
        let wanted = size.div_ceil(Self::COUNT_WANTED).clamp(u64::from(Self::MIN.0), u64::from(Self::MAX.0));
        // Both limits are powers of two, so rounding up stays within them and within u32.
        Self(u32::try_from(wanted.next_power_of_two()).unwrap_or(Self::MAX.0))
    }

    /// A piece length from the wire; `None` unless it is a power of two within the limits.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&bytes)).then_some(Self(bytes))
    }

    /// In bytes.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// How a blob of a given size is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of the blob in bytes.
    pub size: u64,
    /// Length of every piece but the last.
    pub piece_length: PieceLength,
}

impl Layout {
    /// The layout that every party derives for a blob of `size` bytes.
    pub fn for_size(size: u64) -> Self {
        Self { size, piece_length: PieceLength::for_size(size) }
    }

    /// Number of pieces; an empty blob has none.
    pub fn piece_count(&self) -> u32 {
        u32::try_from(self.size.div_ceil(u64::from(self.piece_length.get()))).unwrap_or(u32::MAX)
    }

    /// The bytes of the blob that a piece covers. Empty for an index beyond the last piece.
    pub fn piece_range(&self, piece: PieceIndex) -> Range<u64> {
        let len = u64::from(self.piece_length.get());
        let start = (u64::from(piece.0) * len).min(self.size);
        start..(start + len).min(self.size)
    }

    /// Length of one piece in bytes.
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        let range = self.piece_range(piece);
        // A piece is at most PieceLength::MAX long.
        u32::try_from(range.end - range.start).unwrap_or(0)
    }

    /// The piece that holds the byte at `offset`.
    pub fn piece_at(&self, offset: u64) -> PieceIndex {
        PieceIndex(u32::try_from(offset / u64::from(self.piece_length.get())).unwrap_or(u32::MAX))
    }

    /// The pieces that hold any byte of `range`, as indices.
    pub fn pieces_of(&self, range: &Range<u64>) -> Range<u32> {
        if range.start >= range.end {
            return 0..0;
        }
        self.piece_at(range.start).0..self.piece_at(range.end - 1).0.saturating_add(1).min(self.piece_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_length_is_about_one_512th_within_limits() {
        const KIB: u64 = 1024;
        const MIB: u64 = 1024 * KIB;
        for (size, want) in [
            (0, 64 * KIB),
            (32 * MIB, 64 * KIB),
            (32 * MIB + 1, 128 * KIB),
            (256 * MIB, 512 * KIB),
            (2048 * MIB, 4 * MIB),
            (u64::MAX, 4 * MIB),
        ] {
            assert_eq!(u64::from(PieceLength::for_size(size).get()), want, "{size}");
        }
        assert_eq!(PieceLength::new(65_537), None);
        assert_eq!(PieceLength::new(8 * 1024 * 1024), None);
    }

    #[test]
    fn ranges_cover_the_blob_once() {
        for size in [0, 1, 65_535, 65_536, 65_537, 1_000_000, 40_000_000] {
            let layout = Layout::for_size(size);
            let mut next = 0;
            for index in 0..layout.piece_count() {
                let range = layout.piece_range(PieceIndex(index));
                assert_eq!(range.start, next);
                assert!(range.end > range.start);
                next = range.end;
            }
            assert_eq!(next, size);
            assert_eq!(layout.piece_len(PieceIndex(layout.piece_count())), 0);
        }
    }

    #[test]
    fn pieces_of_a_byte_range() {
        let layout = Layout::for_size(200_000);
        assert_eq!(layout.pieces_of(&(0..1)), 0..1);
        assert_eq!(layout.pieces_of(&(65_535..65_537)), 0..2);
        assert_eq!(layout.pieces_of(&(199_999..200_000)), 3..4);
        assert_eq!(layout.pieces_of(&(5..5)), 0..0);
    }
}
