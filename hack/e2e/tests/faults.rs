//! Corruption, liars and absence: a client gets the right bytes or a clear word, never a wrong byte and never silence.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shoal_e2e::liar::Liar;
use shoal_e2e::registry::error_code;
use shoal_e2e::wait::wait_until;
use shoal_e2e::{Cluster, Puller, fixture};
use shoal_http::StatusCode;
use shoal_oci::Digest;
use shoal_test_images::{Compression, ImageSpec};

const MIB: u64 = 1024 * 1024;
const REPOSITORY: &str = "team/app";
/// A pull that nobody can serve must be answered by then; containerd waits 30 s for the head of an answer.
const GIVE_UP_MAX: Duration = Duration::from_secs(30);

/// An agent may serve a blob faster than it keeps it; the file of the whole blob is there soon after.
const KEPT_WITHIN: Duration = Duration::from_secs(20);

/// The file below `directory` that holds the blob's bytes: the only one of exactly its size.
fn file_of_size(directory: &Path, size: u64) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    entries.flatten().find_map(|entry| {
        let path = entry.path();
        // What is renamed meanwhile is seen by the next look.
        let meta = fs::symlink_metadata(&path).ok()?;
        if meta.is_dir() { file_of_size(&path, size) } else { (meta.len() == size).then_some(path) }
    })
}

/// That file, as soon as the agent has kept the blob.
fn blob_file(directory: &Path, size: u64) -> Result<PathBuf> {
    wait_until(KEPT_WITHIN, || file_of_size(directory, size)).with_context(|| {
        format!("no file of {size} bytes below {} after {KEPT_WITHIN:?}", directory.display())
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn a_blob_corrupted_on_an_agents_disk_is_fetched_again_and_never_served() -> Result<()> {
    let mut cluster = Cluster::start(1)?;
    let mut spec = ImageSpec::new(vec![24 * MIB], 1);
    spec.compression = Compression::None;
    let (layout, image) = fixture::made(&cluster.directory().join("image"), &spec)?;
    cluster.server.registry()?.push(REPOSITORY, "v1", &layout, &image, &|_| {}).await?;
    let layer = &image.platforms[0].layers[0];
    let puller = Puller::new(cluster.agents[0].registry()?, Arc::new(|_| {}));
    puller.pull(REPOSITORY, "v1").await?;
    let fetched = cluster.agents[0].metrics().await?.received();

    for offset in [0, 11 * MIB + 5, layer.size - 1] {
        let path = blob_file(&cluster.agents[0].place().data(), layer.size)?;
        let file = File::options().read(true).write(true).open(&path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset)?;
        file.write_all_at(&[!byte[0]], offset)?;
        let report = puller.blob(REPOSITORY, &layer.digest, Instant::now()).await;
        let report = report.with_context(|| format!("after byte {offset} was flipped"))?;
        ensure!(report.got == layer.digest, "a wrong byte at {offset} was served");
    }
    let again = cluster.agents[0].metrics().await?.received();
    ensure!(again > fetched, "the right bytes came from nowhere: {fetched} bytes before, {again} after");
    ensure!(cluster.agents[0].process().is_running(), "the agent died");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn peers_that_send_corrupt_pieces_are_banned_and_the_pull_completes() -> Result<()> {
    let cluster = Cluster::start(2)?;
    let mut spec = ImageSpec::new(vec![128 * MIB], 1);
    spec.compression = Compression::None;
    let (layout, image) = fixture::made(&cluster.directory().join("image"), &spec)?;
    cluster.server.registry()?.push(REPOSITORY, "v1", &layout, &image, &|_| {}).await?;
    let layer = &image.platforms[0].layers[0];
    let tracker = cluster.server.listener("tracker")?;
    let mut liars = Vec::new();
    for number in 1..=6 {
        liars.push(Liar::start(tracker, layer.digest, layer.size, number).await?);
    }
    for agent in &cluster.agents {
        let puller = Puller::new(agent.registry()?, Arc::new(|_| {}));
        let report = puller.pull(REPOSITORY, "v1").await?;
        ensure!(report.wrong().count() == 0, "wrong bytes reached the client: {report:?}");
    }
    let served: u64 = liars.iter().map(Liar::served).sum();
    ensure!(served > 0, "no agent asked a liar for anything: the test shows nothing");
    let (mut corrupt, mut banned) = (0.0, 0.0);
    for agent in &cluster.agents {
        let metrics = agent.metrics().await?;
        corrupt += metrics.pieces("corrupt");
        banned += metrics.sum("shoal_swarm_banned_peers_total", &[]);
    }
    ensure!(
        corrupt > 0.0 && banned > 0.0,
        "{served} corrupt pieces sent, {corrupt} noticed, {banned} peers banned"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn what_does_not_exist_is_404_in_the_words_of_oci() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let absent = Digest::sha256(b"nobody has this");
    for node in [&cluster.server, &cluster.agents[0]] {
        let registry = node.registry()?;
        for (path, code) in [
            (format!("{REPOSITORY}/blobs/{absent}"), "BLOB_UNKNOWN"),
            (format!("{REPOSITORY}/manifests/v1"), "MANIFEST_UNKNOWN"),
            (format!("{REPOSITORY}/manifests/{absent}"), "MANIFEST_UNKNOWN"),
        ] {
            let started = Instant::now();
            let response = registry.get(&path).await?;
            ensure!(response.status() == StatusCode::NOT_FOUND, "{path}: {}", response.status());
            ensure!(started.elapsed() < GIVE_UP_MAX, "{path}: answered after {:?}", started.elapsed());
            let got = error_code(response).await?;
            // A registry may say that it is the repository it does not know.
            ensure!(got == code || got == "NAME_UNKNOWN", "{path}: {got}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn without_tracker_peers_and_origin_a_pull_is_404_within_bounds() -> Result<()> {
    let mut cluster = Cluster::start(1)?;
    let (layout, image) =
        fixture::made(&cluster.directory().join("image"), &ImageSpec::new(vec![8 * MIB], 1))?;
    cluster.server.registry()?.push(REPOSITORY, "v1", &layout, &image, &|_| {}).await?;
    cluster.server.kill();
    let registry = cluster.agents[0].registry()?;
    let layer = image.platforms[0].layers[0].digest;
    for path in [format!("{REPOSITORY}/manifests/v1"), format!("{REPOSITORY}/blobs/{layer}")] {
        let started = Instant::now();
        let response = registry.get(&path).await?;
        ensure!(response.status() == StatusCode::NOT_FOUND, "{path}: {}", response.status());
        ensure!(started.elapsed() < GIVE_UP_MAX, "{path}: answered after {:?}", started.elapsed());
        error_code(response).await?;
    }
    // And it recovers by itself.
    cluster.server.restart()?;
    let puller = Puller::new(registry, Arc::new(|_| {}));
    let recovered =
        shoal_e2e::wait::wait_for(GIVE_UP_MAX, || async { puller.pull(REPOSITORY, "v1").await.ok() }).await;
    ensure!(
        recovered.is_some_and(|report| report.wrong().count() == 0),
        "no pull after the server came back"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn a_server_that_dies_in_the_middle_of_a_pull_is_survived_when_a_peer_has_the_rest() -> Result<()> {
    let mut cluster = Cluster::start(2)?;
    let mut spec = ImageSpec::new(vec![64 * MIB], 1);
    spec.compression = Compression::None;
    let (layout, image) = fixture::made(&cluster.directory().join("image"), &spec)?;
    cluster.server.registry()?.push(REPOSITORY, "v1", &layout, &image, &|_| {}).await?;
    Puller::new(cluster.agents[0].registry()?, Arc::new(|_| {})).pull(REPOSITORY, "v1").await?;
    let (begun, mut first) = tokio::sync::mpsc::unbounded_channel();
    let watch = Arc::new(move |_| {
        let _ = begun.send(());
    });
    let puller = Puller::new(cluster.agents[1].registry()?, watch);
    let layer = image.platforms[0].layers[0].digest;
    let pull = tokio::spawn(async move { puller.blob(REPOSITORY, &layer, Instant::now()).await });
    first.recv().await.context("the pull never began")?;
    cluster.server.kill();
    let report = pull.await??;
    ensure!(report.got == layer, "wrong bytes: {report:?}");
    Ok(())
}
