//! The command line of `cargo xtask bench swarm`: which cases, how often, against whom, and what is changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::super::measurement;
use super::case::{Case, Kind, Name};
use super::contestant::Contestant;
use super::outsider::Adapter;
use super::shoal::Settings;
use super::small::Counts;
use crate::options;

/// Runs unless something else is said: the worst of fewer says little.
const RUNS: u64 = 5;
/// Runs of the straggler's bar.
const STRAGGLER_RUNS: u64 = 20;
const STRAGGLER_BAR: super::case::Bar = super::case::Bar { measure: "straggler", at_most: 1.05, aim: None };

/// Options of `cargo xtask bench swarm`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Cases to measure. None: the headline case with the parameters below
    #[arg(long = "case", value_delimiter = ',', value_enum, ignore_case = true)]
    cases: Vec<Name>,
    /// All cases
    #[arg(long, conflicts_with = "cases")]
    all: bool,
    /// Twenty runs of the headline case, which no agent may finish late
    #[arg(long, conflicts_with_all = ["cases", "all"])]
    straggler: bool,
    /// Number of agents, instead of the case's; this and the next four make a case without bars
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    agents: Option<u16>,
    /// Rate of every agent's link, in each direction
    #[arg(long, value_parser = options::rate)]
    rate: Option<u64>,
    /// Rate of the origin's link. Unset, and a rate is given: the same
    #[arg(long, value_parser = options::rate)]
    origin_rate: Option<u64>,
    /// Size of the blob
    #[arg(long, value_parser = options::size)]
    size: Option<u64>,
    /// MTU of every link
    #[arg(long, value_parser = clap::value_parser!(u16).range(1280..=9000))]
    mtu: Option<u16>,
    /// Runs of each contestant. Unset: 5, and 20 for `--straggler`
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: Option<u64>,
    /// Seeds of the runs: the blob's bytes, who starts when, who dies. Unset: 1, 2, 3 …
    #[arg(long, value_delimiter = ',', conflicts_with = "runs")]
    seeds: Vec<u64>,
    /// Only Shoal; else aria2 and libtorrent take part where this machine has them
    #[arg(long, conflicts_with = "peers")]
    alone: bool,
    /// Only contestants of these names
    #[arg(long, value_delimiter = ',', conflicts_with = "alone")]
    only: Vec<String>,
    /// One more contestant: NAME=COMMAND, started with {role} (seed or agent), {address}, {port}, {tracker}, {torrent}, {file},
    /// {output} (a directory) and {dir}. It prints `ready`, reads a line, prints `done` when it has the blob, and goes on serving
    #[arg(long = "peer", value_name = "NAME=COMMAND", value_parser = Adapter::parse)]
    peers: Vec<Adapter>,
    /// Take a mechanism of ours away, to see what it is worth
    #[arg(long, value_delimiter = ',', value_enum)]
    ablate: Vec<Ablation>,
    /// A setting of our server and agents, such as `log.filter=debug`
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Tiny cases of every kind in a few seconds: shows that the bench works, and nothing else
    #[arg(long, conflicts_with_all = ["cases", "all", "straggler"])]
    smoke: bool,
    /// Where runs write; unset: the system's temporary directory
    #[arg(long)]
    directory: Option<PathBuf>,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "table")]
    pub(super) output: measurement::Output,
    /// Draw the completion curves beside the bound into this directory, one picture for each case
    #[arg(long)]
    pub(super) plot: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String)> {
    let (path, value) = text.split_once('=').context("a setting is written as PATH=VALUE")?;
    ensure!(!path.is_empty(), "a setting is written as PATH=VALUE");
    Ok((path.to_owned(), value.to_owned()))
}

/// A mechanism that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Ablation {
    /// Agents choose what they ask owners for; owners do not hand out distinct pieces
    Uncoordinated,
    /// A random neighbour is asked, not the least loaded
    RandomNeighbour,
    /// At most 64 KiB in flight per neighbour
    SmallWindow,
    /// At least 1 MiB in flight per neighbour
    LargeWindow,
}

impl Ablation {
    fn setting(self) -> (String, String) {
        let (path, value) = match self {
            Self::Uncoordinated => ("swarm.experiment.distinct", "false"),
            Self::RandomNeighbour => ("swarm.experiment.least_loaded", "false"),
            Self::SmallWindow => ("swarm.experiment.window_max_bytes", "65536"),
            Self::LargeWindow => ("swarm.experiment.window_start_bytes", "1048576"),
        };
        (path.to_owned(), value.to_owned())
    }
}

impl Arguments {
    /// What is measured, in order.
    pub(super) fn cases(&self) -> Result<Vec<Case>> {
        let names = match (self.all || self.smoke, self.cases.as_slice()) {
            (true, _) => Name::ALL.as_slice(),
            (false, []) => &[Name::H1],
            (false, cases) => cases,
        };
        let defined = names.iter().map(|name| name.case());
        let mut cases: Vec<Case> = if self.smoke {
            defined.map(Case::tiny).collect()
        } else {
            defined.map(|case| self.changed(case)).collect()
        };
        if self.straggler {
            cases.iter_mut().for_each(|case| case.bars.push(STRAGGLER_BAR));
        }
        ensure!(cases.iter().all(|case| case.size > 0), "a blob has at least one byte");
        Ok(cases)
    }

    /// A case with the parameters that were given; then its bars do not count.
    fn changed(&self, case: Case) -> Case {
        let rate = self.rate.or(case.rate);
        let origin_rate = self.origin_rate.or(self.rate).or(case.origin_rate);
        let changed = Case {
            agents: self.agents.unwrap_or(case.agents),
            rate,
            origin_rate,
            size: self.size.unwrap_or(case.size),
            mtu: self.mtu.unwrap_or(case.mtu),
            ..case.clone()
        };
        let is_as_defined = changed == case && self.ablate.is_empty() && self.settings.is_empty();
        if is_as_defined { case } else { Case { bars: Vec::new(), ..changed } }
    }

    /// One for each run.
    pub(super) fn seeds(&self) -> Vec<u64> {
        if !self.seeds.is_empty() {
            return self.seeds.clone();
        }
        let default = match (self.smoke, self.straggler) {
            (true, _) => 1,
            (false, true) => STRAGGLER_RUNS,
            (false, false) => RUNS,
        };
        (1..=self.runs.unwrap_or(default)).collect()
    }

    /// Who takes part; ours first.
    pub(super) fn contestants(&self, case: &Case, bin_dir: &Path) -> Vec<Contestant> {
        if case.kind == Kind::Wire {
            return vec![Contestant::Wire];
        }
        let mut all = vec![Contestant::Shoal(self.settings(bin_dir))];
        // The smallest form only shows that the adapters work, once.
        let is_shown = !self.smoke || case.name == Name::H1.case().name;
        let only_ours = self.alone || self.straggler || !is_shown;
        if !only_ours && case.has_peers() {
            let known = [Adapter::aria2(), Adapter::libtorrent()];
            all.extend(
                known.into_iter().flatten().chain(self.peers.iter().cloned()).map(Contestant::Outsider),
            );
        }
        all.retain(|contestant| {
            self.only.is_empty() || self.only.iter().any(|name| name == contestant.name())
        });
        all
    }

    /// How our programs are started.
    pub(super) fn settings(&self, bin_dir: &Path) -> Settings {
        let ablations = self.ablate.iter().map(|ablation| ablation.setting());
        let settings = ablations.chain(self.settings.iter().cloned()).collect();
        Settings { bin_dir: bin_dir.to_owned(), settings }
    }

    /// How many small blobs are pulled.
    pub(super) fn counts(&self) -> Counts {
        if self.smoke { Counts { small: 3, mib: 2 } } else { Counts::default() }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(std::env::temp_dir)
    }
}
