//! Which piece: the choices that decide how fast a swarm is, as pure functions.
//!
//! Ties are broken at random. A fixed order would make every peer want the same piece, and then they have nothing to trade.

use fastrand::Rng;
use shoal_swarm_types::{Bitfield, PieceIndex};

/// The piece in both sets that fewest neighbours have; a random one of several.
pub(crate) fn rarest(
    missing: &Bitfield,
    offered: &Bitfield,
    availability: &[u32],
    rng: &mut Rng,
) -> Option<PieceIndex> {
    least(both(missing.as_bytes(), offered.as_bytes()), availability, rng)
}

/// The piece that an owner sends next to somebody: of those it has and the other lacks, the one with fewest copies, counting the ones
/// under way; the first of several. `given` are the pieces that the other has, or was promised.
///
/// The order does not matter to the swarm, because nobody else is given the same piece meanwhile; but everybody who reads the blob in
/// order finds its beginning in the swarm early.
pub(crate) fn least_copied(present: &Bitfield, given: &Bitfield, copies: &[u32]) -> Option<PieceIndex> {
    let (present, given) = (present.as_bytes(), given.as_bytes());
    let bytes = present.iter().zip(given).map(|(ours, theirs)| ours & !theirs);
    let weight = |index: &u32| copies.get(*index as usize).copied().unwrap_or(0);
    set_bits(bytes).min_by_key(weight).map(PieceIndex)
}

/// Whether the sets have a piece in common.
pub(crate) fn overlap(one: &Bitfield, other: &Bitfield) -> bool {
    one.as_bytes().iter().zip(other.as_bytes()).any(|(a, b)| a & b != 0)
}

fn both<'a>(one: &'a [u8], other: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
    set_bits(one.iter().zip(other).map(|(a, b)| a & b))
}

/// The positions of the bits that are set, piece 0 being the highest bit of the first byte.
fn set_bits(bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = u32> {
    (0_u32..).step_by(8).zip(bytes).flat_map(|(base, byte)| {
        let mut rest = byte;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.leading_zeros();
            rest &= !(0x80 >> bit);
            Some(base + bit)
        })
    })
}

/// One of the candidates with the least weight, each with the same chance.
fn least(candidates: impl Iterator<Item = u32>, weights: &[u32], rng: &mut Rng) -> Option<PieceIndex> {
    let mut best = None;
    let mut best_weight = u32::MAX;
    let mut ties = 0;
    for index in candidates {
        let weight = weights.get(index as usize).copied().unwrap_or(0);
        if weight > best_weight {
            continue;
        }
        if weight < best_weight {
            (best_weight, ties) = (weight, 0);
        }
        ties += 1;
        if rng.u32(0..ties) == 0 {
            best = Some(PieceIndex(index));
        }
    }
    best
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
        let mut availability = vec![5; 20];
        availability[9] = 2;
        availability[1] = 0;
        assert_eq!(rarest(&missing, &offered, &availability, &mut rng), Some(PieceIndex(9)));
        assert_eq!(rarest(&missing, &field(20, &[]), &availability, &mut rng), None);
        assert!(overlap(&missing, &offered) && !overlap(&missing, &field(20, &[3])));
    }

    #[test]
    fn ties_are_broken_evenly() {
        let mut rng = Rng::with_seed(7);
        let all = Bitfield::full(30);
        let mut seen = [0_u32; 30];
        for _ in 0..30_000 {
            seen[rarest(&all, &all, &[1; 30], &mut rng).unwrap().0 as usize] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn an_owner_gives_the_first_of_what_has_fewest_copies_and_is_not_given_yet() {
        let present = field(10, &[0, 1, 2, 8]);
        let copies = [0, 3, 4, 0, 0, 0, 0, 0, 3, 0];
        assert_eq!(least_copied(&present, &field(10, &[0]), &copies), Some(PieceIndex(1)));
        assert_eq!(least_copied(&present, &field(10, &[0, 1]), &copies), Some(PieceIndex(8)));
        assert_eq!(least_copied(&present, &present, &copies), None);
    }
}
