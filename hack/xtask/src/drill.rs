//! `cargo xtask drill`: long trials of a server, with a journal of what its clients were told. The short forms are end-to-end tests.

mod crash;
mod report;

use anyhow::Result;

/// What can go wrong on purpose.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// kill -9 of the server in the middle of pushes, tag moves and deletions, again and again
    Crash(crash::Arguments),
}

/// Carries out a drill.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Crash(arguments) => crash::run(arguments),
    }
}
