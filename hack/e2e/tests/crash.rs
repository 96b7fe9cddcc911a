//! kill -9: what was acknowledged is there, what was not is not there by half, and a download goes on where it was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shoal_e2e::drill::crash;
use shoal_e2e::wait::wait_for;
use shoal_e2e::{Cluster, Puller, Registry, fixture, programs};
use shoal_http::StatusCode;
use shoal_oci::Digest;
use shoal_test_images::{Compression, ImageSpec};

const MIB: u64 = 1024 * 1024;
const REPOSITORY: &str = "team/app";
/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Holds a client up in the middle of its pull.
#[derive(Default)]
struct Gate {
    /// Whether somebody stands before it, and whether it is open.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn stop_until_opened(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        let open = self.changed.wait_while(state, |(_, open)| !*open);
        drop(open.unwrap_or_else(PoisonError::into_inner));
    }

    fn has_stopped(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn open(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }
}

/// The digest of what a GET of the blob gives; `None` when it is not there.
async fn content(registry: &Registry, digest: &str) -> Result<Option<String>> {
    let response = registry.get(&format!("{REPOSITORY}/blobs/{digest}")).await?;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    ensure!(response.status() == StatusCode::OK, "GET of {digest} answered {}", response.status());
    let bytes = response.into_body().collect(16 * 1024 * 1024).await?;
    Ok(Some(Digest::sha256(&bytes).to_string()))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts and kills real programs; run by cargo xtask test --tier e2e"]
async fn whatever_was_acknowledged_survives_kill_9_of_the_server_and_nothing_is_there_by_half() -> Result<()>
{
    let summary = drill(12, false, false).await?;
    ensure!(summary.counts.unanswered > 0, "no kill hit a request: {summary:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts and kills real programs; run by cargo xtask test --tier e2e"]
async fn what_manifests_name_survives_kill_9_in_the_middle_of_a_collection() -> Result<()> {
    let summary = drill(9, true, false).await?;
    ensure!(summary.collections > 0 && summary.collected > 0, "nothing was collected: {summary:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: mounts a disk and takes its power; run by cargo xtask test --tier e2e"]
async fn whatever_was_acknowledged_survives_the_loss_of_power() -> Result<()> {
    let summary = drill(10, false, true).await?;
    ensure!(summary.counts.unanswered > 0, "no cut hit a request: {summary:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: mounts a disk and takes its power; run by cargo xtask test --tier e2e"]
async fn what_manifests_name_survives_the_loss_of_power_in_the_middle_of_a_collection() -> Result<()> {
    let summary = drill(6, true, true).await?;
    ensure!(summary.collections > 0 && summary.collected > 0, "nothing was collected: {summary:?}");
    Ok(())
}

/// The short form of the crash drill; `cargo xtask drill crash` does hundreds of rounds.
async fn drill(rounds: u64, collect: bool, power_loss: bool) -> Result<crash::Summary> {
    let directory = tempfile::Builder::new().prefix("shoal-crash-").tempdir()?;
    let seed = fastrand::u64(..);
    let (bin_dir, place) = (programs::bin_dir()?, directory.path().to_owned());
    let plan = crash::Plan { rounds, collect, power_loss, seed, bin_dir, directory: place };
    let summary = crash::run(&plan, &|_| {}).await.with_context(|| format!("with seed {seed}"))?;
    let faults = &summary.faults;
    ensure!(faults.is_empty(), "with seed {seed}, {summary:?}:\n{}", faults.join("\n"));
    ensure!(summary.counts.acknowledged() > rounds, "the clients hardly did anything: {summary:?}");
    Ok(summary)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts and kills real programs; run by cargo xtask test --tier e2e"]
async fn an_upload_goes_on_after_kill_9_of_the_server() -> Result<()> {
    let mut cluster = Cluster::start(0)?;
    let registry = cluster.server.registry()?;
    let (layout, image) =
        fixture::made(&cluster.directory().join("image"), &ImageSpec::new(vec![4 * MIB], 1))?;
    let blob = &image.platforms[0].layers[0];
    let upload = registry.start_upload(REPOSITORY).await?;
    let upload = registry.patch(&upload, &layout.blob_path(&blob.digest), &|_| {}).await?;
    cluster.server.kill();
    cluster.server.restart()?;
    ensure!(
        registry.blob_size(REPOSITORY, &blob.digest.to_string()).await?.is_none(),
        "visible before its PUT"
    );
    registry.finish_upload(&upload, &blob.digest.to_string()).await?;
    let got = content(&registry, &blob.digest.to_string()).await?;
    ensure!(got == Some(blob.digest.to_string()), "{got:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts and kills real programs; run by cargo xtask test --tier e2e"]
async fn an_agent_killed_in_the_middle_of_a_pull_goes_on_where_it_was() -> Result<()> {
    let mut cluster = Cluster::start(1)?;
    let mut spec = ImageSpec::new(vec![512 * MIB], 1);
    spec.compression = Compression::None;
    let (layout, image) = fixture::made(&cluster.directory().join("image"), &spec)?;
    cluster.server.registry()?.push(REPOSITORY, "v1", &layout, &image, &|_| {}).await?;
    // The client stops reading until the agent is gone, so that no pull is too quick to be cut off.
    let gate = Arc::new(Gate::default());
    let received = AtomicU64::new(0);
    let watch = {
        let gate = Arc::clone(&gate);
        move |len| {
            if received.fetch_add(len, Ordering::Relaxed) + len > 64 * MIB {
                gate.stop_until_opened();
            }
        }
    };
    let puller = Puller::new(cluster.agents[0].registry()?, Arc::new(watch));
    // With a runtime of its own: the gate holds up its only thread.
    let pull = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(puller.pull(REPOSITORY, "v1"))
    });
    let stopped = wait_for(PATIENCE, || async { gate.has_stopped().then_some(()) }).await;
    stopped.context("the pull does not get on")?;
    cluster.agents[0].kill();
    gate.open();
    ensure!(pull.await?.is_err(), "the pull ended well although the agent was killed");

    cluster.agents[0].restart()?;
    let puller = Puller::new(cluster.agents[0].registry()?, Arc::new(|_| {}));
    let report = puller.pull(REPOSITORY, "v1").await?;
    ensure!(report.wrong().count() == 0, "wrong bytes after the restart: {report:?}");
    let again = cluster.agents[0].metrics().await?.received();
    let limit = 512.0 * 1024.0 * 1024.0 - 32.0 * 1024.0 * 1024.0;
    ensure!(again < limit, "{again} bytes were fetched after the restart: it began anew");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts and kills real programs; run by cargo xtask test --tier e2e"]
async fn agents_serve_what_they_have_while_the_server_is_down() -> Result<()> {
    let mut cluster = Cluster::start(1)?;
    let (layout, image) =
        fixture::made(&cluster.directory().join("image"), &ImageSpec::new(vec![8 * MIB], 1))?;
    cluster.server.registry()?.push(REPOSITORY, "v1", &layout, &image, &|_| {}).await?;
    let puller = Puller::new(cluster.agents[0].registry()?, Arc::new(|_| {}));
    puller.pull(REPOSITORY, "v1").await?;
    cluster.server.kill();
    let started = Instant::now();
    let layer = &image.platforms[0].layers[0];
    let report = puller.blob(REPOSITORY, &layer.digest, started).await?;
    ensure!(report.got == layer.digest, "wrong bytes from the cache");
    ensure!(started.elapsed() < Duration::from_secs(10), "a cached blob took {:?}", started.elapsed());
    Ok(())
}
