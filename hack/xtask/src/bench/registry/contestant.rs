//! A running registry with its directory and with what was pushed to it beforehand.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use shoal_e2e::drill::content::Content;
use shoal_e2e::drill::session::Session;
use shoal_e2e::programs::Place;
use shoal_e2e::wire::Wire;
use shoal_e2e::{Node, Process, Program};
use shoal_oci::Digest;

use super::corpus::{Corpus, SMALL_LEN, Stock};
use super::counters::Usage;
use super::load::{self, REPOSITORY};
use super::peer::{Kind, Peer};
use super::sample::Conditions;
use crate::terminal::complain;

/// How long a registry may take until its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to end when asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at a registry that starts.
const LOOK: Duration = Duration::from_millis(1);
/// A registry that has nothing to do is looked at after this long: lazy allocations and background work of the start are over.
const REST: Duration = Duration::from_millis(700);
/// Manifests and small blobs to ask for: more than fit into the fastest cache of one request, few enough to push quickly.
const MANIFESTS: usize = 16;
const SMALL_BLOBS: usize = 64;

/// What runs.
enum Running {
    Ours(Box<Node>),
    Theirs(Process),
}

/// A registry in the bench.
pub(super) struct Contestant {
    peer: Peer,
    directory: PathBuf,
    address: SocketAddr,
    running: Running,
    pub(super) corpus: Corpus,
    /// Resident memory before the first push, in KiB.
    pub(super) idle_kib: u64,
    /// Blobs that were pushed so far.
    pub(super) blobs: u64,
}

impl Contestant {
    /// Starts a registry on a fresh directory, and pushes what will be pulled.
    pub(super) async fn start(
        peer: &Peer,
        directory: &Path,
        stock: &mut Stock,
        conditions: &Conditions,
    ) -> Result<Self> {
        complain(format_args!("starting {} …", peer.name));
        let directory = directory.join(&peer.name);
        std::fs::create_dir_all(&directory)?;
        let (running, address) = launch(peer, &directory).await?;
        tokio::time::sleep(REST).await;
        let idle_kib = Usage::of(running.id())?.resident_kib;
        let corpus = fill(address, stock, conditions.pull_size).await?;
        let blobs = (SMALL_BLOBS + 2) as u64;
        Ok(Self { peer: peer.clone(), directory, address, running, corpus, idle_kib, blobs })
    }

    pub(super) fn name(&self) -> &str {
        &self.peer.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The most memory that was ever resident, in KiB.
    pub(super) fn peak_kib(&self) -> Result<u64> {
        Ok(Usage::of(self.running.id())?.peak_kib)
    }

    /// What its processes have used so far.
    pub(super) fn usage(&mut self) -> Result<Usage> {
        let usage = Usage::of(self.running.id());
        usage.with_context(|| format!("{} died\n{}", self.peer.name, self.running.process().log_tail()))
    }

    /// Stops it and starts it again; the time from the start of the program to its first answer.
    pub(super) async fn restart(&mut self) -> Result<Duration> {
        match &mut self.running {
            Running::Ours(node) => {
                node.stop();
                let began = Instant::now();
                node.restart()?;
                wait(node.process(), self.address).await?;
                Ok(began.elapsed())
            }
            Running::Theirs(process) => {
                process.stop(STOP_TIMEOUT);
                let program = self.peer.program(&self.directory, self.address.port())?;
                let began = Instant::now();
                *process = begin(&self.peer, &program.context("not a program")?, &self.directory)?;
                wait(process, self.address).await?;
                Ok(began.elapsed())
            }
        }
    }
}

impl Running {
    fn id(&self) -> u32 {
        match self {
            Self::Ours(node) => node.id(),
            Self::Theirs(process) => process.id(),
        }
    }

    fn process(&mut self) -> &mut Process {
        match self {
            Self::Ours(node) => node.process(),
            Self::Theirs(process) => process,
        }
    }
}

async fn launch(peer: &Peer, directory: &Path) -> Result<(Running, SocketAddr)> {
    if let Kind::Shoal(bin_dir) = &peer.kind {
        let node = Node::server(bin_dir, Place::loopback(directory.to_owned()))?;
        let address = node.listener("registry")?;
        return Ok((Running::Ours(Box::new(node)), address));
    }
    let address = free_address()?;
    let program = peer.program(directory, address.port())?.context("not a program")?;
    let mut process = begin(peer, &program, directory)?;
    wait(&mut process, address).await?;
    Ok((Running::Theirs(process), address))
}

fn begin(peer: &Peer, program: &Program, directory: &Path) -> Result<Process> {
    program.start(&peer.name, &directory.join("log"))
}

/// A port that nobody has. Somebody may take it before the registry does, and then the registry says so.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits for the first good answer.
async fn wait(process: &mut Process, address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if let Ok(mut wire) = Wire::connect(address).await {
            let request = wire.request("GET", "/v2/", &[], None);
            if wire.exchange(&[&request]).await.is_ok_and(|received| received.status == 200) {
                return Ok(());
            }
        }
        ensure!(process.is_running(), "{} ended\n{}", process.name(), process.log_tail());
        tokio::time::sleep(LOOK).await;
    }
    bail!("{} did not answer after {START_TIMEOUT:?}\n{}", process.name(), process.log_tail())
}

/// Pushes what will be pulled, and sees that it comes back byte for byte.
async fn fill(address: SocketAddr, stock: &mut Stock, large_size: u64) -> Result<Corpus> {
    let large = {
        let item = stock.item(large_size);
        load::push(address, &item).await?;
        (item.digest, item.size())
    };
    let mut wire = Wire::connect(address).await?;
    let (mut small, mut last) = (Vec::new(), None);
    for _ in 0..=SMALL_BLOBS {
        let item = stock.item(SMALL_LEN as u64);
        load::push_over(&mut wire, &item.digest, &item.parts()).await?;
        small.push(item.digest);
        last = Some(Content { digest: item.digest, bytes: item.parts().concat() });
    }
    let layer = last.context("no blob was pushed")?;
    let mut session = Session::connect(address).await?;
    let mut manifests = Vec::new();
    for number in 0..MANIFESTS {
        let (tag, manifest) = (format!("v{number}"), stock.manifest(&layer, &layer));
        let (status, words) = session.put_manifest(REPOSITORY, &tag, &manifest).await?;
        ensure!(status == 201, "a manifest was answered {status}: {words}");
        let (_, bytes) = session.manifest(REPOSITORY, &tag).await?;
        ensure!(Digest::sha256(&bytes) == manifest.digest, "a manifest came back with other bytes");
        manifests.push((tag, manifest.digest));
    }
    let (_, bytes) = session.blob(REPOSITORY, &large.0.to_string()).await?;
    ensure!(Digest::sha256(&bytes) == large.0, "a blob came back with other bytes");
    Ok(Corpus { large, small, manifests })
}
