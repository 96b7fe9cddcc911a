//! Zones: the copies that cross between them, and what it costs in time to avoid that.

use shoal_swarm_protocol::Role;

use super::Run;
use crate::figure::Figure;
use crate::fleet::Fleet;
use crate::report::Report;
use crate::spec::Spec;

/// Number of zones.
const ZONES: u32 = 10;
/// Between zones, beyond the links' own latency.
const ZONE_LATENCY_MICROS: u64 = 500;

/// Copies of the blob that came into each zone from others; the zone of the owner included.
fn crossing(fleet: &Fleet) -> Vec<f64> {
    let size: u64 = fleet.blobs.iter().map(|blob| fleet.world.blob(*blob).size()).sum();
    (1..=ZONES)
        .map(|zone| {
            let here = |node: &&u32| fleet.world.node(**node).spec().zone.0 == zone;
            let bytes = fleet
                .agents
                .iter()
                .filter(here)
                .map(|node| fleet.world.node(*node).counts().cross_zone_bytes);
            bytes.sum::<u64>() as f64 / size as f64
        })
        .collect()
}

fn zoned(run: &mut Run, told: bool) -> (Report, Vec<f64>) {
    let mut of = run.fleet(ZONES * 100, 1_500_000_000, 300_000_000);
    of.net.zone_latency_micros = ZONE_LATENCY_MICROS;
    // The owner stands in the first zone.
    of.origins = 0;
    let sizes = std::mem::take(&mut of.sizes);
    let place = |at: u32, spec: Spec| Spec { tells_zone: told, ..spec.zone(1 + at % ZONES) };
    let mut fleet = Fleet::new(&of, place);
    let owner = fleet.add(Spec { tells_zone: told, ..Spec::new(Role::Owner, of.origin_rate).zone(1) });
    fleet.owners.push(owner);
    for size in sizes {
        let blob = fleet.world.add_blob("zoned", size, &fleet.owners);
        fleet.blobs.extend(blob);
    }
    fleet.open(|_| 0.0);
    run.finish(&mut fleet);
    (fleet.report(), crossing(&fleet))
}

pub(super) fn zones(run: &mut Run) {
    let (unaware, copies_unaware) = zoned(run, false);
    let (aware, copies) = zoned(run, true);
    run.line("zones not told", &unaware);
    run.line("zones told", &aware);
    let mean = |copies: &[f64]| copies.iter().sum::<f64>() / f64::from(ZONES);
    let worst = copies.iter().copied().fold(0.0, f64::max);
    run.put(Figure::new("zones_copies_not_told_mean", mean(&copies_unaware), "copies per zone"));
    run.put(Figure::new("zones_copies_mean", mean(&copies), "copies per zone"));
    run.put(Figure::new("zones_copies_max", worst, "copies per zone").at_most(15.0).aim(2.0));
    for (name, share) in [("p50", 0.5), ("max", 1.0)] {
        run.put(Figure::new(format!("zones_{name}"), aware.ratio(share), "× bound"));
        let cost = (aware.ratio(share) / unaware.ratio(share) - 1.0) * 100.0;
        run.put(Figure::new(format!("zones_time_cost_{name}"), cost, "%").at_most(1.0));
    }
    run.put_common("zones", &aware);
}
