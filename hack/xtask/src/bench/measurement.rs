//! One number of a bench, as programs read it.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::terminal::say;

/// A measured value, and what it has to be, if that has been decided.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measurement {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// The value may be at most this. Null: no bar is set.
    pub(super) bar: Option<f64>,
    /// Null without a bar.
    pub(super) holds: Option<bool>,
}

impl Measurement {
    /// A value without a bar.
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, bar: None, holds: None }
    }

    /// The same value, which may be at most `bar`.
    pub(super) fn at_most(self, bar: f64) -> Self {
        Self { bar: Some(bar), holds: Some(self.value <= bar), ..self }
    }
}

/// All measurements as one JSON list.
pub(super) fn print_json(measurements: &[Measurement]) {
    say(format_args!("{:#}", serde_json::to_value(measurements).unwrap_or_default()));
}

/// All measurements for people.
pub(super) fn print_table(measurements: &[Measurement]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["", "value", "unit", "bar", ""]);
    for measurement in measurements {
        table.add_row([
            measurement.name.clone(),
            format!("{:.3}", measurement.value),
            measurement.unit.to_owned(),
            measurement.bar.map_or_else(|| "none".to_owned(), |bar| format!("≤ {bar}")),
            measurement.holds.map_or("", |holds| if holds { "holds" } else { "DOES NOT HOLD" }).to_owned(),
        ]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say(format_args!("\n{table}"));
}
