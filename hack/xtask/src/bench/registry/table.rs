//! The figures for people: a row for each, a column for each registry, and our bar beside them.

use comfy_table::{CellAlignment, Table, presets};

use super::peer::SHOAL;
use crate::bench::measurement::Measurement;
use crate::terminal::say;

/// What every name begins with.
const PREFIX: &str = "registry_";

/// Prints the figures; those that are about the run and not about a registry go below.
pub(super) fn print(measurements: &[Measurement], names: &[String]) {
    let mut rows: Vec<(&str, Vec<&Measurement>)> = Vec::new();
    for measurement in measurements {
        let Some(figure) = figure(&measurement.name, names) else { continue };
        match rows.iter_mut().find(|(known, _)| *known == figure) {
            Some((_, row)) => row.push(measurement),
            None => rows.push((figure, vec![measurement])),
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let header = ["", "unit"].into_iter().chain(names.iter().map(String::as_str));
    table.set_header(header.chain(["bar", "", "aim", ""]));
    for (figure, row) in rows {
        let of = |name: &String| row.iter().find(|found| found.name.ends_with(&format!("{figure}_{name}")));
        let values = names.iter().map(|name| of(name).map_or_else(String::new, |found| shown(found.value)));
        let unit = row.first().map_or("", |found| found.unit).to_owned();
        let verdict = row.iter().find(|found| found.name.ends_with(SHOAL)).map(|ours| ours.verdict());
        let words = [figure.replace('_', " "), unit].into_iter().chain(values);
        table.add_row(words.chain(verdict.unwrap_or_default()));
    }
    for column in 2..2 + names.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    say(format_args!("\n{table}"));
    for measurement in measurements.iter().filter(|found| figure(&found.name, names).is_none()) {
        let name = measurement.name.trim_start_matches(PREFIX).replace('_', " ");
        say(format_args!("{name}: {} {}", shown(measurement.value), measurement.unit));
    }
}

/// `registry_push_4kib_rate_shoal` → `push_4kib_rate`; none when no registry is named.
fn figure<'name>(name: &'name str, names: &[String]) -> Option<&'name str> {
    let rest = name.strip_prefix(PREFIX)?;
    // The longest name that fits: one registry's may end like another's.
    let registry = names
        .iter()
        .filter(|registry| rest.ends_with(&format!("_{registry}")))
        .max_by_key(|registry| registry.len())?;
    rest.strip_suffix(registry.as_str())?.strip_suffix('_')
}

/// Three or four figures, which is more than a shared machine repeats.
fn shown(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_figure_and_a_registry() {
        let names = ["registry", "docker_registry", SHOAL].map(str::to_owned);
        assert_eq!(figure("registry_push_4kib_rate_docker_registry", &names), Some("push_4kib_rate"));
        assert_eq!(figure("registry_push_4kib_rate_shoal", &names), Some("push_4kib_rate"));
        assert_eq!(figure("registry_samples", &names), None);
    }
}
