//! `cargo xtask bench`: measurements that can be repeated.

pub(crate) mod pull_one;

use anyhow::Result;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// x
    Swarm,
}
pub(crate) fn run(_c: &Command) -> Result<()> {
    Ok(())
}
