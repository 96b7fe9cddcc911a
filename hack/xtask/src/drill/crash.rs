//! `cargo xtask drill crash`: the crash drill by hand, hundreds of rounds long.

use anyhow::{Context, Result, ensure};
use shoal_e2e::drill::crash::{self, Plan, Summary};

use super::report::{Output, Report};
use super::seed;
use crate::build;
use crate::interrupt::Interrupts;
use crate::terminal::complain;

/// In a log, one line per so many rounds.
const LINE_ROUNDS: u64 = 10;

/// Options of `cargo xtask drill crash`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kills
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rounds: u64,
    /// With a collector that frees what nothing refers to, after the shortest grace
    #[arg(long)]
    collect: bool,
    /// Each time the disk loses its power as well, with everything that was not synced; needs root
    #[arg(long)]
    power_loss: bool,
    /// Decides the load and the moments; unset: another one each time
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
        rounds: arguments.rounds,
        collect: arguments.collect,
        power_loss: arguments.power_loss,
        seed: arguments.seed.unwrap_or_else(seed),
        bin_dir: build::release_programs()?,
        directory: directory.path().to_owned(),
    };
    complain(format_args!("seed {}", plan.seed));
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let work = async { crash::run(&plan, &watch).await };
    let summary = runtime.block_on(async { Interrupts::catch()?.guard(work).await })?;
    report(plan.seed, &summary).print(arguments.output);
    if !summary.faults.is_empty() {
        // So that somebody can look at it.
        complain(format_args!("the server's directory is kept in {}", directory.keep().display()));
    }
    ensure!(summary.faults.is_empty(), "{} faults with seed {}", summary.faults.len(), plan.seed);
    Ok(())
}

fn watch(summary: &Summary) {
    if summary.rounds.is_multiple_of(LINE_ROUNDS) {
        complain(format_args!(
            "round {}: {} acknowledged, {} comparisons, {} faults",
            summary.rounds,
            summary.counts.acknowledged(),
            summary.checked,
            summary.faults.len()
        ));
    }
}

fn report(seed: u64, summary: &Summary) -> Report {
    let counts = summary.counts;
    let numbers = vec![
        ("seed", seed),
        ("rounds", summary.rounds),
        ("kills", summary.kills),
        ("acknowledged_blobs", counts.blobs),
        ("acknowledged_manifests", counts.manifests),
        ("acknowledged_tag_writes", counts.tags),
        ("acknowledged_deletions", counts.deletions),
        ("unanswered_requests", counts.unanswered),
        ("collections", summary.collections),
        ("collected_blobs", summary.collected),
        ("comparisons", summary.checked as u64),
        ("slowest_start_ms", u64::try_from(summary.start_ms_max).unwrap_or(u64::MAX)),
    ];
    Report { numbers, faults: summary.faults.clone() }
}
