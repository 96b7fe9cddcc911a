//! `cargo xtask test`: sets up what the tests need, runs them tier by tier, and ends with one line that can be trusted.
//!
//! A tier is a set of test binaries and a filter (see [`tier::Tier`]), so a plain `cargo test` stays light: what needs root or
//! real clients is `#[ignore]`d with a reason. A tier that cannot run here is named, and its tests are counted as skipped;
//! under `--strict`, or with `CI=true` in the environment, that is a failure.

mod outcome;
pub(crate) mod setup;
mod tier;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};

use crate::build;
use crate::terminal::{complain, say};
use crate::workspace;
use outcome::Counts;
use tier::Tier;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The tiers to run
    #[arg(long = "tier", value_enum, default_value = "all")]
    tiers: Vec<Choice>,
    /// Fail when a tier cannot run here; the default when CI=true
    #[arg(long)]
    strict: bool,
    /// Do not install packages, even as root
    #[arg(long)]
    no_install: bool,
    /// Run only tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Inside the crates: pure logic, inline tests
    Unit,
    /// The crates from outside: contract suites
    Contract,
    /// The swarm in virtual time
    Sim,
    /// Network namespaces; needs root
    Privileged,
    /// Real docker, containerd, podman, skopeo, buildah; needs root
    E2e,
    /// All of them
    All,
}

/// What became of one tier.
struct Report {
    tier: Tier,
    counts: Counts,
    duration: Duration,
    /// What kept it from running.
    missing: Vec<String>,
}

/// Runs the tiers.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let strict = arguments.strict || std::env::var("CI").is_ok_and(|value| value == "true");
    let tiers: Vec<Tier> = Tier::ALL.into_iter().filter(|tier| chosen(*tier, &arguments.tiers)).collect();
    let setup = setup::prepare(&tiers, !arguments.no_install)?;
    let metadata = workspace::metadata()?;
    let bin_dir =
        if tiers.iter().any(|tier| tier.needs_programs()) { Some(build::release_programs()?) } else { None };
    let mut reports = Vec::new();
    for tier in tiers {
        let missing = setup.missing(tier);
        let plan = tier.plan(&metadata, arguments.filter.as_deref(), bin_dir.as_deref());
        let started = Instant::now();
        say(format_args!("\n=== tier {} ===", tier.name()));
        let counts = if missing.is_empty() {
            outcome::run(&plan, tier.meets_the_world())?
        } else {
            complain(format_args!("SKIPPED: tier {} needs {}", tier.name(), missing.join(", ")));
            Counts { skipped: outcome::count(&plan)?, ..Counts::default() }
        };
        reports.push(Report { tier, counts, duration: started.elapsed(), missing });
    }
    conclude(&reports, strict)
}

fn chosen(tier: Tier, choices: &[Choice]) -> bool {
    let own = match tier {
        Tier::Unit => Choice::Unit,
        Tier::Contract => Choice::Contract,
        Tier::Sim => Choice::Sim,
        Tier::Privileged => Choice::Privileged,
        Tier::E2e => Choice::E2e,
    };
    choices.contains(&own) || choices.contains(&Choice::All)
}

fn conclude(reports: &[Report], strict: bool) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["tier", "passed", "failed", "skipped", "seconds", ""]);
    let mut total = Counts::default();
    for report in reports {
        let Counts { passed, failed, skipped, broken, unsteady } = report.counts;
        let remark = if broken > 0 {
            format!("{broken} test programs did not build or crashed")
        } else if unsteady > 0 {
            format!("UNSTEADY: {unsteady} passed only when run again")
        } else if report.missing.is_empty() {
            String::new()
        } else {
            format!("SKIPPED, needs {}", report.missing.join(", "))
        };
        table.add_row([
            report.tier.name().to_owned(),
            passed.to_string(),
            failed.to_string(),
            skipped.to_string(),
            format!("{:.1}", report.duration.as_secs_f64()),
            remark,
        ]);
        total.add(report.counts);
    }
    for column in 1..=4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let skipped_tiers: Vec<&str> =
        reports.iter().filter(|report| !report.missing.is_empty()).map(|report| report.tier.name()).collect();
    say(format_args!("\n{table}"));
    // A test program that crashed has failed at least once, whatever it managed to say.
    let failed = total.failed.max(usize::from(total.broken > 0));
    say(format_args!(
        "{} passed ({} unsteady), {failed} failed, {} skipped",
        total.passed, total.unsteady, total.skipped
    ));
    if failed > 0 {
        bail!("tests failed");
    }
    if strict && !skipped_tiers.is_empty() {
        bail!("these tiers did not run, and strict mode does not allow that: {}", skipped_tiers.join(", "));
    }
    Ok(())
}
