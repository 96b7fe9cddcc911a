//! Collection beside pushes: nothing that a client was told to be there is gone when its manifest arrives.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shoal_e2e::drill::collect;
use shoal_e2e::programs;

/// The short form; `cargo xtask drill gc` goes on for as long as asked.
const DURATION: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn nothing_that_is_wanted_is_collected_while_clients_push_mount_and_delete() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("shoal-collect-").tempdir()?;
    let plan = collect::Plan {
        duration: DURATION,
        every: Duration::from_millis(100),
        seed: fastrand::u64(..),
        bin_dir: programs::bin_dir()?,
        directory: directory.path().to_owned(),
    };
    let summary = collect::run(&plan, &|_| {}).await.with_context(|| format!("with seed {}", plan.seed))?;
    let faults = &summary.faults;
    ensure!(faults.is_empty(), "with seed {}, {summary:?}:\n{}", plan.seed, faults.join("\n"));
    ensure!(summary.manifests > 0 && summary.read > 0, "the clients hardly did anything: {summary:?}");
    ensure!(summary.collected_blobs > 0, "nothing was collected, so nothing was shown: {summary:?}");
    Ok(())
}
