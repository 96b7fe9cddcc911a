//! Fleets that no bench holds, all of whose hosts want the same at the same moment.

use super::Run;
use crate::figure::Figure;
use crate::fleet::FleetSpec;

const MB: u64 = 1_000_000;
const GB: u64 = 1_000 * MB;

/// "3G Docker image with 2 layers is downloaded by 2600 hosts concurrently, with 300MB/s speed limit on all agents (using 5 trackers
/// and 5 origins)": p50 10 s, p99 18 s, p99.9 22 s (README of Kraken). Both layers are wanted at once, as a runtime does.
pub(super) fn kraken(run: &mut Run) {
    let base = run.fleet(2_600, 3 * GB, 300 * MB);
    let half = base.sizes[0] / 2;
    let of = FleetSpec {
        origins: run.options.origins.unwrap_or(5),
        sizes: vec![half, base.sizes[0] - half],
        ..base
    };
    let (_, report) = run.flash(&of);
    run.line("kraken", &report);
    run.put(Figure::new("kraken_bound", report.bound, "s"));
    // In units of Kraken's ten seconds, so that other sizes can be compared with it.
    for (name, share, bar, aim) in
        [("p50", 0.5, 1.03, 1.01), ("p99", 0.99, 1.06, 1.02), ("p999", 0.999, 1.1, 1.03)]
    {
        let figure = Figure::new(format!("kraken_{name}"), report.quantile(share), "s");
        run.put(figure.at_most(bar * report.bound).aim(aim * report.bound));
    }
    run.put(Figure::new("kraken_max", report.quantile(1.0), "s"));
    run.put_common("kraken", &report);
}

/// One origin that is no faster than an agent has to feed 15,000.
pub(super) fn wide(run: &mut Run) {
    let of = run.fleet(15_000, 3 * GB / 2, 300 * MB);
    let (_, report) = run.flash(&of);
    run.line("wide", &report);
    run.put(Figure::new("wide_p50", report.ratio(0.5), "× bound").at_most(1.12).aim(1.05));
    run.put(Figure::new("wide_p99", report.ratio(0.99), "× bound"));
    run.put(Figure::new("wide_p999", report.ratio(0.999), "× bound").at_most(1.15).aim(1.10));
    run.put(Figure::new("wide_max", report.ratio(1.0), "× bound"));
    run.put_common("wide", &report);
}

/// 100 GB to 10,000 hosts has 24,000 pieces of 4 MiB. A blob of fewer such pieces over the same links is simulated: what a fleet loses
/// at the beginning (filling up, one piece time for each generation of copies) and at the end is then a larger part of the whole,
/// and what it loses in between, per piece, is the same. So the share of the link that a long blob uses is no smaller.
pub(super) fn long(run: &mut Run) {
    let of = run.fleet(10_000, 3 * GB, 300 * MB);
    let (_, report) = run.flash(&of);
    run.line("long", &report);
    let size = of.sizes.iter().sum::<u64>() as f64;
    let used = |seconds: f64| size / (seconds * of.rate as f64) * 100.0;
    run.put(Figure::new("long_link_used_p50", used(report.quantile(0.5)), "%").at_least(92.0).aim(96.0));
    run.put(Figure::new("long_link_used_worst", used(report.quantile(1.0)), "%").at_least(92.0).aim(96.0));
    run.put_common("long", &report);
}

/// A manifest's worth of bytes for everybody at once, through the swarm.
pub(super) fn small(run: &mut Run) {
    let of = run.fleet(2_600, 64 * 1024, 1_250 * MB);
    let (_, report) = run.flash(&of);
    run.line("small", &report);
    run.put(Figure::new("small_p50", report.quantile(0.5) * 1e3, "ms"));
    run.put(Figure::new("small_max", report.quantile(1.0) * 1e3, "ms").at_most(50.0).aim(15.0));
    run.put_common("small", &report);
}

/// An image of ten layers over one set of connections.
pub(super) fn layers(run: &mut Run) {
    let base = run.fleet(200, GB, 125 * MB);
    // As layers are: one large, some middling, many small.
    let shares = [500, 200, 100, 80, 50, 30, 20, 10, 8, 2];
    let sizes = shares.iter().map(|share| base.sizes[0] * share / 1_000).collect();
    let (_, report) = run.flash(&FleetSpec { sizes, ..base });
    run.line("layers", &report);
    run.put(Figure::new("layers_p50", report.ratio(0.5), "× bound"));
    run.put(Figure::new("layers_max", report.ratio(1.0), "× bound").at_most(1.25).aim(1.15));
    run.put_common("layers", &report);
}
