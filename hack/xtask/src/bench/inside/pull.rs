//! Pulling blobs, one for each shot: hashed, counted and forgotten, so that the client costs little beside the agent.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use shoal_e2e::wire::Wire;
use shoal_oci::{Algorithm, Digester};

use super::{NAMESPACE, REPOSITORY, next_shot};
use crate::terminal::say;

/// Which blobs, through whom.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    registry: SocketAddr,
    #[arg(long, value_delimiter = ',')]
    digest: Vec<String>,
    /// The registry is the server's own and no mirror
    #[arg(long)]
    direct: bool,
}

/// What came of a pull.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::bench) struct Pulled {
    /// From the starting shot to the last byte.
    pub(in crate::bench) seconds: f64,
    /// From the starting shot to the first byte.
    pub(in crate::bench) first_byte_seconds: f64,
    pub(in crate::bench) size: u64,
    /// Of the bytes that came.
    pub(in crate::bench) digest: String,
}

/// Waits, pulls, reports, as often as there are blobs. The connection stays.
pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let mut wire = Wire::connect(arguments.registry).await?;
    say("ready");
    for digest in &arguments.digest {
        next_shot()?;
        let target = if arguments.direct { direct(digest) } else { mirrored(digest) };
        say(format_args!("done {}", serde_json::to_string(&pull(&mut wire, &target).await?)?));
    }
    Ok(())
}

/// The target of a blob on an agent's mirror.
pub(super) fn mirrored(digest: &str) -> String {
    format!("/v2/{REPOSITORY}/blobs/{digest}?ns={NAMESPACE}")
}

fn direct(digest: &str) -> String {
    format!("/v2/{REPOSITORY}/blobs/{digest}")
}

async fn pull(wire: &mut Wire, target: &str) -> Result<Pulled> {
    let started = Instant::now();
    let request = wire.request("GET", target, &[], None);
    let (mut first_byte, mut digester) = (None, Digester::new(Algorithm::Sha256));
    let received = wire
        .read_through(&[&request], &mut |bytes| {
            first_byte.get_or_insert_with(|| started.elapsed());
            digester.update(bytes);
        })
        .await?;
    ensure!(received.status == 200, "{target} was answered with {}", received.status);
    let seconds = started.elapsed();
    let first_byte_seconds = first_byte.unwrap_or(seconds).as_secs_f64();
    let digest = digester.finish().to_string();
    Ok(Pulled { seconds: seconds.as_secs_f64(), first_byte_seconds, size: received.len, digest })
}
