//! Pushing a blob that its size and its seed decide, without a file in between.

use std::net::SocketAddr;

use anyhow::Result;
use shoal_e2e::Registry;

use super::super::swarm::Blob;
use super::REPOSITORY;

/// Which blob, where to.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    registry: SocketAddr,
    #[arg(long)]
    size: u64,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    digest: String,
}

/// Pushes.
pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let source = Box::new(Blob::bytes(arguments.size, arguments.seed));
    Registry::new(arguments.registry).push_stream(REPOSITORY, &arguments.digest, source).await
}
