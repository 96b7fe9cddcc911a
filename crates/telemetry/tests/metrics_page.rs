//! The operators' page of metrics is made from the names in the code; a difference fails here and says how to mend it.

use std::path::Path;

use shoal_telemetry::names::{ALL, Kind};

const HEAD: &str = "# Metrics

Both programs serve them in OpenMetrics text at `/metrics`: the server on its admin port (15005), the agent on its own (16002).
Every series exists from the start with the value zero. Labels have few values; none is a digest, a repository or an address.

This page is made from `crates/telemetry/src/names.rs`.

| metric | kind | labels | unit | meaning |
|---|---|---|---|---|
";

const TAIL: &str = "
Useful expressions:

- bytes that the swarm saved the origins, per second: `sum(rate(shoal_swarm_received_bytes_total{source=\"peer\"}[5m]))`
- share of pulls that had to go elsewhere: `rate(shoal_mirror_requests_total{kind=\"blob\",source=\"miss\"}[5m]) / ignoring(source)
  group_left sum without(source) (rate(shoal_mirror_requests_total{kind=\"blob\"}[5m]))`
- a disk or a peer that lies: `increase(shoal_swarm_pieces_total{result=\"corrupt\"}[1h]) > 0`
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, labels, unit, help) = (metric.name, labels.join(", "), metric.unit, metric.help);
        page += &format!("| `{name}` | {kind} | {labels} | {unit} | {help} |\n");
    }
    page + TAIL
}

#[test]
fn the_page_lists_exactly_the_metrics_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    if std::env::var_os("SHOAL_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/reference/metrics.md differs from the code; run: SHOAL_WRITE_DOCS=1 cargo test -p shoal-telemetry --test metrics_page"
    );
}
