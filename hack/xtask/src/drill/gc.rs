//! `cargo xtask drill gc`: the collection drill by hand, for minutes or hours.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shoal_e2e::drill::collect::{self, Plan, Summary};

use super::report::{Output, Report};
use super::seed;
use crate::build;
use crate::interrupt::Interrupts;
use crate::terminal::complain;

/// In a log, one line per so many collections.
const LINE_COLLECTIONS: u64 = 15;

/// Options of `cargo xtask drill gc`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long clients push
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Between two collections, in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    every_ms: u64,
    /// Decides the load; unset: another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Carries it out.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("shoal-drill-").tempdir()?;
    let plan = Plan {
        duration: Duration::from_secs_f64(arguments.minutes.clamp(0.05, 60.0 * 24.0 * 7.0) * 60.0),
        every: Duration::from_millis(arguments.every_ms),
        seed: arguments.seed.unwrap_or_else(seed),
        bin_dir: build::release_programs()?,
        directory: directory.path().to_owned(),
    };
    complain(format_args!("seed {}", plan.seed));
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let work = async { collect::run(&plan, &watch).await };
    let summary = runtime.block_on(async { Interrupts::catch()?.guard(work).await })?;
    report(plan.seed, &summary).print(arguments.output);
    ensure!(summary.faults.is_empty(), "{} faults with seed {}", summary.faults.len(), plan.seed);
    Ok(())
}

fn watch(summary: &Summary) {
    if summary.collections.is_multiple_of(LINE_COLLECTIONS) {
        complain(format_args!(
            "{} events, {} collections, {} blobs collected, {} faults",
            summary.events(),
            summary.collections,
            summary.collected_blobs,
            summary.faults.len()
        ));
    }
}

fn report(seed: u64, summary: &Summary) -> Report {
    let numbers = vec![
        ("seed", seed),
        ("events", summary.events()),
        ("blobs_pushed", summary.blobs),
        ("bytes_pushed", summary.bytes),
        ("blobs_found", summary.found),
        ("mounts", summary.mounts),
        ("manifests", summary.manifests),
        ("deletions", summary.deletions),
        ("blobs_compared", summary.read),
        ("late", summary.late),
        ("collections", summary.collections),
        ("blobs_collected", summary.collected_blobs),
        ("links_collected", summary.collected_links),
        ("bytes_freed", summary.freed_bytes),
    ];
    Report { numbers, faults: summary.faults.clone() }
}
