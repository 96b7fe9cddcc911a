//! From samples to figures: undisturbed samples only, where there are any, and bars for our own.

use anyhow::Result;

use super::FOREIGN_MAX;
use super::bars::{self, Bar, Figure, Side};
use super::contestant::Contestant;
use super::counters::as_f64;
use super::peer::{OLAREG, SHOAL};
use super::phase::Phase;
use super::sample::Sample;
use crate::bench::measurement::Measurement;
use crate::bench::noise::percentile;

/// KiB in a MiB.
const KIB_PER_MIB: f64 = 1024.0;

/// All figures of a run.
pub(super) fn measurements(samples: &[Sample], contestants: &[Contestant]) -> Result<Vec<Measurement>> {
    let names: Vec<&str> = contestants.iter().map(Contestant::name).collect();
    let mut all = Vec::new();
    for phase in Phase::ALL {
        let of_phase: Vec<&Sample> = samples.iter().filter(|sample| sample.phase == phase).collect();
        if !of_phase.is_empty() {
            all.extend(phase_measurements(phase, &of_phase, &names));
        }
    }
    for contestant in contestants {
        all.extend(memory(contestant)?);
    }
    let disturbed = samples.iter().filter(|sample| sample.foreign > FOREIGN_MAX).count();
    all.push(Measurement::new("registry_samples", as_f64(samples.len() as u64), "samples"));
    all.push(Measurement::new("registry_samples_disturbed", as_f64(disturbed as u64), "samples"));
    let foreign: Vec<f64> = samples.iter().map(|sample| sample.foreign * 100.0).collect();
    all.push(Measurement::new("registry_foreign_cpu_median", percentile(&foreign, 50), "%"));
    Ok(all)
}

fn phase_measurements(phase: Phase, samples: &[&Sample], names: &[&str]) -> Vec<Measurement> {
    let mut all = Vec::new();
    for name in names {
        let own: Vec<&Sample> = samples.iter().filter(|sample| sample.contestant == *name).copied().collect();
        let quiet: Vec<&Sample> =
            own.iter().filter(|sample| sample.foreign <= FOREIGN_MAX).copied().collect();
        let counted = if quiet.is_empty() { &own } else { &quiet };
        if !counted.is_empty() {
            all.extend(figures(phase, counted, name));
        }
    }
    all.extend(ratio(phase, &all, names));
    all
}

/// The figures of one registry.
fn figures(phase: Phase, samples: &[&Sample], name: &str) -> Vec<Measurement> {
    let values = |value: fn(&Sample) -> f64| samples.iter().map(|sample| value(sample)).collect::<Vec<_>>();
    // The kernel counts CPU time in ticks of 10 ms, so the largest size says most.
    let largest = samples.iter().map(|sample| sample.size).max();
    let cpus: Vec<f64> =
        samples.iter().filter(|sample| Some(sample.size) == largest).map(|sample| sample.cpu).collect();
    let rates = values(|sample| sample.rate);
    let median = |value| percentile(&values(value), 50);
    let make = |figure, label: &str, value, unit| {
        named(phase.name(), label, name, value, unit).barred(own_bar(phase.name(), figure, name))
    };
    if phase.is_large() {
        let mut all = vec![
            make(Figure::Best, "best", percentile(&rates, 100), "MiB/s"),
            make(Figure::Median, "median", percentile(&rates, 50), "MiB/s"),
            make(Figure::CpuBest, "cpu_best", percentile(&cpus, 0), "CPU-s/GiB"),
            make(Figure::Cpu, "cpu_median", percentile(&cpus, 50), "CPU-s/GiB"),
        ];
        if phase == Phase::PushLarge {
            all.push(make(Figure::Written, "written", median(|sample| sample.written), "bytes/byte"));
            all.push(make(Figure::Read, "reread", median(|sample| sample.read), "bytes/byte"));
            all.extend(by_size(samples, name));
        }
        return all;
    }
    vec![
        make(Figure::Median, "rate", percentile(&rates, 50), "/s"),
        make(Figure::Best, "rate_best", percentile(&rates, 100), "/s"),
        make(Figure::P50, "p50", median(|sample| sample.p50_ms), "ms"),
        make(Figure::P99, "p99", median(|sample| sample.p99_ms), "ms"),
        make(Figure::Cpu, "cpu", percentile(&cpus, 50), "µs"),
    ]
}

/// Large pushes by their size, because the page cache treats them differently.
fn by_size(samples: &[&Sample], name: &str) -> Vec<Measurement> {
    let mut sizes: Vec<u64> = samples.iter().map(|sample| sample.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let best = |size| {
        let rates: Vec<f64> =
            samples.iter().filter(|sample| sample.size == size).map(|sample| sample.rate).collect();
        let phase = format!("push_{}mib", size >> 20);
        named(&phase, "best", name, percentile(&rates, 100), "MiB/s")
    };
    sizes.into_iter().map(best).collect()
}

/// Our best beside the best of the others, where there is a bar or bytes are moved.
fn ratio(phase: Phase, figures: &[Measurement], names: &[&str]) -> Option<Measurement> {
    let label = if phase.is_large() { "best" } else { "rate" };
    let of = |name: &str| {
        let wanted = full_name(phase.name(), label, name);
        figures.iter().find(|figure| figure.name == wanted).map(|figure| figure.value)
    };
    let (best, peer) = names
        .iter()
        .filter(|name| **name != SHOAL)
        .filter_map(|name| Some((of(name)?, *name)))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    let value = of(SHOAL)? / best;
    let ratio = named(phase.name(), "ratio_to_best_peer", SHOAL, value, "×").note(peer);
    let has_olareg = names.iter().any(|name| name.starts_with(OLAREG));
    match bars::find(phase.name(), Figure::Ratio) {
        Some(bar) if has_olareg => Some(ratio.barred(Some(bar))),
        // Without the fastest peer the ratio says little; what that one reached elsewhere is only context.
        Some(bar) => Some(ratio.note(&format!("{peer}; {}", bar.elsewhere))),
        None => Some(ratio),
    }
}

fn memory(contestant: &Contestant) -> Result<[Measurement; 2]> {
    let name = contestant.name();
    let make = |figure, label: &str, kib: u64| {
        let value = as_f64(kib) / KIB_PER_MIB;
        named("memory", label, name, value, "MiB").barred(own_bar("memory", figure, name))
    };
    Ok([make(Figure::Idle, "idle", contestant.idle_kib), make(Figure::Peak, "peak", contestant.peak_kib()?)])
}

fn own_bar(phase: &str, figure: Figure, name: &str) -> Option<&'static Bar> {
    (name == SHOAL).then(|| bars::find(phase, figure)).flatten()
}

fn full_name(phase: &str, label: &str, name: &str) -> String {
    format!("registry_{phase}_{label}_{name}")
}

fn named(phase: &str, label: &str, name: &str, value: f64, unit: &'static str) -> Measurement {
    Measurement::new(full_name(phase, label, name), value, unit)
}

impl Measurement {
    fn barred(self, bar: Option<&Bar>) -> Self {
        let Some(bar) = bar else { return self };
        let barred = match bar.side {
            Side::AtLeast => self.at_least(bar.bar),
            Side::AtMost => self.at_most(bar.bar),
        };
        let barred = if bar.elsewhere.is_empty() { barred } else { barred.note(bar.elsewhere) };
        match bar.aim {
            Some(aim) => barred.aim(aim),
            None => barred,
        }
    }
}

#[cfg(test)]
mod tests;
