//! What is printed: the same facts as a table or as JSON.

use std::io::Write;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::Value;

use crate::cli::Output;

/// Facts to show.
#[derive(Debug)]
pub(crate) struct Report {
    /// For programs.
    pub(crate) json: Value,
    /// For people: the columns' names.
    pub(crate) columns: Vec<&'static str>,
    /// For people: the rows.
    pub(crate) rows: Vec<Vec<String>>,
    /// Whether everything that was asked for is there and well; the exit status.
    pub(crate) complete: bool,
}

impl Report {
    /// The report as text that ends with a line end.
    pub(crate) fn render(&self, output: Output) -> String {
        match output {
            Output::Json => format!("{:#}\n", self.json),
            Output::Table => {
                let mut table = Table::new();
                table.load_style(NOTHING).set_header(self.columns.iter().copied());
                table.add_rows(self.rows.iter().map(Vec::as_slice));
                // Every cell is padded on both sides; the first column starts at the edge.
                table
                    .trim_fmt()
                    .lines()
                    .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
                    .collect()
            }
        }
    }
}

/// Bytes as people read them: `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Writes to standard output. A closed pipe is the reader's decision and no failure.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes one line to standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        let shown: Vec<_> = [0, 1023, 1024, 1_610_612_736, u64::MAX].into_iter().map(bytes).collect();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 GiB", "16777216.0 TiB"]);
    }

    #[test]
    fn a_report_is_a_table_or_json() {
        let report = Report {
            json: serde_json::json!({"tags": ["v1"]}),
            columns: vec!["TAG", "SIZE"],
            rows: vec![vec!["v1".into(), "3".into()], vec!["longer".into(), "4".into()]],
            complete: true,
        };
        let table = report.render(Output::Table);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines, ["TAG     SIZE", "v1      3", "longer  4"]);
        assert_eq!(report.render(Output::Json), "{\n  \"tags\": [\n    \"v1\"\n  ]\n}\n");
    }
}
