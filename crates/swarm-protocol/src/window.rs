//! How much to ask of one neighbour at a time, and how long to wait for it.
//!
//! The goal is that a neighbour's uplink never idles while it has something for us, and that no more than that waits there, because
//! what waits at one neighbour cannot be asked of another. The neighbour tells its queue length with every piece: an empty queue
//! means that our requests arrived too late, so the window grows by a piece; a long one means that they only wait, so it shrinks.
//! That finds the bandwidth-delay product without knowing either factor. Patience follows the measured time from request to piece,
//! as TCP's retransmission timer does (RFC 6298): mean and deviation, not a constant.

use crate::limits::{PATIENCE_MICROS, PATIENCE_RATE, PATIENCE_START_MICROS, WINDOW_MIN};

/// What was learnt about one neighbour.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    bytes: u64,
    most: u64,
    /// Mean and mean deviation of the time from request to piece, in microseconds.
    latency: Option<(u64, u64)>,
    /// It kept us waiting too long, and has not delivered since.
    slow: bool,
}

impl Window {
    /// Nothing learnt yet.
    pub(crate) const fn new(start: u64, most: u64) -> Self {
        Self { bytes: start, most, latency: None, slow: false }
    }

    /// Whether a further piece of `len` may be asked for while `in_flight` bytes are outstanding. One piece always may, unless the
    /// neighbour is slow: then one at a time.
    pub(crate) const fn has_room(&self, in_flight: u64, len: u64) -> bool {
        in_flight == 0 || (!self.slow && in_flight + len <= self.bytes)
    }

    /// A piece of `len` arrived `micros` after it was asked for, and `queue` bytes wait at the neighbour behind it.
    pub(crate) fn delivered(&mut self, micros: u64, len: u64, queue: u64) {
        self.slow = false;
        let (mean, deviation) = self.latency.unwrap_or((micros, micros / 2));
        let difference = mean.abs_diff(micros);
        self.latency = Some(((mean * 7 + micros) / 8, (deviation * 3 + difference) / 4));
        if queue < len {
            self.bytes = (self.bytes + len).min(self.most.max(len));
        } else if queue > len * QUEUE_LONG {
            self.bytes = self.bytes.saturating_sub(len).max(WINDOW_MIN.max(len));
        }
    }

    /// The neighbour kept us waiting beyond its patience.
    pub(crate) fn timed_out(&mut self) {
        self.slow = true;
        self.bytes = WINDOW_MIN;
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

    /// How long to wait for a neighbour that owes `in_flight` bytes, in microseconds since its last sign of progress.
    pub(crate) fn patience_micros(&self, in_flight: u64) -> u64 {
        let Some((mean, deviation)) = self.latency else {
            return PATIENCE_START_MICROS.saturating_add(in_flight.saturating_mul(1_000_000) / PATIENCE_RATE);
        };
        let (least, most) = PATIENCE_MICROS;
        mean.saturating_add(deviation.saturating_mul(4)).saturating_mul(PATIENCE_FACTOR).clamp(least, most)
    }
}

/// A queue of this many pieces is long: whoever asks now waits for several others first.
const QUEUE_LONG: u64 = 6;

/// Loads change faster than means do; a piece taken over too early is sent twice.
const PATIENCE_FACTOR: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 64 * 1024;

    #[test]
    fn grows_while_the_neighbour_runs_dry_and_shrinks_when_it_is_busy() {
        let mut window = Window::new(LEN, 16 * LEN);
        assert!(window.has_room(0, LEN) && !window.has_room(LEN, LEN));
        (0..100).for_each(|_| window.delivered(1_000, LEN, 0));
        assert!(window.has_room(15 * LEN, LEN) && !window.has_room(16 * LEN, LEN));
        (0..100).for_each(|_| window.delivered(1_000, LEN, 100 * LEN));
        assert!(window.has_room(0, LEN) && !window.has_room(LEN, LEN));
    }

    #[test]
    fn a_piece_larger_than_the_window_may_be_asked_for_alone() {
        let mut window = Window::new(LEN, 16 * LEN);
        assert!(window.has_room(0, 4 << 20) && !window.has_room(1, 4 << 20));
        window.delivered(1_000, 4 << 20, 0);
        assert!(!window.has_room(4 << 20, 4 << 20));
    }

    #[test]
    fn patience_follows_what_was_measured() {
        let mut window = Window::new(LEN, 16 * LEN);
        assert!(window.patience_micros(4 << 20) > window.patience_micros(LEN));
        (0..50).for_each(|_| window.delivered(2_000_000, LEN, 0));
        let patience = window.patience_micros(LEN);
        assert!((6_000_000..8_000_000).contains(&patience), "{patience}");
        (0..50).for_each(|_| window.delivered(1_000, LEN, 0));
        assert_eq!(window.patience_micros(LEN), PATIENCE_MICROS.0);
        window.timed_out();
        assert!(window.is_slow() && !window.has_room(1, LEN));
        window.delivered(1_000, LEN, 0);
        assert!(!window.is_slow());
    }
}
