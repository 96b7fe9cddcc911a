//! `cargo xtask bench simulate`: fleets that no machine holds, in virtual time, on the cores of production.
//!
//! A figure here is worth what the model is worth: the scenarios h1 to h4 have the links of the benches in network namespaces, and have
//! to give what those measure, before the others mean anything. Every run follows from its scenario, its options and its seed; a log
//! keeps every event that a core saw, and a replay compares a new run with it, event by event.

mod cdf;
mod journal;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use shoal_swarm_sim::{Bar, Figure, Knobs, Options, Outcome, SCENARIOS, Scenario, Witness};

use super::measurement::{self, Measurement};
use crate::options;
use crate::terminal::{complain, say};

/// Options of `cargo xtask bench simulate`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Scenarios to run, by name; without a name they are listed
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Run every scenario
    #[arg(long, conflicts_with = "scenario")]
    all: bool,
    /// Number of agents, instead of the scenario's
    #[arg(long)]
    agents: Option<u32>,
    /// Size of the blob
    #[arg(long, value_parser = options::size)]
    size: Option<u64>,
    /// Rate of the agents' links, in each direction
    #[arg(long, value_parser = options::rate)]
    rate: Option<u64>,
    /// Number of owners
    #[arg(long)]
    origins: Option<u32>,
    /// Every agent also reads the blob in order, this many pieces ahead
    #[arg(long)]
    readers: Option<u32>,
    /// Seeds, each run in turn
    #[arg(long, value_delimiter = ',', default_value = "1")]
    seed: Vec<u64>,
    /// Owners hand out nothing of their own choice
    #[arg(long)]
    uncoordinated: bool,
    /// A random neighbour is asked, not the least loaded
    #[arg(long)]
    random_neighbour: bool,
    /// Most bytes in flight per neighbour
    #[arg(long, value_parser = options::size)]
    in_flight: Option<u64>,
    /// Neighbours that a download looks for
    #[arg(long)]
    neighbours: Option<u32>,
    /// Pieces that agents and owners send at a time
    #[arg(long)]
    uploads: Option<u32>,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "table")]
    output: measurement::Output,
    /// Draw the completion curves beside the bound; {} in the name is the scenario's
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Write every event that a core sees
    #[arg(long, conflicts_with = "replay")]
    log: Option<PathBuf>,
    /// Run what a log describes once more, and compare every event
    #[arg(long, conflicts_with_all = ["scenario", "all"])]
    replay: Option<PathBuf>,
}

/// Runs, reports, draws.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(file) = &arguments.replay {
        return replay(file);
    }
    let chosen = arguments.chosen()?;
    if chosen.is_empty() {
        SCENARIOS.iter().for_each(|scenario| say(format_args!("{:14} {}", scenario.name, scenario.about)));
        return Ok(());
    }
    ensure!(
        arguments.log.is_none() || chosen.len() == 1 && arguments.seed.len() == 1,
        "a log is of one scenario with one seed"
    );
    let mut measurements = Vec::new();
    for scenario in chosen {
        let mut outcomes = Vec::new();
        for seed in &arguments.seed {
            outcomes.push(arguments.simulate(scenario, *seed)?);
        }
        measurements.extend(over_seeds(&outcomes));
        arguments.draw(scenario, &outcomes)?;
    }
    measurement::print(&measurements, arguments.output);
    Ok(())
}

impl Arguments {
    fn chosen(&self) -> Result<Vec<&'static Scenario>> {
        if self.all {
            return Ok(SCENARIOS.iter().collect());
        }
        let named = |name: &String| {
            Scenario::named(name).with_context(|| {
                let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
                format!("there is no scenario {name:?}; there are {}", names.join(", "))
            })
        };
        self.scenario.iter().map(named).collect()
    }

    fn options(&self, seed: u64) -> Options {
        Options {
            agents: self.agents,
            size: self.size,
            rate: self.rate.map(|bits| bits / 8),
            origins: self.origins,
            readers: self.readers,
            seed,
            knobs: Knobs {
                uncoordinated: self.uncoordinated,
                random_neighbour: self.random_neighbour,
                window_max: self.in_flight,
                neighbours: self.neighbours,
                uploads: self.uploads,
            },
        }
    }

    fn simulate(&self, scenario: &Scenario, seed: u64) -> Result<Outcome> {
        let options = self.options(seed);
        let witness = match &self.log {
            Some(file) => Some(journal::Scribe::create(file, scenario.name, &options)?),
            None => None,
        };
        let started = Instant::now();
        let outcome = scenario.run(&options, witness.map(|scribe| Box::new(scribe) as Box<dyn Witness>));
        outcome.lines.iter().for_each(|line| complain(format_args!("{line}")));
        let events: u64 = outcome.trails.iter().map(|trail| trail.len).sum();
        let hashes: Vec<String> = outcome.trails.iter().map(|trail| format!("{:016x}", trail.hash)).collect();
        complain(format_args!(
            "{}, seed {seed}: {:.1} s for {events} events; trail {}",
            scenario.name,
            started.elapsed().as_secs_f64(),
            hashes.join(" ")
        ));
        Ok(outcome)
    }

    fn draw(&self, scenario: &Scenario, outcomes: &[Outcome]) -> Result<()> {
        let Some(pattern) = &self.plot else { return Ok(()) };
        let file = PathBuf::from(pattern.to_string_lossy().replace("{}", scenario.name));
        let curves: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.curves).collect();
        let svg = cdf::draw(scenario.about, &curves, cdf::published(scenario.name));
        fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))?;
        complain(format_args!("the curves are in {}", file.display()));
        Ok(())
    }
}

/// Runs what a log describes and compares every event.
fn replay(file: &std::path::Path) -> Result<()> {
    let (name, options, reader) = journal::Reader::open(file)?;
    let scenario = Scenario::named(&name)
        .with_context(|| format!("the log is of a scenario {name:?} that is no more"))?;
    let difference = reader.difference();
    scenario.run(&options, Some(Box::new(reader)));
    match difference.take()? {
        None => say(format_args!("{name}, seed {}: the run went as the log says", options.seed)),
        Some(difference) => bail!("the run differs from the log: {difference}"),
    }
    Ok(())
}

/// A figure of one run as it is; of several runs the median and, where there is a bar, the worst.
fn over_seeds(outcomes: &[Outcome]) -> Vec<Measurement> {
    let Some(first) = outcomes.first() else { return Vec::new() };
    let mut all = Vec::new();
    for figure in &first.figures {
        let same =
            outcomes.iter().flat_map(|outcome| &outcome.figures).filter(|other| other.name == figure.name);
        let mut values: Vec<f64> = same.map(|figure| figure.value).collect();
        values.sort_by(f64::total_cmp);
        let median = Figure { value: values[values.len() / 2], ..figure.clone() };
        if let (Some(bar), true) = (figure.bar, outcomes.len() > 1) {
            let worst = if matches!(bar, Bar::AtMost(_)) { values.last() } else { values.first() };
            all.push(measured(&Figure { bar: None, aim: None, ..median }));
            let name = format!("{}_worst", figure.name);
            all.push(measured(&Figure { name, value: worst.copied().unwrap_or(f64::NAN), ..figure.clone() }));
        } else {
            all.push(measured(&median));
        }
    }
    all
}

fn measured(figure: &Figure) -> Measurement {
    let plain =
        Measurement::new(format!("simulated_{}", figure.name.replace('-', "_")), figure.value, figure.unit);
    let barred = match figure.bar {
        None => plain,
        Some(Bar::AtMost(bar)) => plain.at_most(bar),
        Some(Bar::AtLeast(bar)) => plain.at_least(bar),
    };
    figure.aim.map_or(barred.clone(), |aim| barred.aim(aim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_seeds_the_worst_has_to_hold() {
        let outcome = |value: f64| Outcome {
            figures: vec![Figure::new("x", value, "s").at_most(2.0), Figure::new("y", value, "s")],
            ..Outcome::default()
        };
        let all = over_seeds(&[outcome(1.0), outcome(3.0), outcome(1.5)]);
        let holds: Vec<_> = all.iter().map(|found| (found.name.as_str(), found.value, found.holds)).collect();
        assert_eq!(
            holds,
            [("simulated_x", 1.5, None), ("simulated_x_worst", 3.0, Some(false)), ("simulated_y", 1.5, None)]
        );
        assert_eq!(over_seeds(&[outcome(1.0)])[0].holds, Some(true));
    }
}
