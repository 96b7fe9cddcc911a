//! How long a courier waits after its endpoint failed.

use std::time::Duration;

/// Wait after the first failures, which are often a connection that a restart has cut.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How much of a wait is drawn by lot, so that several servers do not come back to a recovered endpoint at the same moment.
const JITTER: f64 = 0.2;

/// When to try again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// Failures in a row before the endpoint counts as down.
    pub(super) threshold: u32,
    /// The first wait for one that is down; doubled with every further failure.
    pub(super) wait: Duration,
    /// The longest wait.
    pub(super) wait_max: Duration,
}

impl Backoff {
    /// The wait after the failure with this number, counted from 1. The endpoint's own wish is met as far as `wait_max` allows.
    pub(super) fn after(&self, failures: u32, wish: Option<Duration>) -> Duration {
        let wait = match failures.checked_sub(self.threshold) {
            None => FIRST_WAIT.min(self.wait),
            Some(further) => self.wait.saturating_mul(2_u32.saturating_pow(further)),
        };
        let wait = wait.max(wish.unwrap_or_default()).min(self.wait_max);
        wait.mul_f64(1.0 - JITTER * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let backoff = Backoff { threshold: 3, wait: second, wait_max: minute };
        let within = |failures, wish, wait: Duration| {
            let got = backoff.after(failures, wish);
            assert!(got <= wait && got >= wait.mul_f64(1.0 - JITTER), "{failures}: {got:?}");
        };
        within(1, None, FIRST_WAIT);
        within(2, None, FIRST_WAIT);
        within(3, None, second);
        within(5, None, second * 4);
        within(9, None, minute);
        within(u32::MAX, None, minute);
        within(3, Some(second * 30), second * 30);
        within(1, Some(minute * 60), minute);
    }
}
