//! Metric names have one home: whatever documentation, tests or dashboards call a metric is in telemetry's list.

use std::collections::BTreeSet;

use super::Violation;
use super::house::{House, SourceFile};
use crate::workspace::Metadata;

/// The list of all metrics.
const HOME: &str = "crates/telemetry/src/names.rs";
/// What every metric and, alas, every crate in Rust's spelling begins with.
const PREFIX: &str = "shoal_";
/// What a scrape appends to the name of a histogram.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Compares every metric name in strings and documentation with the list.
pub(super) fn check(house: &House, metadata: &Metadata) -> Vec<Violation> {
    let Some(home) = house.file(HOME) else { return vec![] };
    let mut known: BTreeSet<&str> = quoted(&home.text).collect();
    let crates: Vec<String> =
        metadata.packages.iter().map(|package| package.name.replace('-', "_")).collect();
    known.extend(crates.iter().map(String::as_str));
    let others = house.files.iter().filter(|file| file.path != HOME && !is_own_test(file));
    others.flat_map(|file| check_file(&known, file)).collect()
}

fn check_file(known: &BTreeSet<&str>, file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for name in quoted(line) {
            let base = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            if !known.contains(name) && !known.contains(base) {
                found.push(Violation {
                    place: format!("{}:{number}", file.path),
                    what: format!("`{name}` is not a metric"),
                    remedy: "correct the name, or add the metric to crates/telemetry/src/names.rs",
                });
            }
        }
    }
    found
}

/// This file's own tests spell names that do not exist.
fn is_own_test(file: &SourceFile) -> bool {
    file.path.ends_with("tidy/metrics.rs")
}

/// Every name that begins right behind a quotation mark or a backtick.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(PREFIX).filter_map(move |(at, _)| {
        let opened = text[..at].ends_with(['"', '`']);
        let end = text[at..].find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let name = &text[at..end.map_or(text.len(), |end| at + end)];
        // A name that goes on with `::` is a path in Rust, and one that ends in `_` is a prefix for searching.
        let is_path = text[at + name.len()..].starts_with("::");
        (opened && !is_path && !name.ends_with('_')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_metrics_are_found() {
        let home = "A = Counter \"shoal_swarm_sent_bytes_total\" [\"to\"] \"bytes\":";
        let text =
            "`shoal_swarm_sent_bytes_total` \"shoal_swarm_send_total{to=\" `shoal_swarm::Swarm` shoal_other";
        let house = House::of(&[(HOME, home), ("docs/a.md", text)]);
        let metadata = Metadata { packages: vec![], target_directory: "target".into() };
        let found = check(&house, &metadata);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("shoal_swarm_send_total"));
    }
}
