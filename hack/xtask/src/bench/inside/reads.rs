//! Random reads of blobs through an agent, one after the other, each compared with what the blob holds there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use shoal_e2e::wire::Wire;

use super::super::swarm::Blob;
use super::next_shot;
use super::pull::mirrored;
use crate::terminal::say;

/// Lengths of reads: from a few files of a lazily mounted image to a large one.
const LEN_MIN: u64 = 64 * 1024;
const LEN_MAX: u64 = 1024 * 1024;

/// Which blobs, for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    registry: SocketAddr,
    /// DIGEST=SIZE=SEED of each blob; reads take turns
    #[arg(long, value_delimiter = ',')]
    blob: Vec<String>,
    #[arg(long)]
    seconds: f64,
    #[arg(long)]
    seed: u64,
}

/// One read.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::bench) struct Done {
    /// Index of the blob.
    pub(in crate::bench) blob: usize,
    pub(in crate::bench) len: u64,
    pub(in crate::bench) seconds: f64,
    pub(in crate::bench) is_right: bool,
}

/// A blob with its bytes in memory.
struct Known {
    digest: String,
    bytes: Vec<u8>,
}

/// Waits for the shot, reads until the time is over, reports.
pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let blobs = arguments.blob.iter().map(|text| Known::parse(text)).collect::<Result<Vec<_>>>()?;
    let mut wire = Wire::connect(arguments.registry).await?;
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    let mut all: Vec<Done> = Vec::new();
    say("ready");
    next_shot()?;
    let (started, patience) = (Instant::now(), Duration::from_secs_f64(arguments.seconds));
    while started.elapsed() < patience {
        let blob = all.len() % blobs.len();
        all.push(read(&mut wire, &blobs[blob], blob, &mut random).await?);
    }
    say(format_args!("done {}", serde_json::to_string(&all)?));
    Ok(())
}

async fn read(wire: &mut Wire, known: &Known, blob: usize, random: &mut fastrand::Rng) -> Result<Done> {
    let size = known.bytes.len() as u64;
    let len = random.u64(LEN_MIN..=LEN_MAX).min(size);
    let start = random.u64(0..=size - len);
    let range = format!("bytes={start}-{}", start + len - 1);
    let mut wanted = &known.bytes[usize::try_from(start)?..usize::try_from(start + len)?];
    let mut is_right = true;
    let began = Instant::now();
    let request = wire.request("GET", &mirrored(&known.digest), &[("range", &range)], None);
    let compare = &mut |bytes: &[u8]| {
        is_right &= wanted.starts_with(bytes);
        wanted = wanted.get(bytes.len()..).unwrap_or_default();
    };
    let received = wire.read_through(&[&request], compare).await?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(received.status == 206, "a read was answered with {}", received.status);
    Ok(Done { blob, len, seconds, is_right: is_right && received.len == len })
}

impl Known {
    fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split('=');
        let digest = parts.next().context("no digest")?.to_owned();
        let mut number = || parts.next().and_then(|part| part.parse().ok()).context("DIGEST=SIZE=SEED");
        let (size, seed) = (number()?, number()?);
        Ok(Self { digest, bytes: Blob::whole(size, seed)? })
    }
}
