//! How much a peer may say that is of no use: a bucket that fills with such words and empties with time, and with each piece that
//! moves.
//!
//! Words of use need no bound: a piece can be told once, and requests have theirs. Words of no use also come from honest peers, where
//! messages cross; but then a few for each piece. Each costs us a look-up, some an answer, and who has nothing else to say is not
//! missed.

use crate::io::Time;
use crate::limits::{NOISE_BURST, NOISE_PER_SECOND};

/// The bucket of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    /// Thousandths of words.
    level: u64,
    at: Time,
}

impl Noise {
    /// Nothing said yet.
    pub(crate) const fn new(now: Time) -> Self {
        Self { level: 0, at: now }
    }

    /// A word of no use. True when it was one too many.
    pub(crate) fn word(&mut self, now: Time) -> bool {
        let emptied = now.micros_since(self.at).saturating_mul(NOISE_PER_SECOND) / 1_000;
        (self.level, self.at) = (self.level.saturating_sub(emptied) + 1_000, now);
        self.level > NOISE_BURST * 1_000
    }

    /// A piece went one way or the other.
    pub(crate) fn piece(&mut self) {
        self.level = self.level.saturating_sub(1_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_too_much_and_a_word_for_each_piece_is_not() {
        let mut noise = Noise::new(Time(0));
        let many = (0..100_000).all(|_| {
            noise.piece();
            !noise.word(Time(0))
        });
        assert!(many);
        let slowly = (1..100_000).all(|nth| !noise.word(Time(nth * 1_000_000 / NOISE_PER_SECOND)));
        assert!(slowly);
        let mut flood = Noise::new(Time(0));
        let words = (0..100_000_u64).take_while(|nth| !flood.word(Time(*nth))).count() as u64;
        assert!((NOISE_BURST..NOISE_BURST * 2).contains(&words), "{words}");
    }
}
