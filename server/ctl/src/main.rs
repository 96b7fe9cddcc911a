//! shoalctl: the operator's command line.
//!
//! It asks running processes over their own ports and shows what they say. It reads no file of theirs and keeps no state, so it
//! works from any machine that reaches the server's admin port.

mod agents;
mod blob;
mod ca;
mod cli;
mod events;
mod output;
mod password;
mod pull;
mod repositories;
mod server;
mod status;
mod swarms;
#[cfg(test)]
mod tests;
mod upkeep;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{BlobCommand, Cli, Command, TagsCommand};
use crate::output::Report;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Password { name } = &cli.command {
        return password(name);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(&cli)));
    match outcome {
        Ok(report) => {
            let complete = report.complete;
            output::print(&report.render(cli.output));
            if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            output::complain(&format!("shoalctl: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints the line for the password file and nothing else.
fn password(name: &str) -> ExitCode {
    match password::line(name) {
        Ok(line) => {
            output::print(&line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::complain(&format!("shoalctl: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<Report> {
    let http = shoal_http::Client::default();
    let server = server::Server::new(http.clone(), &cli.server)?;
    match &cli.command {
        Command::Status { agents } => status::report(&http, &cli.server, agents).await,
        Command::Repositories => repositories::repositories(&server).await,
        Command::Tags(TagsCommand::List { repository }) => repositories::tags(&server, repository).await,
        Command::Blob(BlobCommand::Stat { digest }) => blob::stat(&server, digest).await,
        Command::Swarms { count } => swarms::report(&server, *count).await,
        Command::Collect { dry_run, last } => upkeep::collect(&server, *dry_run, *last).await,
        Command::Scrub(command) => upkeep::scrub(&server, command).await,
        Command::Quarantine(command) => upkeep::quarantine(&server, command).await,
        Command::Events => events::report(&server).await,
        Command::Agent(command) => agents::run(&http, command).await,
        Command::Pull(command) => pull::run(&http, command).await,
        Command::Ca(command) => ca::run(command),
        Command::Password { .. } => anyhow::bail!("handled before a server is asked"),
    }
}
