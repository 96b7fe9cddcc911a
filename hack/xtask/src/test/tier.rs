//! The tiers: which test binaries, which filter, which environment.

use std::path::Path;
use std::process::Command;

use shoal_e2e::programs::BIN_DIR_VARIABLE;

use crate::workspace::{self, Metadata};

/// Tells tests of these tools where they are.
const XTASK_VARIABLE: &str = "SHOAL_XTASK";
/// The package of the end-to-end tests.
const E2E: &str = "shoal-e2e";
/// Test binaries whose name begins so belong to the simulator.
const SIM_PREFIX: &str = "sim";
/// Tests whose name begins so need root.
const PRIVILEGED_PREFIX: &str = "privileged_";

/// Tests whose name begins so take too long for every day, or do not pass yet: they are run by name.
const SOAK_PREFIX: &str = "soak_";

/// A named set of tests, in the order in which they run: cheap ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Tests inside libraries and programs, and examples in documentation.
    Unit,
    /// Test binaries of the crates.
    Contract,
    /// Test binaries called `sim…`.
    Sim,
    /// `#[ignore]`d tests called `privileged_…`, one at a time.
    Privileged,
    /// `#[ignore]`d tests of `shoal-e2e`, one at a time; those called `soak_…` only when they are asked for.
    E2e,
}

impl Tier {
    pub(super) const ALL: [Self; 5] = [Self::Unit, Self::Contract, Self::Sim, Self::Privileged, Self::E2e];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Contract => "contract",
            Self::Sim => "sim",
            Self::Privileged => "privileged",
            Self::E2e => "e2e",
        }
    }

    /// Whether its tests start our programs.
    pub(super) const fn needs_programs(self) -> bool {
        matches!(self, Self::E2e)
    }

    /// Whether its tests meet programs of others and real time, so that the few that fail may be run once more.
    pub(super) const fn meets_the_world(self) -> bool {
        matches!(self, Self::Contract | Self::Privileged | Self::E2e)
    }

    /// The calls of cargo that run it. `harness` words follow `--`.
    pub(super) fn plan(self, metadata: &Metadata, filter: Option<&str>, bin_dir: Option<&Path>) -> Vec<Call> {
        let filter = filter.map(str::to_owned);
        let mut calls = match self {
            Self::Unit => vec![
                Call::new(&["--workspace", "--lib", "--bins"], filter, &[]),
                Call::new(&["--workspace", "--doc"], None, &[]),
            ],
            Self::Contract => binaries(metadata, |name| !name.starts_with(SIM_PREFIX), filter),
            Self::Sim => binaries(metadata, |name| name.starts_with(SIM_PREFIX), filter),
            Self::Privileged => {
                let name = filter.unwrap_or_else(|| PRIVILEGED_PREFIX.to_owned());
                let words = ["--workspace", "--exclude", E2E, "--lib", "--bins", "--tests"];
                vec![Call::new(&words, Some(name), &["--ignored", "--test-threads=1"])]
            }
            Self::E2e => ends(metadata, filter),
        };
        if let (true, Some(bin_dir)) = (self.needs_programs(), bin_dir) {
            let mut variables = vec![(BIN_DIR_VARIABLE.to_owned(), bin_dir.display().to_string())];
            variables.extend(crate::build::own_path().map(|own| (XTASK_VARIABLE.to_owned(), own)).ok());
            calls.iter_mut().for_each(|call| call.env.clone_from(&variables));
        }
        calls
    }
}

/// One call for all test binaries that match, or none when there is no such binary (cargo would refuse to run nothing).
fn binaries(metadata: &Metadata, matches: impl Fn(&str) -> bool, filter: Option<String>) -> Vec<Call> {
    let mut words = vec!["--workspace".to_owned(), "--exclude".to_owned(), E2E.to_owned()];
    let packages = metadata.packages.iter().filter(|package| package.name != E2E);
    let targets = packages.flat_map(|package| &package.targets);
    let names = targets.filter(|target| target.kind == ["test"] && matches(&target.name));
    let mut names: Vec<&str> = names.map(|target| target.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    words.extend(names.iter().flat_map(|name| ["--test".to_owned(), (*name).to_owned()]));
    if names.is_empty() { vec![] } else { vec![Call { words, filter, harness: vec![], env: vec![] }] }
}

/// One call for the end-to-end test binaries. They are picked out of the whole workspace by name and not by package, because cargo
/// resolves features for what is named, and would build every dependency a second time for the one package.
fn ends(metadata: &Metadata, filter: Option<String>) -> Vec<Call> {
    let package = metadata.packages.iter().filter(|package| package.name == E2E);
    let names = package.flat_map(|package| &package.targets).filter(|target| target.kind == ["test"]);
    let mut words = vec!["--workspace".to_owned()];
    words.extend(names.flat_map(|target| ["--test".to_owned(), target.name.clone()]));
    let mut harness = ["--ignored", "--test-threads=1"].map(str::to_owned).to_vec();
    if !filter.as_ref().is_some_and(|filter| filter.contains(SOAK_PREFIX)) {
        harness.extend(["--skip", SOAK_PREFIX].map(str::to_owned));
    }
    vec![Call { words, filter, harness, env: vec![] }]
}

/// One call of `cargo test`.
pub(super) struct Call {
    words: Vec<String>,
    filter: Option<String>,
    harness: Vec<String>,
    env: Vec<(String, String)>,
}

impl Call {
    fn new(words: &[&str], filter: Option<String>, harness: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self { words: owned(words), filter, harness: owned(harness), env: vec![] }
    }

    /// As a command. `more` words go to the test harness.
    pub(super) fn command(&self, more: &[&str]) -> Command {
        let mut command = workspace::cargo();
        command.args(["test", "--no-fail-fast"]).args(&self.words).args(&self.filter);
        command.arg("--").args(&self.harness).args(more);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same for some tests only, by their whole names.
    pub(super) fn command_of(&self, names: &[String]) -> Command {
        let mut command = workspace::cargo();
        command.args(["test", "--no-fail-fast"]).args(&self.words);
        command.arg("--").args(&self.harness).arg("--exact").args(names);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Package, Target};

    fn metadata(tests: &[(&str, &str)]) -> Metadata {
        let package = |(package, test): &(&str, &str)| Package {
            name: (*package).into(),
            manifest_path: "Cargo.toml".into(),
            dependencies: vec![],
            targets: vec![Target { name: (*test).into(), kind: vec!["test".into()] }],
        };
        Metadata { packages: tests.iter().map(package).collect(), target_directory: "target".into() }
    }

    #[test]
    fn every_test_binary_belongs_to_one_tier() {
        let metadata = metadata(&[("a", "contract"), ("b", "contract"), ("a", "sim"), (E2E, "docker")]);
        let words = |tier: Tier| tier.plan(&metadata, None, None).remove(0).words.join(" ");
        assert!(words(Tier::Contract).ends_with("--test contract"), "{}", words(Tier::Contract));
        assert!(words(Tier::Sim).ends_with("--test sim"));
        assert_eq!(words(Tier::E2e), "--workspace --test docker");
    }

    #[test]
    fn a_tier_without_binaries_runs_nothing() {
        assert!(Tier::Sim.plan(&metadata(&[("a", "contract")]), None, None).is_empty());
    }
}
