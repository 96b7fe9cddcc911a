//! `cargo xtask bench registry`: our server beside others, in one run on one machine.
//!
//! Every registry has a fresh directory and a port of its own, and all of them wait while one is measured. Each round goes through
//! all phases, and each phase through all registries in another order, so that a disturbance of the machine hits everybody. The load
//! comes from one thread of this process, so that a server has the other core. Absolute figures hold for one machine on one
//! day; ratios within a run are what counts. A wrong status or a wrong byte is a failure, a missed bar is not.

mod bars;
mod contestant;
mod corpus;
pub(super) mod counters;
mod load;
mod peer;
mod phase;
mod results;
mod sample;
mod start_up;
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::measurement;
use crate::interrupt::Interrupts;
use crate::terminal::complain;
use crate::test::setup;
use crate::{build, options};
use contestant::Contestant;
use corpus::Stock;
use peer::Peer;
use phase::Phase;
use sample::{Conditions, Sample};

/// Above this share of the machine's time spent by others a sample does not count, and is taken again.
const FOREIGN_MAX: f64 = 0.08;
/// How often a sample is taken again because of that.
const REPEATS_MAX: u32 = 2;
/// Of what is free on the disk, the share that the bench may fill.
const DISK_SHARE: u64 = 4;

/// Options of `cargo xtask bench registry`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One more registry: NAME=PATH for the kinds we know (distribution, olareg, zot), else NAME=COMMAND with {port} and {dir}
    #[arg(long = "peer", value_name = "NAME=PATH_OR_COMMAND", value_parser = Peer::parse)]
    peers: Vec<Peer>,
    /// Rounds; fewer when the time is over
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only these phases
    #[arg(long, value_enum)]
    only: Vec<Phase>,
    /// Sizes of large pushes
    #[arg(long, value_delimiter = ',', default_value = "64MiB,128MiB,256MiB", value_parser = options::size)]
    size: Vec<u64>,
    /// Blobs of 4 KiB that a registry has when its start is timed, if they can be pushed in time
    #[arg(long, default_value_t = 10_000)]
    blobs: u64,
    /// No new round begins after this many minutes
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Where the registries write; unset: the system's temporary directory
    #[arg(long)]
    directory: Option<PathBuf>,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "table")]
    output: measurement::Output,
    /// Tiny: shows that the bench works, and nothing else
    #[arg(long)]
    smoke: bool,
}

/// What is done, after the options were looked at.
pub(super) struct Plan {
    phases: Vec<Phase>,
    rounds: u32,
    sizes: Vec<u64>,
    blobs: u64,
    deadline: Duration,
    conditions: Conditions,
}

/// Measures and reports.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut peers = vec![Peer::shoal(build::release_programs()?)];
    match setup::provide("docker-registry", "docker-registry", !arguments.smoke) {
        Some(path) => peers.push(Peer::debian(path)),
        None => {
            complain("SKIPPED: docker-registry, which is not installed (apt-get install docker-registry)");
        }
    }
    peers.extend(arguments.peers.iter().cloned());
    let plan = Plan::of(arguments);
    let place = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::Builder::new().prefix("shoal-bench-").tempdir_in(place)?;
    // One thread: the load must not take the server's core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async {
        let mut interrupts = Interrupts::catch()?;
        interrupts.guard(measure(&plan, &peers, directory.path())).await
    };
    let measurements = runtime.block_on(work)?;
    match arguments.output {
        measurement::Output::Json => measurement::print_json(&measurements),
        measurement::Output::Table => {
            let names: Vec<String> = peers.into_iter().map(|peer| peer.name).collect();
            table::print(&measurements, &names);
        }
    }
    Ok(())
}

impl Plan {
    fn of(arguments: &Arguments) -> Self {
        let every = Phase::ALL.to_vec();
        let phases = if arguments.only.is_empty() { every } else { arguments.only.clone() };
        if arguments.smoke {
            let (sizes, conditions) = (vec![1 << 20], Conditions::smoke());
            return Self {
                phases,
                rounds: 1,
                sizes,
                blobs: 50,
                deadline: Duration::from_secs(60),
                conditions,
            };
        }
        Self {
            phases,
            rounds: arguments.rounds,
            sizes: arguments.size.clone(),
            blobs: arguments.blobs,
            deadline: Duration::from_secs_f64(arguments.minutes.clamp(0.1, 600.0) * 60.0),
            conditions: Conditions::default(),
        }
    }

    /// What each registry does in a round; a size is that of a large push.
    fn turns(&self) -> Vec<(Phase, u64)> {
        let timed = self.phases.iter().filter(|phase| **phase != Phase::StartUp);
        timed
            .flat_map(|phase| match phase {
                Phase::PushLarge => self.sizes.iter().map(|size| (*phase, *size)).collect(),
                _ => vec![(*phase, 0)],
            })
            .collect()
    }

    /// Refuses a plan that would fill the disk.
    fn check_room(&self, directory: &std::path::Path, peers: usize) -> Result<()> {
        let once: u64 = self.sizes.iter().sum::<u64>() * peers as u64;
        let wanted = once * u64::from(self.rounds);
        let free = counters::free_bytes(directory)?;
        ensure!(
            wanted < free / DISK_SHARE * (DISK_SHARE - 1),
            "{} rounds would write {} MiB to {}, where {} MiB are free: give --rounds, --size or --directory",
            self.rounds,
            wanted >> 20,
            directory.display(),
            free >> 20
        );
        Ok(())
    }
}

async fn measure(
    plan: &Plan,
    peers: &[Peer],
    directory: &std::path::Path,
) -> Result<Vec<measurement::Measurement>> {
    let began = Instant::now();
    plan.check_room(directory, peers.len())?;
    complain("making random bytes …");
    let mut stock = Stock::new(plan.sizes.iter().copied().max().unwrap_or_default());
    let mut contestants = Vec::new();
    for peer in peers {
        let contestant = Contestant::start(peer, directory, &mut stock, &plan.conditions).await;
        contestants.push(contestant.with_context(|| format!("{} does not work here", peer.name))?);
    }
    let mut samples = Vec::new();
    let mut longest = Duration::ZERO;
    for round in 0..plan.rounds {
        if round > 0 && began.elapsed() + longest > plan.deadline {
            complain(format_args!("the time is over after {round} rounds"));
            break;
        }
        let round_began = Instant::now();
        samples.extend(measure_round(plan, round, &mut contestants, &mut stock, began).await?);
        longest = longest.max(round_began.elapsed());
        complain(format_args!("round {} of {} took {:.0?}", round + 1, plan.rounds, round_began.elapsed()));
    }
    let mut measurements = results::measurements(&samples, &contestants)?;
    if plan.phases.contains(&Phase::StartUp) {
        measurements
            .extend(start_up::measure(&mut contestants, &mut stock, plan.blobs, plan.conditions).await?);
    }
    Ok(measurements)
}

async fn measure_round(
    plan: &Plan,
    round: u32,
    contestants: &mut [Contestant],
    stock: &mut Stock,
    began: Instant,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (number, (phase, size)) in plan.turns().into_iter().enumerate() {
        // Another one is first each time.
        let first = (round as usize + number) % contestants.len().max(1);
        let (late, early) = contestants.split_at_mut(first);
        for contestant in early.iter_mut().chain(late) {
            for _ in 0..=plan.conditions.repeats_max {
                let sample = sample::take(phase, size, contestant, stock, &plan.conditions).await;
                samples.push(sample.with_context(|| format!("{} of {}", phase.name(), contestant.name()))?);
                let is_quiet = samples.last().is_some_and(|sample| sample.foreign <= FOREIGN_MAX);
                if is_quiet || began.elapsed() > plan.deadline {
                    break;
                }
            }
        }
    }
    Ok(samples)
}
