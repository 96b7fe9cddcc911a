//! What a drill found, for people and for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use crate::terminal::{complain, say};

/// What a result is written as.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Numbers of a drill, in order, and what was wrong.
pub(super) struct Report {
    pub(super) numbers: Vec<(&'static str, u64)>,
    pub(super) faults: Vec<String>,
}

impl Report {
    /// Prints everything; faults go to standard error as well, because somebody has to read them.
    pub(super) fn print(&self, output: Output) {
        match output {
            Output::Json => {
                let numbers: Map<String, Value> =
                    self.numbers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                let mut object = Value::Object(numbers);
                object["faults"] = json!(self.faults);
                say(format_args!("{object:#}"));
            }
            Output::Table => {
                let mut table = Table::new();
                table.load_style(presets::UTF8_BORDERS_ONLY);
                for (name, value) in &self.numbers {
                    table.add_row([name.replace('_', " "), value.to_string()]);
                }
                table.add_row(["faults".to_owned(), self.faults.len().to_string()]);
                if let Some(column) = table.column_mut(1) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
                say(format_args!("{table}"));
            }
        }
        for fault in &self.faults {
            complain(format_args!("FAULT: {fault}"));
        }
    }
}
