//! The command line: a noun, a verb where the noun has several, and where to ask.

use clap::{Parser, Subcommand, ValueEnum};
use shoal_oci::{Digest, Repository};

use crate::agents::AgentCommand;
use crate::ca::CaCommand;
use crate::pull::PullCommand;
use crate::upkeep::{QuarantineCommand, ScrubCommand};

/// Asks a Shoal cluster how it is and what it has.
#[derive(Debug, Parser)]
#[command(name = "shoalctl", version, max_term_width = 110)]
pub(crate) struct Cli {
    /// URL of the server's admin port
    #[arg(
        long,
        global = true,
        env = "SHOALCTL_SERVER",
        default_value = "http://127.0.0.1:15005",
        value_name = "URL"
    )]
    pub(crate) server: String,

    /// Table for people, JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns.
    Table,
    /// One JSON document.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// State of the server and of agents; fails when one of them is not ready
    Status {
        /// URLs of the admin ports of agents, separated by commas
        #[arg(long, env = "SHOALCTL_AGENTS", value_delimiter = ',', value_name = "URL")]
        agents: Vec<String>,
    },
    /// Every repository
    Repositories,
    /// Tags of a repository
    #[command(subcommand)]
    Tags(TagsCommand),
    /// One blob
    #[command(subcommand)]
    Blob(BlobCommand),
    /// The largest swarms that the tracker knows
    Swarms {
        /// How many of them
        #[arg(short = 'n', long, default_value_t = 20)]
        count: usize,
    },
    /// Removes what nobody needs: expired tags, unneeded links, content without a repository
    Collect {
        /// Says what would go and removes nothing
        #[arg(long)]
        dry_run: bool,
        /// Shows what the last collection did instead of making one
        #[arg(long, conflicts_with = "dry_run")]
        last: bool,
    },
    /// Reads blobs again and verifies them
    #[command(subcommand)]
    Scrub(ScrubCommand),
    /// Damaged blobs that were put away
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Webhooks, the audit log and preheating; fails when one of them is in trouble
    Events,
    /// What agents are told to do, and what they tell of pulls
    Agent(AgentCommand),
    /// Fetches an image on agents before anybody pulls it there; fails when one of them cannot
    Pull(PullCommand),
    /// Reads a password from the standard input and prints a line for the file auth.htpasswd; asks no server
    Password {
        /// Name of the account
        name: String,
    },
    /// A private certificate authority in a directory; asks no server
    #[command(subcommand)]
    Ca(CaCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TagsCommand {
    /// Every tag of a repository
    List {
        /// Repository such as team/app
        repository: Repository,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BlobCommand {
    /// Size and pieces of a blob at the origin
    Stat {
        /// Digest such as sha256:9f86d0…
        digest: Digest,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["shoalctl", "status", "--agents", "http://a:1,http://b:2", "-o", "json"]);
        assert_eq!(cli.output, Output::Json);
        assert!(matches!(cli.command, Command::Status { agents } if agents.len() == 2));
    }

    #[test]
    fn the_environment_is_not_that_of_the_server_and_the_agent() {
        // SHOAL_SERVER is the section `server` of the agent, which would refuse to start.
        let root = Cli::command();
        let all = std::iter::once(&root).chain(root.get_subcommands()).flat_map(clap::Command::get_arguments);
        let names: BTreeSet<_> = all.filter_map(|argument| argument.get_env()?.to_str()).collect();
        assert_eq!(names, BTreeSet::from(["SHOALCTL_SERVER", "SHOALCTL_AGENTS"]));
    }

    #[test]
    fn names_are_checked_before_anybody_is_asked() {
        assert!(Cli::try_parse_from(["shoalctl", "tags", "list", "UPPER"]).is_err());
        assert!(Cli::try_parse_from(["shoalctl", "blob", "stat", "sha256:12"]).is_err());
    }
}
