//! Peers that mean harm. Every honest agent is measured against the bound of the honest, who must have the right bytes.

use super::Run;
use crate::figure::Figure;
use crate::fleet::{Fleet, FleetSpec};
use crate::script::Script;
use crate::spec::{Nature, Spec};

const MB: u64 = 1_000_000;

/// Honest agents, and hostile nodes beside them.
const HONEST: u32 = 100;
const HOSTILE: u32 = 20;

/// Sybils: the links of some machines, both ways, shared by many identities that ask for everything and give nothing.
const SYBILS: u32 = 200;
const SYBIL_LINKS: u64 = 4;

fn usual(run: &Run) -> FleetSpec {
    let mut of = run.fleet(HONEST, 128 * MB, 25 * MB / 2);
    of.net.slice = 32 * 1024;
    of
}

/// A fleet with `count` further nodes of a nature, which are there before the honest begin.
fn beset(run: &mut Run, name: &str, count: u32, spec: impl Fn(u32, Spec) -> Spec, misled: bool) {
    let of = usual(run);
    let mut fleet = Fleet::new(&of, |_, spec| spec);
    for _ in 0..count {
        let first = of.origins + of.agents;
        let node = fleet.add(spec(first, Spec::new(shoal_swarm_protocol::Role::Agent, of.rate)));
        // A liar is complete at once, in its own words; the others download like anybody.
        fleet.world.at(0.0, Script::Meddle(node, fleet.blobs[0]));
    }
    for agent in fleet.agents.clone().into_iter().filter(|_| misled) {
        fleet.world.at(0.05, Script::Mislead(agent));
    }
    fleet.open(|_| 0.1);
    run.finish(&mut fleet);
    let report = fleet.report();
    run.line(&format!("hostile {name}"), &report);
    let worst = crate::report::quantile(&report.own_ratios, 1.0);
    run.put(Figure::new(format!("hostile_{name}_max"), worst, "× own bound").at_most(1.3));
    run.put(Figure::new(format!("hostile_{name}_missing"), report.missing as f64, "agents").at_most(0.0));
    let honest = |count: &dyn Fn(&crate::node::Counts) -> u64| -> f64 {
        let nodes = || fleet.agents.iter().chain(&fleet.owners);
        nodes().map(|node| count(fleet.world.node(*node).counts())).max().unwrap_or(0) as f64
    };
    run.put(
        Figure::new(format!("hostile_{name}_wrong"), honest(&|counts| counts.wrong), "blobs").at_most(0.0),
    );
    let unsent = honest(&|counts| counts.unsent_max) / (1 << 20) as f64;
    run.put(Figure::new(format!("hostile_{name}_queued_max"), unsent, "MiB per node").at_most(64.0));
    let innocent = fleet.agents.iter().flat_map(|node| &fleet.world.node(*node).counts().banned);
    let innocent = innocent.filter(|banned| fleet.agents.contains(banned)).count();
    run.put(Figure::new(format!("hostile_{name}_honest_banned"), innocent as f64, "bans").at_most(0.0));
}

pub(super) fn hostile(run: &mut Run) {
    for case in [nobody, corrupt, stalling, lying, flooding, sybils, one_address, metainfo] {
        case(run);
    }
}

pub(super) fn nobody(run: &mut Run) {
    beset(run, "nobody", 0, |_, spec| spec, false);
}

pub(super) fn corrupt(run: &mut Run) {
    beset(run, "corrupt", HOSTILE, |_, spec| spec.nature(Nature::Corrupt), false);
}

pub(super) fn stalling(run: &mut Run) {
    beset(run, "stalling", HOSTILE, |_, spec| spec.nature(Nature::Stalling), false);
}

pub(super) fn lying(run: &mut Run) {
    beset(run, "lying", HOSTILE, |_, spec| spec.nature(Nature::Lying), false);
}

pub(super) fn flooding(run: &mut Run) {
    beset(run, "flooding", HOSTILE, |_, spec| spec.nature(Nature::Flooding), false);
}

pub(super) fn sybils(run: &mut Run) {
    beset(run, "sybils", SYBILS, |_, spec| sybil(spec), false);
}

pub(super) fn one_address(run: &mut Run) {
    let there = |first, spec| Spec { on: Some(first), ..sybil(spec) };
    beset(run, "one-address", SYBILS, there, false);
}

/// One of many identities behind few links.
fn sybil(spec: Spec) -> Spec {
    let share = |rate: u64| rate * SYBIL_LINKS / u64::from(SYBILS);
    Spec { up: share(spec.up), down: share(spec.down), ..spec.nature(Nature::Stalling) }
}

pub(super) fn metainfo(run: &mut Run) {
    beset(run, "metainfo", 0, |_, spec| spec, true);
}
