//! The faults: what is done to the stage before, in the middle of, and after the pulls, and what must come of it.

use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::stage::{Case, Stage};
use crate::proxy::Manner;
use crate::supervised::Supervised;
use crate::upstream::Mood;

/// Something that is done to the stage.
pub type Doing<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;
/// How it is written in the list.
pub type Act = for<'a> fn(&'a mut Stage, &'a Case) -> Doing<'a>;

/// One row of the matrix.
pub struct Fault {
    /// Its name in the table.
    pub name: &'static str,
    /// Sizes of the image's layers. Different ones, since files are told apart by them.
    pub layers: &'static [u64],
    /// Whether it is an upstream's image, and not the cluster's own.
    pub foreign: bool,
    /// Whether a peer has the image.
    pub fed: bool,
    /// Whether every client's agent has it.
    pub cached: bool,
    /// Whether it comes slowly, so that there is a middle.
    pub slow: bool,
    /// Before the pulls.
    pub begin: Act,
    /// In the middle of them.
    pub middle: Middle,
    /// After them.
    pub end: Act,
    /// Whether it cuts connections in the middle of a layer, which some clients cannot outlive in one call.
    pub cuts: bool,
    /// What must come of them.
    pub outcome: Outcome,
    /// Which way the bytes must take.
    pub through: Through,
    /// How long a pull may take.
    pub limit: Duration,
}

/// What happens in the middle of the pulls.
#[derive(Clone, Copy)]
pub enum Middle {
    /// Nothing.
    Nothing,
    /// To each agent, once its client gets bytes of a layer.
    Agents(fn(&Supervised) -> Result<()>),
    /// To everything, after a while.
    Stage(Duration, Act),
    /// To everything, once every client gets bytes of a layer.
    Flowing(Act),
}

/// What must come of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The image.
    Pulled,
    /// A plain word that it cannot be had.
    Refused,
}

/// Which way the bytes must take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// The agent has to give them.
    Agent,
    /// The client may have gone on to its next host.
    Any,
}

const KIB: u64 = 1024;
/// Small enough to be quick, large enough to have pieces.
const SMALL: &[u64] = &[1200 * KIB, 300 * KIB, 20 * KIB];
/// Two seconds when it comes slowly.
const LARGE: &[u64] = &[6000 * KIB, 200 * KIB];
/// Far beyond what a healthy pull takes here, on a busy machine.
const USUAL: Duration = Duration::from_secs(30);
/// Docker gives up a body that is cut each time.
const GIVEN_UP: Duration = Duration::from_secs(120);
/// A frozen agent is noticed, killed and started again within this time.
const FROZEN: Duration = Duration::from_secs(35);

/// A fault that does nothing, from which others are made.
const NONE: Fault = Fault {
    name: "none",
    layers: SMALL,
    foreign: false,
    fed: false,
    cached: false,
    slow: false,
    begin: nothing,
    middle: Middle::Nothing,
    end: nothing,
    cuts: false,
    outcome: Outcome::Pulled,
    through: Through::Agent,
    limit: USUAL,
};

fn nothing<'a>(_: &'a mut Stage, _: &'a Case) -> Doing<'a> {
    Box::pin(async { Ok(()) })
}

/// Faults of this cluster's own parts. The first wants empty caches.
pub const OURS: &[Fault] = &[
    Fault { name: "disk full", layers: LARGE, begin: fill_disks, end: empty_disks, ..NONE },
    NONE,
    Fault { name: "peers corrupt", fed: true, begin: corrupt, ..NONE },
    Fault { name: "peers silent", fed: true, begin: silent, ..NONE },
    Fault {
        name: "peer dies in the middle",
        fed: true,
        slow: true,
        layers: LARGE,
        middle: Middle::Stage(MIDDLE, kill_feeder),
        end: feeder_back,
        ..NONE
    },
    Fault { name: "tracker refuses", begin: tracker_refuses, ..NONE },
    Fault { name: "tracker hangs", begin: tracker_hangs, ..NONE },
    Fault { name: "tracker answers 500", begin: tracker_fails, ..NONE },
    Fault {
        name: "tracker goes in the middle",
        slow: true,
        layers: LARGE,
        middle: Middle::Stage(MIDDLE, tracker_refuses),
        ..NONE
    },
    Fault { name: "registry refuses", begin: registry_refuses, through: Through::Any, ..NONE },
    Fault { name: "registry hangs", begin: registry_hangs, through: Through::Any, ..NONE },
    Fault { name: "registry answers 500", begin: registry_fails, through: Through::Any, ..NONE },
    Fault { name: "registry resets", fed: true, begin: registry_resets, through: Through::Any, ..NONE },
    Fault {
        name: "server dies, peer has it",
        fed: true,
        slow: true,
        layers: LARGE,
        middle: Middle::Flowing(kill_server),
        end: server_back,
        ..NONE
    },
    Fault {
        name: "server restarts",
        slow: true,
        layers: LARGE,
        middle: Middle::Stage(MIDDLE, restart_server),
        ..NONE
    },
    Fault {
        name: "server freezes for 3 s",
        slow: true,
        layers: LARGE,
        middle: Middle::Stage(MIDDLE, freeze_server),
        ..NONE
    },
    Fault {
        name: "server is slow",
        begin: slow_server,
        end: fast_server,
        limit: Duration::from_secs(60),
        ..NONE
    },
    Fault { name: "origin lost it, peer has it", fed: true, begin: lose, ..NONE },
    Fault {
        name: "nobody has it",
        begin: lose,
        outcome: Outcome::Refused,
        through: Through::Any,
        limit: Duration::from_secs(60),
        ..NONE
    },
    Fault { name: "agent away", begin: agents_away, through: Through::Any, ..NONE },
    Fault {
        name: "agent killed",
        slow: true,
        layers: LARGE,
        middle: Middle::Agents(kill),
        cuts: true,
        through: Through::Any,
        ..NONE
    },
    Fault {
        name: "agent restarted",
        slow: true,
        layers: LARGE,
        middle: Middle::Agents(restart),
        cuts: true,
        through: Through::Any,
        ..NONE
    },
    Fault { name: "agent frozen before", begin: freeze_agents, through: Through::Any, limit: FROZEN, ..NONE },
    Fault {
        name: "agent frozen",
        slow: true,
        layers: LARGE,
        middle: Middle::Agents(freeze),
        cuts: true,
        through: Through::Any,
        limit: FROZEN,
        ..NONE
    },
    Fault { name: "cached layer corrupt", cached: true, begin: corrupt_cache, ..NONE },
    Fault { name: "cached layer cut short", cached: true, begin: cut_cache, ..NONE },
    Fault { name: "cached layer gone", cached: true, begin: unlink_cache, ..NONE },
    Fault { name: "cached manifests corrupt", cached: true, begin: corrupt_manifests, ..NONE },
    Fault { name: "all cached, server away", cached: true, begin: kill_server, end: server_back, ..NONE },
    Fault { name: "huge manifest", begin: huge_manifest, ..NONE },
];

/// An upstream without a fault.
const FAR: Fault = Fault { name: "upstream", foreign: true, ..NONE };

/// Faults of a foreign registry behind the cluster.
pub const UPSTREAMS: &[Fault] = &[
    FAR,
    Fault { name: "upstream wants tokens", begin: up_tokens, ..FAR },
    Fault { name: "its tokens expire", begin: up_short_tokens, ..FAR },
    // It alone can say who may have what it has.
    Fault {
        name: "upstream answers 401",
        begin: up_closed,
        outcome: Outcome::Refused,
        through: Through::Any,
        ..FAR
    },
    Fault { name: "upstream 429, copy here", fed: true, begin: up_busy, ..FAR },
    Fault { name: "upstream 429 for a second", begin: up_pausing, ..FAR },
    Fault { name: "upstream 503, copy here", fed: true, begin: up_broken, ..FAR },
    Fault { name: "upstream 503 now and then", begin: up_faltering, ..FAR },
    Fault { name: "upstream is slow", begin: up_slow, ..FAR },
    Fault { name: "upstream cuts layers", layers: LARGE, begin: up_cutting, ..FAR },
    Fault { name: "and knows no ranges", begin: up_cutting_once, ..FAR },
    Fault { name: "upstream away, copy here", fed: true, begin: up_away, ..FAR },
    Fault { name: "upstream hangs, copy here", fed: true, begin: up_hangs, ..FAR },
    Fault {
        name: "upstream lacks a layer",
        begin: up_lacking,
        outcome: Outcome::Refused,
        through: Through::Any,
        ..FAR
    },
    Fault {
        name: "upstream's bytes are wrong",
        begin: up_lying,
        outcome: Outcome::Refused,
        // The body is cut before its last piece, and Docker asks again 5, 10, 15, 20 and 25 s later before it gives up.
        limit: GIVEN_UP,
        through: Through::Any,
        ..FAR
    },
    Fault { name: "upstream states no sizes", begin: up_sizeless, ..FAR },
    Fault { name: "upstream redirects", begin: up_redirecting, ..FAR },
    Fault { name: "upstream's huge manifest", begin: up_huge_manifest, ..FAR },
];

const MIDDLE: Duration = Duration::from_millis(1200);

macro_rules! acts {
    ($($name:ident = |$stage:ident, $case:ident| $body:expr;)+) => {
        $(fn $name<'a>($stage: &'a mut Stage, $case: &'a Case) -> Doing<'a> {
            Box::pin(async move {
                let _ = &$case;
                $body
            })
        })+
    };
}

acts! {
    corrupt = |stage, case| stage.lie(case, false).await;
    silent = |stage, case| stage.lie(case, true).await;
    kill_feeder = |stage, case| { stage.feeder.kill(); Ok(()) };
    feeder_back = |stage, case| stage.feeder.restart();
    tracker_refuses = |stage, case| { stage.tracker.behave(Manner::Refuse); Ok(()) };
    tracker_hangs = |stage, case| { stage.tracker.behave(Manner::Stall); Ok(()) };
    tracker_fails = |stage, case| { stage.tracker.behave(Manner::Fail); Ok(()) };
    registry_refuses = |stage, case| { stage.registry.behave(Manner::Refuse); Ok(()) };
    registry_hangs = |stage, case| { stage.registry.behave(Manner::Stall); Ok(()) };
    registry_fails = |stage, case| { stage.registry.behave(Manner::Fail); Ok(()) };
    registry_resets = |stage, case| { stage.registry.behave(Manner::Reset); Ok(()) };
    kill_server = |stage, case| { stage.server.kill(); Ok(()) };
    server_back = |stage, case| stage.server.restart();
    restart_server = |stage, case| { stage.server.kill(); stage.server.restart() };
    freeze_server = |stage, case| {
        stage.signal_server("-STOP")?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.signal_server("-CONT")
    };
    slow_server = |stage, case| stage.slow_down_server();
    fast_server = |stage, case| stage.speed_up_server();
    lose = |stage, case| stage.lose_at_server(case);
    agents_away = |stage, case| stage.agents.iter().try_for_each(Supervised::take_away);
    freeze_agents = |stage, case| stage.agents.iter().try_for_each(freeze);
    corrupt_cache = |stage, case| stage.damage(case, |path| {
        let file = File::options().write(true).open(path)?;
        Ok(file.write_all_at(b"rotten bytes", 100_000)?)
    });
    cut_cache = |stage, case| stage.damage(case, |path| {
        Ok(File::options().write(true).open(path)?.set_len(100_000)?)
    });
    unlink_cache = |stage, case| stage.damage(case, |path| Ok(std::fs::remove_file(path)?));
    corrupt_manifests = |stage, case| stage.damage_manifests();
    fill_disks = |stage, case| stage.disks.iter().try_for_each(|disk| fill(&disk.path()));
    empty_disks = |stage, case| stage.disks.iter().try_for_each(|disk| {
        Ok(std::fs::remove_file(disk.path().join("ballast"))?)
    });
    huge_manifest = |stage, case| {
        let registry = stage.server.registry()?;
        let plain = registry.manifest(&case.repository, "v1").await?;
        let mut document: Value = serde_json::from_slice(&plain.bytes)?;
        fill_up(&mut document);
        let bytes = Bytes::from(serde_json::to_vec(&document)?);
        registry.put_manifest(&case.repository, "v1", &plain.media_type, bytes).await
    };
    up_tokens = |stage, case| { stage.upstream.feel(Mood::Tokens(u32::MAX)); Ok(()) };
    up_short_tokens = |stage, case| { stage.upstream.feel(Mood::Tokens(2)); Ok(()) };
    up_closed = |stage, case| { stage.upstream.feel(Mood::Closed); Ok(()) };
    up_busy = |stage, case| { stage.upstream.feel(Mood::Busy); Ok(()) };
    up_pausing = |stage, case| { stage.upstream.feel(Mood::Pausing); Ok(()) };
    up_broken = |stage, case| { stage.upstream.feel(Mood::Broken); Ok(()) };
    up_faltering = |stage, case| { stage.upstream.feel(Mood::Faltering); Ok(()) };
    up_slow = |stage, case| { stage.upstream.feel(Mood::Slow); Ok(()) };
    up_cutting = |stage, case| { stage.upstream.feel(Mood::Cutting); Ok(()) };
    up_cutting_once = |stage, case| { stage.upstream.feel(Mood::CuttingOnce); Ok(()) };
    up_away = |stage, case| { stage.upstream.port.behave(Manner::Refuse); Ok(()) };
    up_hangs = |stage, case| { stage.upstream.port.behave(Manner::Stall); Ok(()) };
    up_lacking = |stage, case| { stage.upstream.feel(Mood::Lacking); Ok(()) };
    up_lying = |stage, case| { stage.upstream.feel(Mood::Lying); Ok(()) };
    up_sizeless = |stage, case| { stage.upstream.feel(Mood::Sizeless); Ok(()) };
    up_redirecting = |stage, case| { stage.upstream.feel(Mood::Redirecting); Ok(()) };
    up_huge_manifest = |stage, case| stage.upstream.change_manifest(&case.repository, "v1", fill_up);
}

/// Makes a manifest about as large as they may be: containerd takes 4.2 MiB at most, podman 4.
fn fill_up(document: &mut Value) {
    document["annotations"]["example.com/filler"] = "x".repeat(3 << 20).into();
}

fn kill(agent: &Supervised) -> Result<()> {
    agent.signal(Signal::SIGKILL)
}

fn restart(agent: &Supervised) -> Result<()> {
    agent.signal(Signal::SIGTERM)
}

fn freeze(agent: &Supervised) -> Result<()> {
    agent.signal(Signal::SIGSTOP)
}

/// Writes until there is no room.
fn fill(directory: &std::path::Path) -> Result<()> {
    let mut file = File::create(directory.join("ballast"))?;
    for len in [1 << 20, 4096] {
        let block = vec![0x5a; len];
        while file.write_all(&block).is_ok() {}
    }
    Ok(())
}
