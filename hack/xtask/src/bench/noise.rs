//! How disturbed the machine was while we measured: the lateness of a thread that only wants to sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the thread asks for each time.
const NAP: Duration = Duration::from_millis(5);

/// A running probe.
pub(super) struct Probe {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Duration>>>,
}

impl Probe {
    /// Starts to sleep and to look at the clock.
    pub(super) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !flag.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(NAP);
                late.push(before.elapsed().saturating_sub(NAP));
            }
            late
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends the probe. The 99th percentile of lateness in milliseconds.
    pub(super) fn p99_ms(mut self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let late = self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let milliseconds: Vec<f64> = late.iter().map(|late| late.as_secs_f64() * 1000.0).collect();
        percentile(&milliseconds, 99)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The smallest value that at least `percent` of all values do not exceed; 0 of nothing.
pub(super) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=8).map(f64::from).collect();
        assert_eq!(percentile(&values, 50), 4.0);
        assert_eq!(percentile(&values, 99), 8.0);
        assert_eq!(percentile(&values, 100), 8.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
