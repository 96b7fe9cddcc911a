//! Pieces that may come from another zone: such as nobody in ours has, and of those the ones that it falls to us to fetch.
//!
//! A piece should cross into a zone a few times and go on from there. So it falls to an agent to fetch a piece if its draw for that piece is
//! lower than those of all neighbours in its zone: of a hundred agents with fifteen such neighbours each, to about six. Everybody computes
//! the draws of all from identity and piece, so nothing has to be said. Nobody starves: whoever has got nothing for a while may fetch
//! anything from anywhere. The price is the time until that while is over, where the one to whom a piece falls cannot get it.

use shoal_swarm_types::{Bitfield, PeerId, PieceIndex, Zone, word_bit};

/// What the own zone has of one blob, as far as neighbours say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Near {
    zone: Zone,
    /// For each piece, how many neighbours in our zone have it.
    copies: Vec<u16>,
    /// Pieces that fall to us, in words as those of a [`Bitfield`]; none while it has not been drawn.
    ours: Option<Vec<u64>>,
}

impl Near {
    /// Nobody in `zone` has any of `count` pieces.
    pub(crate) fn new(zone: Zone, count: u32) -> Self {
        Self { zone, copies: vec![0; count as usize], ours: None }
    }

    /// Somebody there has a piece.
    pub(crate) fn add(&mut self, zone: Zone, index: PieceIndex) {
        if self.zone.is_same(zone)
            && let Some(copies) = self.copies.get_mut(index.0 as usize)
        {
            *copies = copies.saturating_add(1);
        }
    }

    /// Somebody there no longer has a piece.
    pub(crate) fn remove(&mut self, zone: Zone, index: PieceIndex) {
        if self.zone.is_same(zone)
            && let Some(copies) = self.copies.get_mut(index.0 as usize)
        {
            *copies = copies.saturating_sub(1);
        }
    }

    /// Somebody there has come or gone: the draw begins anew.
    pub(crate) fn changed(&mut self, zone: Zone) {
        if self.zone.is_same(zone) {
            self.ours = None;
        }
    }

    /// Whether it is known which pieces fall to us.
    pub(crate) const fn is_drawn(&self) -> bool {
        self.ours.is_some()
    }

    /// Draws which pieces fall to `us` and not to one of the `others` in our zone.
    pub(crate) fn draw(&mut self, us: PeerId, others: &[PeerId]) {
        let mut ours = vec![0; self.copies.len().div_ceil(64)];
        let (us, others) = (key(us), others.iter().map(|other| key(*other)).collect::<Vec<_>>());
        for index in (0..).map(PieceIndex).take(self.copies.len()) {
            let lowest = lot(us, index);
            if others.iter().all(|other| lot(*other, index) > lowest) {
                let (word, bit) = word_bit(index);
                ours[word] |= bit;
            }
        }
        self.ours = Some(ours);
    }

    /// Whether a piece may come from another zone.
    pub(crate) fn may_cross(&self, index: PieceIndex) -> bool {
        let (word, bit) = word_bit(index);
        let falls_to_us =
            self.ours.as_ref().and_then(|ours| ours.get(word)).is_none_or(|ours| ours & bit != 0);
        falls_to_us && self.copies.get(index.0 as usize).is_none_or(|copies| *copies == 0)
    }

    /// Those of some pieces that may.
    pub(crate) fn crossing(&self, pieces: &Bitfield) -> Bitfield {
        let mut crossing = Bitfield::empty(pieces.len());
        pieces.iter().filter(|index| self.may_cross(*index)).for_each(|index| {
            crossing.set(index);
        });
        crossing
    }
}

/// The first bytes of an identity, which is random.
fn key(id: PeerId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// What somebody has drawn for a piece: a finalizer of SplitMix64 over both.
const fn lot(key: u64, index: PieceIndex) -> u64 {
    let mut z = key ^ (index.0 as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(nth: u8) -> PeerId {
        PeerId([nth.wrapping_mul(37) ^ 0x5a; 20])
    }

    #[test]
    fn every_piece_falls_to_exactly_one_of_those_who_all_know_one_another() {
        let all: Vec<PeerId> = (0..12).map(peer).collect();
        let mut fell = [0; 200];
        for us in &all {
            let mut near = Near::new(Zone(1), 200);
            assert!(near.may_cross(PieceIndex(3)), "nothing is drawn yet");
            let others: Vec<PeerId> = all.iter().copied().filter(|other| other != us).collect();
            near.draw(*us, &others);
            (0..200).for_each(|index| fell[index] += u32::from(near.may_cross(PieceIndex(index as u32))));
        }
        assert_eq!(fell, [1; 200]);
    }

    #[test]
    fn what_the_own_zone_has_comes_from_there() {
        let mut near = Near::new(Zone(1), 10);
        near.draw(peer(1), &[]);
        near.add(Zone(2), PieceIndex(1));
        near.add(Zone(1), PieceIndex(2));
        assert_eq!(near.crossing(&Bitfield::full(10)).count(), 9);
        assert!(near.may_cross(PieceIndex(1)) && !near.may_cross(PieceIndex(2)));
        near.remove(Zone(1), PieceIndex(2));
        assert!(near.may_cross(PieceIndex(2)));
        assert!(near.is_drawn());
        near.changed(Zone(1));
        assert!(!near.is_drawn());
    }
}
