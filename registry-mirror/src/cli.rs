//! The command line of the agent. Flags name the few things that differ from machine to machine; the rest is in the file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::hosts::HostsCommand;

/// OCI mirror and swarm peer for one machine.
///
/// Settings come from the file, then from the environment (SHOAL_CACHE__CAPACITY=50GiB sets cache.capacity), then from these flags.
#[derive(Debug, Parser)]
#[command(name = "shoal-agent", version, max_term_width = 110)]
pub struct Cli {
    /// Configuration file (YAML; `${VAR:-default}` is replaced)
    #[arg(short, long, value_name = "FILE", env = "SHOAL_CONFIG", global = true)]
    pub config: Option<PathBuf>,

    /// Name or address of the Shoal server, without scheme and port (server.host)
    #[arg(long, value_name = "HOST")]
    pub server: Option<String>,

    /// URL of the server's registry, when it is not on port 15000 (server.registry)
    #[arg(long, value_name = "URL")]
    pub server_registry: Option<String>,

    /// URL of a tracker, when it is not on port 15003; may be repeated (server.trackers)
    #[arg(long, value_name = "URL")]
    pub tracker: Vec<String>,

    /// Directory of the cache (cache.directory)
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,

    /// Bytes kept at most, such as 20GiB (cache.capacity)
    #[arg(long, value_name = "SIZE")]
    pub capacity: Option<String>,

    /// Address of the mirror (registry.listen)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Address of the swarm (peer.listen)
    #[arg(long, value_name = "ADDR")]
    pub peer_listen: Option<String>,

    /// Address of health, metrics and status (admin.listen)
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,

    /// Write the real addresses as JSON to this file once everything listens
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,

    /// Print the configuration that results, and exit
    #[arg(long)]
    pub print_config: bool,

    /// Check the configuration, and exit
    #[arg(long)]
    pub check_config: bool,

    /// Something else than to run the agent
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does beside running the agent.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Wires this machine's container runtimes to the agent, and takes it back
    Hosts(HostsCommand),
}

impl Cli {
    /// The flags that were given, by the keys that they set.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let single = [
            ("server.host", self.server.clone()),
            ("server.registry", self.server_registry.clone()),
            ("server.trackers", (!self.tracker.is_empty()).then(|| self.tracker.join(","))),
            ("cache.directory", path(&self.cache)),
            ("cache.capacity", self.capacity.clone()),
            ("registry.listen", self.listen.clone()),
            ("peer.listen", self.peer_listen.clone()),
            ("admin.listen", self.admin_listen.clone()),
        ];
        single.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from([
            "shoal-agent",
            "--server",
            "s",
            "--tracker",
            "http://a:1",
            "--tracker",
            "http://b:2",
        ]);
        let expected = [("server.host", "s"), ("server.trackers", "http://a:1,http://b:2")];
        assert_eq!(cli.overrides(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
