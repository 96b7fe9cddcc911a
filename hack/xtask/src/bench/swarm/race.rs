//! One run: everything is started, the shots are fired, some agents are killed, and counters tell what it took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::super::netns::{Flow, Network};
use super::super::noise::Probe;
use super::super::registry::counters::{TICKS_PER_SECOND, Usage};
use super::as_f64;
use super::case::Case;
use super::contestant::{Contestant, Own, Session};
use super::fleet::{Fleet, Member};
use super::outcome::{Agent, Outcome};
use super::racer::{Finish, Racer};
use super::stage::{Blob, ORIGIN, Stage};

/// Who takes longer than so many bounds has failed. The worst that was ever measured here was 15.5.
const PATIENCE_BOUNDS: f64 = 20.0;
/// On top of it, and where there is no bound: 10 GB at 40 MB/s, which is a slow disk.
const PATIENCE_MIN: Duration = Duration::from_secs(250);
/// The smallest share that clear_refs of proc(5) knows: the peak of resident memory begins anew.
const RESET_PEAK: &str = "5";

/// What was counted at one moment.
struct Observation {
    sent: Vec<Flow>,
    received: Vec<Flow>,
    retransmits: f64,
    /// Of the origin, and of each agent that is there.
    origin: Usage,
    agents: Vec<Option<Usage>>,
    own: Own,
}

/// Runs a contestant once. The seed decides the blob's bytes and who starts when.
pub(super) async fn run(
    case: &Case,
    contestant: &Contestant,
    network: &Network,
    directory: &std::path::Path,
    seed: u64,
) -> Result<Outcome> {
    let directory = tempfile::Builder::new().prefix("shoal-bench-").tempdir_in(directory)?;
    let blob = Blob::new(case.size, seed)?;
    let stage = Stage { case, network, directory: directory.path(), blob };
    let fleet = case.fleet(seed);
    let mut session = contestant.enter(&stage).await?;
    let before = Observation::take(&stage, &mut session).await?;
    reset_peaks(&session);
    let probe = Probe::start();
    let agents = race(&stage, &fleet, &mut session).await?;
    let lateness_ms = probe.p99_ms();
    let after = Observation::take(&stage, &mut session).await?;
    Ok(outcome(&fleet, agents, &before, &after, lateness_ms))
}

/// What an agent came to, and its program, which must not end before the others are done.
type Arrival = (usize, Option<(Agent, Finish)>, Option<Racer>);

/// All programs stay until the last is done.
async fn race(stage: &Stage<'_>, fleet: &Fleet, session: &mut Session) -> Result<Vec<Option<Agent>>> {
    let patience =
        PATIENCE_MIN + Duration::from_secs_f64(fleet.bound().unwrap_or_default() * PATIENCE_BOUNDS);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, member) in fleet.members.iter().enumerate() {
        let racer = session.racers[index].take().context("fewer programs than agents")?;
        let victim = member.dies.map(|_| session.take(index));
        tasks.spawn(drive(index, racer, *member, start, patience, victim));
    }
    let mut agents = vec![None; fleet.members.len()];
    while let Some(arrival) = tasks.join_next().await {
        let (index, agent, racer) = arrival??;
        if let Some((mut agent, finish)) = agent {
            let verdict = session.judge(stage, index, &finish)?;
            (agent.is_right, agent.first_byte) = (verdict.is_right, verdict.first_byte);
            agents[index] = Some(agent);
        }
        session.racers[index] = racer;
    }
    Ok(agents)
}

/// One agent's part. One that fails has the patience as its time, and wrong bytes.
async fn drive(
    index: usize,
    mut racer: Racer,
    member: Member,
    start: Instant,
    patience: Duration,
    victim: Option<Box<dyn std::any::Any + Send>>,
) -> Result<Arrival> {
    tokio::time::sleep_until((start + member.starts).into()).await;
    if let (Some(dies), Some(victim)) = (member.dies, victim) {
        // Whether it was done before is of no interest, because it does not count.
        let _ = tokio::time::timeout_at((start + dies).into(), racer.race(patience)).await;
        drop((victim, racer));
        return Ok((index, None, None));
    }
    let finish = racer.race(patience).await.unwrap_or_else(|error| {
        crate::terminal::complain(format_args!("agent {}: {error:#}", index + 1));
        let shot = Instant::now();
        Finish { shot, done: shot + patience, words: String::new() }
    });
    let agent = Agent {
        started: (finish.shot - start).as_secs_f64(),
        seconds: (finish.done - finish.shot).as_secs_f64(),
        first_byte: None,
        is_right: false,
    };
    Ok((index, Some((agent, finish)), Some(racer)))
}

impl Observation {
    async fn take(stage: &Stage<'_>, session: &mut Session) -> Result<Self> {
        let own = session.own().await?;
        let (origin, agents) = session.processes();
        let origin = Usage::of(origin.context("the origin's program is gone")?)?;
        let agents = agents.into_iter().map(|agent| agent.and_then(|id| Usage::of(id).ok())).collect();
        Ok(Self {
            sent: stage.network.sent()?,
            received: stage.network.received()?,
            retransmits: stage.network.retransmits()?,
            origin,
            agents,
            own,
        })
    }
}

fn reset_peaks(session: &Session) {
    let (origin, agents) = session.processes();
    for id in agents.into_iter().chain([origin]).flatten() {
        // Where the kernel does not let us, the peak is that since the start.
        let _ = std::fs::write(format!("/proc/{id}/clear_refs"), RESET_PEAK);
    }
}

fn outcome(
    fleet: &Fleet,
    agents: Vec<Option<Agent>>,
    before: &Observation,
    after: &Observation,
    lateness_ms: f64,
) -> Outcome {
    let flows = |after: &[Flow], before: &[Flow]| -> Vec<Flow> {
        after.iter().zip(before).map(|(after, before)| after.since(before)).collect()
    };
    let (sent, received) = (flows(&after.sent, &before.sent), flows(&after.received, &before.received));
    let seconds = |after: &Usage, before: &Usage| {
        as_f64(after.cpu_ticks.saturating_sub(before.cpu_ticks)) / TICKS_PER_SECOND
    };
    let pairs =
        || before.agents.iter().zip(&after.agents).filter_map(|(b, a)| Some((b.as_ref()?, a.as_ref()?)));
    let largest = |kib: &dyn Fn((&Usage, &Usage)) -> u64| pairs().map(kib).max().unwrap_or_default();
    Outcome {
        bound: fleet.bound(),
        own_bounds: fleet.own_bounds(),
        agents,
        origin_payload: sent[usize::from(ORIGIN)].payload(),
        received_payload: received.iter().map(Flow::payload).sum(),
        uploads: sent.iter().skip(1).map(Flow::payload).collect(),
        drops: sent.iter().chain(&received).map(|flow| flow.drops).sum(),
        retransmits: after.retransmits - before.retransmits,
        origin_cpu: seconds(&after.origin, &before.origin),
        agents_cpu: pairs().map(|(before, after)| seconds(after, before)).sum(),
        rss_idle_kib: largest(&|(before, _)| before.resident_kib),
        rss_peak_kib: largest(&|(_, after)| after.peak_kib),
        origin_rss_peak_kib: after.origin.peak_kib,
        tracker_requests: after.own.tracker_requests - before.own.tracker_requests,
        duplicate_pieces: after.own.duplicate_pieces - before.own.duplicate_pieces,
        lateness_ms,
    }
}
