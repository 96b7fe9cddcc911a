//! When a peer announces again.
//!
//! A downloading peer asks often enough to meet those who came after it, a complete one seldom: it is asked, it does not ask.
//! Every interval is jittered so that agents that started together do not announce together for ever.

use std::time::Duration;

/// Shortest interval of a downloading peer. At 10,000 downloading peers it makes 3,300 announces a second, each answered from
/// memory with about 5 KiB.
const DOWNLOADING_MIN: Duration = Duration::from_secs(3);

/// Longest interval of a downloading peer: a late joiner is known to everyone within it.
const DOWNLOADING_MAX: Duration = Duration::from_secs(15);

/// A blob's size per second of interval, in bytes: a tenth of what a 1 Gbit/s link takes for it.
const BYTES_PER_SECOND: u64 = 1_250_000_000;

/// Interval of a complete peer. With its time to live it is how long a dead seeder is still handed out.
const SEEDING: Duration = Duration::from_secs(60);

/// An announce is valid for this many intervals: one may be lost.
const LIVES: u32 = 2;

/// Added to the time to live for a slow answer and a slow next request.
const GRACE: Duration = Duration::from_secs(15);

/// The interval until the next announce, with ±20 % of jitter.
pub fn interval(complete: bool, size: Option<u64>, rng: &mut fastrand::Rng) -> Duration {
    let base = if complete {
        SEEDING
    } else {
        let scaled = Duration::from_secs(size.unwrap_or(0) / BYTES_PER_SECOND);
        (DOWNLOADING_MIN + scaled).min(DOWNLOADING_MAX)
    };
    base.mul_f64(0.8 + 0.4 * rng.f64())
}

/// How long a peer is known after an announce that was answered with `interval`.
pub fn time_to_live(interval: Duration) -> Duration {
    interval * LIVES + GRACE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_the_blob_within_bounds_and_jitters() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut mean = |complete, size| {
            let samples: Vec<_> =
                (0..1000).map(|_| interval(complete, size, &mut rng).as_secs_f64()).collect();
            let mean = samples.iter().sum::<f64>() / 1000.0;
            assert!(samples.iter().all(|one| (one / mean - 1.0).abs() < 0.25));
            mean.round() as u64
        };
        assert_eq!(mean(false, None), 3);
        assert_eq!(mean(false, Some(1 << 20)), 3);
        assert_eq!(mean(false, Some(10_000_000_000)), 11);
        assert_eq!(mean(false, Some(u64::MAX)), 15);
        assert_eq!(mean(true, Some(1 << 20)), 60);
    }

    #[test]
    fn one_lost_announce_does_not_forget_a_peer() {
        let longest = Duration::from_secs(15).mul_f64(1.2);
        assert!(time_to_live(longest) > longest * 2);
    }
}
