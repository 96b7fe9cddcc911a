//! When a peer announces again: seldom, and the more seldom the more there are.
//!
//! An announce tells a tracker that a peer still lives, and the peer who has come since. Neither is urgent: newcomers dial the others, and
//! peers name each other. So the sum of all announces is what is kept constant, and the interval follows from the number of agents. A
//! download that was told too few peers comes again soon, and when the tracker itself is short of time everybody comes later.
//!
//! A restarted tracker does not have to wait for the next announce of everybody: agents look now and then whether it is the same, and
//! tell a new one what they have.

use std::time::Duration;

/// Announces per second that downloading agents make together. With 10,000 of them the interval is 50 s; a fleet's pull then makes
/// 200 requests a second, and one for the start of each.
const DOWNLOADING_PER_SECOND: u64 = 200;

/// Announces per second that idle agents make together, one for all that they hold.
const SEEDING_PER_SECOND: u64 = 50;

/// Bounds of a downloading peer's interval. Below: what a small swarm gains by hearing sooner is nothing that peer exchange does not
/// give. Above: with the time to live it is how long a dead peer is handed out, and nearly how long a restarted tracker is blind.
const DOWNLOADING: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(120));

/// Bounds of a complete peer's interval.
const SEEDING: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(600));

/// Announces per second that downloads make together which are all alone with their blobs.
const LONELY_PER_SECOND: u64 = 1_000;

/// Bounds of the interval of a download that was told fewer than [`COMPANY`] peers: others that start at the same time are known by
/// then.
const LONELY: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(30));

/// Peers with which a download is not alone. As many as it wants for neighbours would be ten.
const COMPANY: usize = 6;

/// Looks per second that agents make together whether the tracker still knows them: a question about nothing, which costs a tenth of an
/// announce of a download.
const LOOKS_PER_SECOND: u64 = 200;

/// Bounds of the time between two looks. Below: how long a small fleet's restarted tracker does not know who has what.
const LOOK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));

/// Announces per second from which on a tracker sheds load: half of what one core was measured to answer.
const RATE_EASE: u64 = 15_000;

/// No interval is stretched by more than this: whoever is told an hour is lost to the others.
const STRETCH_MAX: f64 = 8.0;

/// An announce is valid for this many intervals: one may be lost.
const LIVES: u32 = 2;

/// Added to the time to live for a slow answer and a slow next request.
const GRACE: Duration = Duration::from_secs(15);

/// How busy a tracker is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Agents that have announced lately.
    pub agents: u64,
    /// Announces in the last second.
    pub rate: u64,
}

impl Pace {
    /// How long an agent that has nothing else to say waits until it looks whether the tracker still knows it.
    pub fn look(self) -> Duration {
        shared(self.agents, LOOKS_PER_SECOND, LOOK)
    }
}

/// In which state a peer announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It lacks pieces, and was told so many peers and owners, if it wants any.
    Downloading {
        /// Peers and owners that it knows of now.
        told: usize,
    },
    /// It has every piece.
    Complete,
}

/// What all intervals of one answer are multiplied with: ±20 %, so that agents that started together do not announce together for ever,
/// and an agent's blobs still do.
pub fn jitter(rng: &mut fastrand::Rng) -> f64 {
    0.8 + 0.4 * rng.f64()
}

/// The interval until the next announce.
pub fn interval(state: State, pace: Pace, jitter: f64) -> Duration {
    let base = match state {
        State::Downloading { told } if told < COMPANY => shared(pace.agents, LONELY_PER_SECOND, LONELY),
        State::Downloading { .. } => shared(pace.agents, DOWNLOADING_PER_SECOND, DOWNLOADING),
        State::Complete => shared(pace.agents, SEEDING_PER_SECOND, SEEDING),
    };
    let stretch = (pace.rate as f64 / RATE_EASE as f64).clamp(1.0, STRETCH_MAX);
    base.mul_f64(stretch * jitter)
}

/// The interval at which `agents` together make `per_second` announces, within bounds.
fn shared(agents: u64, per_second: u64, (least, most): (Duration, Duration)) -> Duration {
    Duration::from_millis(agents.saturating_mul(1_000) / per_second).clamp(least, most)
}

/// How long a peer is known after an announce that was answered with `interval`.
pub fn time_to_live(interval: Duration) -> Duration {
    interval * LIVES + GRACE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(state: State, agents: u64, rate: u64) -> f64 {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut one = || interval(state, Pace { agents, rate }, jitter(&mut rng)).as_secs_f64();
        let samples: Vec<_> = (0..1000).map(|_| one()).collect();
        let mean = samples.iter().sum::<f64>() / 1000.0;
        assert!(samples.iter().all(|one| (one / mean - 1.0).abs() < 0.25));
        mean
    }

    fn assert_near(mean: f64, want: f64) {
        // Three standard errors of a thousand samples.
        assert!((mean / want - 1.0).abs() < 0.012, "{mean} {want}");
    }

    #[test]
    fn grows_with_the_fleet_within_bounds_and_jitters() {
        let downloading = State::Downloading { told: 50 };
        for (agents, want) in [(0, 15.0), (3_000, 15.0), (10_000, 50.0), (15_000, 75.0), (1_000_000, 120.0)] {
            assert_near(mean(downloading, agents, 0), want);
        }
        for (agents, want) in [(0, 120.0), (10_000, 200.0), (1_000_000, 600.0)] {
            assert_near(mean(State::Complete, agents, 0), want);
        }
    }

    #[test]
    fn the_lonely_come_soon_and_nobody_comes_soon_to_a_tracker_without_time() {
        assert_near(mean(State::Downloading { told: 0 }, 100, 0), 3.0);
        assert_near(mean(State::Downloading { told: 5 }, 10_000, 0), 10.0);
        assert_near(mean(State::Downloading { told: 0 }, 100, RATE_EASE * 4), 12.0);
        assert_near(mean(State::Downloading { told: 50 }, 10_000, u64::MAX), 400.0);
    }

    #[test]
    fn looks_come_every_few_seconds_and_seldom_in_a_large_fleet() {
        let look = |agents| Pace { agents, rate: 0 }.look().as_secs();
        assert_eq!((look(3), look(10_000), look(1_000_000)), (5, 50, 120));
    }

    #[test]
    fn one_lost_announce_does_not_forget_a_peer() {
        let longest = SEEDING.1.mul_f64(1.2 * STRETCH_MAX);
        assert!(time_to_live(longest) > longest * 2);
    }
}
