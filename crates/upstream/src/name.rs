//! Names of registries as images write them, and patterns over them: what the allow-list is made of.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use shoal_oci::{Host, Repository};

/// Docker Hub as images name it.
const DOCKER_HUB: &str = "docker.io";
/// Where Docker Hub answers.
const DOCKER_HUB_ENDPOINT: &str = "https://registry-1.docker.io";
/// Other names of Docker Hub.
const DOCKER_HUB_ALIASES: [&str; 3] = ["registry-1.docker.io", "index.docker.io", "registry.hub.docker.com"];
/// Where Docker Hub keeps what has no user's name before it.
const LIBRARY: &str = "library";

/// The name of a registry, one for each registry: Docker Hub is `docker.io`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryName(Host);

impl RegistryName {
    /// The registry that clients mean by `host`.
    pub fn of(host: &Host) -> Self {
        if DOCKER_HUB_ALIASES.contains(&host.as_str())
            && let Ok(hub) = DOCKER_HUB.parse()
        {
            return Self(hub);
        }
        Self(host.clone())
    }

    /// The registry whose content is kept under the repositories below `segment`; see [`Self::segment`]. `None` when it is no host.
    pub fn of_segment(segment: &str) -> Option<Self> {
        let text = segment.replacen('_', ":", 1);
        if !Host::is_host_segment(&text) {
            return None;
        }
        text.parse().ok().map(|host| Self::of(&host))
    }

    /// The name as text, with its port when it has one.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The first path segment under which its content is kept: the name, with `_` before the port, because repositories have no colons and
    /// hosts no underscores. `None` for an IPv6 address, which no repository can begin with.
    pub fn segment(&self) -> Option<String> {
        (!self.as_str().starts_with('[')).then(|| self.as_str().replace(':', "_"))
    }

    /// The repository as the registry itself calls it: only Docker Hub has names of its own that people leave out.
    pub fn canonical(&self, repository: &Repository) -> Repository {
        if self.as_str() == DOCKER_HUB
            && !repository.as_str().contains('/')
            && let Ok(full) = format!("{LIBRARY}/{repository}").parse()
        {
            return full;
        }
        repository.clone()
    }

    /// Where it answers unless the configuration says otherwise.
    pub(crate) fn endpoint(&self) -> String {
        if self.as_str() == DOCKER_HUB {
            DOCKER_HUB_ENDPOINT.to_owned()
        } else {
            format!("https://{}", self.as_str())
        }
    }

    /// The host without its port.
    fn host(&self) -> &str {
        let text = self.as_str();
        match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => text,
        }
    }

    fn has_port(&self) -> bool {
        self.host().len() < self.as_str().len()
    }

    /// Whether it may be met by a pattern: a name with a dot that is no address. What is meant to be inside is configured by name.
    fn is_open(&self) -> bool {
        let host = self.host();
        host.contains('.')
            && !host.starts_with('[')
            && host.parse::<IpAddr>().is_err()
            && !host.ends_with(".localhost")
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One registry, or the registries under a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryPattern {
    /// `ghcr.io`, `registry.corp:5000`.
    One(RegistryName),
    /// `*.example.com`: every name below it, without a port.
    Below(String),
    /// `*`: every name on the public Internet, without a port.
    Every,
}

/// The text is no pattern of registries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no registry; write a host such as ghcr.io or registry.corp:5000, `*.example.com`, or `*`"
)]
pub struct ParsePatternError(String);

impl RegistryPattern {
    /// Whether `name` is meant. A pattern with a star never means an address, `localhost`, or a name with a port.
    pub fn matches(&self, name: &RegistryName) -> bool {
        let open = || name.is_open() && !name.has_port();
        match self {
            Self::One(one) => one == name,
            Self::Below(domain) => {
                open() && name.as_str().strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            Self::Every => open(),
        }
    }

    /// The registry, when it is only one.
    pub const fn as_one(&self) -> Option<&RegistryName> {
        match self {
            Self::One(name) => Some(name),
            Self::Below(_) | Self::Every => None,
        }
    }
}

impl FromStr for RegistryPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePatternError(text.to_owned());
        if text == "*" {
            return Ok(Self::Every);
        }
        let (domain, below) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (text, false),
        };
        let name = RegistryName::of(&domain.parse::<Host>().map_err(|_| wrong())?);
        match below {
            true if name.has_port() => Err(wrong()),
            true => Ok(Self::Below(name.as_str().to_owned())),
            // Without a segment there is no place for its content.
            false if name.segment().is_none() => Err(wrong()),
            false => Ok(Self::One(name)),
        }
    }
}

impl fmt::Display for RegistryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name) => write!(f, "{name}"),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Every => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RegistryName {
        RegistryName::of(&text.parse().unwrap())
    }

    #[test]
    fn docker_hub_is_one_registry_with_names_that_people_leave_out() {
        assert_eq!(name("registry-1.docker.io"), name("docker.io"));
        let canonical = |registry: &str, repository: &str| {
            name(registry).canonical(&repository.parse().unwrap()).to_string()
        };
        assert_eq!(canonical("index.docker.io", "nginx"), "library/nginx");
        assert_eq!(canonical("docker.io", "team/app"), "team/app");
        assert_eq!(canonical("ghcr.io", "nginx"), "nginx");
        assert_eq!(name("docker.io").endpoint(), "https://registry-1.docker.io");
        assert_eq!(name("r.example:5000").endpoint(), "https://r.example:5000");
    }

    #[test]
    fn segments_lead_back_to_their_registries() {
        for text in ["docker.io", "r.example:5000", "localhost:5000", "10.0.0.1:80"] {
            let segment = name(text).segment().unwrap();
            assert!(format!("{segment}/a").parse::<Repository>().is_ok(), "{segment}");
            assert_eq!(RegistryName::of_segment(&segment), Some(name(text)), "{segment}");
        }
        assert_eq!(name("[::1]:5000").segment(), None);
        for none in ["team", "team_x", "a_b_c", "a.b_", "a.b_x"] {
            assert_eq!(RegistryName::of_segment(none), None, "{none}");
        }
    }

    #[test]
    fn patterns_mean_names_and_never_addresses() {
        let matches =
            |pattern: &str, text: &str| pattern.parse::<RegistryPattern>().unwrap().matches(&name(text));
        assert!(matches("ghcr.io", "GHCR.io") && !matches("ghcr.io", "ghcr.io:443"));
        assert!(matches("*.example.com", "a.b.example.com"));
        assert!(!matches("*.example.com", "example.com") && !matches("*.example.com", "badexample.com"));
        assert!(!matches("*.example.com", "a.example.com:22"));
        assert!(matches("*", "quay.io") && matches("docker.io", "registry-1.docker.io"));
        for inside in [
            "localhost",
            "a.localhost",
            "localhost:5000",
            "10.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[::1]:443",
            "quay.io:8443",
            "intranet",
        ] {
            assert!(!matches("*", inside), "{inside}");
        }
        assert!(matches("10.0.0.1:5000", "10.0.0.1:5000"));
        for bad in ["", "*.", "*a.b", "http://x", "a/b", "*.a.b:5000", "[::1]:5000", "a b"] {
            assert!(bad.parse::<RegistryPattern>().is_err(), "{bad}");
        }
    }
}
