//! What the server can be told. Few knobs: each has a default that suits one server on its usual ports.

pub mod audit;
pub mod auth;
pub mod events;
pub mod grants;
pub mod tls;
pub mod upkeep;
pub mod upstreams;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_config::{ByteRate, ByteSize, ConfigError, Duration, Secret};
use shoal_swarm::Experiment;
use shoal_swarm_types::ZoneName;
use shoal_telemetry::LogFormat;

use self::audit::Audit;
use self::auth::Auth;
use self::events::Events;
use self::tls::{ClusterTls, RegistryTls};
use self::upkeep::{Collect, Retention, Scrub};
use self::upstreams::UpstreamSettings;

/// The whole configuration of the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything is kept: blobs, uploads, metadata.
    pub data_directory: PathBuf,
    /// Push and pull.
    pub registry: Registry,
    /// Blobs for agents.
    pub origin: Origin,
    /// Introduces agents to each other.
    pub tracker: Tracker,
    /// Tag look-ups.
    pub tags: Tags,
    /// Health, metrics, status.
    pub admin: Admin,
    /// How agents reach this server.
    pub advertise: Advertise,
    /// Room for blobs.
    pub store: StoreRoom,
    /// Unfinished pushes.
    pub uploads: Uploads,
    /// Garbage collection.
    pub collect: Collect,
    /// Which tags stay.
    pub retention: Vec<Retention>,
    /// Looking for damage.
    pub scrub: Scrub,
    /// Foreign registries that are pulled from. None: only what was pushed here can be pulled.
    pub upstreams: Vec<UpstreamSettings>,
    /// Webhooks.
    pub events: Events,
    /// The audit log.
    pub audit: Audit,
    /// Who may do what. Unset: everybody everything.
    pub auth: Option<Auth>,
    /// Shared by the members of one cluster; peers with another key are turned away. Unset: no key.
    pub cluster_key: Option<Secret>,
    /// The certificate by which the members of one cluster know each other. Unset: plain connections.
    pub cluster_tls: Option<ClusterTls>,
    /// Where this server stands: agents of the same zone are named to each other first. Unset: nowhere in particular.
    pub zone: Option<ZoneName>,
    /// The exchange of pieces.
    pub swarm: Swarm,
    /// Log lines.
    pub log: Log,
}

/// Push and pull.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Whether clients may delete manifests, tags and blobs.
    pub delete: bool,
    /// Its certificate. Unset: plain HTTP.
    pub tls: Option<RegistryTls>,
    /// Whether a manifest may refer to blobs and manifests that are not here; for copies of images in part.
    pub sparse: bool,
}

/// Blobs for agents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Origin {
    /// Where agents connect as swarm peers.
    pub peer_listen: SocketAddr,
    /// Where agents read blobs over HTTP.
    pub listen: SocketAddr,
    /// Bytes of pieces sent to agents per second at most. Unset: as many as the network takes.
    pub upload: Option<ByteRate>,
}

/// Introduces agents to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tracker {
    /// Where agents announce.
    pub listen: SocketAddr,
}

/// Tag look-ups.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tags {
    /// Where tags are looked up.
    pub listen: SocketAddr,
}

/// Health, metrics, status.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where probes and scrapers connect. On loopback unless told otherwise, because it asks nobody who they are.
    pub listen: SocketAddr,
}

/// The exchange of pieces. It needs no settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Swarm {
    /// For measurements only.
    pub experiment: Experiment,
}

/// How agents reach this server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Advertise {
    /// Name or address. Unset: the host at which an agent reached the tracker.
    pub host: Option<String>,
}

/// Room for blobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreRoom {
    /// Bytes kept at most. Unset: what the disk has.
    pub capacity: Option<ByteSize>,
    /// Bytes of the disk left free at least; pushes are refused before the disk is full.
    pub free_min: ByteSize,
}

/// Unfinished pushes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uploads {
    /// How long one that nobody touches is kept.
    pub expire_after: Duration,
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

/// The ports are those of the deployment that users of Kraken know.
const fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_directory: PathBuf::from("/var/lib/shoal/server"),
            registry: Registry::default(),
            origin: Origin::default(),
            tracker: Tracker::default(),
            tags: Tags::default(),
            admin: Admin::default(),
            advertise: Advertise::default(),
            store: StoreRoom::default(),
            uploads: Uploads::default(),
            collect: Collect::default(),
            retention: Vec::new(),
            scrub: Scrub::default(),
            upstreams: Vec::new(),
            events: Events::default(),
            audit: Audit::default(),
            auth: None,
            cluster_key: None,
            zone: None,
            cluster_tls: None,
            swarm: Swarm::default(),
            log: Log::default(),
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self { listen: everywhere(15000), delete: true, sparse: false, tls: None }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self { peer_listen: everywhere(15001), listen: everywhere(15002), upload: None }
    }
}

impl Default for Tracker {
    fn default() -> Self {
        Self { listen: everywhere(15003) }
    }
}

impl Default for Tags {
    fn default() -> Self {
        Self { listen: everywhere(15004) }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15005) }
    }
}

impl Default for StoreRoom {
    fn default() -> Self {
        // A gigabyte keeps the database, the log and the operator's shell alive while pushes are refused.
        Self { capacity: None, free_min: ByteSize::gib(1) }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        // Longer than any client keeps a push alive, short enough that abandoned pushes do not fill the disk.
        Self { expire_after: Duration::secs(24 * 60 * 60) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

impl Config {
    /// Every listener with its key.
    fn listeners(&self) -> [(&'static str, SocketAddr); 6] {
        [
            ("registry.listen", self.registry.listen),
            ("origin.peer_listen", self.origin.peer_listen),
            ("origin.listen", self.origin.listen),
            ("tracker.listen", self.tracker.listen),
            ("tags.listen", self.tags.listen),
            ("admin.listen", self.admin.listen),
        ]
    }

    /// Ports behind which nobody is asked who they are. With authentication on, they would be the way around it.
    fn open_doors(&self) -> Option<ConfigError> {
        let inside = ["origin.peer_listen", "origin.listen", "tracker.listen", "tags.listen"];
        let listeners = self.listeners();
        let mut open =
            listeners.iter().filter(|(key, addr)| inside.contains(key) && !addr.ip().is_loopback());
        let (key, addr) = open.next().filter(|_| self.cluster_key.is_none() && self.cluster_tls.is_none())?;
        let problem = format!("is set, and {key} ({addr}) gives everything to everybody who reaches it");
        let remedy = "set cluster_tls (see shoalctl ca) or cluster_key, or let origin, tracker and tags listen on 127.0.0.1 only";
        Some(ConfigError::semantic("auth", problem, remedy))
    }

    /// What cannot be right although every value has the right type.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut add = |path: &str, problem: String, remedy: &str| {
            problems.push(ConfigError::semantic(path, problem, remedy));
        };
        let listeners = self.listeners();
        for (at, (key, addr)) in listeners.iter().enumerate() {
            let clash = listeners[..at].iter().find(|(_, other)| overlap(*addr, *other));
            if let Some((other, _)) = clash {
                add(
                    key,
                    format!("{addr} is the address of {other} as well"),
                    "give each listener a port of its own",
                );
            }
        }
        if self.data_directory.as_os_str().is_empty() {
            add(
                "data_directory",
                "is empty".to_owned(),
                "name a directory on a disk with room for the blobs",
            );
        }
        if self.advertise.host.as_deref().is_some_and(|host| !is_host(host)) {
            add("advertise.host", "is not a host".to_owned(), "write a name or an address, without a port");
        }
        if self.store.capacity == Some(ByteSize(0)) {
            add("store.capacity", "is zero".to_owned(), "leave it out to use what the disk has");
        }
        if self.uploads.expire_after.get() < UPLOAD_LIFE_MIN {
            let remedy = "a minute is the least; a day suits most";
            add("uploads.expire_after", "is shorter than a push".to_owned(), remedy);
        }
        if let Err(error) = shoal_telemetry::logging::check_filter(&self.log.filter) {
            add("log.filter", error.to_string(), "write a level such as info");
        }
        if let Some(auth) = &self.auth {
            auth.problems(&mut |error| problems.push(error));
            problems.extend(self.open_doors());
        }
        upstreams::problems(&self.upstreams, &mut |error| problems.push(error));
        self.collect.problems(&mut |error| problems.push(error));
        self.events.problems(&mut |error| problems.push(error));
        self.audit.problems(&mut |error| problems.push(error));
        self.scrub.problems(&mut |error| problems.push(error));
        for (number, rule) in self.retention.iter().enumerate() {
            rule.problems(number, &mut |error| problems.push(error));
        }
        problems
    }
}

/// Shortest life of an untouched upload: a client may hash for a while between two chunks.
const UPLOAD_LIFE_MIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Whether two listeners cannot both be bound.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_host
}

/// A name or an address without a port.
fn is_host(text: &str) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    text.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified())
        || (!text.is_empty() && text.bytes().all(name) && text.parse::<IpAddr>().is_err())
}

#[cfg(test)]
mod tests;
