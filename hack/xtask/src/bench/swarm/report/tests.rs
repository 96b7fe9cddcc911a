//! Reports of made-up runs.

use super::super::outcome::tests::outcome;
use super::*;

fn series(contestant: &str, seconds: &[f64]) -> Series {
    let outcomes = seconds.iter().map(|seconds| outcome(&[*seconds; 4], 1.0)).collect();
    Series { contestant: contestant.to_owned(), outcomes, rejected: 1 }
}

fn find<'all>(all: &'all [Measurement], name: &str) -> &'all Measurement {
    all.iter().find(|found| found.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn the_median_and_the_worst_are_held_against_the_bar() {
    let report = Report::new(&Name::H1.case(), &[series("shoal", &[11.0, 10.5, 12.0])]);
    let all = report.measurements();
    let median = find(&all, "swarm_h1_shoal_completion_p50");
    assert!((median.value - 1.1).abs() < 1e-9);
    assert_eq!((median.bar, median.holds), (Some(1.12), Some(true)));
    let worst = find(&all, "swarm_h1_shoal_completion_p50_worst");
    assert_eq!((worst.bar, worst.holds), (Some(1.12), Some(false)));
    assert_eq!(find(&all, "swarm_h1_shoal_rejected_runs").value, 1.0);
    assert_eq!(find(&all, "swarm_h1_shoal_wrong_outputs").holds, Some(true));
    assert_eq!(find(&all, "swarm_h1_shoal_completion_p99").holds, None);
    report.print();
}

#[test]
fn others_have_no_bars_and_are_compared_run_by_run() {
    let both = [series("shoal", &[11.0, 12.0]), series("aria2", &[22.0, 16.0])];
    let all = Report::new(&Name::H1.case(), &both).measurements();
    assert_eq!(find(&all, "swarm_h1_aria2_completion_p50").bar, None);
    let ratio = find(&all, "swarm_h1_shoal_to_aria2_completion_p50");
    assert!((ratio.value - 0.5).abs() < 1e-9, "the lower median of 0.5 and 0.75, got {}", ratio.value);
    let worst = find(&all, "swarm_h1_shoal_to_aria2_completion_p50_worst");
    assert!((worst.value - 0.75).abs() < 1e-9, "our worst by their best");
}

#[test]
fn the_check_of_the_harness_has_a_bar_without_us() {
    let report = Report::new(&Name::S0.case(), &[series("tcp", &[10.43])]);
    let all = report.measurements();
    assert_eq!(find(&all, "swarm_s0_tcp_completion_max").holds, Some(true));
    assert!(caveat(4).is_some() && caveat(5).is_none());
}
