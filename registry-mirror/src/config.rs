//! What the agent can be told. Few knobs: each has a default that suits one machine of a fleet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_config::{ByteSize, ConfigError, ConfigErrors, Duration, Secret, Sources};
use shoal_swarm::Experiment;

use crate::hosts::Hosts;
use crate::limits::RateSettings;
use shoal_swarm_types::ZoneName;
use shoal_telemetry::LogFormat;

use crate::cli::Cli;
use crate::namespace::{Namespace, Namespaces};

/// The whole configuration of the agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the Shoal server is.
    pub server: Server,
    /// The mirror that runtimes pull from.
    pub registry: Registry,
    /// The swarm face.
    pub peer: Peer,
    /// Health, metrics, status.
    pub admin: Admin,
    /// Blobs on this machine's disk.
    pub cache: Cache,
    /// Registry names that the cluster answers for. Empty: every name.
    pub namespaces: Vec<Namespace>,
    /// Which pulls of this machine's runtimes go through the agent.
    pub hosts: Hosts,
    /// Shared by the members of one cluster; peers with another key are refused. Unset: no key.
    pub cluster_key: Option<Secret>,
    /// The certificate by which the members of one cluster know each other. Unset: plain connections.
    pub cluster_tls: Option<ClusterTls>,
    /// Where this machine stands (`eu-1a`, a rack, a room): pieces come from peers of the same zone when they can. Unset: nowhere in
    /// particular.
    pub zone: Option<ZoneName>,
    /// The exchange of pieces.
    pub swarm: Swarm,
    /// How fast pieces may come and go. Unset: as fast as the network gives.
    pub limits: RateSettings,
    /// Log lines.
    pub log: Log,
}

/// Where the Shoal server is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Name or address of the server; stands for the default ports of the two URLs below.
    pub host: String,
    /// URL of its registry. Empty: `http://{host}:15000`, or `https` when there is a `ca` or `cluster_tls`.
    pub registry: String,
    /// URLs of its trackers. Empty: `http://{host}:15003`, or `https` when there is `cluster_tls`.
    pub trackers: Vec<String>,
    /// Authorities that sign the registry's certificate (PEM). Unset: that of `cluster_tls`, else those of the system.
    pub ca: Option<PathBuf>,
    /// The name by which the registry knows this agent, when it asks for names.
    pub username: Option<String>,
    /// The password for it.
    pub password: Option<Secret>,
}

/// What this agent shows the other members of its cluster, and whom it takes for one: `shoalctl ca issue DIR NAME --as agent` makes the files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    /// The cluster's authority; several while it is rotated.
    pub ca: PathBuf,
    /// This agent's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The mirror that runtimes pull from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// It asks nobody who they are, so it listens on loopback unless told otherwise.
    pub listen: SocketAddr,
    /// How long a pull may wait for the first byte of a blob before it is sent to the next host. Runtimes wait 30 s at least.
    pub first_byte_timeout: Duration,
}

/// The swarm face.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peer {
    /// Where other peers connect.
    pub listen: SocketAddr,
    /// The address that others are told. Unset: the one from which the tracker sees us come.
    pub advertise: Option<IpAddr>,
    /// How long a download may go on without a piece from anywhere. Then it fails: a pull that has begun is cut, and its client takes the
    /// rest from its next host.
    pub stall_timeout: Duration,
}

/// The exchange of pieces. It needs no settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Swarm {
    /// For measurements only.
    pub experiment: Experiment,
}

/// Health, metrics, status.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where probes and scrapers connect.
    pub listen: SocketAddr,
}

/// Blobs on this machine's disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Everything that the agent keeps.
    pub directory: PathBuf,
    /// Bytes kept at most; the least recently used go first.
    pub capacity: ByteSize,
    /// Bytes of the disk left free at least, whatever the capacity.
    pub free_min: ByteSize,
}

/// Log lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or a list such as `info,shoal_swarm=debug`.
    pub filter: String,
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            registry: String::new(),
            trackers: Vec::new(),
            ca: None,
            username: None,
            password: None,
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        // A third of containerd's 30 s for a response head, so that the next host still gets its turn.
        Self { listen: loopback(16000), first_byte_timeout: Duration(std::time::Duration::from_secs(10)) }
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 16001),
            advertise: None,
            // One piece of 4 MiB from an origin that sixteen others ask too, over 20 Mbit/s; and far below Kubernetes' five minutes.
            stall_timeout: Duration(std::time::Duration::from_secs(30)),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: loopback(16002) }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/shoal/agent"),
            capacity: ByteSize(20 << 30),
            free_min: ByteSize(1 << 30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

impl Config {
    /// URL of the registry, without a slash at the end.
    pub fn registry_url(&self) -> String {
        let secure = self.cluster_tls.is_some() || self.server.ca.is_some();
        match self.server.registry.trim_end_matches('/') {
            "" => format!("{}://{}:15000", scheme(secure), self.server.host),
            url => url.to_owned(),
        }
    }

    /// URLs of the trackers.
    pub fn tracker_urls(&self) -> Vec<String> {
        if self.server.trackers.is_empty() {
            vec![format!("{}://{}:15003", scheme(self.cluster_tls.is_some()), self.server.host)]
        } else {
            self.server.trackers.clone()
        }
    }
}

const fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

impl Server {
    /// Tells `add` key, problem and remedy of what cannot be right.
    fn problems(&self, add: &mut impl FnMut(&str, String, &str)) {
        let is_used = self.registry.is_empty() || self.trackers.is_empty();
        if is_used && !is_host(&self.host) {
            add(
                "server.host",
                format!("`{}` is not a host", self.host),
                "write a name or an address alone, without scheme and port, and IPv6 in brackets; whole URLs go to server.registry and server.trackers",
            );
        }
        let registry = Some(&self.registry).filter(|url| !url.is_empty()).map(|url| ("server.registry", url));
        for (key, url) in registry.into_iter().chain(self.trackers.iter().map(|url| ("server.trackers", url)))
        {
            if !is_plain_url(url) {
                add(key, format!("`{url}` is not a usable address"), "write it as http://host:port");
            }
        }
        if self.username.is_some() != self.password.is_some() {
            let remedy =
                "write both, or neither when the registry knows this agent by its certificate or asks nobody";
            add(
                "server.username",
                "goes with server.password, and one of them is missing".to_owned(),
                remedy,
            );
        }
    }
}

impl Config {
    /// What cannot be right although every value has the right type.
    fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut add = |key: &str, problem: String, remedy: &str| {
            problems.push(ConfigError::semantic(key, problem, remedy));
        };
        if let Err(errors) = Namespaces::new(&self.namespaces) {
            errors
                .iter()
                .for_each(|error| add("namespaces", error.to_string(), "see docs/operations/clients.md"));
        }
        for name in self.hosts.bad_names() {
            add("hosts.registries", format!("`{name}` is no registry"), "write it as host or host:port");
        }
        self.server.problems(&mut add);
        if self.cache.directory.as_os_str().is_empty() {
            add(
                "cache.directory",
                "is empty".to_owned(),
                "name a directory on a disk with room for the cache",
            );
        }
        if self.registry.first_byte_timeout.0.is_zero() {
            add("registry.first_byte_timeout", "is zero".to_owned(), "10s suits every runtime");
        }
        if self.peer.stall_timeout.0.is_zero() {
            add("peer.stall_timeout", "is zero".to_owned(), "30s suits networks from 20 Mbit/s up");
        }
        for key in self.limits.too_small() {
            let problem = "is too slow for pieces to arrive in time".to_owned();
            add(&format!("limits.{key}"), problem, "64KiB/s is the least; leave it out for no limit");
        }
        if let Err(error) = shoal_telemetry::logging::check_filter(&self.log.filter) {
            add("log.filter", error.to_string(), "write a level such as info");
        }
        problems
    }
}

/// Reads file, environment and flags.
///
/// # Errors
/// Every mistake in all of them.
pub fn load(cli: &Cli) -> Result<Config, ConfigErrors> {
    let sources = Sources { file: cli.config.clone(), flags: cli.overrides(), ..Sources::default() };
    shoal_config::load_checked(&sources, Config::problems)
}

fn is_plain_url(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some()
            && matches!(uri.path(), "" | "/")
    })
}

/// Whether `text` can stand for a host in a URL: a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    let in_url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !text.is_empty() && text.bytes().all(in_url),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn one_host_stands_for_both_addresses() {
        let mut config = Config::default();
        config.server.host = "shoal.internal".to_owned();
        assert_eq!(config.registry_url(), "http://shoal.internal:15000");
        assert_eq!(config.tracker_urls(), ["http://shoal.internal:15003"]);
        config.server.ca = Some("ca.pem".into());
        assert_eq!(config.registry_url(), "https://shoal.internal:15000");
        assert_eq!(config.tracker_urls(), ["http://shoal.internal:15003"]);
        config.cluster_tls =
            Some(ClusterTls { ca: "ca.pem".into(), certificate: "a.pem".into(), key: "a.key".into() });
        assert_eq!(config.tracker_urls(), ["https://shoal.internal:15003"]);
    }

    #[test]
    fn the_defaults_have_no_problems() {
        assert!(Config::default().problems().is_empty());
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let mut config = Config::default();
        config.server.registry = "shoal:15000/x".to_owned();
        config.namespaces = vec![Namespace { host: "a b".to_owned(), prefix: String::new() }];
        config.log.filter = "loud=very".to_owned();
        let keys: Vec<_> = config.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(keys, ["namespaces", "server.registry", "log.filter"]);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_alone() {
        let problems = |host: &str| {
            let mut config = Config::default();
            config.server.host = host.to_owned();
            config.problems().into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>()
        };
        for bad in
            ["http://shoal.internal", "http://shoal:15000/", "shoal:15000", "::1", "a b", "", "a/b", "u@h"]
        {
            let found = problems(bad);
            assert!(found.len() == 1 && found[0].contains("server.host: "), "{bad}: {found:?}");
        }
        for good in ["shoal.internal", "10.0.0.1", "[::1]", "node_1"] {
            assert_eq!(problems(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn a_host_that_nothing_uses_is_not_looked_at() {
        let mut config = Config::default();
        config.server.host = String::new();
        config.server.registry = "http://r:15000".to_owned();
        config.server.trackers = vec!["http://t:15003".to_owned(), "t:15003".to_owned()];
        let keys: Vec<_> = config.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(keys, ["server.trackers"]);
    }

    #[test]
    fn the_page_for_operators_shows_every_key() {
        let page = include_str!("../../docs/operations/agent.md");
        let (_, rest) = page.split_once("```yaml\n").unwrap();
        let (shown, _) = rest.split_once("```").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.yaml");
        std::fs::write(&file, shown).unwrap();
        let sources = Sources { file: Some(file), environment: BTreeMap::new(), ..Sources::default() };
        let config: Config = shoal_config::load_checked(&sources, Config::problems).unwrap();
        let usual = Config {
            server: Server { host: config.server.host.clone(), ..Server::default() },
            ..Config::default()
        };
        assert_eq!(shoal_config::render(&config), shoal_config::render(&usual));
        let key = |line: &str| line.trim_matches(['#', ' ']).split_once(':').map(|(key, _)| key.to_owned());
        let keys: Vec<_> = shown.lines().filter_map(key).collect();
        let rendered = shoal_config::render(&usual);
        let missing: Vec<_> = rendered.lines().filter_map(key).filter(|key| !keys.contains(key)).collect();
        assert_eq!(missing, [""; 0], "docs/operations/agent.md does not show these keys");
    }
}
