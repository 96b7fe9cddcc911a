//! How fast pieces travel, one way: the rate while there was something to send, and the time from asking for a piece, or from sending
//! it, to its arrival.
//!
//! The least of these times says how long the path is, the mean what is usual under load. Arrivals are what receivers confirm: what a
//! kernel has taken may wait there, or in the network, for a long time.

use crate::io::Time;
use crate::limits::{UPLOAD_AHEAD_MICROS, UPLOAD_PATIENCE_FACTOR, UPLOAD_PATIENCE_MICROS};

/// Rates are measured over at least this long.
const SAMPLE_MICROS: u64 = 50_000;

/// What was learnt from arrivals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// Bytes per second while there was something to send; 0 while unknown.
    rate: u64,
    /// Since when, and how many bytes, counts for the next measurement of the rate; `None` while nothing is on the way.
    sample: Option<(Time, u64)>,
    /// The least time from handing over to arrival, slowly forgotten.
    least_micros: u64,
    /// The mean of these times.
    mean_micros: u64,
}

impl Pace {
    /// The first piece is on the way.
    pub(crate) fn begin(&mut self, now: Time) {
        self.sample.get_or_insert((now, 0));
    }

    /// Nothing is on the way any more.
    pub(crate) fn end(&mut self) {
        self.sample = None;
    }

    /// A piece arrived `micros` after it was handed over.
    pub(crate) fn arrived(&mut self, len: u64, micros: u64, now: Time) {
        let known = self.mean_micros > 0;
        self.mean_micros = if known { (self.mean_micros * 7 + micros) / 8 } else { micros };
        // One in a thousand a piece: queues come and go, and a path that has become longer is believed after some hundred pieces.
        let forgotten = self.least_micros + self.least_micros / 1_000 + 1;
        self.least_micros = if known { micros.min(forgotten) } else { micros };
        let Some((since, bytes)) = &mut self.sample else { return };
        *bytes += len;
        let elapsed = now.micros_since(*since);
        // Long enough that pieces which arrive together, having shared the link, are not taken for a fast link.
        if elapsed >= SAMPLE_MICROS.max(2 * self.mean_micros) {
            let measured = bytes.saturating_mul(1_000_000) / elapsed;
            self.rate = if self.rate > 0 { self.rate.midpoint(measured) } else { measured };
            self.sample = Some((now, 0));
        }
    }

    /// Bytes that the path holds by itself at the rate that was measured, and a little more.
    pub(crate) fn bytes_on_path(&self) -> u64 {
        self.rate.saturating_mul(self.least_micros + UPLOAD_AHEAD_MICROS) / 1_000_000
    }

    /// Three times what the path holds by itself at the rate that was measured: with less the rate could not grow to what it can be.
    pub(crate) fn bytes_to_fill(&self) -> u64 {
        self.rate.saturating_mul(3 * self.least_micros) / 1_000_000
    }

    /// The mean of these times; `None` before the first.
    pub(crate) fn usual_micros(&self) -> Option<u64> {
        (self.mean_micros > 0).then_some(self.mean_micros)
    }

    /// How long a piece may take before its receiver counts as slow, in microseconds.
    pub(crate) fn patience(&self) -> u64 {
        let (least, most) = UPLOAD_PATIENCE_MICROS;
        if self.mean_micros == 0 {
            return most;
        }
        (self.mean_micros * UPLOAD_PATIENCE_FACTOR).clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_holds_more_than_a_short_one() {
        let long = |micros: u64| {
            let mut pace = Pace::default();
            pace.begin(Time(0));
            // 64 KiB every 5 ms: 13 MB/s.
            (1..100).for_each(|nth| pace.arrived(65_536, micros, Time(nth * 5_000)));
            pace.bytes_on_path()
        };
        assert!(long(40_000) > 13_000_000 / 30, "{}", long(40_000));
        assert!(long(5_000) < 13_000_000 / 40, "{}", long(5_000));
        assert_eq!(Pace::default().bytes_on_path(), 0);
    }

    #[test]
    fn patience_follows_what_is_usual() {
        let mut pace = Pace::default();
        assert_eq!(pace.patience(), UPLOAD_PATIENCE_MICROS.1, "nothing is usual yet");
        pace.begin(Time(0));
        (0..50).for_each(|nth| pace.arrived(10, 100_000, Time(nth)));
        assert_eq!(pace.patience(), 100_000 * UPLOAD_PATIENCE_FACTOR);
        pace.end();
        pace.arrived(10, 100_000, Time(1_000_000));
        assert_eq!(pace.bytes_on_path(), 0, "nothing was measured while nothing was on the way");
    }
}
