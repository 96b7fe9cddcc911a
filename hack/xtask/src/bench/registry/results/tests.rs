//! What becomes of samples.

use super::*;

fn sample(contestant: &str, rate: f64, foreign: f64) -> Sample {
    Sample {
        phase: Phase::PushLarge,
        size: 64 << 20,
        contestant: contestant.to_owned(),
        rate,
        p50_ms: 1.0,
        p99_ms: 2.0,
        cpu: 1.2,
        written: 1.0,
        read: 0.0,
        foreign,
    }
}

fn value<'a>(all: &'a [Measurement], name: &str) -> &'a Measurement {
    all.iter().find(|found| found.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn disturbed_samples_do_not_count_where_there_are_others() {
    let samples = [sample(SHOAL, 900.0, 0.5), sample(SHOAL, 600.0, 0.01), sample(SHOAL, 700.0, 0.02)];
    let all = phase_measurements(Phase::PushLarge, &samples.iter().collect::<Vec<_>>(), &[SHOAL]);
    assert_eq!(value(&all, "registry_push_large_best_shoal").value, 700.0);
    assert_eq!(value(&all, "registry_push_64mib_best_shoal").value, 700.0);
    assert_eq!(value(&all, "registry_push_large_cpu_best_shoal").holds, Some(true));
    let all = phase_measurements(Phase::PushLarge, &[&samples[0]], &[SHOAL]);
    assert_eq!(value(&all, "registry_push_large_best_shoal").value, 900.0, "better than nothing");
}

#[test]
fn a_ratio_has_a_bar_only_beside_the_fastest_peer() {
    let samples =
        [sample(SHOAL, 600.0, 0.0), sample("olareg", 400.0, 0.0), sample("docker_registry", 300.0, 0.0)];
    let samples: Vec<&Sample> = samples.iter().collect();
    let all = phase_measurements(Phase::PushLarge, &samples, &[SHOAL, "olareg", "docker_registry"]);
    let ratio = value(&all, "registry_push_large_ratio_to_best_peer_shoal");
    assert_eq!((ratio.value, ratio.bar, ratio.holds), (1.5, Some(1.0), Some(true)));
    let all = phase_measurements(Phase::PushLarge, &samples, &[SHOAL, "docker_registry"]);
    let ratio = value(&all, "registry_push_large_ratio_to_best_peer_shoal");
    assert_eq!((ratio.value, ratio.holds), (2.0, None));
    assert!(all.iter().all(|found| found.name.ends_with(SHOAL) || found.holds.is_none()));
}

#[test]
fn every_bar_belongs_to_a_phase() {
    for bar in bars::BARS {
        let known = Phase::ALL.iter().any(|phase| phase.name() == bar.phase) || bar.phase == "memory";
        assert!(known, "{}", bar.phase);
        assert!(bar.aim.is_none_or(|aim| (aim > bar.bar) == (bar.side == Side::AtLeast)), "{}", bar.phase);
    }
}
