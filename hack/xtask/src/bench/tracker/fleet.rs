//! How often a fleet asks: ten thousand agents that pull one image, in virtual time, against the real tracker.
//!
//! An agent says everything about its image in one request (its client puts what is due together), comes again when it was told to with
//! the client's own jitter, and tells that it is complete when it comes next: neither waits for the other. Nobody is lonely here, because
//! the tracker names enough.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use shoal_api::Member;
use shoal_api::tracker::{AnnounceEvent, AnnounceItem, AnnounceRequest, ItemReply};
use shoal_swarm_types::PeerId;
use shoal_tracker::Tracker;
use tokio::time::Instant;

use super::super::measurement::Measurement;
use super::room;

/// Layers of the image.
const LAYERS: u32 = 4;

/// All agents start within this time.
const RAMP: Duration = Duration::from_secs(10);

/// One agent's pull: 3 GB at 400 Mbit/s.
const PULL: Duration = Duration::from_secs(60);

/// How long the fleet is looked at afterwards.
const IDLE: Duration = Duration::from_secs(1_200);

/// When the tracker is replaced by a new one that knows nobody.
const RESTART: Duration = Duration::from_secs(40);

struct Agent {
    begin: Duration,
    known: Vec<u64>,
    told_complete: bool,
}

/// What a fleet's requests came to.
struct Outcome {
    /// The second of each request.
    seconds: Vec<u64>,
    /// From the restart until 99 of 100 agents were known again.
    rebuilt: Option<Duration>,
}

/// The figures of a fleet of `agents`, per 10,000 of them.
pub(super) fn simulate(agents: usize) -> Result<Vec<Measurement>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let whole = runtime.block_on(run(agents, None))?;
    let broken = runtime.block_on(run(agents, Some(RESTART)))?;
    let scale = 10_000.0 / agents as f64;
    let between = |outcome: &Outcome, from: u64, to: u64| {
        let count = outcome.seconds.iter().filter(|second| (from..to).contains(*second)).count();
        count as f64 * scale / (to - from) as f64
    };
    let end = (RAMP + PULL).as_secs();
    let steady = (RAMP.as_secs()..end - 5).map(|from| between(&whole, from, from + 5)).fold(0.0, f64::max);
    let rebuilt = broken.rebuilt.context("the restarted tracker never knew the fleet again")?;
    let after = RESTART.as_secs();
    Ok(vec![
        Measurement::new("requests of 10,000 agents in a fleet pull", between(&whole, 0, end), "1/s")
            .at_most(700.0)
            .aim(350.0)
            .note("mean from the first start to the last end, starts included"),
        Measurement::new("the same after the starts, worst 5 s", steady, "1/s").at_most(700.0),
        Measurement::new("the same while they start", between(&whole, 0, RAMP.as_secs()), "1/s"),
        Measurement::new(
            "requests of 10,000 idle agents",
            between(&whole, end + 300, end + IDLE.as_secs()),
            "1/s",
        )
        .at_most(170.0)
        .aim(20.0),
        Measurement::new("a restarted tracker knows 99 % of the fleet", rebuilt.as_secs_f64(), "s"),
        Measurement::new("requests after its restart", between(&broken, after, after + 30), "1/s")
            .at_most(700.0),
    ])
}

async fn run(count: usize, restart: Option<Duration>) -> Result<Outcome> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut tracker = room::tracker(1)?;
    let start = Instant::now();
    let mut agents = Vec::with_capacity(count);
    let mut due = BinaryHeap::with_capacity(count);
    for number in 0..count {
        let begin = RAMP.mul_f64(rng.f64());
        agents.push(Agent { begin, known: vec![0; LAYERS as usize], told_complete: false });
        due.push(Reverse((begin, number)));
    }
    let (mut seconds, mut restarted, mut rebuilt) = (Vec::new(), false, None);
    let mut swept = Duration::ZERO;
    while let Some(Reverse((at, number))) = due.pop() {
        if at > RAMP + PULL + IDLE {
            break;
        }
        if restart.is_some_and(|restart| at >= restart && !restarted) {
            (tracker, restarted) = (room::tracker(2)?, true);
        }
        if at >= swept + Duration::from_secs(5) {
            tracker.expire(start + at);
            swept = at;
        }
        seconds.push(at.as_secs());
        let wait = announce(&tracker, &mut agents[number], number, start, at).await?;
        // As clients do, on top of the tracker's own jitter.
        due.push(Reverse((at + wait.mul_f64(0.95 + 0.1 * rng.f64()), number)));
        if restarted && rebuilt.is_none() && tracker.totals().peers >= count * LAYERS as usize * 99 / 100 {
            rebuilt = restart.map(|restart| at - restart);
        }
    }
    Ok(Outcome { seconds, rebuilt })
}

/// One request of one agent; returns when it is to come again.
async fn announce(
    tracker: &Tracker,
    agent: &mut Agent,
    number: usize,
    start: Instant,
    at: Duration,
) -> Result<Duration> {
    let complete = at >= agent.begin + PULL;
    let event = match (at == agent.begin, complete && !agent.told_complete) {
        (true, _) => AnnounceEvent::Started,
        (_, true) => AnnounceEvent::Completed,
        _ => AnnounceEvent::Periodic,
    };
    agent.told_complete = complete;
    let started = event == AnnounceEvent::Started;
    let item = |(layer, known): (u32, &u64)| AnnounceItem {
        digest: room::digest(layer),
        event,
        complete,
        need_metainfo: started,
        repository: None,
        known: *known,
        peers_wanted: if started { 50 } else { 0 },
        content_max: 0,
    };
    let mut id = [0; 20];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let ip = IpAddr::from([10, (number >> 16) as u8, (number >> 8) as u8, number as u8]);
    let items = (0..LAYERS).zip(&agent.known).map(item).collect();
    let request = AnnounceRequest { peer_id: PeerId(id), port: 16_001, ip: None, zone: None, items };
    let response = tracker.announce(&request, &Member::from(ip), start + at).await?;
    let mut wait = Duration::MAX;
    for (known, item) in agent.known.iter_mut().zip(response.items) {
        let ItemReply::Ok(reply) = item else { anyhow::bail!("an announce was refused: {item:?}") };
        *known = reply.version;
        // The earliest takes the others along.
        wait = wait.min(Duration::from_millis(reply.interval_ms));
    }
    Ok(wait)
}
