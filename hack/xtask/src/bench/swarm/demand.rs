//! Random reads through an agent whose link is full: of the blob that fills it, and of another one.
//!
//! What counts is how much longer a read takes than its bytes would alone on the link.

use std::time::Duration;

use anyhow::{Context, Result};

use super::super::inside::Done;
use super::super::netns::Network;
use super::super::noise::{Probe, percentile};
use super::as_f64;
use super::case::Case;
use super::outcome::Value;
use super::racer::Racer;
use super::shoal::{Programs, Settings};
use super::stage::{Blob, Stage};

/// The other blob is so much smaller than the one that fills the link.
const OTHER_SHARE: u64 = 4;
/// Reads end when so much of the bound is over, so that all of them are made under load.
const READING_SHARE: f64 = 0.8;
/// Reads begin when the pull is under way.
const HEAD_START: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(600);
const READER: u16 = 1;

/// One run.
pub(super) async fn run(
    case: &Case,
    settings: &Settings,
    network: &Network,
    directory: &std::path::Path,
    seed: u64,
) -> Result<(Vec<Value>, usize)> {
    let directory = tempfile::Builder::new().prefix("shoal-bench-").tempdir_in(directory)?;
    let stage = Stage { case, network, directory: directory.path(), blob: Blob::new(case.size, seed)? };
    let other = Blob::new(case.size / OTHER_SHARE, seed)?;
    let programs = Programs::start(settings, &stage)?;
    for blob in [&stage.blob, &other] {
        programs.push(blob.size, blob.seed, &blob.digest.to_string())?;
    }
    let bound = case.fleet(seed).bound().context("reads need a shaped link")?;
    let mut reader = reader(&stage, &programs, &other, bound * READING_SHARE, seed)?;
    reader.ready().await?;
    let mut pullers = Vec::new();
    for index in stage.agents() {
        let registry = programs.agent(index)?.listener("registry")?.to_string();
        let digest = stage.blob.digest.to_string();
        let words = stage.errand(index, &["pull", "--registry", &registry, "--digest", &digest])?;
        let mut puller = Racer::start(&words, &stage.directory.join(format!("client-{index}.log")))?;
        puller.ready().await?;
        pullers.push(puller);
    }
    let mut load = tokio::task::JoinSet::new();
    for mut puller in pullers {
        load.spawn(async move { puller.race(PATIENCE).await });
    }
    tokio::time::sleep(HEAD_START).await;
    let probe = Probe::start();
    let finish = reader.race(PATIENCE).await?;
    let lateness = probe.p99_ms();
    let reads: Vec<Done> = serde_json::from_str(&finish.words)?;
    let is_busy = load.try_join_next().is_none();
    let mut background = 0.0_f64;
    while let Some(done) = load.join_next().await {
        let finish = done??;
        background = background.max((finish.done - finish.shot).as_secs_f64());
    }
    anyhow::ensure!(is_busy, "the background load ended before the reads");
    let wrong = reads.iter().filter(|read| !read.is_right).count();
    Ok((values(case, &reads, background / bound, lateness), wrong))
}

fn reader(stage: &Stage<'_>, programs: &Programs, other: &Blob, seconds: f64, seed: u64) -> Result<Racer> {
    let registry = programs.agent(READER)?.listener("registry")?.to_string();
    let known = |blob: &Blob| format!("{}={}={}", blob.digest, blob.size, blob.seed);
    let blobs = [known(other), known(&stage.blob)].join(",");
    let (seconds, seed) = (seconds.to_string(), seed.to_string());
    let words = ["reads", "--registry", &registry, "--blob", &blobs, "--seconds", &seconds, "--seed", &seed];
    Racer::start(&stage.errand(READER, &words)?, &stage.directory.join("reader.log"))
}

fn values(case: &Case, reads: &[Done], background: f64, lateness_ms: f64) -> Vec<Value> {
    let byte_ms = case.rate.map_or(0.0, |rate| 8e3 / as_f64(rate));
    let beyond = |blob: usize| -> Vec<f64> {
        let reads = reads.iter().filter(|read| read.blob == blob);
        reads.map(|read| read.seconds.mul_add(1e3, -byte_ms * as_f64(read.len))).collect()
    };
    let (other, same) = (beyond(0), beyond(1));
    let ms = |measure, value| Value { measure, value, unit: "ms" };
    vec![
        Value { measure: "reads", value: as_f64(reads.len() as u64), unit: "reads" },
        ms("other_beyond_wire_p50", percentile(&other, 50)),
        ms("other_beyond_wire_p99", percentile(&other, 99)),
        ms("same_beyond_wire_p50", percentile(&same, 50)),
        ms("same_beyond_wire_p99", percentile(&same, 99)),
        Value { measure: "background_completion", value: background, unit: "× bound" },
        ms("lateness_p99", lateness_ms),
    ]
}
