//! What the bench does inside a node's namespace, as a process of its own there: push, pull when told to, read counters.
//!
//! Those that race keep to the words of [`super::swarm`]'s racers: `ready`, then a line in is the starting shot, then `done` and one
//! line of JSON.

mod pull;
mod push;
mod reads;
mod tracker;
mod wire;

use std::io::BufRead;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use shoal_e2e::Metrics;

pub(super) use pull::Pulled;
pub(super) use reads::Done;

use crate::terminal::say;

/// The repository that the bench pushes to.
const REPOSITORY: &str = "bench/blob";
/// The registry name that clients believe they pull from.
const NAMESPACE: &str = "bench.example.com";

/// One errand.
#[derive(clap::Subcommand)]
pub(crate) enum Errand {
    /// Make a blob and push it
    Push(push::Arguments),
    /// For each line on standard input pull a blob and report
    Pull(pull::Arguments),
    /// Wait for a line on standard input, read here and there, report
    Reads(reads::Arguments),
    /// Print the counters of a program in the text format
    Metrics {
        #[arg(long)]
        admin: SocketAddr,
    },
    /// Introduce torrent clients to each other
    Tracker {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Send bytes to the first that connects
    WireSend {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        size: u64,
    },
    /// Wait for a line on standard input, take bytes in, report
    WireReceive {
        #[arg(long)]
        from: SocketAddr,
        #[arg(long)]
        size: u64,
    },
}

/// Does one errand.
pub(crate) fn run(errand: &Errand) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match errand {
            Errand::Push(arguments) => push::run(arguments).await,
            Errand::Pull(arguments) => pull::run(arguments).await,
            Errand::Reads(arguments) => reads::run(arguments).await,
            Errand::Metrics { admin } => {
                say(Metrics::fetch(*admin).await?);
                Ok(())
            }
            Errand::Tracker { listen } => tracker::run(*listen).await,
            Errand::WireSend { listen, size } => wire::send(*listen, *size).await,
            Errand::WireReceive { from, size } => wire::receive(*from, *size).await,
        }
    })
}

/// Says `ready` and waits for the starting shot.
fn take_the_shot() -> Result<()> {
    say("ready");
    next_shot()
}

fn next_shot() -> Result<()> {
    let mut shot = String::new();
    let len = std::io::stdin().lock().read_line(&mut shot).context("no starting shot")?;
    ensure!(len > 0, "the bench is gone");
    Ok(())
}
