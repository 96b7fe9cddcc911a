//! Foreign registries that the server pulls from for its agents and clients.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_config::{ConfigError, Duration, Secret};
use shoal_copies::{Policy, Rule, Validity};
use shoal_http::Identity;
use shoal_oci::ParsePatternError;
use shoal_upstream::{
    Credential, CredentialSource, ProxyChoice, ProxyEnvironment, RegistryPattern, UpstreamOptions,
    UpstreamTls, Upstreams,
};

/// One foreign registry, or all that a pattern means.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSettings {
    /// Its name as images have it (`docker.io`, `registry.corp:5000`), `*.example.com`, or `*`. Of several entries that mean a registry
    /// the first counts.
    pub registry: String,
    /// Where it answers, when its name does not say that: `https://host:port`.
    pub endpoint: Option<String>,
    /// Whether `endpoint` may be `http://`: credentials and content then travel as they are.
    pub plain_http: bool,
    /// Hosts (`host` or `host:port`) that it may send us to although they are in the inner network, and to whose token service our
    /// credentials may go.
    pub hosts: Vec<String>,
    /// The name by which it knows us.
    pub username: Option<String>,
    /// The password for it.
    pub password: Option<Secret>,
    /// The file with the password, read again while the server runs.
    pub password_file: Option<PathBuf>,
    /// The file with a token that is sent as it is, read again while the server runs.
    pub token_file: Option<PathBuf>,
    /// A `config.json` as `docker login` writes it.
    pub docker_config: Option<PathBuf>,
    /// The name of a credential helper: `ecr-login` for the program `docker-credential-ecr-login`.
    pub credential_helper: Option<String>,
    /// `http://host:port` of a proxy, or `none`. Unset: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
    pub proxy: Option<Secret>,
    /// Authorities that sign its certificate (PEM). Unset: those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate that it is shown (PEM).
    pub certificate: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
    /// Whether any certificate is taken.
    pub insecure_skip_verify: bool,
    /// How old answers about tags may be; the first rule that means a tag counts.
    pub freshness: Vec<Freshness>,
    /// How long a tag or a manifest stays that nobody pulls and that no rule of `retention` judges; `0s`: for ever. Unset: 30 days.
    pub keep_pulled_within: Option<Duration>,
}

/// How long copies stay that nobody pulls. What runs at all is started somewhere within a month; what is not can be had again.
const KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 60 * 60);

/// How old an answer about some tags may be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Freshness {
    /// Repositories as the upstream names them, as in `library/*`. None: all.
    pub repositories: Vec<String>,
    /// Tags, as in `v*`. None: all.
    pub tags: Vec<String>,
    /// Whether these tags never move: what is here is never asked for again.
    pub immutable: bool,
    /// How long an answer holds; `0s` asks each time. Unset: 10 s.
    pub valid_for: Option<Duration>,
    /// How old the last answer may be while the upstream cannot be asked. Unset: as old as it is.
    pub stale_for: Option<Duration>,
}

/// The key that is wrong, why, and what to do.
type Wrong = (String, String, &'static str);

impl UpstreamSettings {
    /// How it is asked.
    ///
    /// # Errors
    /// The key that is wrong, why, and what to do.
    pub fn options(&self) -> Result<UpstreamOptions, Wrong> {
        let wrong = |key: &str, why: String, remedy| (key.to_owned(), why, remedy);
        let registry: RegistryPattern =
            self.registry.parse().map_err(|error: shoal_upstream::ParsePatternError| {
                wrong("registry", error.to_string(), "see docs/operations/upstreams.md")
            })?;
        Ok(UpstreamOptions {
            endpoint: self.endpoint.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            plain_http: self.plain_http,
            hosts: self.hosts.clone(),
            credentials: self.credentials()?,
            proxy: self.proxy()?,
            tls: self.tls()?,
            ..UpstreamOptions::new(registry)
        })
    }

    fn credentials(&self) -> Result<CredentialSource, Wrong> {
        let remedy = "write one of username with password or password_file, token_file, docker_config, credential_helper";
        let given = [
            self.username.is_some() || self.password.is_some() || self.password_file.is_some(),
            self.token_file.is_some(),
            self.docker_config.is_some(),
            self.credential_helper.is_some(),
        ];
        if given.iter().filter(|is_given| **is_given).count() > 1 {
            return Err(("username".to_owned(), "there are credentials of several kinds".to_owned(), remedy));
        }
        if let Some(path) = &self.token_file {
            return Ok(CredentialSource::TokenFile(path.clone()));
        }
        if let Some(path) = &self.docker_config {
            return Ok(CredentialSource::DockerConfig(path.clone()));
        }
        if let Some(name) = &self.credential_helper {
            return Ok(CredentialSource::Helper(name.clone()));
        }
        match (&self.username, &self.password, &self.password_file) {
            (None, None, None) => Ok(CredentialSource::Anonymous),
            (Some(username), Some(password), None) => {
                let (username, password) = (username.clone(), password.clone());
                Ok(CredentialSource::Fixed(Credential::Basic { username, password }))
            }
            (Some(username), None, Some(path)) => {
                Ok(CredentialSource::PasswordFile { username: username.clone(), path: path.clone() })
            }
            _ => {
                let why = "goes with one of password and password_file".to_owned();
                Err(("username".to_owned(), why, remedy))
            }
        }
    }

    fn proxy(&self) -> Result<ProxyChoice, Wrong> {
        match self.proxy.as_ref().map(Secret::reveal) {
            None => Ok(ProxyChoice::Environment),
            Some("none") => Ok(ProxyChoice::Direct),
            Some(text) => {
                text.parse().map(ProxyChoice::Fixed).map_err(|error: shoal_upstream::ParseProxyError| {
                    ("proxy".to_owned(), error.to_string(), "write `none` for no proxy at all")
                })
            }
        }
    }

    fn tls(&self) -> Result<UpstreamTls, Wrong> {
        let identity = match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: certificate.clone(), key: key.clone() })
            }
            _ => {
                let why = "goes with key, and one of them is missing".to_owned();
                return Err(("certificate".to_owned(), why, "write both, or neither"));
            }
        };
        Ok(UpstreamTls { ca: self.ca.clone(), identity, insecure_skip_verify: self.insecure_skip_verify })
    }

    /// How long its copies stay when nobody pulls them; `None`: for ever.
    pub fn kept(&self) -> Option<std::time::Duration> {
        let kept = self.keep_pulled_within.map_or(KEPT, Duration::get);
        (!kept.is_zero()).then_some(kept)
    }

    /// How old answers may be.
    ///
    /// # Errors
    /// As [`Self::options`].
    pub fn policy(&self) -> Result<Policy, Wrong> {
        let rules = self.freshness.iter().enumerate().map(|(number, rule)| {
            rule.rule().map_err(|(key, why, remedy)| (format!("freshness[{number}].{key}"), why, remedy))
        });
        Ok(Policy { rules: rules.collect::<Result<_, _>>()? })
    }
}

impl Freshness {
    fn rule(&self) -> Result<Rule, Wrong> {
        const REMEDY: &str = "`*` is any text in one path segment or in a tag, `**` any number of segments";
        let patterns =
            |key: &'static str| move |error: ParsePatternError| (key.to_owned(), error.to_string(), REMEDY);
        let repositories = self.repositories.iter().map(|text| text.parse());
        let tags = self.tags.iter().map(|text| text.parse());
        let validity = match (self.immutable, self.valid_for) {
            (true, Some(_)) => {
                let why = "makes no sense for tags that are immutable".to_owned();
                return Err(("valid_for".to_owned(), why, "leave one of them out"));
            }
            (true, None) => Validity::Immutable,
            (false, Some(valid)) => Validity::For(valid.get()),
            (false, None) => Rule::USUAL.validity,
        };
        Ok(Rule {
            repositories: repositories.collect::<Result<_, _>>().map_err(patterns("repositories"))?,
            tags: tags.collect::<Result<_, _>>().map_err(patterns("tags"))?,
            validity,
            stale_max: self.stale_for.map(Duration::get),
        })
    }
}

/// What is wrong with the entries.
pub(super) fn problems(entries: &[UpstreamSettings], add: &mut dyn FnMut(ConfigError)) {
    for (number, entry) in entries.iter().enumerate() {
        let mut tell = |(key, why, remedy): Wrong| {
            add(ConfigError::semantic(format!("upstreams[{number}].{key}"), why, remedy));
        };
        match entry.options() {
            Err(wrong) => tell(wrong),
            // Endpoints, hosts and files are checked where they are used.
            Ok(options) => {
                if let Err(error) =
                    Upstreams::new(vec![options], ProxyEnvironment::default(), Default::default())
                {
                    let remedy = "see docs/operations/upstreams.md";
                    tell(("registry".to_owned(), error.to_string(), remedy));
                }
            }
        }
        if let Err(wrong) = entry.policy() {
            tell(wrong);
        }
        if entries[..number].iter().any(|other| other.registry == entry.registry) {
            let why = format!("`{}` has an entry already", entry.registry);
            tell((
                "registry".to_owned(),
                why,
                "the first entry that means a registry counts; remove the other",
            ));
        }
    }
}
