//! `cargo xtask bench mirror`: what an agent costs the machine that it is there to serve.
//!
//! One server and one agent on the loopback address, real programs, and clients of one socket each. The pull of a cached blob is measured
//! beside nginx, which gives the same file, in turns within one run, so that a disturbance of the machine hits both. Memory is read from
//! the kernel. Absolute figures hold for one machine on one day.

mod client;
mod nginx;
mod stock;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shoal_e2e::Cluster;

use super::measurement::{self, Measurement};
use super::noise::percentile;
use crate::terminal::complain;
use crate::{build, options};
use client::Client;
use nginx::Nginx;
use stock::Blob;

/// A tag that has not moved is answered faster than anybody notices: it is asked for once for each container that starts.
const HEAD_P99_MS_MAX: f64 = 2.0;
/// Of nginx's time for the same bytes.
const NGINX_RATIO_MAX: f64 = 1.05;
/// Resident memory of an agent that does nothing, and of one under [`PULLS`] pulls.
const IDLE_MIB_MAX: f64 = 32.0;
const BUSY_MIB_MAX: f64 = 96.0;
/// Of one processor.
const IDLE_CPU_MAX: f64 = 0.01;
/// Of the bytes that a client wants who asks for ranges without an end and hangs up when it has enough.
const OVER_SEND_MAX: f64 = 1.2;
/// How containerd is set to fetch a layer in parallel: the length of a chunk, and how many at once.
const CHUNK_LEN: u64 = 1 << 20;
const LANES: u64 = 4;
/// As much of the layer as is fetched so.
const RANGES_SIZE_MAX: u64 = 64 << 20;
/// Pulls at once.
const PULLS: usize = 16;
/// How often memory is read under load.
const LOOK: Duration = Duration::from_millis(20);
const REPOSITORY: &str = "bench/mirror";

/// Options of `cargo xtask bench mirror`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Size of each of the blobs that are pulled at once
    #[arg(long, default_value = "256MiB", value_parser = options::size)]
    size: u64,
    /// Size of the cached blob that is pulled beside nginx
    #[arg(long, default_value = "256MiB", value_parser = options::size)]
    warm: u64,
    /// Turns beside nginx
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// HEADs of a tag
    #[arg(long, default_value_t = 5000)]
    heads: usize,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "table")]
    output: measurement::Output,
    /// Tiny: shows that the bench works, and nothing else
    #[arg(long)]
    smoke: bool,
}

/// Measures and reports.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let programs = build::release_programs()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let measurements = runtime.block_on(measure(arguments, &programs))?;
    measurement::print(&measurements, arguments.output);
    Ok(())
}

async fn measure(arguments: &Arguments, programs: &Path) -> Result<Vec<Measurement>> {
    let smoke = arguments.smoke;
    let (size, warm) = if smoke { (1 << 20, 4 << 20) } else { (arguments.size, arguments.warm) };
    let (rounds, heads) = if smoke { (3, 200) } else { (arguments.rounds, arguments.heads) };
    let mut cluster = Cluster::start_from(programs, 1)?;
    complain("an agent that does nothing …");
    let mut all = idle(&mut cluster, if smoke { 1 } else { 10 }).await?;
    complain("pushing …");
    let registry = cluster.server.registry()?;
    let cached = Blob::push(&registry, REPOSITORY, 1, warm).await?;
    stock::push_tag(&registry, REPOSITORY, &cached).await?;
    complain("heads …");
    all.push(tokio::task::block_in_place(|| head_latency(&cluster, heads))?);
    complain("open ranges …");
    all.push(over_send(&cluster, &cached).await?);
    let mut others = Vec::new();
    for seed in 0..PULLS as u64 {
        others.push(Blob::push(&registry, REPOSITORY, 100 + seed, size).await?);
    }
    complain("pulls at once …");
    all.extend(tokio::task::block_in_place(|| pulls(&cluster, &others))?);
    complain("beside nginx …");
    all.extend(tokio::task::block_in_place(|| beside_nginx(&cluster, &cached, rounds))?);
    Ok(all)
}

/// What an agent takes that was just started and has nothing to do.
async fn idle(cluster: &mut Cluster, seconds: u64) -> Result<Vec<Measurement>> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let agent = cluster.agents[0].process();
    let before = agent.cpu_seconds().context("the agent is gone")?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = agent.cpu_seconds().context("the agent is gone")? - before;
    let rss = memory_mib(agent.id(), "VmRSS:")?;
    Ok(vec![
        Measurement::new("mirror_idle_rss", rss, "MiB").at_most(IDLE_MIB_MAX),
        Measurement::new("mirror_idle_cpu", used / seconds as f64, "processors").at_most(IDLE_CPU_MAX),
    ])
}

/// All at once through the agent, which has none of them; its memory meanwhile.
fn pulls(cluster: &Cluster, blobs: &[Blob]) -> Result<Vec<Measurement>> {
    let (address, id) = (cluster.agents[0].listener("registry")?, cluster.agents[0].id());
    let begun = Instant::now();
    let mut peak: f64 = 0.0;
    std::thread::scope(|scope| -> Result<()> {
        let pulls: Vec<_> = blobs
            .iter()
            .map(|blob| {
                scope.spawn(move || Client::connect(address)?.pull(&blob.path(REPOSITORY), blob.size))
            })
            .collect();
        while pulls.iter().any(|pull| !pull.is_finished()) {
            peak = peak.max(memory_mib(id, "VmRSS:")?);
            std::thread::sleep(LOOK);
        }
        for pull in pulls {
            pull.join().map_err(|_| anyhow::anyhow!("a pull panicked"))??;
        }
        Ok(())
    })?;
    let bytes: u64 = blobs.iter().map(|blob| blob.size).sum();
    let rate = bytes as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64();
    Ok(vec![
        Measurement::new("mirror_busy_rss_peak", peak, "MiB").at_most(BUSY_MIB_MAX),
        Measurement::new("mirror_cold_pulls_rate", rate, "MiB/s"),
    ])
}

/// How long a runtime waits for what a tag means, when it has not moved.
fn head_latency(cluster: &Cluster, count: usize) -> Result<Measurement> {
    let mut client = Client::connect(cluster.agents[0].listener("registry")?)?;
    let path = format!("/v2/{REPOSITORY}/manifests/v1");
    client.head(&path)?;
    let mut times_ms = Vec::with_capacity(count);
    for _ in 0..count {
        let asked = Instant::now();
        client.head(&path)?;
        times_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    let p50 = percentile(&times_ms, 50);
    let p99 = Measurement::new("mirror_tag_head_p99", percentile(&times_ms, 99), "ms");
    Ok(p99.at_most(HEAD_P99_MS_MAX).note(&format!("p50 {p50:.3} ms")))
}

/// What the agent hands to connections for each byte that a client wants who fetches a cached layer in parallel, by ranges without an end.
async fn over_send(cluster: &Cluster, blob: &Blob) -> Result<Measurement> {
    let (address, path) = (cluster.agents[0].listener("registry")?, blob.path(REPOSITORY));
    Client::connect(address)?.pull(&path, blob.size)?;
    let before = cluster.agents[0].metrics().await?.sent_to_clients();
    let wanted = blob.size.min(RANGES_SIZE_MAX);
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| -> Result<()> {
            let path = &path;
            let spawn = |lane| scope.spawn(move || take_lane(address, path, lane, wanted));
            let lanes: Vec<_> = (0..LANES).map(spawn).collect();
            lanes
                .into_iter()
                .try_for_each(|lane| lane.join().map_err(|_| anyhow::anyhow!("a lane panicked"))?)
        })
    })?;
    let sent = cluster.agents[0].metrics().await?.sent_to_clients() - before;
    Ok(Measurement::new("mirror_over_send", sent / wanted as f64, "of wanted").at_most(OVER_SEND_MAX))
}

/// Every so many chunks of a blob, one after the other, each by a range without an end that is given up when the chunk is there.
fn take_lane(address: SocketAddr, path: &str, lane: u64, wanted: u64) -> Result<()> {
    for from in (lane * CHUNK_LEN..wanted).step_by((CHUNK_LEN * LANES) as usize) {
        Client::connect(address)?.open_range(path, from, CHUNK_LEN.min(wanted - from))?;
    }
    Ok(())
}

/// A cached blob from the agent and the same file from nginx, in turns.
fn beside_nginx(cluster: &Cluster, blob: &Blob, rounds: usize) -> Result<Vec<Measurement>> {
    let agent = cluster.agents[0].listener("registry")?;
    // Once, so that the agent has it and has verified what it has.
    for _ in 0..2 {
        Client::connect(agent)?.pull(&blob.path(REPOSITORY), blob.size)?;
    }
    let Some(nginx) = Nginx::start(&cluster.directory().join("nginx"), blob)? else {
        complain("SKIPPED: nginx, which is not installed (apt-get install nginx-light)");
        return Ok(Vec::new());
    };
    Client::connect(nginx.address)?.pull(Nginx::PATH, blob.size)?;
    let (mut ours_ms, mut theirs_ms) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut turns = [(agent, blob.path(REPOSITORY)), (nginx.address, Nginx::PATH.to_owned())];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (address, path) in turns {
            let begun = Instant::now();
            Client::connect(address)?.pull(&path, blob.size)?;
            let time = begun.elapsed().as_secs_f64() * 1000.0;
            if address == agent { ours_ms.push(time) } else { theirs_ms.push(time) }
        }
    }
    let (ours, theirs) = (percentile(&ours_ms, 50), percentile(&theirs_ms, 50));
    ensure!(theirs > 0.0, "nginx took no time");
    Ok(vec![
        Measurement::new("mirror_warm_pull", ours, "ms"),
        Measurement::new("mirror_warm_pull_nginx", theirs, "ms"),
        Measurement::new("mirror_warm_pull_ratio", ours / theirs, "of nginx").at_most(NGINX_RATIO_MAX),
    ])
}

/// A line of `/proc/PID/status`, which counts in KiB.
fn memory_mib(id: u32, line: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = found.and_then(|rest| rest.split_whitespace().next()).context("no such line in the status")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
