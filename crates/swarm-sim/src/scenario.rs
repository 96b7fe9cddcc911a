//! The list of what is run: each scenario with the parameters that give its figures their meaning, and with its bars.

mod benches;
mod fleets;
mod hostile;
mod reading;
mod trouble;
mod zones;

use crate::figure::Figure;
use crate::fleet::{Fleet, FleetSpec, Knobs};
use crate::log::{Trail, Witness};
use crate::net::Net;
use crate::report::{Report, quantile};

/// What a run may change of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number of agents.
    pub agents: Option<u32>,
    /// Size of the blob in bytes.
    pub size: Option<u64>,
    /// Rate of each agent's link in bytes per second.
    pub rate: Option<u64>,
    /// Number of owners.
    pub origins: Option<u32>,
    /// Every agent also reads the blob in order, this many pieces ahead.
    pub readers: Option<u32>,
    /// Seed.
    pub seed: u64,
    /// What each mechanism is worth.
    pub knobs: Knobs,
}

/// When the agents of one run were done.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Which run.
    pub label: String,
    /// When each agent was done, in seconds; in order.
    pub seconds: Vec<f64>,
    /// The fluid bound in seconds.
    pub bound: f64,
}

/// What a scenario gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Its figures.
    pub figures: Vec<Figure>,
    /// When the agents of its runs were done.
    pub curves: Vec<Curve>,
    /// Hashes of its runs, in order.
    pub trails: Vec<Trail>,
    /// Its runs in one line each.
    pub lines: Vec<String>,
}

/// A scenario by name.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    run: fn(&mut Run),
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Scenario {
    /// Runs it; `witness` is told of everything that a core sees.
    pub fn run(&self, options: &Options, witness: Option<Box<dyn Witness>>) -> Outcome {
        let mut run = Run { options: options.clone(), witness, outcome: Outcome::default() };
        (self.run)(&mut run);
        run.outcome
    }

    /// The scenario of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }
}

const fn scenario(name: &'static str, about: &'static str, run: fn(&mut Run)) -> Scenario {
    Scenario { name, about, run }
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "h1",
        "16 agents, 20 Mbit/s, an owner as slow as an agent, 32 MiB; as in network namespaces",
        benches::h1,
    ),
    scenario("h2", "the same with an owner four times as fast", benches::h2),
    scenario("h3", "32 agents, 40 Mbit/s, 64 MiB, MTU 9000", benches::h3),
    scenario("h4", "64 agents, 10 Mbit/s, 16 MiB, MTU 9000", benches::h4),
    scenario("kraken", "Kraken's published case: 2,600 hosts, 3 GB, 300 MB/s, 5 origins", fleets::kraken),
    scenario("wide", "15,000 hosts, 1.5 GB, one origin as slow as an agent", fleets::wide),
    scenario("long", "100 GB to 10,000 hosts, as a blob of fewer pieces", fleets::long),
    scenario("small", "64 KiB to 2,600 cold agents at once", fleets::small),
    scenario("layers", "ten layers in parallel to 200 agents", fleets::layers),
    scenario("zones", "10 zones of 100 hosts", zones::zones),
    scenario("staggered", "agents that join over 40 % of the bound", trouble::staggered),
    scenario("heterogeneous", "half of the agents four times as fast as the others", trouble::heterogeneous),
    scenario("killed", "a third of the agents killed midway", trouble::killed),
    scenario("churn", "agents that restart and agents that lose power", trouble::churn),
    scenario("slow-disks", "a tenth of the agents with disks slower than their links", trouble::slow_disks),
    scenario("dead-tracker", "the tracker dies after the first second", trouble::dead_tracker),
    scenario("origin-dies", "one of two owners dies after half a copy", trouble::origin_dies),
    scenario("hostile", "corrupt, stalling, lying, flooding peers, sybils, wrong metainfo", hostile::hostile),
    scenario("hostile-nobody", "the same fleet among itself", hostile::nobody),
    scenario("hostile-corrupt", "of these, corrupt peers only", hostile::corrupt),
    scenario("hostile-stalling", "of these, stalling peers only", hostile::stalling),
    scenario("hostile-lying", "of these, lying peers only", hostile::lying),
    scenario("hostile-flooding", "of these, flooding peers only", hostile::flooding),
    scenario("hostile-sybils", "of these, sybils at as many addresses", hostile::sybils),
    scenario("hostile-one-address", "of these, sybils at one address", hostile::one_address),
    scenario("hostile-metainfo", "of these, wrong metainfo only", hostile::metainfo),
    scenario("hot-set", "the 6.5 % of a blob that everybody needs first", reading::hot_set),
    scenario("stream", "every agent reads the blob in order", reading::stream),
    scenario("demand", "random reads under full background load", reading::demand),
];

/// Seconds of the bound after which a run that is not done is given up.
const PATIENCE: f64 = 30.0;

/// A scenario at work.
struct Run {
    options: Options,
    witness: Option<Box<dyn Witness>>,
    outcome: Outcome,
}

impl Run {
    /// A fleet with one owner as fast as an agent, unless the options say otherwise.
    fn fleet(&self, agents: u32, size: u64, rate: u64) -> FleetSpec {
        let rate = self.options.rate.unwrap_or(rate);
        FleetSpec {
            net: Net::data_centre(),
            seed: self.options.seed,
            origins: self.options.origins.unwrap_or(1),
            origin_rate: rate,
            agents: self.options.agents.unwrap_or(agents),
            rate,
            sizes: vec![self.options.size.unwrap_or(size)],
            knobs: self.options.knobs.clone(),
        }
    }

    /// Everything of a fleet is witnessed from now on.
    fn witness(&mut self, fleet: &mut Fleet) {
        if let Some(witness) = self.witness.take() {
            fleet.world.witnessed_by(witness);
        }
        if let Some(window) = self.options.readers {
            fleet.stream(window);
        }
    }

    /// Runs a fleet until all have what they want.
    fn finish(&mut self, fleet: &mut Fleet) {
        self.witness(fleet);
        let bound = fleet.report().bound;
        fleet.world.run(bound * PATIENCE + 60.0);
        self.witness = fleet.world.unwitnessed();
        self.outcome.trails.push(fleet.world.trail());
    }

    /// Every agent wants everything at once; figures of that.
    fn flash(&mut self, of: &FleetSpec) -> (Fleet, Report) {
        let mut fleet = Fleet::new(of, |_, spec| spec);
        fleet.open(|_| 0.0);
        self.finish(&mut fleet);
        let report = fleet.report();
        (fleet, report)
    }

    fn put(&mut self, figure: Figure) {
        self.outcome.figures.push(figure);
    }

    fn line(&mut self, label: &str, report: &Report) {
        self.outcome.lines.push(format!("{label}: {report}"));
        let curve = Curve { label: label.to_owned(), seconds: report.seconds.clone(), bound: report.bound };
        self.outcome.curves.push(curve);
    }

    /// What every run has: that nobody is left over, and what it cost.
    fn put_common(&mut self, name: &str, report: &Report) {
        self.put(Figure::new(format!("{name}_missing"), report.missing as f64, "agents").at_most(0.0));
        self.put(Figure::new(format!("{name}_origin_copies"), report.copies, "copies"));
        self.put(Figure::new(format!("{name}_first_copy"), report.first_copy, "× bound"));
        self.put(Figure::new(format!("{name}_duplicate_pieces"), report.duplicates * 100.0, "%"));
        self.put(Figure::new(format!("{name}_control_bytes"), report.control * 100.0, "%"));
        self.put(Figure::new(format!("{name}_upload_spread"), report.upload_spread, "× mean"));
    }

    /// The worst agent over its own bound.
    fn put_own(&mut self, name: &str, report: &Report, bar: f64, aim: f64) {
        self.put(Figure::new(format!("{name}_own_p50"), quantile(&report.own_ratios, 0.5), "× own bound"));
        let worst = quantile(&report.own_ratios, 1.0);
        self.put(Figure::new(format!("{name}_own_max"), worst, "× own bound").at_most(bar).aim(aim));
    }
}

#[cfg(test)]
mod tests;
