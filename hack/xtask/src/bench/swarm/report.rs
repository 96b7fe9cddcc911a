//! Medians and worst values of all runs, with the bars that a case sets; ours beside those of others.

use comfy_table::{CellAlignment, Table, presets};

use super::super::measurement::Measurement;
use super::super::noise::percentile;
use super::super::plot::Curve;
use super::as_f64;
use super::case::{Bar, Case, Kind, Name};
use super::outcome::{Outcome, Value};
use super::shoal;
use crate::terminal::say;

/// Fewer runs than this say little about the worst.
const RUNS_MIN: usize = 5;
/// Above this lateness of a sleeper (99th percentile) the machine was too busy for the run to count.
pub(super) const LATENESS_MS_MAX: f64 = 25.0;
/// A plain TCP stream may differ so much from what its headers allow, else the harness is wrong.
const WIRE_TOLERANCE: f64 = 0.01;
/// CPU time, relative to aria2 in the same session.
const CPU_TO_ARIA2_MAX: f64 = 0.75;
/// What is compared with others, run by run.
const COMPARED: [&str; 5] =
    ["completion_p50", "completion_max", "own_bound_max", "origin_copies", "cpu_per_gb"];

/// All runs of one contestant in one case.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) contestant: String,
    pub(super) outcomes: Vec<Outcome>,
    /// Runs that did not count, because the machine was too busy.
    pub(super) rejected: usize,
}

/// One measure over all runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) measure: String,
    pub(super) unit: &'static str,
    pub(super) median: f64,
    pub(super) worst: f64,
    pub(super) bar: Option<Bar>,
}

/// Everything about one case.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) case: Case,
    /// Names of contestants and what they came to; ours first.
    pub(super) columns: Vec<(String, Vec<Summary>)>,
    /// Ours divided by theirs.
    pub(super) ratios: Vec<(String, Vec<Summary>)>,
}

impl Report {
    pub(super) fn new(case: &Case, all: &[Series]) -> Self {
        let columns = all.iter().map(|series| (series.contestant.clone(), series.summaries(case)));
        let ours = all.iter().find(|series| series.contestant == shoal::NAME);
        let others = all.iter().filter(|series| series.contestant != shoal::NAME);
        let ratios = others
            .filter_map(|theirs| Some((theirs.contestant.clone(), ratios(case, ours?, theirs))))
            .collect();
        Self { case: case.clone(), columns: columns.collect(), ratios }
    }

    /// Of runs of ours that were no races; each has its values, and the number of wrong outputs.
    pub(super) fn of_values(case: &Case, runs: &[(Vec<Value>, usize)], rejected: usize) -> Self {
        let mut all = counts(runs.len(), rejected);
        let values: Vec<&[Value]> = runs.iter().map(|(values, _)| values.as_slice()).collect();
        all.extend(summarize(&values, |measure| case.bar(measure)));
        all.push(wrong_outputs(runs.iter().map(|(_, wrong)| wrong).sum()));
        Self { case: case.clone(), columns: vec![(shoal::NAME.to_owned(), all)], ratios: Vec::new() }
    }

    /// As programs read it: the median under the measure's name, the worst beside it.
    pub(super) fn measurements(&self) -> Vec<Measurement> {
        let case = &self.case.name;
        let named = |name: &str, summaries: &[Summary]| -> Vec<Measurement> {
            summaries
                .iter()
                .flat_map(|summary| summary.measurements(&format!("swarm_{case}_{name}")))
                .collect()
        };
        let columns = self.columns.iter().flat_map(|(name, summaries)| named(name, summaries));
        let ratios = self.ratios.iter();
        columns
            .chain(ratios.flat_map(|(name, summaries)| named(&format!("shoal_to_{name}"), summaries)))
            .collect()
    }

    /// For people.
    pub(super) fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        let names = self.columns.iter().map(|(name, _)| format!("{name}: median (worst)"));
        let header = std::iter::once(String::new()).chain(names);
        table.set_header(header.chain(["unit", "bar", "", "aim"].map(str::to_owned)));
        for summary in self.columns.first().map(|(_, first)| first.as_slice()).unwrap_or_default() {
            let cells = self.columns.iter().map(|(_, summaries)| {
                let found = summaries.iter().find(|found| found.measure == summary.measure);
                found.map(Summary::cell).unwrap_or_default()
            });
            let row = std::iter::once(summary.measure.clone()).chain(cells);
            table.add_row(row.chain([summary.unit.to_owned()]).chain(summary.verdict()));
        }
        for (name, summaries) in &self.ratios {
            for summary in summaries {
                let mut row = vec![format!("{} : {name}", summary.measure), summary.cell()];
                row.extend(vec![String::new(); self.columns.len() - 1]);
                table.add_row(row.into_iter().chain([summary.unit.to_owned()]).chain(summary.verdict()));
            }
        }
        for column in 1..=self.columns.len() {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        say(format_args!("\n{}\n{table}", self.case.describe()));
    }
}

impl Series {
    fn summaries(&self, case: &Case) -> Vec<Summary> {
        let is_ours = self.contestant == shoal::NAME;
        let runs: Vec<_> = self.outcomes.iter().map(|outcome| outcome.values(case)).collect();
        let mut all = counts(self.outcomes.len(), self.rejected);
        if let Some(bound) = self.outcomes.first().and_then(|outcome| outcome.bound) {
            all.push(Summary::one("bound", "s", bound));
        }
        let bar = |measure| if is_ours { case.bar(measure) } else { self.wire_bar(case, measure) };
        all.extend(summarize(&runs.iter().map(Vec::as_slice).collect::<Vec<_>>(), bar));
        all.push(wrong_outputs(self.outcomes.iter().map(Outcome::wrong).sum()));
        all
    }

    /// The check of the harness: as fast as the headers allow, and no faster.
    fn wire_bar(&self, case: &Case, measure: &'static str) -> Option<Bar> {
        let floor = super::super::netns::Link::floor(case.mtu);
        let is_check = case.kind == Kind::Wire && measure == "completion_max" && !self.outcomes.is_empty();
        is_check.then_some(Bar { measure, at_most: floor * (1.0 + WIRE_TOLERANCE), aim: Some(floor) })
    }

    /// For plots.
    pub(super) fn curves(&self) -> Vec<Curve> {
        let curve = |outcome: &Outcome| {
            let bound = outcome.bound?;
            Some(Curve { label: self.contestant.clone(), seconds: outcome.ends(), bound })
        };
        self.outcomes.iter().filter_map(curve).collect()
    }
}

fn counts(runs: usize, rejected: usize) -> Vec<Summary> {
    vec![
        Summary::one("runs", "runs", as_f64(runs as u64)),
        Summary::one("rejected_runs", "runs", as_f64(rejected as u64)),
    ]
}

/// Each measure of the first run, over all runs.
fn summarize(runs: &[&[Value]], bar: impl Fn(&'static str) -> Option<Bar>) -> Vec<Summary> {
    let measures = runs.first().copied().unwrap_or_default();
    let summary = |first: &Value| {
        let of_run = runs.iter().filter_map(|run| run.iter().find(|value| value.measure == first.measure));
        let values: Vec<f64> = of_run.map(|value| value.value).collect();
        Summary::of(first.measure, first.unit, &values, bar(first.measure))
    };
    measures.iter().map(summary).collect()
}

fn wrong_outputs(count: usize) -> Summary {
    let bar = Bar { measure: "wrong_outputs", at_most: 0.0, aim: None };
    Summary { bar: Some(bar), ..Summary::one(bar.measure, "outputs", as_f64(count as u64)) }
}

/// Ours by theirs: the median of pairs that ran one after the other, and our worst by their best.
fn ratios(case: &Case, ours: &Series, theirs: &Series) -> Vec<Summary> {
    let values = |series: &Series, measure: &str| -> Vec<f64> {
        let of_run = |outcome: &Outcome| {
            outcome.values(case).iter().find(|value| value.measure == measure).map(|value| value.value)
        };
        series.outcomes.iter().filter_map(of_run).collect()
    };
    let compare = |measure: &&'static str| {
        let (ours, their) = (values(ours, measure), values(theirs, measure));
        if ours.is_empty() || their.is_empty() {
            return None;
        }
        let pairs: Vec<f64> = ours.iter().zip(&their).map(|(ours, theirs)| ours / theirs).collect();
        let is_cpu =
            case.name == Name::C1.case().name && *measure == "cpu_per_gb" && theirs.contestant == "aria2";
        let bar = is_cpu.then_some(Bar { measure, at_most: CPU_TO_ARIA2_MAX, aim: None });
        let worst = percentile(&ours, 100) / their.iter().copied().fold(f64::INFINITY, f64::min);
        let median = percentile(&pairs, 50);
        Some(Summary { measure: (*measure).to_owned(), unit: "ours / theirs", median, worst, bar })
    };
    COMPARED.iter().filter_map(compare).collect()
}

impl Summary {
    /// Of the values of all runs; more is worse.
    pub(super) fn of(measure: &str, unit: &'static str, values: &[f64], bar: Option<Bar>) -> Self {
        let (median, worst) = (percentile(values, 50), percentile(values, 100));
        Self { measure: measure.to_owned(), unit, median, worst, bar }
    }

    fn one(measure: &str, unit: &'static str, value: f64) -> Self {
        Self { measure: measure.to_owned(), unit, median: value, worst: value, bar: None }
    }

    fn measurements(&self, prefix: &str) -> Vec<Measurement> {
        let with_bar = |name: String, value: f64| {
            let measurement = Measurement::new(name, value, self.unit);
            self.bar.map_or(measurement.clone(), |bar| measurement.at_most(bar.at_most))
        };
        let name = format!("{prefix}_{}", self.measure);
        vec![with_bar(name.clone(), self.median), with_bar(format!("{name}_worst"), self.worst)]
    }

    fn cell(&self) -> String {
        let show =
            |value: f64| if value.abs() < 100.0 { format!("{value:.3}") } else { format!("{value:.0}") };
        if self.median.total_cmp(&self.worst).is_eq() {
            return show(self.median);
        }
        format!("{} ({})", show(self.median), show(self.worst))
    }

    /// The bar, whether the worst holds it, and the aim.
    fn verdict(&self) -> [String; 3] {
        let Some(bar) = self.bar else { return [const { String::new() }; 3] };
        let holds = match (self.median <= bar.at_most, self.worst <= bar.at_most) {
            (_, true) => "holds",
            (true, false) => "ONLY THE MEDIAN HOLDS",
            (false, false) => "DOES NOT HOLD",
        };
        let aim = bar.aim.map(|aim| format!("{aim:.3}")).unwrap_or_default();
        [format!("≤ {:.3}", bar.at_most), holds.to_owned(), aim]
    }
}

/// What has to be said about few runs.
pub(super) fn caveat(runs: usize) -> Option<String> {
    (runs < RUNS_MIN).then(|| format!("{runs} runs: a claim needs the worst of {RUNS_MIN} at least"))
}

#[cfg(test)]
mod tests;
