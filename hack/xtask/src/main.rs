//! `cargo xtask`: the developer's command line. Not shipped.
//!
//! One file per word of the command line; what starts and stops programs lives in `shoal-e2e`, which the end-to-end tests
//! share, so that a demo and a test cannot disagree about how a cluster is started.

mod bench;
mod build;
mod conformance;
mod demo;
mod drill;
mod images;
mod interrupt;
mod options;
mod terminal;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Developer's commands of Shoal")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Push an image and pull it through a swarm of agents, all on this machine
    Demo(demo::Arguments),
    /// Set up what the tests need and run them, tier by tier
    Test(test::Arguments),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Command),
    /// Break things on purpose, and compare with what clients were told
    #[command(subcommand)]
    Drill(drill::Command),
    /// Run the official conformance suite against a fresh server
    Conformance(conformance::Arguments),
    /// Check the house rules that compilers do not check
    Tidy,
    /// Make images from nothing
    Images(images::Arguments),
    /// What `bench swarm` does inside of a network namespace
    #[command(subcommand, hide = true)]
    Inside(bench::inside::Errand),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(command) => bench::run(&command),
        Command::Drill(command) => drill::run(&command),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::Images(arguments) => images::run(&arguments),
        Command::Inside(errand) => bench::inside::run(&errand),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
