//! One run: a fresh server and fresh agents on the network, one push, one simultaneous pull.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use shoal_e2e::programs::Place;
use shoal_e2e::{Metrics, Node};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::inside::Pulled;
use super::netns::Network;
use super::noise::Probe;

/// The server's node; agents follow.
const SERVER: u16 = 0;

/// What one run shall do.
pub(super) struct Plan<'a> {
    pub(super) bin_dir: &'a Path,
    pub(super) agents: u16,
    pub(super) size: u64,
    pub(super) seed: u64,
}

/// What one run found.
pub(super) struct Outcome {
    /// Seconds from the starting shot to each agent's last byte.
    pub(super) seconds: Vec<f64>,
    /// Seconds from the starting shot to each agent's first byte.
    pub(super) first_byte_seconds: Vec<f64>,
    /// Pulls with a wrong or missing byte.
    pub(super) wrong: usize,
    /// Bytes of pieces that left the server, by swarm or by plain HTTP.
    pub(super) origin_bytes: f64,
    /// Pieces that arrived at an agent that already had them.
    pub(super) duplicate_pieces: f64,
    /// CPU time of server and agents during the pull.
    pub(super) cpu_seconds: f64,
    /// 99th percentile of a sleeper's lateness during the pull.
    pub(super) lateness_ms: f64,
}

/// The programs on their nodes.
struct Fleet<'a> {
    network: &'a Network,
    server: Node,
    agents: Vec<Node>,
}

/// Carries out a plan.
pub(super) async fn run(plan: &Plan<'_>, network: &Network) -> Result<Outcome> {
    let directory = tempfile::Builder::new().prefix("shoal-bench-").tempdir()?;
    let mut fleet = Fleet::start(plan, network, directory.path())?;
    fleet.push(plan, &directory.path().join("image")).await?;
    let mut clients = Vec::new();
    for index in 1..=plan.agents {
        clients.push(fleet.client(index).await?);
    }
    let before = fleet.counters().await?;
    let cpu_before = fleet.cpu_seconds()?;
    let probe = Probe::start();
    for client in &mut clients {
        client.shoot().await?;
    }
    let mut pulls = Vec::new();
    for client in clients {
        pulls.push(client.result().await?);
    }
    let lateness_ms = probe.p99_ms();
    let cpu_seconds = fleet.cpu_seconds()? - cpu_before;
    let after = fleet.counters().await?;
    let growth = |count: &dyn Fn(&Metrics) -> f64| {
        after.iter().zip(&before).map(|(after, before)| count(after) - count(before)).collect::<Vec<f64>>()
    };
    let sent_by_server = growth(&Metrics::sent)[usize::from(SERVER)];
    let web: f64 = growth(&|metrics| metrics.received_from("web")).iter().sum();
    Ok(Outcome {
        seconds: pulls.iter().map(|pull| pull.seconds).collect(),
        first_byte_seconds: pulls.iter().map(|pull| pull.first_byte_seconds).collect(),
        wrong: pulls.iter().filter(|pull| pull.wrong > 0 || pull.bytes < plan.size).count(),
        origin_bytes: sent_by_server + web,
        duplicate_pieces: growth(&|metrics| metrics.pieces("duplicate")).iter().sum(),
        cpu_seconds,
        lateness_ms,
    })
}

impl<'a> Fleet<'a> {
    fn start(plan: &Plan<'_>, network: &'a Network, directory: &Path) -> Result<Self> {
        let place = |index: u16| Place {
            directory: directory.join(index.to_string()),
            ip: Network::address(index),
            prefix: network.prefix(index),
            settings: Vec::new(),
        };
        let server = Node::server(plan.bin_dir, place(SERVER))?;
        let mut agents = Vec::new();
        for index in 1..=plan.agents {
            agents.push(Node::agent(plan.bin_dir, place(index), &server)?);
        }
        Ok(Self { network, server, agents })
    }

    /// This very program inside of a node.
    fn errand(&self, index: u16) -> Result<Command> {
        let words = self.network.prefix(index);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(crate::build::own_path()?).arg("inside").kill_on_drop(true);
        Ok(command)
    }

    async fn push(&self, plan: &Plan<'_>, directory: &Path) -> Result<()> {
        let mut command = self.errand(SERVER)?;
        command.args(["push", "--size", &plan.size.to_string(), "--seed", &plan.seed.to_string()]);
        command.arg("--registry").arg(self.server.listener("registry")?.to_string());
        let status = command.arg("--directory").arg(directory).status().await?;
        ensure!(status.success(), "the push failed");
        Ok(())
    }

    async fn client(&self, index: u16) -> Result<Client> {
        let registry = self.agents[usize::from(index) - 1].listener("registry")?;
        let mut command = self.errand(index)?;
        command
            .arg("pull")
            .arg("--registry")
            .arg(registry.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a client")?;
        let output = child.stdout.take().context("a client without output")?;
        let mut client = Client { child, lines: BufReader::new(output).lines(), index };
        let word = client.lines.next_line().await?;
        ensure!(word.as_deref() == Some("ready"), "the client of agent {index} said {word:?} and not ready");
        Ok(client)
    }

    /// The counters of the server, then of every agent.
    async fn counters(&self) -> Result<Vec<Metrics>> {
        let mut all = Vec::new();
        for (index, node) in (SERVER..).zip(std::iter::once(&self.server).chain(&self.agents)) {
            let mut command = self.errand(index)?;
            command.args(["metrics", "--admin", &node.listener("admin")?.to_string()]);
            let output = command.output().await?;
            ensure!(output.status.success(), "no counters: {}", String::from_utf8_lossy(&output.stderr));
            all.push(Metrics::parse(&String::from_utf8_lossy(&output.stdout))?);
        }
        Ok(all)
    }

    /// CPU time of all programs so far.
    fn cpu_seconds(&mut self) -> Result<f64> {
        let nodes = self.agents.iter_mut().chain([&mut self.server]);
        let times = nodes.map(|node| node.process().cpu_seconds().context("a program died"));
        times.sum()
    }
}

/// A pull client inside of a node.
struct Client {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    index: u16,
}

impl Client {
    /// Fires the starting shot.
    async fn shoot(&mut self) -> Result<()> {
        let mut input = self.child.stdin.take().context("a client without input")?;
        Ok(input.write_all(b"go\n").await?)
    }

    async fn result(mut self) -> Result<Pulled> {
        let line = self.lines.next_line().await?;
        let line = line.with_context(|| format!("the pull through agent {} failed", self.index))?;
        Ok(serde_json::from_str(&line)?)
    }
}
