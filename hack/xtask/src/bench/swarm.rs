//! `cargo xtask bench swarm`: one blob to many agents over links as slow as each other.
//!
//! The headline is the ratio of the agents' completion times to the fluid bound. Links are slow enough that CPU does not bind, so
//! the ratio survives a noisy machine; CPU time does not, and is only good for comparing runs of one session. Every output is
//! verified by SHA-256; a run with a wrong byte is a failure, whatever its time.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::bound::Links;
use super::measurement::{self, Measurement};
use super::netns::Network;
use super::noise::percentile;
use super::plot::{self, Curve};
use super::run::{self, Outcome, Plan};
use crate::interrupt::Interrupts;
use crate::terminal::complain;
use crate::{build, options};

/// Above this lateness of a sleeper (99th percentile) the machine was too busy for the run to count.
const LATENESS_MS_MAX: f64 = 25.0;
const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// Options of `cargo xtask bench swarm`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Numbers of agents, each measured in turn
    #[arg(long, value_delimiter = ',', default_value = "8,16", value_parser = clap::value_parser!(u16).range(1..=1000))]
    agents: Vec<u16>,
    /// Rate of every link, in each direction
    #[arg(long, default_value = "20mbit", value_parser = options::rate)]
    rate: u64,
    /// Size of the blob
    #[arg(long, default_value = "32MiB", value_parser = options::size)]
    size: u64,
    /// Runs for each number of agents
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "table")]
    output: measurement::Output,
    /// Draw the completion curves beside the bound
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// All runs with one number of agents.
struct Series {
    agents: u16,
    bound: f64,
    outcomes: Vec<Outcome>,
}

/// Measures, reports, draws.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bin_dir = build::release_programs()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let work = async { Interrupts::catch()?.guard(measure(arguments, &bin_dir)).await };
    let series = runtime.block_on(work)?;
    let measurements: Vec<Measurement> =
        series.iter().flat_map(|series| series.measurements(arguments.size)).collect();
    measurement::print(&measurements, arguments.output);
    if let Some(file) = &arguments.plot {
        let curves: Vec<Curve> = series.iter().flat_map(Series::curves).collect();
        let (size, rate) = (as_f64(arguments.size) / MIB, arguments.rate / 1_000_000);
        let title = format!("a blob of {size:.0} MiB over links of {rate} Mbit/s");
        fs::write(file, plot::draw(&title, &curves))
            .with_context(|| format!("cannot write {}", file.display()))?;
        complain(format_args!("the curves are in {}", file.display()));
    }
    let wrong: usize = series.iter().flat_map(|series| &series.outcomes).map(|outcome| outcome.wrong).sum();
    ensure!(wrong == 0, "{wrong} pulls did not have the right bytes");
    Ok(())
}

async fn measure(arguments: &Arguments, bin_dir: &std::path::Path) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for &agents in &arguments.agents {
        let network = Network::new(agents + 1, arguments.rate)?;
        let rate = as_f64(arguments.rate) / 8.0;
        let links =
            Links { receivers: agents.into(), origin_up: rate, receiver_up: rate, receiver_down: rate };
        let mut series =
            Series { agents, bound: links.fluid_bound(as_f64(arguments.size)), outcomes: Vec::new() };
        for number in 1..=arguments.runs {
            let plan = Plan { bin_dir, agents, size: arguments.size, seed: number.into() };
            let outcome = run::run(&plan, &network)
                .await
                .with_context(|| format!("run {number} of {agents} agents"))?;
            complain(format_args!(
                "{agents} agents, run {number}: p50 {:.3} and max {:.3} times the bound of {:.2} s, {:.2} origin copies, lateness {:.1} ms",
                percentile(&outcome.seconds, 50) / series.bound,
                percentile(&outcome.seconds, 100) / series.bound,
                series.bound,
                outcome.origin_bytes / as_f64(arguments.size),
                outcome.lateness_ms,
            ));
            series.outcomes.push(outcome);
        }
        all.push(series);
    }
    Ok(all)
}

impl Series {
    /// Median and worst of all runs for each number.
    fn measurements(&self, size: u64) -> Vec<Measurement> {
        let size = as_f64(size);
        let ratio = |percent| move |outcome: &Outcome| percentile(&outcome.seconds, percent);
        let delivered = f64::from(self.agents) * size / GIB;
        let mut all = vec![Measurement::new(self.name("bound"), self.bound, "s")];
        all.extend(self.summary("completion_p50", "× bound", |outcome| ratio(50)(outcome) / self.bound));
        all.extend(self.summary("completion_p99", "× bound", |outcome| ratio(99)(outcome) / self.bound));
        all.extend(self.summary("completion_max", "× bound", |outcome| ratio(100)(outcome) / self.bound));
        all.extend(
            self.summary("first_byte_p50", "s", |outcome| percentile(&outcome.first_byte_seconds, 50)),
        );
        all.extend(self.summary("origin_copies", "copies", |outcome| outcome.origin_bytes / size));
        all.extend(self.summary("duplicate_pieces", "pieces", |outcome| outcome.duplicate_pieces));
        all.extend(self.summary("cpu_per_delivered", "CPU-s/GiB", |outcome| outcome.cpu_seconds / delivered));
        let lateness = self.values(|outcome| outcome.lateness_ms);
        let lateness = Measurement::new(self.name("lateness_p99_worst"), percentile(&lateness, 100), "ms");
        all.push(lateness.at_most(LATENESS_MS_MAX));
        let wrong: usize = self.outcomes.iter().map(|outcome| outcome.wrong).sum();
        let wrong = u32::try_from(wrong).map_or(f64::INFINITY, f64::from);
        all.push(Measurement::new(self.name("wrong_outputs"), wrong, "pulls").at_most(0.0));
        all
    }

    fn summary(&self, name: &str, unit: &'static str, value: impl Fn(&Outcome) -> f64) -> [Measurement; 2] {
        let values = self.values(value);
        [
            Measurement::new(self.name(name), percentile(&values, 50), unit),
            Measurement::new(self.name(&format!("{name}_worst")), percentile(&values, 100), unit),
        ]
    }

    fn values(&self, value: impl Fn(&Outcome) -> f64) -> Vec<f64> {
        self.outcomes.iter().map(value).collect()
    }

    fn name(&self, name: &str) -> String {
        format!("swarm_{}_agents_{name}", self.agents)
    }

    fn curves(&self) -> Vec<Curve> {
        let label = format!("{} agents", self.agents);
        let curve = |outcome: &Outcome| Curve {
            label: label.clone(),
            seconds: outcome.seconds.clone(),
            bound: self.bound,
        };
        self.outcomes.iter().map(curve).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes and rates are far below 2^52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_worst_come_from_all_runs() {
        let outcome = |seconds: f64| Outcome {
            seconds: vec![seconds; 2],
            first_byte_seconds: vec![0.5; 2],
            wrong: 0,
            origin_bytes: 110.0,
            duplicate_pieces: 0.0,
            cpu_seconds: 1.0,
            lateness_ms: 30.0,
        };
        let series =
            Series { agents: 2, bound: 10.0, outcomes: vec![outcome(12.0), outcome(15.0), outcome(11.0)] };
        let all = series.measurements(100);
        let value = |name: &str| all.iter().find(|found| found.name == name).unwrap();
        assert!((value("swarm_2_agents_completion_p50").value - 1.2).abs() < 1e-9);
        assert!((value("swarm_2_agents_completion_max_worst").value - 1.5).abs() < 1e-9);
        assert_eq!(value("swarm_2_agents_origin_copies").holds, None);
        assert_eq!(value("swarm_2_agents_lateness_p99_worst").holds, Some(false));
        assert_eq!(value("swarm_2_agents_wrong_outputs").holds, Some(true));
    }
}
