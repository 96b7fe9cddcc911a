//! kill -9: what was acknowledged is there, what was not is not there by half, and a download goes on where it was.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use shoal_e2e::wait::wait_for;
use shoal_e2e::{Cluster, Puller, Registry, fixture};
use shoal_http::StatusCode;
use shoal_oci::Digest;
use shoal_test_images::{Compression, ImageSpec};
use tokio::task::JoinSet;

const MIB: u64 = 1024 * 1024;
const REPOSITORY: &str = "team/app";
/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every digest that was answered 201.
type Acknowledged = Arc<Mutex<Vec<String>>>;

fn acknowledged(list: &Acknowledged) -> Vec<String> {
    list.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Pushes blobs until the server is gone, and notes each 201.
async fn push_until_it_fails(registry: Registry, blobs: Vec<(String, PathBuf)>, list: Acknowledged) {
    for (digest, path) in blobs {
        if registry.push_blob(REPOSITORY, &digest, &path, &|_| {}).await.is_err() {
            return;
        }
        list.lock().unwrap_or_else(PoisonError::into_inner).push(digest);
    }
}

/// Puts a manifest under one tag after the other until the server is gone, and notes each 201.
async fn tag_until_it_fails(
    registry: Registry,
    tagger: usize,
    manifest: (&'static str, Bytes),
    list: Acknowledged,
) {
    for number in 0.. {
        let tag = format!("t{tagger}-{number}");
        if registry.put_manifest(REPOSITORY, &tag, manifest.0, manifest.1.clone()).await.is_err() {
            return;
        }
        list.lock().unwrap_or_else(PoisonError::into_inner).push(tag);
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
async fn whatever_was_answered_201_survives_kill_9_of_the_server_and_nothing_is_there_by_half() -> Result<()>
{
    let mut cluster = Cluster::start(0)?;
    let registry = cluster.server.registry()?;
    let list = Acknowledged::default();
    let mut all = Vec::new();
    for round in 0..4_u64 {
        let spec = ImageSpec::new(vec![2 * MIB; 24], round);
        let (layout, image) = fixture::made(&cluster.directory().join(format!("image-{round}")), &spec)?;
        let blobs: Vec<_> =
            image.blobs().map(|blob| (blob.digest.to_string(), layout.blob_path(&blob.digest))).collect();
        all.extend(blobs.iter().map(|(digest, _)| digest.clone()));
        let before = acknowledged(&list).len();
        let mut pushers = JoinSet::new();
        for part in blobs.chunks(7) {
            pushers.spawn(push_until_it_fails(registry.clone(), part.to_vec(), Arc::clone(&list)));
        }
        // In the thick of it, at another moment each round.
        let enough = before + 2 + usize::try_from(round)? * 3;
        let reached =
            wait_for(PATIENCE, || async { (acknowledged(&list).len() >= enough).then_some(()) }).await;
        reached.context("the pushes do not get on")?;
        cluster.server.kill();
        while pushers.join_next().await.is_some() {}
        cluster.server.restart()?;
        let survived = acknowledged(&list);
        ensure!(survived.len() < all.len(), "the server was killed too late to show anything");
        for digest in &survived {
            let got = content(&registry, digest).await?;
            ensure!(got.as_ref() == Some(digest), "{digest} was answered 201, and is now {got:?}");
        }
        for digest in all.iter().filter(|digest| !survived.contains(digest)) {
            let got = content(&registry, digest).await?;
            ensure!(got.is_none() || got.as_ref() == Some(digest), "{digest} is there by half: {got:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts and kills real programs; run by cargo xtask test --tier e2e"]
async fn tags_that_were_answered_201_survive_kill_9_of_the_server() -> Result<()> {
    let mut cluster = Cluster::start(0)?;
    let registry = cluster.server.registry()?;
    let (layout, image) = fixture::made(&cluster.directory().join("image"), &ImageSpec::new(vec![MIB], 1))?;
    registry.push(REPOSITORY, "first", &layout, &image, &|_| {}).await?;
    let bytes = Bytes::from(std::fs::read(layout.blob_path(&image.root.digest))?);
    let list = Acknowledged::default();
    let mut taggers = JoinSet::new();
    for tagger in 0..4 {
        let manifest = (image.root.media_type, bytes.clone());
        taggers.spawn(tag_until_it_fails(registry.clone(), tagger, manifest, Arc::clone(&list)));
    }
    let enough = wait_for(PATIENCE, || async { (acknowledged(&list).len() >= 40).then_some(()) }).await;
    enough.context("the pushes do not get on")?;
    cluster.server.kill();
    while taggers.join_next().await.is_some() {}
    cluster.server.restart()?;
    for tag in acknowledged(&list) {
        let resolved = registry.resolve(REPOSITORY, &tag).await?;
        let expected = (image.root.digest.to_string(), image.root.media_type.to_owned());
        ensure!(resolved.as_ref() == Some(&expected), "{tag} was answered 201, and is now {resolved:?}");
    }
    Ok(())
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
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    let watch = Arc::new(move |len| {
        counter.fetch_add(len, Ordering::Relaxed);
    });
    let puller = Puller::new(cluster.agents[0].registry()?, watch);
    let pull = tokio::spawn(async move { puller.pull(REPOSITORY, "v1").await });
    let enough =
        wait_for(PATIENCE, || async { (received.load(Ordering::Relaxed) > 64 * MIB).then_some(()) }).await;
    enough.context("the pull does not get on")?;
    cluster.agents[0].kill();
    ensure!(pull.await?.is_err(), "the pull ended well although the agent was killed; was it too quick?");

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
