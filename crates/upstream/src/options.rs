//! How one upstream is asked.

use std::path::PathBuf;
use std::time::Duration;

use shoal_http::Identity;

use crate::credential::CredentialSource;
use crate::name::RegistryPattern;
use crate::proxy::ProxyChoice;

/// How one upstream, or all that a pattern means, is asked.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// Which registries.
    pub registry: RegistryPattern,
    /// Where the registry answers: `https://host:port`, with a path when it has one. Only for a single registry. `None`: its name says.
    pub endpoint: Option<String>,
    /// Whether an endpoint may be `http://`: credentials and content then travel as they are.
    pub plain_http: bool,
    /// Other hosts (`host` or `host:port`) that this upstream may send us to although they are inside, and to whose token service our
    /// credentials may go: blob stores, token services.
    pub hosts: Vec<String>,
    /// With whose credentials.
    pub credentials: CredentialSource,
    /// By which way.
    pub proxy: ProxyChoice,
    /// Whom to trust.
    pub tls: UpstreamTls,
    /// How long to wait.
    pub timeouts: Timeouts,
}

impl UpstreamOptions {
    /// Everything as usual: HTTPS, no credentials, the environment's proxy, the system's authorities.
    pub fn new(registry: RegistryPattern) -> Self {
        Self {
            registry,
            endpoint: None,
            plain_http: false,
            hosts: Vec::new(),
            credentials: CredentialSource::default(),
            proxy: ProxyChoice::default(),
            tls: UpstreamTls::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Whom an upstream's connections trust. Holds for the endpoint and the hosts that are named, and for nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Authorities (PEM). `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown.
    pub identity: Option<Identity>,
    /// Whether any certificate is taken.
    pub insecure_skip_verify: bool,
}

/// Bounds in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the head of an answer, connecting included.
    pub head: Duration,
    /// For a manifest in all, redirects and tokens included.
    pub manifest: Duration,
    /// For a token.
    pub token: Duration,
    /// For the next bytes of a blob.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // Registries that look into a cold object store take seconds.
            head: Duration::from_secs(10),
            // Half of what containerd waits for a head.
            manifest: Duration::from_secs(15),
            token: Duration::from_secs(10),
            stall: Duration::from_secs(30),
        }
    }
}
