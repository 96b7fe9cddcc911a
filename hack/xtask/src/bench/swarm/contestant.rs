//! What can be measured: Shoal, other programs, and a bare TCP stream as the check of the harness.
//!
//! All of them enter the same stage, get the same shot and are judged by the same counters; only how they are started differs.

use std::any::Any;

use anyhow::{Context, Result};

use super::outsider::{self, Adapter};
use super::racer::{Finish, Racer};
use super::shoal::{self, Settings};
use super::stage::{ORIGIN, Stage};

/// One that takes part.
#[derive(Clone, Debug)]
pub(super) enum Contestant {
    Shoal(Settings),
    Outsider(Adapter),
    /// One plain TCP stream.
    Wire,
}

/// A contestant on a stage, everything started and ready for the shot.
pub(super) struct Session {
    /// One for each agent, which takes the shot and says when it is done. None while it races, and once it was killed.
    pub(super) racers: Vec<Option<Racer>>,
    held: Held,
}

enum Held {
    Shoal(Box<shoal::Programs>),
    Outsider(Box<outsider::Programs>),
    Wire(Box<Racer>),
}

/// What a contestant counts by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Own {
    pub(super) tracker_requests: f64,
    pub(super) duplicate_pieces: f64,
}

/// What an agent ended with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// Whether it has the blob's very bytes.
    pub(super) is_right: bool,
    /// From the shot to the first byte, when that can be seen.
    pub(super) first_byte: Option<f64>,
}

impl Contestant {
    /// In the names of measurements.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Shoal(_) => shoal::NAME,
            Self::Outsider(adapter) => &adapter.name,
            Self::Wire => "tcp",
        }
    }

    /// Starts everything.
    pub(super) async fn enter(&self, stage: &Stage<'_>) -> Result<Session> {
        let session = match self {
            Self::Shoal(settings) => {
                let (programs, racers) = shoal::enter(settings, stage).await?;
                Session { racers: present(racers), held: Held::Shoal(Box::new(programs)) }
            }
            Self::Outsider(adapter) => {
                let (programs, racers) = outsider::enter(adapter, stage).await?;
                Session { racers: present(racers), held: Held::Outsider(Box::new(programs)) }
            }
            Self::Wire => stream(stage).await?,
        };
        Ok(session)
    }
}

fn present(racers: Vec<Racer>) -> Vec<Option<Racer>> {
    racers.into_iter().map(Some).collect()
}

/// A sender and a receiver.
async fn stream(stage: &Stage<'_>) -> Result<Session> {
    let (origin, size) = (stage.address(ORIGIN), stage.blob.size.to_string());
    let words = ["wire-send", "--listen", &format!("{origin}:0"), "--size", &size];
    let log = stage.directory.join("log");
    let mut sender = Racer::start(&stage.errand(ORIGIN, &words)?, &log)?;
    let address = sender.ask("where", "ready").await?;
    let words = ["wire-receive", "--from", &address, "--size", &size];
    let mut receiver = Racer::start(&stage.errand(1, &words)?, &log)?;
    receiver.ready().await?;
    Ok(Session { racers: present(vec![receiver]), held: Held::Wire(Box::new(sender)) })
}

impl Session {
    /// The processes of the origin, and of each agent that is still there. Clients that only pull through an agent are not among them.
    pub(super) fn processes(&self) -> (Option<u32>, Vec<Option<u32>>) {
        let racers = || self.racers.iter().map(|racer| racer.as_ref().and_then(Racer::id)).collect();
        match &self.held {
            Held::Shoal(programs) => programs.processes(),
            Held::Outsider(programs) => (programs.origin(), racers()),
            Held::Wire(sender) => (sender.id(), racers()),
        }
    }

    /// An agent's process, which is killed when it is dropped; its racer is killed likewise.
    pub(super) fn take(&mut self, agent: usize) -> Box<dyn Any + Send> {
        match &mut self.held {
            Held::Shoal(programs) => Box::new(programs.take(agent)),
            Held::Outsider(_) | Held::Wire(_) => Box::new(()),
        }
    }

    /// What the contestant counted so far.
    pub(super) async fn own(&mut self) -> Result<Own> {
        match &mut self.held {
            Held::Shoal(programs) => programs.own(),
            Held::Outsider(programs) => programs.own().await,
            Held::Wire(_) => Ok(Own::default()),
        }
    }

    /// Whether an agent that said `done` told the truth.
    pub(super) fn judge(&self, stage: &Stage<'_>, agent: usize, finish: &Finish) -> Result<Verdict> {
        match &self.held {
            Held::Shoal(_) => shoal::judge(stage, finish),
            Held::Outsider(_) => {
                let index = u16::try_from(agent + 1).context("too many agents")?;
                Ok(Verdict { is_right: outsider::judge(stage, index)?, first_byte: None })
            }
            Held::Wire(_) => Ok(Verdict { is_right: true, first_byte: None }),
        }
    }
}
