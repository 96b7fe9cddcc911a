//! One number of a bench, as programs read it.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::terminal::say;

/// What a result is written as.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// A measured value, and what it has to be, if that has been decided.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measurement {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// What the value has to reach, or may reach at most. Null: no bar is set.
    pub(super) bar: Option<f64>,
    /// Null without a bar.
    pub(super) holds: Option<bool>,
    /// The bar with the side that is good, for people.
    #[serde(skip)]
    shown_bar: String,
    /// What to aim for beyond the bar.
    #[serde(skip)]
    shown_aim: String,
    #[serde(skip)]
    note: String,
}

impl Measurement {
    /// A value without a bar.
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let name = name.into();
        let (shown_bar, shown_aim, note) = ("none".to_owned(), String::new(), String::new());
        Self { name, value, unit, bar: None, holds: None, shown_bar, shown_aim, note }
    }

    /// The same value, which may be at most `bar`.
    pub(super) fn at_most(self, bar: f64) -> Self {
        Self { bar: Some(bar), holds: Some(self.value <= bar), shown_bar: format!("≤ {bar}"), ..self }
    }

    /// The same value, which has to be at least `bar`.
    pub(super) fn at_least(self, bar: f64) -> Self {
        Self { bar: Some(bar), holds: Some(self.value >= bar), shown_bar: format!("≥ {bar}"), ..self }
    }

    /// What to aim for beyond the bar.
    pub(super) fn aim(self, aim: f64) -> Self {
        Self { shown_aim: aim.to_string(), ..self }
    }

    /// For people: the bar, whether it holds, what to aim for, a word.
    pub(super) fn verdict(&self) -> [String; 4] {
        let holds = self.holds.map_or("", |holds| if holds { "holds" } else { "DOES NOT HOLD" });
        [self.shown_bar.clone(), holds.to_owned(), self.shown_aim.clone(), self.note.clone()]
    }

    /// A word for people.
    pub(super) fn note(self, note: &str) -> Self {
        Self { note: note.to_owned(), ..self }
    }
}

/// All measurements, as asked for.
pub(super) fn print(measurements: &[Measurement], output: Output) {
    match output {
        Output::Table => print_table(measurements),
        Output::Json => print_json(measurements),
    }
}

/// All measurements as one JSON list.
pub(super) fn print_json(measurements: &[Measurement]) {
    say(format_args!("{:#}", serde_json::to_value(measurements).unwrap_or_default()));
}

fn print_table(measurements: &[Measurement]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["", "value", "unit", "bar", "", "", ""]);
    for measurement in measurements {
        let value = format!("{:.3}", measurement.value);
        let words = [measurement.name.clone(), value, measurement.unit.to_owned()];
        table.add_row(words.into_iter().chain(measurement.verdict()));
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say(format_args!("\n{table}"));
}
