//! The command line of `shoal-agent hosts`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::plan::Existing;
use super::runtime::Runtime;

/// Wires this machine's container runtimes to the agent, and takes it back
#[derive(Debug, Args)]
pub struct HostsCommand {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Writes the agent into the runtimes' files, in front of what is there
    Apply(ApplyOptions),
    /// Shows what apply would change; the status is 1 when that is something
    Diff(WishOptions),
    /// Puts every file back as it was, byte for byte
    Restore(RestoreOptions),
}

/// Where and how.
#[derive(Debug, Args)]
pub struct Place {
    /// Work on the files below this directory: an image that is being built
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// How a result is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// What is wished.
#[derive(Debug, Args)]
pub struct WishOptions {
    #[command(flatten)]
    pub(super) place: Place,
    /// Whose files; may be repeated. Without it, those of every runtime that is installed
    #[arg(long, value_enum)]
    pub(super) runtime: Vec<Runtime>,
    /// A registry by the name in front of its images; may be repeated (hosts.registries)
    #[arg(long, value_name = "HOST")]
    pub(super) registry: Vec<String>,
    /// Only the registries that are named, not all others too (hosts.catch_all)
    #[arg(long)]
    pub(super) no_catch_all: bool,
    /// Address of the agent's mirror, as runtimes reach it (registry.listen)
    #[arg(long, value_name = "ADDR")]
    pub(super) agent: Option<SocketAddr>,
    /// Where there are mirrors of somebody else
    #[arg(long, value_enum, default_value_t)]
    pub(super) existing: Existing,
    /// Take files that somebody changed since the last apply for the operator's
    #[arg(long)]
    pub(super) force: bool,
}

/// What is wished, and how sure it has to be.
#[derive(Debug, Args)]
pub struct ApplyOptions {
    #[command(flatten)]
    pub(super) wish: WishOptions,
    /// Pull this image through each runtime, and take everything back unless it came through the agent (hosts.canary)
    #[arg(long, value_name = "IMAGE")]
    pub(super) prove: Option<String>,
    /// Pull nothing, although an image is configured
    #[arg(long, conflicts_with = "prove")]
    pub(super) no_prove: bool,
    /// Address of the agent's admin port, which knows what came through it (admin.listen)
    #[arg(long, value_name = "ADDR")]
    pub(super) admin: Option<SocketAddr>,
    /// Restart daemons that read their files at the start only (containerd, k3s)
    #[arg(long)]
    pub(super) restart: bool,
}

/// How to put things back.
#[derive(Debug, Args)]
pub struct RestoreOptions {
    #[command(flatten)]
    pub(super) place: Place,
    /// Also lose what somebody changed since
    #[arg(long)]
    pub(super) force: bool,
    /// Restart daemons that read their files at the start only (containerd, k3s)
    #[arg(long)]
    pub(super) restart: bool,
}
