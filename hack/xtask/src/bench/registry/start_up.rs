//! How long a registry takes from the start of its program to its first answer, when it has many blobs.

use std::time::Duration;

use anyhow::{Context, Result};

use super::contestant::Contestant;
use super::corpus::Stock;
use super::counters::{self, as_f64};
use super::load;
use super::sample::Conditions;
use crate::bench::measurement::Measurement;
use crate::bench::noise::percentile;

/// Pushing the blobs may take this long for each registry; one that is slower is timed with what it has by then.
const FILL_MAX: Duration = Duration::from_secs(20);
/// Starts of each registry.
const STARTS: usize = 3;
/// A start with a million blobs takes at most a second, and one with fewer not longer.
const READY_MS_MAX: f64 = 1000.0;
/// What to aim for with ten thousand to ten million.
const READY_MS_AIM: f64 = 200.0;

/// Tops every registry up, and starts it again a few times.
pub(super) async fn measure(
    contestants: &mut [Contestant],
    stock: &mut Stock,
    blobs: u64,
    conditions: Conditions,
) -> Result<Vec<Measurement>> {
    let mut all = Vec::new();
    for contestant in contestants {
        let missing = blobs.saturating_sub(contestant.blobs);
        if missing > 0 {
            let small = stock.small();
            let pushed =
                load::push_small(contestant.address(), conditions.connections, FILL_MAX, missing, small)
                    .await?;
            contestant.blobs += pushed.latencies_ms.len() as u64;
        }
        counters::sync(contestant.directory())?;
        let mut times_ms = Vec::new();
        for _ in 0..STARTS {
            let time = contestant.restart().await;
            let time = time.with_context(|| format!("{} does not start again", contestant.name()))?;
            times_ms.push(time.as_secs_f64() * 1000.0);
        }
        let name = contestant.name();
        let ready = Measurement::new(format!("registry_start_ready_{name}"), percentile(&times_ms, 50), "ms");
        let is_ours = name == super::peer::SHOAL;
        all.push(if is_ours { ready.at_most(READY_MS_MAX).aim(READY_MS_AIM) } else { ready });
        all.push(Measurement::new(format!("registry_start_blobs_{name}"), as_f64(contestant.blobs), "blobs"));
    }
    Ok(all)
}
