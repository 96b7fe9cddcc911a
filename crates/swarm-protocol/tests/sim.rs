//! The swarm in virtual time, on the real core and the real messages. See `sim/world.rs` for what is modelled and what is not.

#[path = "sim/report.rs"]
mod report;
#[path = "sim/tracker.rs"]
mod tracker;
#[path = "sim/world.rs"]
mod world;

use report::Report;
use shoal_oci::Digest;
use shoal_swarm_protocol::{BlobPhase, FailReason, Input, Limits, Role, Time};
use shoal_swarm_types::PieceIndex;
use world::{NodeId, Script, Spec, World};

const MIB: u64 = 1 << 20;

/// One owner and `count` agents, all with the same link, one blob.
struct Flash {
    world: World,
    owner: NodeId,
    agents: Vec<NodeId>,
    digest: Digest,
}

impl Flash {
    fn new(count: usize, mbit: u64, size: u64, seed: u64) -> Self {
        Self::of(count, size, seed, |role| Spec::new(role, mbit))
    }

    fn of(count: usize, size: u64, seed: u64, spec: impl Fn(Role) -> Spec) -> Self {
        let mut world = World::new(seed);
        let owner = world.add(spec(Role::Owner));
        let agents = (0..count).map(|_| world.add(spec(Role::Agent))).collect();
        let digest = world.add_blob("blob", size, &[owner]);
        Self { world, owner, agents, digest }
    }

    /// Everybody opens the blob at once.
    fn open_all(&mut self) {
        for agent in self.agents.clone() {
            self.world.at_ms(0, Script::Open(agent, self.digest));
        }
    }

    /// Runs until all agents have the blob.
    fn finish(&mut self, limit_ms: u64) {
        let (agents, digest) = (self.agents.clone(), self.digest);
        let done = self.world.run(Time::from_millis(limit_ms), |world| world.all_have(&agents, &digest));
        let missing: Vec<_> = agents
            .iter()
            .filter(|agent| !self.world.nodes[**agent].completed.contains_key(&digest))
            .collect();
        assert!(done, "not complete after {limit_ms} ms: {missing:?}");
    }

    fn report(&self) -> Report {
        Report::of(&self.world, &self.digest, &[self.owner], &self.agents, Time(0))
    }
}

fn flash(count: usize, mbit: u64, size: u64, seed: u64) -> Flash {
    let mut flash = Flash::new(count, mbit, size, seed);
    flash.open_all();
    flash.finish(400_000);
    flash
}

#[test]
fn sixteen_agents_come_near_the_fluid_bound() {
    let report = flash(16, 20, 32 * MIB, 1).report();
    println!("{report}");
    assert!(report.p50 <= 1.16 && report.max <= 1.2, "{report}");
    assert!(report.copies <= 1.15 && report.duplicates <= 0.01, "{report}");
}

#[test]
fn an_owner_sends_every_piece_once_before_its_uplink_rests() {
    for seed in 1..=2 {
        let flash = flash(8, 20, 8 * MIB, seed);
        let report = flash.report();
        // An owner's uplink never rests while some piece has not left it, and carries little else before: the last few share it with
        // second copies, which weighs more in so small a blob.
        assert!(report.rested <= 0.01 && report.again <= 0.08 && report.first_copy <= 1.15, "{report}");
    }
}

#[test]
fn sixty_four_agents_share_one_slow_owner() {
    let report = flash(64, 10, 16 * MIB, 1).report();
    println!("{report}");
    assert!(report.p50 <= 1.5 && report.max <= 1.6 && report.copies <= 1.4, "{report}");
    assert!(report.duplicates <= 0.03, "{report}");
}

#[test]
fn the_same_seed_replays_the_same_events() {
    let log = |seed| {
        let world = flash(6, 50, 4 * MIB, seed).world;
        (world.log, world.log_len, world.now)
    };
    assert_eq!(log(5), log(5));
    assert_ne!(log(5).0, log(6).0);
}

#[test]
fn a_long_path_is_filled() {
    let mut flash = Flash::new(1, 100, 32 * MIB, 1);
    for node in &mut flash.world.nodes {
        node.spec.latency_micros = 20_000;
    }
    flash.open_all();
    flash.finish(60_000);
    let report = flash.report();
    assert!(report.max <= 1.3, "{report}");
}

#[test]
fn late_joiners_get_in_though_all_slots_are_taken() {
    let mut flash = Flash::new(24, 20, 8 * MIB, 2);
    for node in flash.agents.clone() {
        let limits = &mut flash.world.nodes[node].spec.limits;
        (limits.connections_max, limits.incoming_reserve, limits.outgoing_reserve) = (8, 3, 3);
        (limits.neighbours_wanted, limits.dials_max) = (6, 6);
        flash.world.at_ms(0, Script::Kill(node));
        flash.world.at_ms(0, Script::Start(node));
    }
    let late = flash.agents.split_off(20);
    for agent in flash.agents.clone() {
        flash.world.at_ms(1, Script::Open(agent, flash.digest));
    }
    for agent in &late {
        flash.world.at_ms(2_000, Script::Open(*agent, flash.digest));
    }
    let (digest, watched) = (flash.digest, late.clone());
    let first_pieces = flash.world.run(Time::from_millis(3_500), move |world| {
        watched
            .iter()
            .all(|agent| world.nodes[*agent].stored.get(&digest).is_some_and(|stored| !stored.is_empty()))
    });
    assert!(first_pieces, "a late joiner is isolated");
    flash.agents.extend(late);
    flash.finish(60_000);
}

#[test]
fn a_peer_that_sends_corrupt_pieces_is_banned_and_all_complete() {
    let mut flash = Flash::new(8, 50, 8 * MIB, 3);
    let villain = flash.agents[7];
    flash.world.nodes[villain].spec.corrupt = true;
    flash.open_all();
    flash.agents.pop();
    flash.finish(60_000);
    let id = flash.world.nodes[villain].peer_id;
    let banned = flash.agents.iter().filter(|agent| flash.world.nodes[**agent].banned.contains(&id)).count();
    assert!(banned >= 4, "{banned}");
    assert!(flash.agents.iter().all(|agent| flash.world.nodes[*agent].banned.iter().all(|peer| *peer == id)));
}

#[test]
fn a_peer_that_never_delivers_costs_little() {
    let mut flash = Flash::new(8, 50, 8 * MIB, 3);
    flash.world.nodes[flash.agents[7]].spec.stingy = true;
    flash.open_all();
    flash.agents.pop();
    flash.finish(20_000);
}

#[test]
fn the_owner_may_die_once_a_full_copy_is_out() {
    let mut flash = Flash::new(8, 20, 8 * MIB, 4);
    flash.open_all();
    let (owner, count) = (flash.owner, 128);
    assert!(flash.world.run(Time::from_millis(10_000), |world| world.nodes[owner].first_sent.len() == count));
    let now = flash.world.now.0 / 1_000;
    flash.world.at_ms(now + 100, Script::Kill(owner));
    flash.finish(30_000);
}

#[test]
fn the_tracker_may_die_once_peers_know_one_another() {
    let mut flash = Flash::new(8, 20, 8 * MIB, 5);
    flash.open_all();
    flash.world.at_ms(500, Script::TrackerDown(true));
    flash.finish(10_000);
}

#[test]
fn agents_that_restart_go_on_where_they_were() {
    let mut flash = Flash::new(10, 20, 8 * MIB, 6);
    flash.open_all();
    for (nth, agent) in flash.agents.clone().into_iter().take(5).enumerate() {
        let at = 800 + 300 * nth as u64;
        flash.world.at_ms(at, Script::Kill(agent));
        flash.world.at_ms(at + 700, Script::Start(agent));
        flash.world.at_ms(at + 700, Script::Open(agent, flash.digest));
    }
    flash.finish(30_000);
    for agent in &flash.agents {
        let stored = &flash.world.nodes[*agent].stored[&flash.digest];
        assert!(stored.len() <= 128 + 2, "{} pieces stored", stored.len());
    }
}

#[test]
fn several_blobs_arrive_at_once_over_one_connection_per_pair() {
    let mut flash = Flash::new(6, 50, 4 * MIB, 7);
    let mut digests = vec![flash.digest];
    digests.extend(
        ["second", "third", "fourth"].map(|name| flash.world.add_blob(name, 4 * MIB, &[flash.owner])),
    );
    for (agent, digest) in
        flash.agents.iter().flat_map(|agent| digests.iter().map(move |digest| (*agent, *digest)))
    {
        flash.world.at_ms(0, Script::Open(agent, digest));
    }
    let agents = flash.agents.clone();
    let done = flash
        .world
        .run(Time::from_millis(60_000), |world| digests.iter().all(|digest| world.all_have(&agents, digest)));
    assert!(done);
    for agent in &flash.agents {
        let totals = flash.world.nodes[*agent].core.as_ref().unwrap().totals();
        assert!(totals.connections <= 6, "{totals:?}");
    }
}

/// Mean time at which the first half of the pieces could be read in order.
fn in_order(world: &World, agent: NodeId, digest: &Digest) -> f64 {
    let (mut latest, mut sum) = (0.0_f64, 0.0);
    let mut at = world.nodes[agent].stored[digest].clone();
    at.sort_by_key(|(_, index)| index.0);
    let half = at.len() / 2;
    for (time, _) in at.into_iter().take(half) {
        latest = latest.max(time.0 as f64 / 1e6);
        sum += latest;
    }
    sum / half as f64
}

#[test]
fn readers_get_pieces_in_order_without_making_the_swarm_sequential() {
    let background = flash(12, 20, 16 * MIB, 8);
    let mut streaming = Flash::new(12, 20, 16 * MIB, 8);
    streaming.open_all();
    for agent in streaming.agents.clone() {
        streaming.world.at_ms(0, Script::Open(agent, streaming.digest));
        streaming.world.at_ms(1, Script::Read(agent, streaming.digest, 16));
    }
    streaming.finish(60_000);
    let report = streaming.report();
    println!("{report}");
    assert!(report.max <= 1.3 && report.copies <= 1.3, "{report}");
    let mean = |flash: &Flash| {
        flash.agents.iter().map(|agent| in_order(&flash.world, *agent, &flash.digest)).sum::<f64>() / 12.0
    };
    let (with, without) = (mean(&streaming), mean(&background));
    println!("half in order after {with:.2} s, without readers {without:.2} s");
    // The whole takes 6.7 s at best, and half of it, in the best order, half of that.
    assert!(with < 2.7 && without < 2.7, "{with} {without}");
}

#[test]
fn one_reader_among_seeds_reads_as_fast_as_the_link() {
    let mut flash = Flash::new(3, 50, 8 * MIB, 9);
    flash.open_all();
    flash.finish(20_000);
    let reader = flash.world.add(Spec::new(Role::Agent, 50));
    let start = flash.world.now.0 / 1_000 + 100;
    flash.world.at_ms(start, Script::Open(reader, flash.digest));
    flash.world.at_ms(start, Script::Read(reader, flash.digest, 16));
    flash.agents = vec![reader];
    flash.finish(30_000);
    let stored = &flash.world.nodes[reader].stored[&flash.digest];
    let position = stored.iter().position(|(_, index)| index.0 == 0).unwrap();
    assert!(position < 8, "the first piece came as number {position}");
}

#[test]
fn what_nobody_has_fails_at_once_and_an_unreachable_tracker_within_the_bound() {
    let mut world = World::new(1);
    let agent = world.add(Spec::new(Role::Agent, 20));
    let unknown = Digest::sha256(b"unknown");
    world.at_ms(0, Script::Open(agent, unknown));
    assert!(world.run(Time::from_millis(100), |world| !world.nodes[agent].failed.is_empty()));
    assert_eq!(world.nodes[agent].failed[0].1, FailReason::NotFound);
    world.tracker.down = true;
    world.at_ms(1_000, Script::Open(agent, unknown));
    assert!(world.run(Time::from_millis(32_000), |world| world.nodes[agent].failed.len() == 2));
    assert_eq!(world.nodes[agent].failed[1].1, FailReason::Unavailable);
}

#[test]
fn a_download_whose_only_source_dies_fails_within_the_bound() {
    let mut flash = Flash::new(2, 20, 8 * MIB, 1);
    flash.open_all();
    flash.world.at_ms(1_000, Script::Kill(flash.owner));
    let agents = flash.agents.clone();
    let failed = flash.world.run(Time::from_millis(40_000), |world| {
        agents.iter().all(|agent| !world.nodes[*agent].failed.is_empty())
    });
    assert!(failed);
    let reasons = agents.iter().map(|agent| flash.world.nodes[*agent].failed[0].1);
    assert!(reasons.into_iter().all(|reason| reason != FailReason::NotFound));
}

#[test]
fn web_seeds_help_when_no_peer_does() {
    let mut flash = Flash::new(2, 50, 4 * MIB, 1);
    flash.world.tracker.web_seeds = true;
    flash.world.at_ms(0, Script::Kill(flash.owner));
    flash.world.at_ms(1, Script::Open(flash.agents[0], flash.digest));
    flash.agents.truncate(1);
    flash.finish(2_500);
    let totals = flash.world.nodes[flash.agents[0]].core.as_ref().unwrap().totals();
    assert_eq!(totals.received.web_bytes, 4 * MIB);
}

#[test]
fn web_seeds_take_over_from_an_owner_that_falls_silent() {
    let mut flash = Flash::new(1, 50, 4 * MIB, 1);
    flash.world.tracker.web_seeds = true;
    flash.world.nodes[flash.owner].spec.stingy = true;
    flash.open_all();
    flash.finish(10_000);
}

#[test]
fn a_restarted_agent_serves_what_its_store_holds() {
    let mut flash = Flash::new(2, 50, 4 * MIB, 1);
    let (seed, late) = (flash.agents[0], flash.agents[1]);
    flash.world.at_ms(0, Script::Open(seed, flash.digest));
    flash.agents = vec![seed];
    flash.finish(10_000);
    let now = flash.world.now.0 / 1_000;
    flash.world.at_ms(now, Script::Kill(seed));
    flash.world.at_ms(now, Script::Kill(flash.owner));
    flash.world.at_ms(now + 1_000, Script::Start(seed));
    flash.world.at_ms(now + 1_000, Script::Input(seed, Input::Seed { digest: flash.digest }));
    flash.world.at_ms(now + 1_500, Script::Open(late, flash.digest));
    flash.agents = vec![late];
    flash.finish(now + 10_000);
    assert_eq!(flash.world.nodes[seed].core.as_ref().unwrap().status(&flash.digest).unwrap().have, 64);
    // Nobody asks any more: it leaves memory, but is announced for ever.
    flash.world.run(Time::from_millis(now + 700_000), |_| false);
    let status = flash.world.nodes[seed].core.as_ref().unwrap().status(&flash.digest).unwrap();
    assert_eq!(status.phase, BlobPhase::Idle);
    assert!(flash.world.tracker.announces > 30, "{}", flash.world.tracker.announces);
}

#[test]
fn a_piece_lost_on_disk_is_fetched_again() {
    let mut flash = Flash::new(2, 50, 4 * MIB, 1);
    flash.open_all();
    flash.finish(10_000);
    let (agent, digest, index) = (flash.agents[0], flash.digest, PieceIndex(5));
    let now = flash.world.now.0 / 1_000 + 1_000;
    flash.world.at_ms(now, Script::Input(agent, Input::PieceLost { digest, index }));
    flash.world.nodes[agent].completed.clear();
    flash.finish(now + 5_000);
    assert_eq!(flash.world.nodes[agent].stored[&digest].last().unwrap().1, index);
}

#[test]
fn agents_that_come_later_get_it_from_agents() {
    let mut flash = Flash::new(3, 1_000, 64 * MIB, 1);
    for (at, agent) in flash.agents.clone().into_iter().enumerate() {
        flash.world.at_ms(at as u64 * 2_000, Script::Open(agent, flash.digest));
        flash.world.at_ms(at as u64 * 2_000 + 1, Script::Read(agent, flash.digest, 64));
    }
    flash.finish(60_000);
    let report = flash.report();
    // One copy for the first; the others take little from the owner, before they have met the first.
    assert!(report.copies <= 1.2, "{report}");
}

#[test]
fn an_owner_helps_when_the_only_complete_agent_is_too_busy() {
    let mut flash = Flash::new(13, 20, 16 * MIB, 1);
    for (at, agent) in flash.agents.clone().into_iter().enumerate() {
        flash.world.at_ms(if at == 0 { 0 } else { 10_000 }, Script::Open(agent, flash.digest));
    }
    flash.finish(60_000);
    let fleet = Report::of(
        &flash.world,
        &flash.digest,
        &[flash.owner],
        &flash.agents[1..],
        Time::from_millis(10_000),
    );
    // Two sources halve the time in which every piece gets out once, so the fleet is limited by its own links alone.
    assert!(fleet.max <= 1.2, "{fleet}");
}

/// Neighbours of a node that take part in a blob.
fn neighbours(world: &World, node: NodeId, digest: &Digest) -> u32 {
    let status = world.nodes[node].core.as_ref().and_then(|core| core.status(digest));
    status.map_or(0, |status| status.peers)
}

#[test]
fn a_late_joiner_that_knows_one_peer_finds_the_others_without_a_tracker() {
    for seed in 1..=3 {
        let mut flash = Flash::new(24, 20, 64 * MIB, seed);
        let late = flash.world.add(Spec::new(Role::Agent, 20));
        flash.open_all();
        flash.world.run(Time::from_millis(5_000), |_| false);
        // It is told one peer, no owner, and then nothing by anybody.
        flash.world.tracker.handout = 1;
        flash.world.at_ms(5_100, Script::Open(late, flash.digest));
        flash.world.run(Time::from_millis(5_200), |_| false);
        flash.world.tracker.down = true;
        let digest = flash.digest;
        let found = flash.world.run(Time::from_millis(8_500), |world| neighbours(world, late, &digest) >= 6);
        assert!(found, "{} neighbours after 3.4 s", neighbours(&flash.world, late, &digest));
        flash.agents.push(late);
        flash.finish(120_000);
    }
}

#[test]
fn a_newcomer_gets_neighbours_in_a_swarm_whose_slots_are_all_taken() {
    for seed in 1..=3 {
        let mut flash = Flash::new(24, 20, 64 * MIB, seed);
        let limits = Limits {
            connections_max: 10,
            incoming_reserve: 4,
            outgoing_reserve: 2,
            neighbours_wanted: 6,
            ..Limits::default()
        };
        flash.world.set_limits(&flash.agents.clone(), &limits);
        let late = flash.world.add(Spec { limits, ..Spec::new(Role::Agent, 20) });
        flash.open_all();
        flash.world.run(Time::from_millis(8_000), |_| false);
        let (digest, agents) = (flash.digest, flash.agents.clone());
        let full = agents.iter().filter(|agent| neighbours(&flash.world, **agent, &digest) >= 8).count();
        assert!(full >= 12, "only {full} of 24 agents have their slots taken");
        flash.world.at_ms(8_000, Script::Open(late, digest));
        let in_time =
            flash.world.run(Time::from_millis(10_000), |world| neighbours(world, late, &digest) >= 5);
        assert!(in_time, "{} neighbours after two seconds", neighbours(&flash.world, late, &digest));
        flash.agents.push(late);
        flash.finish(120_000);
    }
}
