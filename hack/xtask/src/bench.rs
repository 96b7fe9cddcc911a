//! `cargo xtask bench`: measurements that can be repeated, with bounds beside them.
//!
//! A result is a list of `{name, value, unit, bar, holds}`. A bar is only set where the method or a decision states one; the
//! others are null, because a bar invented after the measurement proves nothing.

pub(crate) mod inside;
mod measurement;
mod mirror;
mod netns;
mod noise;
mod plot;
mod registry;
mod simulate;
mod svg;
mod swarm;
mod tracker;

use anyhow::Result;

/// What can be measured.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// One blob to many agents over shaped links in network namespaces; needs root
    Swarm(swarm::Arguments),
    /// Fleets in virtual time, on the real cores
    Simulate(simulate::Arguments),
    /// Our server beside other registries, in one run
    Registry(registry::Arguments),
    /// What a tracker answers on one core, and how often a fleet asks
    Tracker(tracker::Arguments),
    /// What an agent costs its machine: latency, memory, and a cached blob beside nginx
    Mirror(mirror::Arguments),
}

/// Measures.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Swarm(arguments) => swarm::run(arguments),
        Command::Simulate(arguments) => simulate::run(arguments),
        Command::Registry(arguments) => registry::run(arguments),
        Command::Tracker(arguments) => tracker::run(arguments),
        Command::Mirror(arguments) => mirror::run(arguments),
    }
}
