//! The command line: a few flags over the configuration file; each names the key that it sets.

use std::path::PathBuf;

use clap::Parser;
use shoal_config::{ConfigErrors, Sources};

use crate::config::Config;

/// The cluster side of Shoal: registry, tags, origin and tracker in one process.
///
/// Settings come from the file, then from the environment (SHOAL_STORE__CAPACITY=1TiB sets store.capacity), then from these flags.
#[derive(Debug, Default, Parser)]
#[command(name = "shoal-server", version, max_term_width = 110)]
pub struct Cli {
    /// Configuration file (YAML; `${VAR:-default}` is replaced)
    #[arg(short, long, value_name = "FILE", env = "SHOAL_CONFIG")]
    pub config: Option<PathBuf>,

    /// Directory of all data (data_directory)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Address for push and pull (registry.listen)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Address of the origin's swarm port (origin.peer_listen)
    #[arg(long, value_name = "ADDR")]
    pub peer_listen: Option<String>,

    /// Address of the origin's HTTP port (origin.listen)
    #[arg(long, value_name = "ADDR")]
    pub origin_listen: Option<String>,

    /// Address of the tracker (tracker.listen)
    #[arg(long, value_name = "ADDR")]
    pub tracker_listen: Option<String>,

    /// Address of tag look-ups (tags.listen)
    #[arg(long, value_name = "ADDR")]
    pub tags_listen: Option<String>,

    /// Address of health, metrics and status (admin.listen)
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,

    /// Host at which agents reach this server, when it is not the one at which they reach the tracker (advertise.host)
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,

    /// Write the real addresses as JSON to this file once everything answers
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,

    /// Print the configuration that results, and exit
    #[arg(long)]
    pub print_config: bool,

    /// Check the configuration, and exit
    #[arg(long)]
    pub check_config: bool,
}

impl Cli {
    /// The configuration from file, environment and flags.
    ///
    /// # Errors
    /// Every mistake in all of them.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        let sources = Sources { file: self.config.clone(), flags: self.overrides(), ..Sources::default() };
        let config = shoal_config::load_checked(&sources, Config::problems)?;
        Ok(config)
    }

    /// The flags that were given, by the keys that they set.
    fn overrides(&self) -> Vec<(String, String)> {
        let given = [
            ("data_directory", self.data.as_ref().map(|path| path.display().to_string())),
            ("registry.listen", self.listen.clone()),
            ("origin.peer_listen", self.peer_listen.clone()),
            ("origin.listen", self.origin_listen.clone()),
            ("tracker.listen", self.tracker_listen.clone()),
            ("tags.listen", self.tags_listen.clone()),
            ("admin.listen", self.admin_listen.clone()),
            ("advertise.host", self.advertise.clone()),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_sets_its_key() {
        let arguments = "shoal-server --data /d --listen 127.0.0.1:1 --peer-listen 127.0.0.1:2 --origin-listen 127.0.0.1:3 \
             --tracker-listen 127.0.0.1:4 --tags-listen 127.0.0.1:5 --admin-listen [::1]:6 --advertise shoal.example";
        let config = Cli::parse_from(arguments.split_whitespace()).load().unwrap();
        assert_eq!(config.data_directory, PathBuf::from("/d"));
        assert_eq!(config.registry.listen.port(), 1);
        assert_eq!((config.origin.peer_listen.port(), config.origin.listen.port()), (2, 3));
        assert_eq!((config.tracker.listen.port(), config.tags.listen.port()), (4, 5));
        assert_eq!(config.admin.listen, "[::1]:6".parse().unwrap());
        assert_eq!(config.advertise.host.as_deref(), Some("shoal.example"));
    }

    #[test]
    fn a_wrong_flag_is_named() {
        let cli = Cli { listen: Some("nowhere".to_owned()), ..Cli::default() };
        let errors = cli.load().unwrap_err().to_string();
        assert!(errors.contains("registry.listen"), "{errors}");
    }
}
