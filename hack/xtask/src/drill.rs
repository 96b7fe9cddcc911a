//! `cargo xtask drill`: long trials of a server, with a journal of what its clients were told. The short forms are end-to-end tests.

mod crash;
mod gc;
mod report;

use anyhow::Result;

/// What can go wrong on purpose.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// kill -9 of the server in the middle of pushes, tag moves and deletions, again and again
    Crash(crash::Arguments),
    /// Pushes, mounts and deletions while the server collects all the time
    Gc(gc::Arguments),
}

/// Carries out a drill.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Crash(arguments) => crash::run(arguments),
        Command::Gc(arguments) => gc::run(arguments),
    }
}

/// Another number each time, from the hasher that the standard library seeds by the system.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // JSON readers keep 53 bits of a number.
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 11
}
