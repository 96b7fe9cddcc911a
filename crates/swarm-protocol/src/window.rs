//! How much to ask of one neighbour at a time, and how long to wait for it.
//!
//! One small window each is enough where there are many neighbours, and best: what waits at one cannot be asked of another, and short
//! queues are what makes a piece multiply quickly. Only while all that was asked of everybody does not fill our own link (few
//! neighbours, or a long path) a neighbour that has nothing else to do is given more. That is decided anew each time, so no
//! window stays large after its reason has gone. Patience follows the measured time from request to piece, as TCP's retransmission
//! timer does (RFC 6298): mean and deviation, not a constant.

use crate::limits::{PATIENCE_MICROS, PATIENCE_RATE, PATIENCE_START_MICROS, PATIENCE_USUAL_FACTOR};

/// What was learnt about one neighbour.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    least: u64,
    most: u64,
    /// Mean and mean deviation of the time from request to piece, in microseconds.
    latency: Option<(u64, u64)>,
    /// It kept us waiting too long, and has not delivered since.
    slow: bool,
}

impl Window {
    /// Nothing learnt yet; `least` bytes in flight always may be, and never more than `most`.
    pub(crate) const fn new(least: u64, most: u64) -> Self {
        Self { least, most, latency: None, slow: false }
    }

    /// Whether a further piece of `len` may be asked for while `in_flight` bytes are outstanding. One piece always may, of a slow
    /// neighbour no more than that. `share`: bytes that this neighbour should have in flight to fill our link.
    pub(crate) fn has_room(&self, in_flight: u64, len: u64, share: u64) -> bool {
        let room = share.clamp(self.least, self.most.max(self.least));
        in_flight == 0 || (!self.slow && in_flight + len <= room)
    }

    /// A piece arrived `micros` after it was asked for.
    pub(crate) fn delivered(&mut self, micros: u64) {
        self.slow = false;
        let (mean, deviation) = self.latency.unwrap_or((micros, micros / 2));
        let difference = mean.abs_diff(micros);
        self.latency = Some(((mean * 7 + micros) / 8, (deviation * 3 + difference) / 4));
    }

    /// The neighbour kept us waiting beyond its patience.
    pub(crate) fn timed_out(&mut self) {
        self.slow = true;
        // Whatever it does next will take at least as long as it has just taken.
        self.latency = self.latency.map(|(mean, deviation)| (mean.saturating_mul(2), deviation));
    }

    /// Whether it kept us waiting and has not delivered since.
    pub(crate) const fn is_slow(&self) -> bool {
        self.slow
    }

    /// Mean time from request to piece, in microseconds; `None` before the first.
    pub(crate) fn latency_micros(&self) -> Option<u64> {
        self.latency.map(|(mean, _)| mean)
    }

    /// How long to wait for a neighbour that owes `in_flight` bytes, in microseconds since its last sign of progress. `usual`: the time from
    /// request to piece with all others.
    pub(crate) fn patience_micros(&self, in_flight: u64, usual: Option<u64>) -> u64 {
        let (least, most) = PATIENCE_MICROS;
        let Some((mean, deviation)) = self.latency else {
            let blind =
                PATIENCE_START_MICROS.saturating_add(in_flight.saturating_mul(1_000_000) / PATIENCE_RATE);
            let usual = usual.map_or(blind, |usual| usual.saturating_mul(PATIENCE_USUAL_FACTOR).max(least));
            return blind.min(usual);
        };
        mean.saturating_add(deviation.saturating_mul(4)).saturating_mul(PATIENCE_FACTOR).clamp(least, most)
    }
}

/// Loads change faster than means do; a piece taken over too early is sent twice.
const PATIENCE_FACTOR: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 64 * 1024;

    #[test]
    fn more_than_the_least_only_while_there_is_a_reason() {
        let window = Window::new(2 * LEN, 16 * LEN);
        assert!(window.has_room(0, LEN, 0) && window.has_room(LEN, LEN, 0));
        assert!(!window.has_room(2 * LEN, LEN, 0) && window.has_room(15 * LEN, LEN, u64::MAX));
        assert!(!window.has_room(16 * LEN, LEN, u64::MAX));
    }

    #[test]
    fn a_piece_larger_than_the_window_may_be_asked_for_alone() {
        let window = Window::new(LEN, 16 * LEN);
        assert!(window.has_room(0, 4 << 20, 0) && !window.has_room(1, 4 << 20, 4 << 20));
    }

    #[test]
    fn patience_follows_what_was_measured() {
        let mut window = Window::new(LEN, 16 * LEN);
        assert!(window.patience_micros(4 << 20, None) > window.patience_micros(LEN, None));
        assert!(window.patience_micros(LEN, Some(400_000)) < window.patience_micros(LEN, None));
        assert_eq!(window.patience_micros(LEN, Some(1)), PATIENCE_MICROS.0);
        assert_eq!(window.patience_micros(LEN, Some(u64::MAX)), window.patience_micros(LEN, None));
        (0..50).for_each(|_| window.delivered(2_000_000));
        let patience = window.patience_micros(LEN, Some(1));
        assert!((6_000_000..8_000_000).contains(&patience), "{patience}");
        (0..50).for_each(|_| window.delivered(1_000));
        assert_eq!(window.patience_micros(LEN, None), PATIENCE_MICROS.0);
        window.timed_out();
        assert!(window.is_slow() && !window.has_room(1, LEN, u64::MAX));
        window.delivered(1_000);
        assert!(!window.is_slow());
    }
}
