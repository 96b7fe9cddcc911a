//! A server and its agents as separate processes, which can be killed and started again where they were.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::metrics::Metrics;
use crate::process::{Process, Program};
use crate::programs::{self, Place};
use crate::ready::Ready;
use crate::registry::Registry;

/// How long a program may take to drain and end when asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// What a node runs.
#[derive(Clone, Debug)]
enum Role {
    Server,
    Agent { server: Ready },
}

impl Role {
    fn name(&self) -> &'static str {
        match self {
            Self::Server => "shoal-server",
            Self::Agent { .. } => "shoal-agent",
        }
    }

    fn program(&self, bin_dir: &Path, place: &Place, former: Option<&Ready>) -> Result<Program> {
        match self {
            Self::Server => programs::server(bin_dir, place, former),
            Self::Agent { server } => programs::agent(bin_dir, place, server, former),
        }
    }
}

/// One running program of ours.
#[derive(Debug)]
pub struct Node {
    role: Role,
    bin_dir: PathBuf,
    place: Place,
    ready: Ready,
    process: Process,
}

impl Node {
    /// Starts a server at a place.
    pub fn server(bin_dir: &Path, place: Place) -> Result<Self> {
        Self::start(bin_dir, place, Role::Server)
    }

    /// Starts an agent of `server` at a place.
    pub fn agent(bin_dir: &Path, place: Place, server: &Self) -> Result<Self> {
        Self::start(bin_dir, place, Role::Agent { server: server.ready.clone() })
    }

    fn start(bin_dir: &Path, place: Place, role: Role) -> Result<Self> {
        let (process, ready) = launch(bin_dir, &place, &role, None)?;
        Ok(Self { role, bin_dir: bin_dir.to_owned(), place, ready, process })
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end and waits; `true` when it ended by itself and well.
    pub fn stop(&mut self) -> bool {
        self.process.stop(STOP_TIMEOUT).is_some_and(|status| status.success())
    }

    /// Starts it again on its directory and its ports. It must have been killed or stopped.
    pub fn restart(&mut self) -> Result<()> {
        (self.process, self.ready) = launch(&self.bin_dir, &self.place, &self.role, Some(&self.ready))?;
        Ok(())
    }

    /// Starts it again and kills it after a moment, wherever it was by then: ready, or in the middle of its recovery.
    pub fn stumble(&mut self, moment: Duration) -> Result<()> {
        let program = self.role.program(&self.bin_dir, &self.place, Some(&self.ready))?;
        self.process = program.start(self.role.name(), &self.place.log_file())?;
        std::thread::sleep(moment);
        self.process.kill();
        Ok(())
    }

    /// The address of one of its listeners.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        self.ready.listener(name)
    }

    /// A client for its registry listener.
    pub fn registry(&self) -> Result<Registry> {
        Ok(Registry::new(self.listener("registry")?))
    }

    /// Its counters now.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(self.listener("admin")?).await
    }

    /// Where it lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn launch(bin_dir: &Path, place: &Place, role: &Role, former: Option<&Ready>) -> Result<(Process, Ready)> {
    let program = role.program(bin_dir, place, former)?;
    // A file of the run before would say "ready" too early.
    if place.ready_file().exists() {
        fs::remove_file(place.ready_file())?;
    }
    let mut process = program.start(role.name(), &place.log_file())?;
    let ready = Ready::wait(&mut process, &place.ready_file())?;
    Ok((process, ready))
}

/// A server and agents on the loopback address, in a directory that goes away with them.
#[derive(Debug)]
pub struct Cluster {
    /// The agents, in the order of their start. Dropped, and so killed, before the server.
    pub agents: Vec<Node>,
    /// The server with all its roles.
    pub server: Node,
    bin_dir: PathBuf,
    directory: TempDir,
}

impl Cluster {
    /// Starts the programs that the environment names; see [`programs::BIN_DIR_VARIABLE`].
    pub fn start(agents: usize) -> Result<Self> {
        Self::start_from(&programs::bin_dir()?, agents)
    }

    /// Starts the programs in `bin_dir`.
    pub fn start_from(bin_dir: &Path, agents: usize) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("shoal-cluster-").tempdir()?;
        let server = Node::server(bin_dir, Place::loopback(directory.path().join("server")))?;
        let mut cluster = Self { agents: Vec::new(), server, bin_dir: bin_dir.to_owned(), directory };
        for _ in 0..agents {
            cluster.add_agent()?;
        }
        Ok(cluster)
    }

    /// Starts one more agent.
    pub fn add_agent(&mut self) -> Result<&mut Node> {
        let name = format!("agent-{}", self.agents.len() + 1);
        let place = Place::loopback(self.directory.path().join(name));
        self.agents.push(Node::agent(&self.bin_dir, place, &self.server)?);
        let last = self.agents.len() - 1;
        Ok(&mut self.agents[last])
    }

    /// The directory that everything is in; tests put their images here too.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}
