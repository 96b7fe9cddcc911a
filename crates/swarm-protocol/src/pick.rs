//! Which piece: the choices that decide how fast a swarm is, as pure functions.
//!
//! Ties are broken at random. A fixed order would make every peer want the same piece, and then they have nothing to trade.

use fastrand::Rng;
use shoal_swarm_types::{Bitfield, PieceIndex, word_bit};

use crate::availability::Availability;
use crate::message::Part;

/// The piece in both sets, and not among `excluded`, that fewest neighbours have; a random one of several.
pub(crate) fn rarest(
    missing: &Bitfield,
    offered: &Bitfield,
    excluded: impl Iterator<Item = PieceIndex>,
    availability: &Availability,
    rng: &mut Rng,
) -> Option<PieceIndex> {
    let mut among: Vec<u64> = missing.words().zip(offered.words()).map(|(a, b)| a & b).collect();
    for (word, bit) in excluded.map(word_bit) {
        if let Some(word) = among.get_mut(word) {
            *word &= !bit;
        }
    }
    availability.rarest(&among, rng)
}

/// The piece that an owner sends next to somebody: of those it has and the other lacks, the one with fewest copies, counting the ones
/// under way; of several the first of its own part. `promised` are the pieces that are on their way to the other.
///
/// The order does not matter to the swarm, because nobody else is given the same piece meanwhile; but everybody who reads the blob in
/// order finds its beginning in the swarm early.
pub(crate) fn least_copied(
    present: &Bitfield,
    theirs: &Bitfield,
    promised: Option<&Bitfield>,
    copies: &Availability,
    part: Part,
) -> Option<PieceIndex> {
    let mut among: Vec<u64> =
        present.words().zip(theirs.words()).map(|(ours, theirs)| ours & !theirs).collect();
    if let Some(promised) = promised {
        among.iter_mut().zip(promised.words()).for_each(|(word, promised)| *word &= !promised);
    }
    copies.rarest_first(&among, part)
}

/// Whether the sets have a piece in common.
pub(crate) fn overlap(one: &Bitfield, other: &Bitfield) -> bool {
    one.words().zip(other.words()).any(|(a, b)| a & b != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(len: u32, set: &[u32]) -> Bitfield {
        let mut field = Bitfield::empty(len);
        set.iter().for_each(|index| assert!(field.set(PieceIndex(*index))));
        field
    }

    #[test]
    fn the_rarest_of_what_is_missing_and_offered() {
        let mut rng = Rng::with_seed(1);
        let (missing, offered) = (field(20, &[1, 2, 9, 17]), field(20, &[2, 9, 17, 19]));
        let mut counts = [5; 20];
        (counts[9], counts[2], counts[1]) = (2, 4, 0);
        let available = Availability::with(&counts);
        let none = || std::iter::empty();
        assert_eq!(rarest(&missing, &offered, none(), &available, &mut rng), Some(PieceIndex(9)));
        let excluded = std::iter::once(PieceIndex(9));
        assert_eq!(rarest(&missing, &offered, excluded, &available, &mut rng), Some(PieceIndex(2)));
        assert_eq!(rarest(&missing, &field(20, &[]), none(), &available, &mut rng), None);
        assert!(overlap(&missing, &offered) && !overlap(&missing, &field(20, &[3])));
    }

    #[test]
    fn an_owner_gives_the_first_of_what_has_fewest_copies_and_is_not_given_yet() {
        let present = field(10, &[0, 1, 2, 8]);
        let copies = Availability::with(&[0, 3, 4, 0, 0, 0, 0, 0, 3, 0]);
        let given = |theirs: &[u32], promised: Option<&Bitfield>| {
            least_copied(&present, &field(10, theirs), promised, &copies, Part::WHOLE)
        };
        assert_eq!(given(&[0], None), Some(PieceIndex(1)));
        assert_eq!(given(&[0], Some(&field(10, &[1]))), Some(PieceIndex(8)));
        assert_eq!(given(&[0, 1, 2, 8], None), None);
    }
}
