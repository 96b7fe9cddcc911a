//! How many neighbours have each piece, kept so that the rarest of any set is found without looking at every piece.
//!
//! For each number of copies there is the set of the pieces that have so many. To choose among some pieces is then to combine words of
//! 64 pieces, from the set of the rarest on: for a blob of 24,000 pieces a fraction of a microsecond, and a scan of them all took
//! thirty times as long, for every request. Pieces with [`LEVELS`] copies and more share a set, where the choice is a scan: that many only
//! an owner sees, who chooses far less often. The price is an eighth of a byte for each piece and number of copies that occurs.

use fastrand::Rng;
use shoal_swarm_types::{Bitfield, PieceIndex, set_bits, word_bit};

use crate::message::Part;

/// Numbers of copies that have a set of their own, but for the last. An agent has some forty neighbours.
const LEVELS: usize = 64;

/// Copies of the pieces of one blob.
#[derive(Clone, Debug, Default)]
pub(crate) struct Availability {
    counts: Vec<u16>,
    /// For each number of copies the pieces that have so many, in words as those of a [`Bitfield`].
    levels: Vec<Level>,
    /// Copies of all pieces together.
    total: u64,
}

/// The pieces with one number of copies.
#[derive(Clone, Debug, Default)]
struct Level {
    pieces: Vec<u64>,
    count: u32,
}

impl Level {
    /// Those of them that are among some others.
    fn both<'a>(&'a self, among: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
        // Most levels are empty, in the middle of a download the lower ones, at its end the upper ones.
        let words = if self.count == 0 { &[] } else { self.pieces.as_slice() };
        words.iter().zip(among).map(|(a, b)| a & b)
    }
}

impl Availability {
    /// No copies of any of `count` pieces.
    pub(crate) fn new(count: u32) -> Self {
        let none = Level { pieces: Bitfield::full(count).words().collect(), count };
        Self { counts: vec![0; count as usize], levels: vec![none], total: 0 }
    }

    /// Number of copies of a piece; 0 beyond the end.
    pub(crate) fn of(&self, index: PieceIndex) -> u32 {
        self.counts.get(index.0 as usize).copied().map_or(0, u32::from)
    }

    /// Number of copies of all pieces together.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// There is one more copy.
    pub(crate) fn add(&mut self, index: PieceIndex) {
        let count = self.of(index);
        self.change(index, count + 1);
    }

    /// There is one copy less.
    pub(crate) fn remove(&mut self, index: PieceIndex) {
        let count = self.of(index);
        self.change(index, count.saturating_sub(1));
    }

    fn change(&mut self, index: PieceIndex, count: u32) {
        let Some(standing) = self.counts.get_mut(index.0 as usize) else { return };
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        self.total = self.total + u64::from(count) - u64::from(*standing);
        let before = level(std::mem::replace(standing, count));
        let after = level(count);
        let (word, bit) = word_bit(index);
        if self.levels.len() <= after {
            let none = Level { pieces: vec![0; self.counts.len().div_ceil(64)], count: 0 };
            self.levels.resize(after + 1, none);
        }
        self.levels[before].pieces[word] &= !bit;
        self.levels[before].count -= 1;
        self.levels[after].pieces[word] |= bit;
        self.levels[after].count += 1;
    }

    /// The rarest of some pieces, given in words; a random one of several, each with the same chance.
    pub(crate) fn rarest(&self, among: &[u64], rng: &mut Rng) -> Option<PieceIndex> {
        for level in self.exact() {
            if level.both(among).any(|word| word != 0) {
                let ties: u32 = level.both(among).map(u64::count_ones).sum();
                return set_bits(level.both(among)).nth(rng.u32(0..ties) as usize);
            }
        }
        let mut best = (None, u32::MAX);
        let mut ties = 0;
        for index in set_bits(self.common().flat_map(|level| level.both(among))) {
            let count = self.of(index);
            if count < best.1 {
                (best.1, ties) = (count, 0);
            }
            ties += u32::from(count == best.1);
            if count == best.1 && rng.u32(0..ties) == 0 {
                best.0 = Some(index);
            }
        }
        best.0
    }

    /// The rarest of some pieces; of several the first of those that are nearest to a part.
    pub(crate) fn rarest_first(&self, among: &[u64], part: Part) -> Option<PieceIndex> {
        let nearest = |level: &Level| {
            let mut best = None;
            for index in set_bits(level.both(among)) {
                let distance = part.distance(index);
                if best.is_none_or(|(least, _)| distance < least) {
                    best = Some((distance, index));
                }
                if distance == 0 {
                    break;
                }
            }
            best.map(|(_, index)| index)
        };
        let common = || {
            let pieces = set_bits(self.common().flat_map(|level| level.both(among)));
            pieces.min_by_key(|index| (self.of(*index), part.distance(*index)))
        };
        self.exact().iter().find_map(nearest).or_else(common)
    }

    /// Whether all of some pieces have more than `count` copies.
    pub(crate) fn all_above(&self, pieces: &Bitfield, count: usize) -> bool {
        let levels = self.levels.iter().take(count.min(LEVELS - 1) + 1);
        let apart =
            |level: &Level| level.pieces.iter().zip(pieces.words()).all(|(has, word)| has & word == 0);
        levels.into_iter().all(|level| level.count == 0 || apart(level))
    }

    /// The sets of pieces that have exactly so many copies.
    fn exact(&self) -> &[Level] {
        &self.levels[..self.levels.len().min(LEVELS)]
    }

    /// The set of all pieces that have more.
    fn common(&self) -> impl Iterator<Item = &Level> {
        self.levels.get(LEVELS).into_iter()
    }
}

fn level(count: u16) -> usize {
    usize::from(count).min(LEVELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Availability {
        /// Some pieces with given numbers of copies.
        pub(crate) fn with(counts: &[u32]) -> Self {
            let mut availability = Self::new(counts.len() as u32);
            for (index, count) in (0..).map(PieceIndex).zip(counts) {
                (0..*count).for_each(|_| availability.add(index));
            }
            availability
        }
    }

    #[test]
    fn what_it_finds_is_what_a_scan_finds() {
        let mut rng = Rng::with_seed(3);
        let mut counts = vec![0_u32; 200];
        let mut availability = Availability::new(200);
        for step in 0..60_000 {
            let at = rng.usize(0..200);
            if rng.u8(0..5) > 0 {
                counts[at] += 1;
                availability.add(PieceIndex(at as u32));
            } else if counts[at] > 0 {
                counts[at] -= 1;
                availability.remove(PieceIndex(at as u32));
            }
            if step % 101 == 0 {
                let among: Vec<u64> = (0..4).map(|_| rng.u64(..) & rng.u64(..)).collect();
                let least = set_bits(among.iter().copied()).filter_map(|i| counts.get(i.0 as usize)).min();
                let first = availability.rarest_first(&among, Part::WHOLE);
                assert_eq!(first.map(|index| availability.of(index)), least.copied());
                let any = availability.rarest(&among, &mut rng);
                assert_eq!(any.map(|index| counts[index.0 as usize]), least.copied());
            }
        }
        assert!((0..200).all(|at| availability.of(PieceIndex(at)) == counts[at as usize]));
        assert!(counts.iter().any(|count| *count > LEVELS as u32), "the common ones were tried too");
    }

    #[test]
    fn all_above_looks_at_those_asked_for_only() {
        let availability = Availability::with(&[0, 3, 2, 5]);
        let mut pieces = Bitfield::empty(4);
        [1, 3].into_iter().for_each(|at| assert!(pieces.set(PieceIndex(at))));
        assert!(availability.all_above(&pieces, 2) && !availability.all_above(&pieces, 3));
        assert!(!availability.all_above(&Bitfield::full(4), 0));
        assert!(availability.all_above(&Bitfield::empty(4), 1_000));
    }

    #[test]
    fn of_equally_rare_pieces_those_of_the_part_come_first_and_then_those_of_the_next() {
        let availability = Availability::with(&[0, 1, 0, 0, 1, 0]);
        let next = |among: &[u32], number| {
            let word = among.iter().map(|index| 1 << (63 - index)).sum();
            availability.rarest_first(&[word], Part::new(number, 3).unwrap()).map(|index| index.0)
        };
        assert_eq!(next(&[0, 1, 2, 3, 4, 5], 2), Some(2));
        assert_eq!(next(&[0, 1, 3, 4, 5], 2), Some(5));
        assert_eq!(next(&[0, 1, 3, 4], 2), Some(0), "the part of the next owner");
        assert_eq!(next(&[0, 1, 2, 3, 4, 5], 1), Some(2), "its own pieces have copies");
        assert_eq!(next(&[1, 4], 0), Some(1));
        assert_eq!(Part::new(3, 3), None);
    }

    #[test]
    fn ties_are_broken_evenly() {
        let mut rng = Rng::with_seed(7);
        let availability = Availability::with(&[1; 30]);
        let mut seen = [0_u32; 30];
        for _ in 0..30_000 {
            seen[availability.rarest(&[u64::MAX], &mut rng).unwrap().0 as usize] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }
}
