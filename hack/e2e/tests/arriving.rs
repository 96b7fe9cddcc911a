//! Blobs that arrive at the cluster from an upstream while agents want them: once for all of them, and from the first bytes on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shoal_e2e::programs::{self, Place};
use shoal_e2e::valve::Valve;
use shoal_e2e::{Node, Puller, Registry, fixture, wait};
use shoal_oci::Digest;
use shoal_test_images::{Image, ImageSpec};
use tempfile::TempDir;
use tokio::task::JoinSet;

const MIB: u64 = 1024 * 1024;
const REGISTRY: &str = "registry.example.com";
const PATIENCE: Duration = Duration::from_secs(60);

/// How long agents wait for a first byte where that is not what is tested: the machine may be busy.
const LONG: &str = "30s";

/// Answers to questions about manifests, tokens and the like, beside the layers.
const OVERHEAD: usize = 256 * 1024;

/// An upstream with an image, reached through a valve, and the cluster that pulls through it.
struct World {
    directory: TempDir,
    far: Node,
    valve: Valve,
    near: Node,
    made: Image,
}

impl World {
    async fn start(sizes: Vec<u64>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("shoal-arriving-").tempdir()?;
        let bin_dir = programs::bin_dir()?;
        let far = Node::server(&bin_dir, place(&directory, "far"))?;
        let image = directory.path().join("image");
        let (layout, made) = fixture::made(&image, &ImageSpec::new(sizes, 1))?;
        far.registry()?.push("team/app", fixture::TAG, &layout, &made, &|_| {}).await?;
        let valve = Valve::start(far.listener("registry")?).await?;
        let upstream = format!(
            "[{{registry: {REGISTRY}, endpoint: 'http://{}', plain_http: true, proxy: none}}]",
            valve.addr
        );
        let near = Node::server(&bin_dir, place(&directory, "near").with("upstreams", &upstream))?;
        Ok(Self { directory, far, valve, near, made })
    }

    /// An agent that waits so long for a first byte.
    fn agent(&self, name: &str, patience: &str) -> Result<Node> {
        let place = place(&self.directory, name).with("registry.first_byte_timeout", patience);
        Node::agent(&programs::bin_dir()?, place, &self.near)
    }

    fn size(&self) -> u64 {
        self.made.blobs().map(|blob| blob.size).sum()
    }

    async fn received(&self) -> Result<f64> {
        Ok(self.near.metrics().await?.sum("shoal_upstream_received_bytes_total", &[]))
    }

    fn largest(&self) -> Result<Digest> {
        let blob = self.made.blobs().max_by_key(|blob| blob.size).context("an image without blobs")?;
        Ok(blob.digest)
    }
}

fn place(directory: &TempDir, name: &str) -> Place {
    Place::loopback(Path::new(directory.path()).join(name))
}

fn through(agent: &Node) -> Result<Registry> {
    Ok(Registry::new(agent.listener("registry")?).for_namespace(REGISTRY))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts servers and agents; run by cargo xtask test --tier e2e"]
async fn sixteen_cold_agents_cost_the_upstream_one_image() -> Result<()> {
    let mut world = World::start(vec![6 * MIB, 3 * MIB, MIB / 2]).await?;
    let agents =
        (0..16).map(|number| world.agent(&format!("agent-{number}"), LONG)).collect::<Result<Vec<_>>>()?;
    // Slow enough that every one of them asks while it comes.
    world.valve.drip(MIB as usize / 4, Duration::from_millis(50));
    let mut pulls = JoinSet::new();
    for agent in &agents {
        let puller = Puller::new(through(agent)?, Arc::new(|_| {}));
        pulls.spawn(async move { puller.pull("team/app", fixture::TAG).await });
    }
    while let Some(report) = pulls.join_next().await {
        let report = report??;
        ensure!(report.wrong().next().is_none(), "wrong bytes: {report:?}");
        ensure!(report.bytes() == world.size(), "{} of {} bytes", report.bytes(), world.size());
    }
    let (received, size) = (world.received().await?, world.size() as f64);
    ensure!(received <= size * 1.02, "{received} bytes came from the upstream for an image of {size}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts servers and agents; run by cargo xtask test --tier e2e"]
async fn a_blob_that_takes_longer_than_clients_wait_begins_at_once_and_comes_whole() -> Result<()> {
    let world = World::start(vec![3 * MIB]).await?;
    // Less than usual, so that the slow is seen to be slow within a test.
    let (agent, digest) = (world.agent("agent", "4s")?, world.largest()?);
    world.valve.let_through(OVERHEAD);
    let registry = through(&agent)?;
    registry.manifest("team/app", fixture::TAG).await?;
    // A third of it, and then the upstream is silent for longer than an agent waits for a first byte.
    world.valve.let_through(MIB as usize);
    let response = registry.get(&format!("team/app/blobs/{digest}")).await?;
    ensure!(response.status() == 200, "{}", response.status());
    let (mut body, began) = (response.into_body(), Instant::now());
    let first = body.frame_data().await.context("no body")??;
    ensure!(!first.is_empty());
    tokio::time::sleep(Duration::from_secs(6).saturating_sub(began.elapsed())).await;
    world.valve.let_through(4 * MIB as usize);
    let mut all = first.to_vec();
    while let Some(bytes) = body.frame_data().await {
        all.extend_from_slice(&bytes?);
    }
    ensure!(Digest::sha256(&all) == digest, "{} bytes of another blob", all.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts servers and agents; run by cargo xtask test --tier e2e"]
async fn an_image_of_an_upstream_is_preheated_and_pulled_when_everything_else_is_down() -> Result<()> {
    let mut world = World::start(vec![2 * MIB, 200_000, 10_000]).await?;
    let agent = world.agent("agent", LONG)?;
    world.valve.drip(MIB as usize / 4, Duration::from_millis(50));
    let client = shoal_http::Client::default();
    let admin = agent.listener("admin")?;
    let ask = async |method: &str, path: String| -> Result<serde_json::Value> {
        let url = format!("http://{admin}{path}");
        let request = http::Request::builder().method(method).uri(url).body(shoal_http::Body::empty())?;
        let answer = client.send(request, PATIENCE).await?;
        Ok(serde_json::from_slice(&answer.into_body().collect(1 << 20).await?)?)
    };
    let image = format!("{REGISTRY}/team/app:{}", fixture::TAG);
    let begun = ask("POST", format!("/preheat?image={image}&platform=all")).await?;
    let path = format!("/preheat?id={}", begun["id"]);
    let ended = wait::wait_for(PATIENCE, async || {
        let job = ask("GET", path.clone()).await.ok()?[0].clone();
        (job["state"] != "running").then_some(job)
    });
    let job = ended.await.context("it does not end")?;
    ensure!(job["state"] == "done", "{job}");
    world.far.kill();
    world.near.kill();
    let report = Puller::new(through(&agent)?, Arc::new(|_| {})).pull("team/app", fixture::TAG).await?;
    ensure!(report.wrong().next().is_none() && report.bytes() == world.size(), "{report:?}");
    Ok(())
}
