//! The allow-list: the upstreams that the configuration names, and those that its patterns mean.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use http::Uri;
use shoal_http::{Client, ClientOptions, ClientTls, ClientTlsFiles, TlsError};
use shoal_telemetry::UpstreamMetrics;

use crate::credential::{CredentialSource, Credentials};
use crate::credential_program;
use crate::dialer::{Dialer, host_and_port};
use crate::name::RegistryName;
use crate::options::UpstreamOptions;
use crate::pause::Pauses;
use crate::proxy::ProxyEnvironment;
use crate::token::Tokens;
use crate::upstream::{Inner, Upstream};

/// Registries under patterns that are kept ready. Strangers choose their names; beyond this the rest is made anew for each question.
const OPEN_MAX: usize = 256;

/// The upstreams of a program. Clones share everything.
#[derive(Clone, Debug)]
pub struct Upstreams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    entries: Vec<Entry>,
    environment: Arc<ProxyEnvironment>,
    metrics: UpstreamMetrics,
    open: Mutex<HashMap<RegistryName, (usize, Upstream)>>,
}

#[derive(Debug)]
struct Entry {
    options: UpstreamOptions,
    tls: Option<ClientTls>,
}

/// An upstream that is configured in a way that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A value makes no sense.
    #[error("{registry}: {why}")]
    Value {
        /// Which upstream.
        registry: String,
        /// What is wrong.
        why: String,
    },
    /// Certificates or keys cannot be used.
    #[error("{registry}: {source}")]
    Tls {
        /// Which upstream.
        registry: String,
        /// Why.
        source: TlsError,
    },
}

impl Upstreams {
    /// The upstreams of a configuration; of two patterns that mean a registry, the first counts.
    ///
    /// # Errors
    /// The first that cannot work.
    pub fn new(
        options: Vec<UpstreamOptions>,
        environment: ProxyEnvironment,
        metrics: UpstreamMetrics,
    ) -> Result<Self, ConfigureError> {
        let entries = options.into_iter().map(Entry::new).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Shared {
            entries,
            environment: Arc::new(environment),
            metrics,
            open: Mutex::default(),
        })))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// The patterns, in order.
    pub fn patterns(&self) -> Vec<String> {
        self.0.entries.iter().map(|entry| entry.options.registry.to_string()).collect()
    }

    /// The number of the entry of the configuration that means `name`.
    pub fn entry(&self, name: &RegistryName) -> Option<usize> {
        self.0.entries.iter().position(|entry| entry.options.registry.matches(name))
    }

    /// The registry `name`, and the number of its entry. `None` when it is not one that may be asked.
    pub fn get(&self, name: &RegistryName) -> Option<(usize, Upstream)> {
        let number = self.entry(name)?;
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = open.get(name) {
            return Some(found.clone());
        }
        let made = (number, self.make(number, name)?);
        if open.len() < OPEN_MAX {
            open.insert(name.clone(), made.clone());
        }
        Some(made)
    }

    fn make(&self, number: usize, name: &RegistryName) -> Option<Upstream> {
        let entry = &self.0.entries[number];
        let options = &entry.options;
        let endpoint: Uri = options.endpoint.clone().unwrap_or_else(|| name.endpoint()).parse().ok()?;
        let mut named: BTreeSet<(String, u16)> =
            options.hosts.iter().filter_map(|host| host_of(host)).collect();
        if options.registry.as_one().is_some() {
            named.insert(host_and_port(&endpoint));
        }
        let dialer = Dialer {
            named: Arc::new(named),
            proxy: options.proxy.clone(),
            environment: Arc::clone(&self.0.environment),
        };
        let client = |tls: Option<ClientTls>| {
            Client::new(&ClientOptions {
                tls,
                dial: Some(Arc::new(dialer.clone())),
                ..ClientOptions::default()
            })
        };
        Some(Upstream(Arc::new(Inner {
            name: name.clone(),
            own: client(entry.tls.clone()),
            others: client(None),
            endpoint,
            dialer,
            credentials: Credentials::new(options.credentials.clone(), name.clone()),
            tokens: Tokens::default(),
            pauses: Pauses::default(),
            timeouts: options.timeouts,
            metrics: self.0.metrics.clone(),
            label: options.registry.to_string(),
        })))
    }
}

impl Entry {
    fn new(options: UpstreamOptions) -> Result<Self, ConfigureError> {
        let registry = options.registry.to_string();
        if let Some(why) = problem(&options) {
            return Err(ConfigureError::Value { registry, why });
        }
        let settings = &options.tls;
        let files = ClientTlsFiles { ca: settings.ca.clone(), identity: settings.identity.clone() };
        let tls = if settings.insecure_skip_verify {
            Some(ClientTls::without_verification(files))
        } else if files == ClientTlsFiles::default() {
            None
        } else {
            Some(ClientTls::new(files))
        };
        let tls = tls.transpose().map_err(|source| ConfigureError::Tls { registry, source })?;
        Ok(Self { options, tls })
    }
}

/// What cannot work, in words for an operator.
fn problem(options: &UpstreamOptions) -> Option<String> {
    let is_one = options.registry.as_one().is_some();
    if let Some(endpoint) = &options.endpoint {
        if !is_one {
            return Some("`endpoint` goes with a single registry, and this is a pattern".to_owned());
        }
        let uri: Uri = match endpoint.parse() {
            Ok(uri) => uri,
            Err(_) => return Some(format!("`{endpoint}` is no URL; write it as https://host:port")),
        };
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        match uri.scheme_str() {
            Some("https" | "http") if has_user => {
                return Some(
                    "credentials do not go into `endpoint`; write `username` and `password`".to_owned(),
                );
            }
            Some("https") => {}
            Some("http") if options.plain_http => {}
            Some("http") => {
                return Some(
                    "`endpoint` is plain HTTP; write `plain_http: true` if that is meant".to_owned(),
                );
            }
            _ => return Some(format!("`{endpoint}` is no URL; write it as https://host:port")),
        }
        if uri.query().is_some() {
            return Some("`endpoint` has a query".to_owned());
        }
    } else if options.plain_http {
        return Some("`plain_http` goes with an `endpoint` that begins with http://".to_owned());
    }
    if let Some(host) = options.hosts.iter().find(|host| host_of(host).is_none()) {
        return Some(format!("`{host}` in `hosts` is no host; write host or host:port"));
    }
    match &options.credentials {
        CredentialSource::Helper(name) if !credential_program::is_name(name) => Some(format!("`{name}` is no name of a credential helper")),
        CredentialSource::Anonymous | CredentialSource::DockerConfig(_) | CredentialSource::Helper(_) => None,
        // They would go to every registry that a stranger can name.
        _ if !is_one => Some("a pattern has no credentials of its own; use `docker_config` or `credential_helper`, which know the registries".to_owned()),
        _ => None,
    }
}

/// Host and port of an entry of `hosts`.
fn host_of(text: &str) -> Option<(String, u16)> {
    let host: shoal_oci::Host = text.parse().ok()?;
    let uri: Uri = format!("https://{host}").parse().ok()?;
    Some(host_and_port(&uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(registry: &str) -> UpstreamOptions {
        UpstreamOptions::new(registry.parse().unwrap())
    }

    fn upstreams(list: Vec<UpstreamOptions>) -> Result<Upstreams, ConfigureError> {
        Upstreams::new(list, ProxyEnvironment::default(), UpstreamMetrics::default())
    }

    fn name(text: &str) -> RegistryName {
        RegistryName::of(&text.parse().unwrap())
    }

    #[test]
    fn only_what_is_listed_can_be_asked_and_the_first_entry_counts() {
        let found = upstreams(vec![options("docker.io"), options("*.example.com"), options("a.example.com")])
            .unwrap();
        let number = |text: &str| found.get(&name(text)).map(|(number, _)| number);
        assert_eq!(number("index.docker.io"), Some(0));
        assert_eq!(number("a.example.com"), Some(1));
        for none in ["ghcr.io", "localhost:5000", "169.254.169.254", "example.com", "[::1]"] {
            assert_eq!(number(none), None, "{none}");
        }
        assert!(upstreams(Vec::new()).unwrap().get(&name("docker.io")).is_none());
    }

    #[test]
    fn a_stranger_cannot_make_us_keep_any_number_of_registries() {
        let found = upstreams(vec![options("*.example.com")]).unwrap();
        for number in 0..2 * OPEN_MAX {
            assert!(found.get(&name(&format!("r{number}.example.com"))).is_some());
        }
        assert_eq!(found.0.open.lock().unwrap().len(), OPEN_MAX);
    }

    #[test]
    fn what_cannot_work_is_said() {
        let why = |change: fn(&mut UpstreamOptions), registry: &str| {
            let mut options = options(registry);
            change(&mut options);
            upstreams(vec![options]).unwrap_err().to_string()
        };
        assert!(why(|o| o.endpoint = Some("https://x".to_owned()), "*").contains("pattern"));
        assert!(why(|o| o.endpoint = Some("http://x".to_owned()), "r.io").contains("plain_http"));
        assert!(why(|o| o.endpoint = Some("ftp://x".to_owned()), "r.io").contains("no URL"));
        assert!(why(|o| o.endpoint = Some("https://u:p@x".to_owned()), "r.io").contains("username"));
        assert!(why(|o| o.plain_http = true, "r.io").contains("plain_http"));
        assert!(why(|o| o.hosts = vec!["http://x".to_owned()], "r.io").contains("hosts"));
        assert!(
            why(|o| o.credentials = CredentialSource::Helper("../x".to_owned()), "r.io").contains("helper")
        );
        assert!(
            why(|o| o.credentials = CredentialSource::TokenFile("x".into()), "*.r.io").contains("pattern")
        );
        assert!(why(|o| o.tls.ca = Some("/does/not/exist".into()), "r.io").contains("/does/not/exist"));
    }
}
