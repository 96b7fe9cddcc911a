//! The benches in network namespaces, with the parameters of their links: what the model is calibrated against.

use super::Run;
use crate::figure::Figure;
use crate::fleet::FleetSpec;
use crate::net::Net;

const MIB: u64 = 1024 * 1024;

/// What a bench is: agents, Mbit/s, size, and how much faster the owner is.
struct Bench {
    name: &'static str,
    agents: u32,
    mbit: u64,
    size: u64,
    owner_factor: u64,
    mtu: u64,
}

/// Pieces that the stream to a client wants ahead, as the agent's reader does for pieces of 64 KiB.
const AHEAD: u32 = 64;

fn bench(run: &mut Run, bench: &Bench) -> crate::report::Report {
    let rate = bench.mbit * 1_000_000 / 8;
    let base = run.fleet(bench.agents, bench.size, rate);
    let of = FleetSpec {
        net: Net::namespaces(base.rate * 8, bench.mtu),
        origin_rate: base.rate * bench.owner_factor,
        ..base
    };
    // The client at each agent reads the blob in order while it arrives.
    run.options.readers.get_or_insert(AHEAD);
    let (_, report) = run.flash(&of);
    run.line(bench.name, &report);
    run.put_common(bench.name, &report);
    run.put(Figure::new(format!("{}_p99", bench.name), report.ratio(0.99), "× bound"));
    report
}

pub(super) fn h1(run: &mut Run) {
    let of = Bench { name: "h1", agents: 16, mbit: 20, size: 32 * MIB, owner_factor: 1, mtu: 1_500 };
    let report = bench(run, &of);
    run.put(Figure::new("h1_p50", report.ratio(0.5), "× bound").at_most(1.12).aim(1.08));
    run.put(Figure::new("h1_max", report.ratio(1.0), "× bound").at_most(1.15).aim(1.10));
    run.put(Figure::new("h1_copies", report.copies, "copies").at_most(1.10).aim(1.05));
    let overhead = (report.duplicates + report.control) * 100.0;
    run.put(Figure::new("h1_duplicates_and_control", overhead, "%").at_most(4.0).aim(3.0));
    let straggler = report.quantile(1.0) / report.quantile(0.5);
    run.put(Figure::new("h1_straggler", straggler, "max / median").at_most(1.05));
}

pub(super) fn h2(run: &mut Run) {
    let of = Bench { name: "h2", agents: 16, mbit: 20, size: 32 * MIB, owner_factor: 4, mtu: 1_500 };
    let report = bench(run, &of);
    run.put(Figure::new("h2_p50", report.ratio(0.5), "× bound").at_most(1.10).aim(1.06));
    run.put(Figure::new("h2_max", report.ratio(1.0), "× bound").at_most(1.12).aim(1.08));
    run.put(Figure::new("h2_copies", report.copies, "copies").at_most(2.3));
}

pub(super) fn h3(run: &mut Run) {
    let of = Bench { name: "h3", agents: 32, mbit: 40, size: 64 * MIB, owner_factor: 1, mtu: 9_000 };
    let report = bench(run, &of);
    run.put(Figure::new("h3_p50", report.ratio(0.5), "× bound"));
    run.put(Figure::new("h3_max", report.ratio(1.0), "× bound").at_most(1.15).aim(1.10));
}

pub(super) fn h4(run: &mut Run) {
    let of = Bench { name: "h4", agents: 64, mbit: 10, size: 16 * MIB, owner_factor: 1, mtu: 9_000 };
    let report = bench(run, &of);
    run.put(Figure::new("h4_p50", report.ratio(0.5), "× bound"));
    run.put(Figure::new("h4_max", report.ratio(1.0), "× bound").at_most(1.20).aim(1.12));
}
