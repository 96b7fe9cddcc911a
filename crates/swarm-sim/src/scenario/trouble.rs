//! Fleets in which something goes wrong, or is not alike. Each agent is measured against its own bound.

use super::Run;
use crate::figure::Figure;
use crate::fleet::{Fleet, FleetSpec};
use crate::report::Report;
use crate::script::Script;
use crate::spec::Spec;

const MB: u64 = 1_000_000;

/// The usual size of these: 128 agents with 100 Mbit/s, 128 MB in pieces of 256 KiB, a bound of ten seconds.
fn usual(run: &Run) -> FleetSpec {
    let mut of = run.fleet(128, 128 * MB, 25 * MB / 2);
    of.net.slice = 32 * 1024;
    of
}

/// Agents come evenly over 40 % of the time that the first need at least.
pub(super) fn staggered(run: &mut Run) {
    let of = usual(run);
    let mut fleet = Fleet::new(&of, |_, spec| spec);
    let spread = 0.4 * of.sizes[0] as f64 / of.rate as f64;
    fleet.open(|at| spread * f64::from(at) / f64::from(of.agents));
    run.finish(&mut fleet);
    own(run, "staggered", &fleet.report());
}

/// Half of the agents have links four times as fast as the others'; the owner is as fast as a fast one.
pub(super) fn heterogeneous(run: &mut Run) {
    let base = usual(run);
    let of = FleetSpec { origin_rate: base.rate * 2, ..base };
    let faster = |at: u32, spec: Spec| {
        let rate = if at.is_multiple_of(2) { of.rate * 2 } else { of.rate / 2 };
        Spec { up: rate, down: rate, ..spec }
    };
    let mut fleet = Fleet::new(&of, faster);
    fleet.open(|_| 0.0);
    run.finish(&mut fleet);
    own(run, "heterogeneous", &fleet.report());
}

/// A third of the agents are killed when half of the time has passed; what they had is lost to the others.
pub(super) fn killed(run: &mut Run) {
    let of = usual(run);
    let mut fleet = Fleet::new(&of, |_, spec| spec);
    fleet.open(|_| 0.0);
    let midway = 0.5 * of.sizes[0] as f64 / of.rate as f64;
    let dies = |at: u32| at % 3 == 1;
    for (at, agent) in (0..).zip(fleet.agents.clone()).filter(|(at, _)| dies(*at)) {
        let script = if at % 2 == 0 { Script::Kill(agent) } else { Script::Vanish(agent) };
        fleet.world.at(midway, script);
    }
    run.finish(&mut fleet);
    let first = fleet.agents[0];
    let until = |node: u32| if node >= first && dies(node - first) { midway } else { f64::INFINITY };
    let report = Report::of(&fleet.world, &fleet.blobs, &fleet.agents, until);
    own(run, "killed", &report);
}

/// All the time some agent is restarted, or loses power and comes back.
pub(super) fn churn(run: &mut Run) {
    let of = usual(run);
    let mut fleet = Fleet::new(&of, |_, spec| spec);
    fleet.open(|_| 0.0);
    let bound = of.sizes[0] as f64 / of.rate as f64;
    let mut steady = Vec::new();
    for (at, agent) in (0_u32..).zip(fleet.agents.clone()) {
        if at % 4 != 0 {
            steady.push(agent);
            continue;
        }
        let when = bound * (0.1 + 0.8 * f64::from(at) / f64::from(of.agents));
        fleet.world.at(when, if at % 8 == 0 { Script::Kill(agent) } else { Script::Vanish(agent) });
        fleet.world.at(when + 1.0, Script::Start(agent));
        fleet.world.at(when + 1.1, Script::Open(agent, fleet.blobs[0]));
    }
    run.finish(&mut fleet);
    let report = fleet.report_of(&steady);
    own(run, "churn", &report);
    let all = fleet.report();
    run.put(Figure::new("churn_missing_all", all.missing as f64, "agents").at_most(0.0));
}

/// Disks that take half of what the link brings: only their own nodes may be late.
pub(super) fn slow_disks(run: &mut Run) {
    let of = usual(run);
    let slow = |at: u32| at.is_multiple_of(10);
    let mut fleet =
        Fleet::new(&of, |at, spec| if slow(at) { Spec { disk: of.rate / 2, ..spec } } else { spec });
    fleet.open(|_| 0.0);
    run.finish(&mut fleet);
    let (late, others): (Vec<u32>, Vec<u32>) =
        fleet.agents.iter().partition(|node| slow(**node - fleet.agents[0]));
    own(run, "slow-disks", &fleet.report_of(&others));
    let disk_bound = of.sizes[0] as f64 / (of.rate / 2) as f64;
    let worst = fleet.report_of(&late).quantile(1.0) / disk_bound;
    run.put(Figure::new("slow-disks_slow_max", worst, "× bound of the disk").at_most(1.25));
}

/// Nobody can ask the tracker anything after the first second; some come later and know only what they were told before.
pub(super) fn dead_tracker(run: &mut Run) {
    let of = usual(run);
    let mut fleet = Fleet::new(&of, |_, spec| spec);
    fleet.open(|_| 0.0);
    fleet.world.at(1.0, Script::TrackerDown(true));
    run.finish(&mut fleet);
    own(run, "dead-tracker", &fleet.report());
}

/// One of two owners dies when the two together have sent half of a copy; the other has to send what is missing.
pub(super) fn origin_dies(run: &mut Run) {
    let base = usual(run);
    let of = FleetSpec { origins: 2, ..base };
    let mut fleet = Fleet::new(&of, |_, spec| spec);
    fleet.open(|_| 0.0);
    let dead = fleet.owners[0];
    let when = 0.25 * of.sizes[0] as f64 / of.origin_rate as f64;
    fleet.world.at(when, Script::Kill(dead));
    run.finish(&mut fleet);
    let until = |node: u32| if node == dead { when } else { f64::INFINITY };
    let report = Report::of(&fleet.world, &fleet.blobs, &fleet.agents, until);
    own(run, "origin-dies", &report);
}

fn own(run: &mut Run, name: &str, report: &Report) {
    run.line(name, report);
    run.put_own(name, report, 1.25, 1.15);
    run.put_common(name, report);
}
