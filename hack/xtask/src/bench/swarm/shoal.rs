//! Our own programs on a stage: a server at the origin, an agent on each node, and a client that pulls through each agent.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use shoal_e2e::programs::Place;
use shoal_e2e::shoalctl::{Authority, Identity};
use shoal_e2e::{Metrics, Node};

use super::super::inside::Pulled;
use super::contestant::{Own, Verdict};
use super::racer::{Finish, Racer};
use super::stage::{ORIGIN, Stage};

/// In the names of measurements.
pub(super) const NAME: &str = "shoal";

/// Blobs up to this size are in the page cache of the origin when the shot is fired; larger ones come from the disk.
const WARM_SIZE_MAX: u64 = 4 << 30;

/// Which programs, and what they are told beside their addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) bin_dir: PathBuf,
    /// Of the server and of every agent: path in the configuration and value.
    pub(super) settings: Vec<(String, String)>,
}

/// The started programs. Agents are dropped, and so killed, before the server.
pub(in crate::bench) struct Programs {
    agents: Vec<Option<Node>>,
    server: Node,
    /// Words that run this very program inside of each node.
    errands: Vec<Vec<std::ffi::OsString>>,
}

/// Starts everything, pushes the blob, and makes a client ready behind each agent.
pub(super) async fn enter(settings: &Settings, stage: &Stage<'_>) -> Result<(Programs, Vec<Racer>)> {
    let programs = Programs::start(settings, stage)?;
    programs
        .push(stage.blob.size, stage.blob.seed, &stage.blob.digest.to_string())
        .with_context(|| Stage::tail(&programs.server.place().log_file()))?;
    if stage.blob.size <= WARM_SIZE_MAX {
        warm(&programs.server.place().data())?;
    }
    let mut racers = Vec::new();
    for index in stage.agents() {
        racers.push(client(stage, index, &programs)?);
    }
    for racer in &mut racers {
        racer.ready().await?;
    }
    Ok((programs, racers))
}

/// Reads what the server stored, because pushes are written past the page cache, and everybody else's seed has its file there.
fn warm(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            warm(&entry.path())?;
        } else {
            std::io::copy(&mut File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

fn client(stage: &Stage<'_>, index: u16, programs: &Programs) -> Result<Racer> {
    let registry = programs.agent(index)?.listener("registry")?.to_string();
    let digest = stage.blob.digest.to_string();
    let words = ["pull", "--registry", &registry, "--digest", &digest];
    Racer::start(&stage.errand(index, &words)?, &stage.directory.join(format!("client-{index}.log")))
}

/// What a client reported about its bytes.
pub(super) fn judge(stage: &Stage<'_>, finish: &Finish) -> Result<Verdict> {
    let pulled: Pulled = serde_json::from_str(&finish.words)?;
    let is_right = pulled.size == stage.blob.size && pulled.digest == stage.blob.digest.to_string();
    Ok(Verdict { is_right, first_byte: Some(pulled.first_byte_seconds) })
}

impl Programs {
    /// The server, then every agent.
    pub(in crate::bench) fn start(settings: &Settings, stage: &Stage<'_>) -> Result<Self> {
        let authority = if stage.case.tls {
            Some(Authority::with_programs(&settings.bin_dir, stage.directory)?)
        } else {
            None
        };
        let place = |index: u16| -> Result<Place> {
            Ok(Place {
                directory: stage.node_directory(index)?,
                ip: stage.address(index),
                prefix: stage.network.prefix(index),
                settings: settings.settings.clone(),
            })
        };
        let identity = |index: u16, kind: &str| -> Result<Option<Identity>> {
            let address = stage.address(index).to_string();
            let issue = |authority: &Authority| authority.issue(&format!("node-{index}"), kind, &[&address]);
            authority.as_ref().map(issue).transpose()
        };
        let mut at = place(ORIGIN)?;
        if let Some(identity) = identity(ORIGIN, "server")? {
            at = at.with("cluster_tls", &identity.section());
        }
        let server = Node::server(&settings.bin_dir, at)?;
        let mut agents = Vec::new();
        for index in stage.agents() {
            let mut at = place(index)?;
            if let Some(identity) = identity(index, "agent")? {
                let trackers = format!("[\"https://{}\"]", server.listener("tracker")?);
                at = at.with("cluster_tls", &identity.section()).with("server.trackers", &trackers);
            }
            agents.push(Some(Node::agent(&settings.bin_dir, at, &server)?));
        }
        let errands = (ORIGIN..=stage.case.agents).map(|index| stage.errand(index, &[]));
        Ok(Self { agents, server, errands: errands.collect::<Result<_>>()? })
    }

    /// The agent on a node.
    pub(in crate::bench) fn agent(&self, index: u16) -> Result<&Node> {
        let agent = self.agents.get(usize::from(index).wrapping_sub(1)).and_then(Option::as_ref);
        agent.with_context(|| format!("no agent runs on node {index}"))
    }

    pub(in crate::bench) fn server(&self) -> &Node {
        &self.server
    }

    /// Pushes a blob that its size and its seed decide.
    pub(in crate::bench) fn push(&self, size: u64, seed: u64, digest: &str) -> Result<()> {
        let registry = self.server.listener("registry")?.to_string();
        let (size, seed) = (size.to_string(), seed.to_string());
        let words = ["push", "--registry", &registry, "--size", &size, "--seed", &seed, "--digest", digest];
        self.errand(ORIGIN, &words).map(drop)
    }

    /// Does an errand on a node and returns what it printed.
    pub(in crate::bench) fn errand(&self, index: u16, words: &[&str]) -> Result<String> {
        let all = &self.errands[usize::from(index)];
        let output = Command::new(&all[0]).args(&all[1..]).args(words).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} on node {index} failed: {}", words[0], error.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(super) fn processes(&self) -> (Option<u32>, Vec<Option<u32>>) {
        let agents = self.agents.iter().map(|agent| agent.as_ref().map(Node::id));
        (Some(self.server.id()), agents.collect())
    }

    pub(super) fn take(&mut self, agent: usize) -> Option<Node> {
        self.agents.get_mut(agent).and_then(Option::take)
    }

    fn metrics(&self, index: u16, node: &Node) -> Result<Metrics> {
        let admin = node.listener("admin")?.to_string();
        Metrics::parse(&self.errand(index, &["metrics", "--admin", &admin])?)
    }

    pub(super) fn own(&self) -> Result<Own> {
        let mut own = Own {
            tracker_requests: self.metrics(ORIGIN, &self.server)?.sum("shoal_tracker_announces_total", &[]),
            duplicate_pieces: 0.0,
        };
        for (index, agent) in (1..).zip(&self.agents) {
            if let Some(agent) = agent {
                own.duplicate_pieces += self.metrics(index, agent)?.pieces("duplicate");
            }
        }
        Ok(own)
    }
}
