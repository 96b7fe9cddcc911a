//! How fast a client sends.
//!
//! A limit on silence alone is kept by one byte a minute, and such a client holds its session and its connection for ever. So the
//! bytes are also counted against the time that was spent waiting for them. Time in which nobody waited (the disk was busy) is not
//! the client's.

use std::time::Duration;

use tokio::time::Instant;

/// One body's pace.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What is judged at a time.
    window: Duration,
    /// Bytes a second.
    rate_min: u64,
    waited: Duration,
    received: u64,
    too_slow: bool,
}

/// Counts the time until it is dropped.
pub(crate) struct Waiting<'a> {
    pace: &'a mut Pace,
    since: Instant,
}

impl Pace {
    pub(crate) const fn new(window: Duration, rate_min: u64) -> Self {
        Self { window, rate_min, waited: Duration::ZERO, received: 0, too_slow: false }
    }

    /// The slowest pace that is borne, in bytes a second.
    pub(crate) const fn rate_min(&self) -> u64 {
        self.rate_min
    }

    /// The client is waited for from now on.
    pub(crate) fn wait(&mut self) -> Waiting<'_> {
        Waiting { pace: self, since: Instant::now() }
    }

    /// Bytes have come.
    pub(crate) fn received(&mut self, len: usize) {
        self.received += len as u64;
        if self.waited >= self.window {
            // Seconds in a window and bytes a second: far from overflow.
            self.too_slow =
                u128::from(self.received) * 1000 < u128::from(self.rate_min) * self.waited.as_millis();
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
    }

    pub(crate) const fn is_too_slow(&self) -> bool {
        self.too_slow
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pace.waited += self.since.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn receive(pace: &mut Pace, wait_ms: u64, len: usize) -> bool {
        let waiting = pace.wait();
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        drop(waiting);
        pace.received(len);
        pace.is_too_slow()
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_too_slow_and_the_rate_is_not() {
        let mut pace = Pace::new(Duration::from_secs(60), 1000);
        assert!(!receive(&mut pace, 59_000, 1).await);
        assert!(receive(&mut pace, 59_000, 1).await);
        let mut pace = Pace::new(Duration::from_secs(60), 1000);
        for _ in 0..100 {
            assert!(!receive(&mut pace, 10_000, 10_000).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_is_not_the_clients() {
        let mut pace = Pace::new(Duration::from_secs(60), 1000);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(100)).await;
            assert!(!receive(&mut pace, 1, 1).await);
        }
    }
}
