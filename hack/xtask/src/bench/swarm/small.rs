//! Small blobs: how much longer a warm agent takes than the server itself, and how long a blob of 1 MiB takes that no agent has.
//!
//! Links are as fast as the machine, so that round trips and turns of the programs are what is measured. Pulls through the agent
//! and direct ones take turns, on connections that stay.

use anyhow::{Context, Result};

use super::super::inside::Pulled;
use super::super::netns::Network;
use super::super::noise::{Probe, percentile};
use super::case::Case;
use super::outcome::Value;
use super::racer::Racer;
use super::shoal::{Programs, Settings};
use super::stage::{Blob, Stage};

const SMALL_SIZE: u64 = 64 * 1024;
/// Pulls that warm the agent up: its connection to the server, and to the tracker.
const WARM_UP: usize = 3;
/// How long one pull may take; far above any bar.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const FIRST_AGENT: u16 = 1;

/// How many blobs of each size one run pulls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) small: usize,
    pub(super) mib: usize,
}

impl Default for Counts {
    fn default() -> Self {
        // 50 make the 98th percentile a value that occurred; 25 by four agents the 99th.
        Self { small: 50, mib: 25 }
    }
}

/// One run.
pub(super) async fn run(
    case: &Case,
    settings: &Settings,
    network: &Network,
    directory: &std::path::Path,
    seed: u64,
    counts: Counts,
) -> Result<(Vec<Value>, usize)> {
    let directory = tempfile::Builder::new().prefix("shoal-bench-").tempdir_in(directory)?;
    let stage = Stage { case, network, directory: directory.path(), blob: Blob::new(SMALL_SIZE, seed)? };
    let programs = Programs::start(settings, &stage)?;
    let small = push(&programs, SMALL_SIZE, counts.small + WARM_UP, seed << 20)?;
    let mib = push(&programs, case.size, counts.mib, seed << 21)?;
    let probe = Probe::start();
    let (through, direct) = alternate(&stage, &programs, &small).await?;
    let cold = together(&stage, &programs, &mib).await?;
    let lateness = probe.p99_ms();
    let wrong = [&through, &direct, &cold].into_iter().flatten().filter(|pull| !pull.is_right).count();
    let ms = |pulls: &[Timed], skipped: usize| -> Vec<f64> {
        pulls.iter().skip(skipped).map(|pull| pull.seconds * 1e3).collect()
    };
    let (through, direct, cold) = (ms(&through, WARM_UP), ms(&direct, WARM_UP), ms(&cold, 0));
    let direct_p50 = percentile(&direct, 50);
    let value = |measure, value| Value { measure, value, unit: "ms" };
    let values = vec![
        value("direct_p50", direct_p50),
        value("agent_p50", percentile(&through, 50)),
        value("agent_p99", percentile(&through, 99)),
        value("beyond_direct_p50", percentile(&through, 50) - direct_p50),
        value("beyond_direct_p99", percentile(&through, 99) - direct_p50),
        value("cold_mib_p50", percentile(&cold, 50)),
        value("cold_mib_p99", percentile(&cold, 99)),
        value("lateness_p99", lateness),
    ];
    Ok((values, wrong))
}

/// One pull.
struct Timed {
    seconds: f64,
    is_right: bool,
}

fn push(programs: &Programs, size: u64, count: usize, first_seed: u64) -> Result<Vec<Blob>> {
    (0..count as u64)
        .map(|number| {
            let blob = Blob::new(size, first_seed + number)?;
            programs.push(size, blob.seed, &blob.digest.to_string())?;
            Ok(blob)
        })
        .collect()
}

/// Every blob through the first agent, and then from the server itself.
async fn alternate(
    stage: &Stage<'_>,
    programs: &Programs,
    blobs: &[Blob],
) -> Result<(Vec<Timed>, Vec<Timed>)> {
    let agent = programs.agent(FIRST_AGENT)?.listener("registry")?.to_string();
    let server = programs.server().listener("registry")?.to_string();
    let mut agent = client(stage, FIRST_AGENT, &["--registry", &agent], blobs)?;
    let mut server = client(stage, FIRST_AGENT, &["--direct", "--registry", &server], blobs)?;
    agent.ready().await?;
    server.ready().await?;
    let (mut through, mut direct) = (Vec::new(), Vec::new());
    for blob in blobs {
        through.push(pull(&mut agent, blob).await?);
        direct.push(pull(&mut server, blob).await?);
    }
    Ok((through, direct))
}

/// Every blob by all agents at once.
async fn together(stage: &Stage<'_>, programs: &Programs, blobs: &[Blob]) -> Result<Vec<Timed>> {
    let mut clients = Vec::new();
    for index in stage.agents() {
        let agent = programs.agent(index)?.listener("registry")?.to_string();
        let mut client = client(stage, index, &["--registry", &agent], blobs)?;
        client.ready().await?;
        clients.push(client);
    }
    let mut all = Vec::new();
    for blob in blobs {
        let mut tasks = tokio::task::JoinSet::new();
        for mut client in std::mem::take(&mut clients) {
            let blob = *blob;
            tasks.spawn(async move {
                let timed = pull(&mut client, &blob).await;
                (client, timed)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let (client, timed) = done?;
            clients.push(client);
            all.push(timed?);
        }
    }
    Ok(all)
}

fn client(stage: &Stage<'_>, index: u16, how: &[&str], blobs: &[Blob]) -> Result<Racer> {
    let digests: Vec<String> = blobs.iter().map(|blob| blob.digest.to_string()).collect();
    let digests = digests.join(",");
    let words = [&["pull", "--digest", &digests], how].concat();
    Racer::start(&stage.errand(index, &words)?, &stage.directory.join(format!("client-{index}.log")))
}

async fn pull(racer: &mut Racer, blob: &Blob) -> Result<Timed> {
    let finish =
        racer.race(PATIENCE).await.with_context(|| format!("{} of {} bytes", blob.digest, blob.size))?;
    let pulled: Pulled = serde_json::from_str(&finish.words)?;
    let is_right = pulled.size == blob.size && pulled.digest == blob.digest.to_string();
    Ok(Timed { seconds: pulled.seconds, is_right })
}
