//! `cargo xtask bench swarm`: one blob to many agents over shaped links, ours beside others, in named cases with bars.
//!
//! The headline is the ratio of the agents' completion times to the fluid bound. Links are slow enough that CPU does not bind, so
//! the ratio survives a noisy machine; CPU time does not, and is only good for comparing runs of one session. Contestants take turns,
//! so that a disturbance hits everybody. Every output is verified by SHA-256; a run with a wrong byte is a failure, whatever its time.

mod case;
mod contestant;
mod demand;
mod fleet;
mod options;
mod outcome;
mod outsider;
mod race;
mod racer;
mod report;
mod shoal;
mod small;
mod stage;
mod torrent;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::measurement::{self, Measurement};
use super::netns::Network;
use super::plot;
use super::registry::counters::as_f64;
use crate::build;
use crate::interrupt::Interrupts;
use crate::terminal::complain;
use case::{Case, Kind};
use contestant::Contestant;
pub(crate) use options::Arguments;
use outcome::Value;
use report::{LATENESS_MS_MAX, Report, Series};
pub(super) use stage::Blob;

/// How often a run is repeated because the machine was too busy for it to count.
const REPEATS_MAX: usize = 2;

/// Measures, reports, draws.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bin_dir = build::release_programs()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let work = async { Interrupts::catch()?.guard(measure_all(arguments, &bin_dir)).await };
    let reports = runtime.block_on(work)?;
    let measurements: Vec<Measurement> = reports.iter().flat_map(Report::measurements).collect();
    if arguments.output == measurement::Output::Json {
        measurement::print_json(&measurements);
    }
    let wrong =
        measurements.iter().filter(|found| found.name.ends_with("_wrong_outputs") && found.value > 0.0);
    let wrong: Vec<&str> = wrong.map(|found| found.name.as_str()).collect();
    ensure!(wrong.is_empty(), "not every pull had the right bytes: {}", wrong.join(", "));
    Ok(())
}

async fn measure_all(arguments: &Arguments, bin_dir: &Path) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for case in arguments.cases()? {
        complain(format_args!("{}", case.describe()));
        let report = measure(arguments, &case, bin_dir).await.with_context(|| case.name.clone())?;
        if arguments.output == measurement::Output::Table {
            report.print();
        }
        reports.push(report);
    }
    Ok(reports)
}

async fn measure(arguments: &Arguments, case: &Case, bin_dir: &Path) -> Result<Report> {
    let seeds = arguments.seeds();
    let network = Network::new(&case.fleet(0).links())?;
    if let Some(caveat) = report::caveat(seeds.len()) {
        complain(caveat);
    }
    if matches!(case.kind, Kind::Small | Kind::Demand) {
        return measure_latency(arguments, case, bin_dir, &network, &seeds).await;
    }
    let contestants = arguments.contestants(case, bin_dir);
    let series = race_all(arguments, case, &contestants, &network, &seeds).await?;
    if let (Some(directory), Kind::Swarm) = (&arguments.plot, case.kind) {
        draw(directory, case, &series)?;
    }
    Ok(Report::new(case, &series))
}

/// Only ours.
async fn measure_latency(
    arguments: &Arguments,
    case: &Case,
    bin_dir: &Path,
    network: &Network,
    seeds: &[u64],
) -> Result<Report> {
    let (settings, place) = (arguments.settings(bin_dir), arguments.directory());
    let (mut runs, mut rejected) = (Vec::new(), 0);
    for seed in seeds {
        for _ in 0..=REPEATS_MAX {
            let run = match case.kind {
                Kind::Demand => demand::run(case, &settings, network, &place, *seed).await?,
                _ => small::run(case, &settings, network, &place, *seed, arguments.counts()).await?,
            };
            complain(format_args!("shoal, run {seed}: {}", brief(&run.0)));
            let lateness = run.0.iter().find(|value| value.measure == "lateness_p99");
            if lateness.is_none_or(|found| found.value <= LATENESS_MS_MAX) {
                runs.push(run);
                break;
            }
            rejected += 1;
        }
    }
    ensure!(!runs.is_empty(), "the machine was too busy for any run to count");
    Ok(Report::of_values(case, &runs, rejected))
}

/// Each seed goes through all contestants, so that they take turns.
async fn race_all(
    arguments: &Arguments,
    case: &Case,
    contestants: &[Contestant],
    network: &Network,
    seeds: &[u64],
) -> Result<Vec<Series>> {
    let empty = |contestant: &Contestant| Series {
        contestant: contestant.name().to_owned(),
        outcomes: Vec::new(),
        rejected: 0,
    };
    let mut all: Vec<Series> = contestants.iter().map(empty).collect();
    let place = arguments.directory();
    for (number, seed) in (1..).zip(seeds) {
        for (contestant, series) in contestants.iter().zip(&mut all) {
            for repeat in 0..=REPEATS_MAX {
                let outcome = race::run(case, contestant, network, &place, *seed).await;
                let outcome = outcome.with_context(|| format!("{}, run {number}", contestant.name()))?;
                complain(format_args!(
                    "{}, run {number}: {}",
                    contestant.name(),
                    brief(&outcome.values(case))
                ));
                if outcome.lateness_ms <= LATENESS_MS_MAX {
                    series.outcomes.push(outcome);
                    break;
                }
                series.rejected += 1;
                complain(format_args!("the machine was too busy for this run to count (repeat {repeat})"));
            }
        }
    }
    ensure!(
        all.iter().all(|series| !series.outcomes.is_empty()),
        "the machine was too busy for any run to count: a sleeper was late by more than {LATENESS_MS_MAX} ms"
    );
    Ok(all)
}

/// One line about a run: what people look at first.
fn brief(values: &[Value]) -> String {
    const SHOWN: [&str; 14] = [
        "completion_p50",
        "completion_max",
        "own_bound_max",
        "seconds",
        "origin_copies",
        "overhead",
        "first_byte_share_max",
        "cpu_per_gb",
        "beyond_direct_p50",
        "cold_mib_p99",
        "other_beyond_wire_p99",
        "same_beyond_wire_p99",
        "background_completion",
        "lateness_p99",
    ];
    let shown = SHOWN.iter().filter_map(|name| values.iter().find(|value| value.measure == *name));
    let words: Vec<String> = shown.map(|found| format!("{} {:.3}", found.measure, found.value)).collect();
    words.join(", ")
}

fn draw(directory: &Path, case: &Case, series: &[Series]) -> Result<()> {
    let curves: Vec<plot::Curve> = series.iter().flat_map(Series::curves).collect();
    let file = directory.join(format!("swarm-{}.svg", case.name));
    fs::create_dir_all(directory)?;
    fs::write(&file, plot::draw(&case.describe(), &curves))
        .with_context(|| format!("cannot write {}", file.display()))?;
    complain(format_args!("the curves are in {}", file.display()));
    Ok(())
}
