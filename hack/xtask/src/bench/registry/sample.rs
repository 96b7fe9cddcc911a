//! One measurement of one phase of one registry.

use std::time::Duration;

use anyhow::Result;

use super::contestant::Contestant;
use super::corpus::{ACCEPT, Stock};
use super::counters::{self, Machine, TICKS_PER_SECOND, as_f64};
use super::load::{self, REPOSITORY, Tally};
use super::phase::Phase;
use crate::bench::noise::percentile;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// How hard and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) connections: usize,
    /// Of a phase that is a rate.
    pub(super) duration: Duration,
    /// Size of the blob that is pulled.
    pub(super) pull_size: u64,
    /// Pulls in one sample of the phase with one stream.
    pub(super) pulls: usize,
    /// Pulls of each of several streams.
    pub(super) pulls_each: usize,
    /// How often a disturbed sample is taken again.
    pub(super) repeats_max: u32,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            connections: 32,
            // Two hundred ticks of CPU time, and many times the slowest answer.
            duration: Duration::from_secs(2),
            pull_size: 128 << 20,
            // With eight streams and two pulls each, 2 GiB: a tick of CPU time is a few percent of the best that is known.
            pulls: 8,
            pulls_each: 2,
            repeats_max: super::REPEATS_MAX,
        }
    }
}

impl Conditions {
    pub(super) fn smoke() -> Self {
        Self {
            connections: 4,
            duration: Duration::from_millis(100),
            pull_size: 1 << 20,
            pulls: 1,
            pulls_each: 1,
            repeats_max: 0,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) phase: Phase,
    /// Of large pushes; 0 elsewhere.
    pub(super) size: u64,
    pub(super) contestant: String,
    /// MiB/s of large phases, answers per second of the others.
    pub(super) rate: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Of the server: CPU-s/GiB of large phases, µs per answer of the others.
    pub(super) cpu: f64,
    /// Bytes to the disk per byte pushed.
    pub(super) written: f64,
    /// Bytes from the disk per byte pushed.
    pub(super) read: f64,
    /// The share of the machine that others used meanwhile.
    pub(super) foreign: f64,
}

/// Takes one sample.
pub(super) async fn take(
    phase: Phase,
    size: u64,
    contestant: &mut Contestant,
    stock: &mut Stock,
    conditions: &Conditions,
) -> Result<Sample> {
    // What others left to be written is written before the clock starts.
    counters::sync(contestant.directory())?;
    let work = Work::prepare(phase, size, contestant, stock);
    let (machine, before) = (Machine::now()?, contestant.usage()?);
    let tally = work.carry_out(contestant, conditions).await?;
    let (after, now) = (contestant.usage()?, Machine::now()?);
    let ticks = after.cpu_ticks.saturating_sub(before.cpu_ticks);
    counters::sync(contestant.directory())?;
    let synced = contestant.usage()?;
    contestant.blobs += match phase {
        Phase::PushLarge | Phase::PushSmall => tally.latencies_ms.len() as u64,
        _ => 0,
    };
    let cpu_seconds = as_f64(ticks) / TICKS_PER_SECOND;
    let (bytes, answers) = (as_f64(tally.bytes).max(1.0), as_f64(tally.latencies_ms.len() as u64).max(1.0));
    Ok(Sample {
        phase,
        size,
        contestant: contestant.name().to_owned(),
        rate: if phase.is_large() { bytes / MIB } else { answers } / tally.seconds,
        p50_ms: percentile(&tally.latencies_ms, 50),
        p99_ms: percentile(&tally.latencies_ms, 99),
        cpu: if phase.is_large() { cpu_seconds / (bytes / GIB) } else { cpu_seconds * 1e6 / answers },
        written: as_f64(synced.written.saturating_sub(before.written)) / bytes,
        read: as_f64(synced.read.saturating_sub(before.read)) / bytes,
        foreign: now.foreign_since(&machine, ticks),
    })
}

/// A phase whose requests are made: what the client has to compute is computed before the clock starts.
enum Work<'stock> {
    Push(super::corpus::Item<'stock>),
    Pull { streams: usize },
    PushSmall((u64, Vec<u8>)),
    Repeat(Vec<Vec<u8>>),
}

/// Streams of the phase with several.
const STREAMS: usize = 8;

impl<'stock> Work<'stock> {
    fn prepare(phase: Phase, size: u64, contestant: &Contestant, stock: &'stock mut Stock) -> Self {
        match phase {
            Phase::PushLarge => Self::Push(stock.item(size)),
            Phase::PullOne => Self::Pull { streams: 1 },
            Phase::PullMany => Self::Pull { streams: STREAMS },
            Phase::PushSmall => Self::PushSmall(stock.small()),
            _ => Self::Repeat(requests(phase, contestant)),
        }
    }

    async fn carry_out(self, contestant: &Contestant, conditions: &Conditions) -> Result<Tally> {
        let (address, Conditions { connections, duration, .. }) = (contestant.address(), *conditions);
        match self {
            Self::Push(item) => load::push(address, &item).await,
            Self::Pull { streams } => {
                let times = if streams == 1 { conditions.pulls } else { conditions.pulls_each };
                load::pull(address, contestant.corpus.large, streams, times).await
            }
            Self::PushSmall(small) => {
                load::push_small(address, connections, duration, u64::MAX / 2, small).await
            }
            Self::Repeat(requests) => load::repeat(address, connections, duration, requests).await,
        }
    }
}

/// The requests of a phase that is a rate.
fn requests(phase: Phase, contestant: &Contestant) -> Vec<Vec<u8>> {
    let (corpus, host) = (&contestant.corpus, contestant.address());
    let line = |method: &str, path: &str| {
        let (name, value) = ACCEPT;
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{name}: {value}\r\n\r\n").into_bytes()
    };
    let manifest = |reference: &str| format!("/v2/{REPOSITORY}/manifests/{reference}");
    let tags = corpus.manifests.iter().map(|(tag, _)| manifest(tag));
    let digests = corpus.manifests.iter().map(|(_, digest)| manifest(&digest.to_string()));
    let blobs = corpus.small.iter().map(|digest| format!("/v2/{REPOSITORY}/blobs/{digest}"));
    match phase {
        Phase::ManifestTag => tags.map(|path| line("GET", &path)).collect(),
        Phase::ManifestHead => tags.map(|path| line("HEAD", &path)).collect(),
        Phase::ManifestDigest => digests.map(|path| line("GET", &path)).collect(),
        Phase::BlobGet => blobs.map(|path| line("GET", &path)).collect(),
        Phase::BlobHead => blobs.map(|path| line("HEAD", &path)).collect(),
        _ => vec![line("GET", "/v2/")],
    }
}
