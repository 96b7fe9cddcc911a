//! Readers: those that stream, those that need the same part first, and those that wait for a few bytes.

use super::Run;
use crate::figure::Figure;
use crate::fleet::{Fleet, FleetSpec};
use crate::report::quantile;
use crate::script::Script;

const MB: u64 = 1_000_000;

/// Share of an image that containers read when they start (FAST 2016, Slacker: 6.4 %).
const HOT_SHARE: f64 = 0.065;

/// Every agent waits for the first 6.5 % of the blob, and then gets the rest.
pub(super) fn hot_set(run: &mut Run) {
    let of = run.fleet(1_000, 1_500 * MB, 300 * MB);
    let mut fleet = Fleet::new(&of, |_, spec| spec);
    fleet.open(|_| 0.0);
    let hot = (f64::from(fleet.world.blob(fleet.blobs[0]).count()) * HOT_SHARE).ceil() as u32;
    for agent in fleet.agents.clone() {
        fleet.world.at(0.0, Script::Demand(agent, fleet.blobs[0], 0, hot));
    }
    run.finish(&mut fleet);
    let report = fleet.report();
    run.line("hot-set", &report);
    let waits = waits(&fleet);
    let ideal = HOT_SHARE * report.bound;
    run.put(Figure::new("hot-set_ideal", ideal, "s"));
    run.put(Figure::new("hot-set_p50", quantile(&waits, 0.5), "s"));
    run.put(Figure::new("hot-set_p99", quantile(&waits, 0.99), "s").at_most(2.0 * ideal).aim(1.4 * ideal));
    run.put(Figure::new("hot-set_whole_max", report.ratio(1.0), "× bound"));
    run.put_common("hot-set", &report);
}

/// Every agent's client reads the whole blob in order while it arrives.
pub(super) fn stream(run: &mut Run) {
    let of = run.fleet(256, 1_500 * MB, 300 * MB);
    let background = {
        let readers = run.options.readers.take();
        let (_, report) = run.flash(&of);
        run.options.readers = readers;
        report
    };
    run.options.readers.get_or_insert(8);
    let (_, report) = run.flash(&of);
    run.line("stream", &report);
    run.line("stream without readers", &background);
    run.put(Figure::new("stream_max", report.ratio(1.0), "× bound"));
    run.put(Figure::new("stream_max_without_readers", background.ratio(1.0), "× bound"));
    let first = quantile(&report.first_byte, 0.5) / report.quantile(0.5) * 100.0;
    run.put(Figure::new("stream_first_byte_p50", first, "% of the transfer").at_most(5.0));
    let first = quantile(&report.first_byte, 1.0) / report.quantile(0.5) * 100.0;
    run.put(Figure::new("stream_first_byte_max", first, "% of the transfer"));
    run.put_common("stream", &report);
}

/// While a fleet pulls one blob with all its links, some agents read single pieces of another that others hold.
pub(super) fn demand(run: &mut Run) {
    let base = run.fleet(64, 2_000 * MB, 125 * MB);
    // The second is cut into pieces of 128 KiB.
    let of = FleetSpec { sizes: vec![base.sizes[0], 64 * 1024 * 1024], ..base };
    let mut fleet = Fleet::new(&of, |_, spec| spec);
    let (background, lazy) = (fleet.blobs[0], fleet.blobs[1]);
    let half = fleet.agents.len() / 2;
    for (at, agent) in fleet.agents.clone().into_iter().enumerate() {
        fleet.world.at(0.0, Script::Open(agent, background));
        if at < half {
            fleet.world.at(0.0, Script::Seed(agent, lazy));
        }
    }
    let mut rng = fastrand::Rng::with_seed(of.seed);
    let count = fleet.world.blob(lazy).count();
    let mut asked = 0;
    for agent in fleet.agents.clone().into_iter().skip(half) {
        for turn in 0..20 {
            let pieces = [1, 8][turn % 2];
            let first = rng.u32(0..count - pieces);
            fleet.world.at(2.0 + 0.4 * turn as f64, Script::Lazy(agent, lazy, first, pieces));
            asked += 1;
        }
    }
    run.finish(&mut fleet);
    let beyond: Vec<f64> = beyond_wire(&fleet, of.rate);
    let report = crate::report::Report::of(&fleet.world, &[background], &fleet.agents, |_| f64::INFINITY);
    run.line("demand", &report);
    run.put(
        Figure::new("demand_answered", beyond.len() as f64 / f64::from(asked) * 100.0, "%").at_least(100.0),
    );
    run.put(Figure::new("demand_beyond_wire_p50", quantile(&beyond, 0.5) * 1e3, "ms"));
    run.put(
        Figure::new("demand_beyond_wire_p99", quantile(&beyond, 0.99) * 1e3, "ms").at_most(20.0).aim(5.0),
    );
    run.put(Figure::new("demand_background_max", report.ratio(1.0), "× bound"));
}

/// How long each wait took beyond the time of its bytes on the link; in order.
fn beyond_wire(fleet: &Fleet, rate: u64) -> Vec<f64> {
    let piece = 128.0 * 1024.0;
    let mut beyond: Vec<f64> = fleet
        .world
        .demands()
        .iter()
        .map(|demand| demand.seconds - f64::from(demand.pieces) * piece / rate as f64)
        .collect();
    beyond.sort_by(f64::total_cmp);
    beyond
}

fn waits(fleet: &Fleet) -> Vec<f64> {
    let mut waits: Vec<f64> = fleet.world.demands().iter().map(|demand| demand.seconds).collect();
    waits.sort_by(f64::total_cmp);
    waits
}
