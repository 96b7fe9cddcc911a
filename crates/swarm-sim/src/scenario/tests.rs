//! The scenarios at a size that a debug build runs in seconds.

use super::*;

fn run(name: &str, options: &Options) -> Outcome {
    Scenario::named(name).expect("it is in the list").run(options, None)
}

fn value(outcome: &Outcome, name: &str) -> f64 {
    outcome.figures.iter().find(|figure| figure.name == name).expect("it has been measured").value
}

fn few(agents: u32, size: u64) -> Options {
    Options { agents: Some(agents), size: Some(size), seed: 1, ..Options::default() }
}

#[test]
fn names_differ_and_every_scenario_is_found() {
    for scenario in SCENARIOS {
        let same = SCENARIOS.iter().filter(|other| other.name == scenario.name).count();
        assert!(same == 1 && Scenario::named(scenario.name).is_some(), "{}", scenario.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_a_different_one() {
    let trail = |seed| run("h1", &Options { seed, ..few(6, 4 << 20) }).trails;
    assert_eq!(trail(5), trail(5));
    assert_ne!(trail(5), trail(6));
}

#[test]
fn the_headline_bench_comes_near_its_bound_with_little_overhead() {
    let outcome = run("h1", &Options { seed: 1, ..Options::default() });
    // The bar of the bench command is 1.15; seeds 1 to 3 gave 1.141 to 1.152. Another order of ties moves a run by a hundredth.
    assert!(value(&outcome, "h1_missing") < 0.5 && value(&outcome, "h1_max") < 1.17, "{:?}", outcome.lines);
    assert!(value(&outcome, "h1_copies") < 1.2, "{:?}", outcome.lines);
    assert!(value(&outcome, "h1_duplicates_and_control") <= 4.0, "{:?}", outcome.lines);
}

#[test]
fn a_fleet_with_krakens_rates_comes_near_its_bound() {
    let outcome = run("kraken", &few(60, 400_000_000));
    assert!(value(&outcome, "kraken_missing") < 0.5);
    let over = value(&outcome, "kraken_p50") / value(&outcome, "kraken_bound");
    assert!(over < 1.2, "{:?}", outcome.lines);
    // Five owners that do not share the pieces take five times as long until everything has left them. They serve four at a time each, so
    // that theirs is 3.8; eight at a time make it 1.2, and nobody is done sooner.
    assert!(value(&outcome, "kraken_first_copy") < 4.5, "{:?}", outcome.lines);
}

#[test]
fn nobody_is_left_over_when_agents_the_tracker_or_an_owner_die() {
    for name in ["killed", "dead-tracker", "origin-dies", "staggered"] {
        let outcome = run(name, &few(24, 16_000_000));
        assert!(value(&outcome, &format!("{name}_missing")) < 0.5, "{:?}", outcome.lines);
    }
}
