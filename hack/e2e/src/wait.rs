//! Waiting for other processes, which cannot tell us when they are done: poll, with a deadline.

use std::time::{Duration, Instant};

/// Between two looks: short against anything we measure, long against what a look costs.
const POLL: Duration = Duration::from_millis(5);

/// Calls `look` until it gives something or `patience` has passed.
pub fn wait_until<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// The same for questions that are asked over the network.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(POLL * 4).await;
    }
}
