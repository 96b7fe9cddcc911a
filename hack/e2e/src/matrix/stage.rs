//! What the faults happen to: a server behind proxies, a peer that has what it is given, and an agent for each client.

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use shoal_http::{Body, Client};
use shoal_oci::Digest;
use shoal_test_images::{Compression, Image, ImageSpec};
use tempfile::TempDir;

use super::client::{COUNT, FOREIGN, REGISTRY};
use super::fault::Fault;
use crate::cluster::Node;
use crate::disk::SmallDisk;
use crate::fixture;
use crate::liar::Liar;
use crate::process::{Process, Program};
use crate::programs::{self, Place};
use crate::proxy::{Manner, Proxy};
use crate::pull::Puller;
use crate::registry::Registry;
use crate::supervised::Supervised;
use crate::upstream::Upstream;
use crate::wait::wait_for;

/// Room of an agent's cache. It must be so small that filling it up takes no time.
const DISK_MIB: u32 = 96;
/// How long anything asked of an agent may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What slow pulls come at: a layer of 6 MiB takes two seconds.
const SLOW: &str = r#"{"download": "3MB/s"}"#;
/// Bytes after which a pull counts as under way.
const FLOWING: f64 = 300_000.0;
/// How long the server may leave an upstream alone that did not answer several times.
const AWAY_MAX: Duration = Duration::from_secs(70);
/// When a pull has not begun by then, the fault comes all the same.
const FLOWING_TIMEOUT: Duration = Duration::from_secs(6);

/// The stage.
pub struct Stage {
    /// An agent for each client, in their order. Dropped before the server.
    pub agents: Vec<Supervised>,
    /// An agent that no client uses: the peer.
    pub feeder: Node,
    /// The server, all its roles.
    pub server: Node,
    /// In front of its registry, for the agents.
    pub registry: Proxy,
    /// In front of its tracker, for the agents.
    pub tracker: Proxy,
    /// The foreign registry that the server pulls from.
    pub upstream: Upstream,
    /// Peers that lie, for as long as a fault goes on.
    pub liars: Vec<Liar>,
    /// The agents' disks.
    pub disks: Vec<SmallDisk>,
    brake: Option<Process>,
    images: usize,
    directory: TempDir,
    http: Client,
}

/// One fault's image.
#[derive(Debug)]
pub struct Case {
    /// In whose name it is pulled.
    pub registry: &'static str,
    /// `team/fault-7:v1`.
    pub reference: String,
    /// `team/fault-7`.
    pub repository: String,
    /// Bytes of all layers.
    pub size: u64,
    /// Layers by size, the largest first.
    pub layers: Vec<(Digest, u64)>,
}

impl Stage {
    /// Starts everything.
    pub async fn start() -> Result<Self> {
        let bin_dir = programs::bin_dir()?;
        let directory = tempfile::Builder::new().prefix("shoal-matrix-").tempdir()?;
        let upstream = Upstream::start().await?;
        let foreign = format!(
            "[{{registry: {FOREIGN}, endpoint: 'http://{}', plain_http: true, proxy: none, freshness: [{{valid_for: 0s}}]}}]",
            upstream.port.addr
        );
        let place = Place::loopback(directory.path().join("server")).with("upstreams", &foreign);
        let server = Node::server(&bin_dir, place)?;
        let feeder = Node::agent(&bin_dir, Place::loopback(directory.path().join("feeder")), &server)?;
        let registry = Proxy::start(server.listener("registry")?).await?;
        let tracker = Proxy::start(server.listener("tracker")?).await?;
        let (mut agents, mut disks) = (Vec::new(), Vec::new());
        for number in 0..COUNT {
            let disk = SmallDisk::tmpfs(DISK_MIB)?;
            let configuration = format!(
                "server: {{registry: \"http://{}\", trackers: [\"http://{}\"]}}\n\
                 cache: {{directory: {}, capacity: 64MiB, free_min: 0}}\npeer: {{listen: \"127.0.0.1:0\"}}\n",
                registry.addr,
                tracker.addr,
                disk.path().join("data").display(),
            );
            let socket = TcpListener::bind("127.0.0.1:0")?;
            let listen = format!("registry: {{listen: \"{}\"}}\n", socket.local_addr()?);
            let place = directory.path().join(format!("agent-{number}"));
            let bin = bin_dir.join("shoal-agent");
            agents.push(Supervised::start(&place, &bin, &(configuration + &listen), socket)?);
            disks.push(disk);
        }
        let (liars, brake, http) = (Vec::new(), None, Client::default());
        Ok(Self {
            agents,
            feeder,
            server,
            registry,
            tracker,
            upstream,
            liars,
            disks,
            brake,
            images: 0,
            directory,
            http,
        })
    }

    /// Where clients find the agents.
    pub fn mirrors(&self) -> Vec<SocketAddr> {
        self.agents.iter().map(|agent| agent.mirror).collect()
    }

    /// Makes and pushes the image of a fault, and brings it where the fault wants it to be.
    pub async fn prepare(&mut self, fault: &Fault) -> Result<Case> {
        self.images += 1;
        let number = self.images;
        let registry = if fault.foreign { FOREIGN } else { REGISTRY };
        let repository = format!("team/fault-{number}");
        let image = self.made(registry, &repository, fault.layers, 1000 + number as u64).await?;
        let mut layers: Vec<_> =
            image.platforms[0].layers.iter().map(|layer| (layer.digest, layer.size)).collect();
        layers.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        if fault.foreign {
            self.reach_upstream(&repository).await?;
        }
        let fed = fault.fed.then(|| self.feeder.listener("registry")).transpose()?;
        let cached = self.agents.iter().filter(|_| fault.cached).map(|agent| agent.mirror);
        for mirror in fed.into_iter().chain(cached) {
            let mirror = Registry::new(mirror).for_namespace(registry);
            Puller::new(mirror, std::sync::Arc::new(|_| {})).pull(&repository, "v1").await?;
        }
        self.limit(if fault.slow { SLOW } else { "{}" }).await?;
        let size = layers.iter().map(|(_, size)| size).sum();
        Ok(Case { registry, reference: format!("{repository}:v1"), repository, size, layers })
    }

    /// Waits until the server asks the upstream again, which it leaves alone for a while when that was away. Asks for a tag of `repository`
    /// that there is not, so that it gets nothing of it.
    async fn reach_upstream(&self, repository: &str) -> Result<()> {
        let url = format!(
            "http://{}/v2/{repository}/manifests/none?ns={FOREIGN}",
            self.server.listener("registry")?
        );
        let asked = wait_for(AWAY_MAX, || async {
            let request = http::Request::get(&url).body(Body::empty()).ok()?;
            let answer = self.http.send(request, TIMEOUT).await.ok()?;
            let said = answer.headers().get("shoal-freshness")?;
            (said == "not-found").then_some(())
        });
        asked.await.context("the server does not ask the upstream any more")
    }

    /// Pushes an image of layers of these sizes, whose bytes depend on `seed`; its reference.
    pub async fn push(&self, repository: &str, layers: &[u64], seed: u64) -> Result<String> {
        self.made(REGISTRY, repository, layers, seed).await?;
        Ok(format!("{repository}:v1"))
    }

    async fn made(&self, registry: &str, repository: &str, layers: &[u64], seed: u64) -> Result<Image> {
        let at = self.directory.path().join(format!("image-{seed}"));
        let mut spec = ImageSpec::new(layers.to_vec(), seed);
        spec.compression = Compression::None;
        let (layout, image) = fixture::made(&at, &spec)?;
        if registry == FOREIGN {
            self.upstream.add(repository, "v1", &layout, &image)?;
        } else {
            self.server.registry()?.push(repository, "v1", &layout, &image, &|_| {}).await?;
        }
        fs::remove_dir_all(&at)?;
        Ok(image)
    }

    /// Gives every agent other limits.
    pub async fn limit(&self, limits: &'static str) -> Result<()> {
        for agent in &self.agents {
            let url = format!("http://{}/limits", agent.admin);
            let request = http::Request::builder().method(Method::PUT).uri(url).body(Body::from(limits))?;
            self.http.exchange(request, 4096, TIMEOUT).await?;
        }
        Ok(())
    }

    /// Bytes that each agent has given to its client; `None` for one that does not answer.
    pub async fn given(&self, count: usize) -> Vec<Option<f64>> {
        let mut given = Vec::new();
        for agent in self.agents.iter().take(count) {
            let scrape = tokio::time::timeout(Duration::from_millis(500), agent.metrics()).await;
            given.push(scrape.ok().and_then(Result::ok).map(|metrics| metrics.sent_to_clients()));
        }
        given
    }

    /// Does something to each agent once it gives its client the bytes of a layer, or when that has not begun for a while.
    pub async fn each_flowing(
        &self,
        before: &[Option<f64>],
        act: fn(&Supervised) -> Result<()>,
    ) -> Result<()> {
        let until = Instant::now() + FLOWING_TIMEOUT;
        let mut left: Vec<usize> = (0..before.len()).collect();
        while !left.is_empty() {
            let mut waiting = Vec::new();
            for number in left {
                let agent = &self.agents[number];
                let now = agent.metrics().await.ok().map(|metrics| metrics.sent_to_clients());
                let flows = now.zip(before[number]).is_some_and(|(now, before)| now - before > FLOWING);
                if flows || Instant::now() >= until {
                    act(agent)?;
                } else {
                    waiting.push(number);
                }
            }
            left = waiting;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Everything is as it was at the start, for the next fault.
    pub async fn settle(&mut self) -> Result<()> {
        self.liars.clear();
        self.registry.behave(Manner::Pass);
        self.tracker.behave(Manner::Pass);
        self.upstream.recover();
        for agent in &self.agents {
            agent.bring_back()?;
        }
        Ok(())
    }

    /// Runs peers that say that they have everything; see [`Liar`].
    pub async fn lie(&mut self, case: &Case, silent: bool) -> Result<()> {
        let tracker = self.server.listener("tracker")?;
        for (digest, size) in &case.layers {
            for _ in 0..3 {
                // Each is somebody else.
                let number = u8::try_from(self.liars.len() + 1)?;
                let liar = if silent {
                    Liar::silent(tracker, *digest, *size, number).await
                } else {
                    Liar::start(tracker, *digest, *size, number).await
                };
                self.liars.push(liar?);
            }
        }
        Ok(())
    }

    /// Does something to the file of the largest layer in every agent's cache.
    pub fn damage(&self, case: &Case, how: fn(&Path) -> Result<()>) -> Result<()> {
        for disk in &self.disks {
            let path = file_of(&disk.path().join("data"), &case.layers[0])?;
            how(&path)?;
        }
        Ok(())
    }

    /// Takes the largest layer away from the server's disk, and from its memory.
    pub fn lose_at_server(&mut self, case: &Case) -> Result<()> {
        self.server.kill();
        fs::remove_file(file_of(&self.server.place().data(), &case.layers[0])?)?;
        self.server.restart()
    }

    /// What an agent says of the last pulls, for whoever looks into a cell that does not hold.
    pub async fn words(&self, agent: usize) -> String {
        let agent = &self.agents[agent];
        let url = format!("http://{}/why?n=12", agent.admin);
        let records = self.http.get_json::<serde_json::Value>(&url, TIMEOUT).await.unwrap_or_default();
        let mut text = format!("  started {} times\n", agent.starts());
        for record in records.as_array().into_iter().flatten() {
            let _ = writeln!(
                text,
                "  {} {} {} {} sent, first {} ms, total {} ms, {} {}",
                record["request"],
                record["status"],
                record["outcome"],
                record["sent_bytes"],
                record["first_byte_ms"],
                record["total_ms"],
                record["sources"],
                record["events"]
            );
        }
        text + &agent.log_tail()
    }

    /// Overwrites every manifest in every agent's cache.
    pub fn damage_manifests(&self) -> Result<()> {
        for disk in &self.disks {
            for entry in fs::read_dir(disk.path().join("data/manifests"))? {
                fs::write(entry?.path(), b"rotten")?;
            }
        }
        Ok(())
    }

    /// Lets the server run a fifth of the time, until [`Self::speed_up_server`].
    pub fn slow_down_server(&mut self) -> Result<()> {
        let id = self.server.id();
        let script = format!("while kill -STOP {id}; do sleep 0.2; kill -CONT {id}; sleep 0.05; done");
        let log = self.directory.path().join("slow.log");
        self.brake = Some(Program::new("sh").args(["-c", &script]).start("brake", &log)?);
        Ok(())
    }

    /// Ends [`Self::slow_down_server`].
    pub fn speed_up_server(&mut self) -> Result<()> {
        self.brake = None;
        self.signal_server("-CONT")
    }

    /// Freezes and thaws the server's process.
    pub fn signal_server(&self, signal: &str) -> Result<()> {
        let id = self.server.id().to_string();
        let output = Program::new("kill").args([signal, &id]).command().output()?;
        ensure!(output.status.success(), "kill {signal} {id}: {}", output.status);
        Ok(())
    }
}

/// The file below `directory` that holds a blob: its name has the digest, and its size is the blob's.
fn file_of(directory: &Path, (digest, size): &(Digest, u64)) -> Result<PathBuf> {
    let hex = digest.to_hex();
    let mut rest = vec![directory.to_owned()];
    while let Some(path) = rest.pop() {
        let named = path.file_name().is_some_and(|name| name.to_string_lossy().contains(&hex));
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                rest.push(entry?.path());
            }
        } else if named && fs::metadata(&path).is_ok_and(|metadata| metadata.len() == *size) {
            return Ok(path);
        }
    }
    Err(anyhow::anyhow!("no file of {digest}")).with_context(|| directory.display().to_string())
}
