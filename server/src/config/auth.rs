//! Who may do what. Without this section everybody may do everything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoal_auth::{FailureLimits, KeyLocation, OidcSettings, Policy, TokenSettings};
use shoal_config::{ConfigError, Duration};

use super::grants::Grants;

/// Who may do what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Names and password hashes (bcrypt, argon2id), as `shoalctl password` and `htpasswd -B` write them. Read again when it changes.
    pub htpasswd: Option<PathBuf>,
    /// Groups of names in that file.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Tokens of our own.
    pub token: Token,
    /// External issuers whose tokens are accepted, such as a CI system.
    pub oidc: Vec<Oidc>,
    /// Whether the names in a client certificate say who somebody is.
    pub certificates: bool,
    /// Who may do what where. Unset: whoever is known may pull, push and delete everywhere.
    pub policy: Option<Vec<Rule>>,
    /// Tags that can be made once and then neither moved nor deleted.
    pub immutable_tags: Vec<Immutable>,
    /// How many failed logins are borne.
    pub failures: Failures,
    /// What agents show one another to get pieces.
    pub grants: Grants,
    /// Addresses of proxies whose X-Forwarded-For, -Host and -Proto are believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// Tokens of our own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// Whether clients get tokens. Otherwise they send their password with every request.
    pub enabled: bool,
    /// The name of this registry in tokens.
    pub service: String,
    /// The URL of the token endpoint. Unset: /token at the host by which the client reached us.
    pub realm: Option<String>,
    /// The issuer in tokens.
    pub issuer: String,
    /// The private key that signs them (Ed25519 or P-256, PKCS #8). Unset: auth/token.pem in the data directory. Made when it is not
    /// there.
    pub key_file: Option<PathBuf>,
    /// Keys that are accepted besides it, for rotation.
    pub verification_keys: Vec<PathBuf>,
    /// How long a token is good.
    pub lifetime: Duration,
    /// How long `docker login` is good without the password being kept; 0: not at all.
    pub refresh_lifetime: Duration,
}

/// An external issuer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// A short name.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` of its tokens is one of these.
    pub audiences: Vec<String>,
    /// Its keys in a file.
    pub jwks_file: Option<PathBuf>,
    /// Its keys at a URL. Without either, its discovery document says where they are.
    pub jwks_uri: Option<String>,
    /// The claim that is the name.
    pub username_claim: String,
    /// The claim that is the list of groups.
    pub groups_claim: Option<String>,
    /// Claims that must have one of these values; `*` stands for any text.
    pub required_claims: BTreeMap<String, Vec<String>>,
    /// What its names and groups get in front. Unset: `NAME:`.
    pub prefix: Option<String>,
}

/// One rule of the policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// `anonymous` (everybody), `authenticated`, `group:NAME`, `certificate:NAME` or a name.
    pub subjects: Vec<String>,
    /// Repositories, as in `team/**` or `users/{name}/**`.
    pub repositories: Vec<String>,
    /// `pull`, `push` (`create` and `overwrite`), `delete`, `admin`.
    pub actions: Vec<String>,
}

/// Tags that can be made once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Immutable {
    /// Repositories, as in `release/**`.
    pub repositories: Vec<String>,
    /// Tags, as in `v*`.
    pub tags: Vec<String>,
}

/// How many failed logins are borne.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Failures {
    /// From one address within the window.
    pub per_address: u32,
    /// For one name within the window.
    pub per_name: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Token {
    fn default() -> Self {
        Self {
            enabled: true,
            service: "shoal".to_owned(),
            realm: None,
            issuer: "shoal".to_owned(),
            key_file: None,
            verification_keys: Vec::new(),
            // As Docker Hub's. A push that takes longer fetches another one.
            lifetime: Duration::secs(5 * 60),
            refresh_lifetime: Duration::secs(30 * 24 * 60 * 60),
        }
    }
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            name: String::new(),
            issuer: String::new(),
            audiences: Vec::new(),
            jwks_file: None,
            jwks_uri: None,
            username_claim: "sub".to_owned(),
            groups_claim: None,
            required_claims: BTreeMap::new(),
            prefix: None,
        }
    }
}

impl Default for Failures {
    fn default() -> Self {
        let FailureLimits { per_address, per_name, window } = FailureLimits::default();
        Self { per_address, per_name, window: Duration(window) }
    }
}

/// Docker's clients take every token for good for a minute at least.
const LIFETIME_MIN: std::time::Duration = std::time::Duration::from_secs(60);
/// An access token cannot be called back.
const LIFETIME_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

impl Auth {
    /// The rules.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn policy(&self) -> Result<Policy, Vec<ConfigError>> {
        let rules = match &self.policy {
            Some(rules) => rules.iter().map(Rule::as_policy).collect(),
            None => vec![everything()],
        };
        let immutable: Vec<_> = self.immutable_tags.iter().map(Immutable::as_policy).collect();
        Policy::new(&rules, &immutable).map_err(|errors| {
            errors.into_iter().map(|error| problem(&error.path, error.problem, error.remedy)).collect()
        })
    }

    /// Tokens as the guard takes them; `None` when there are none.
    pub fn token_settings(&self, data_directory: &Path) -> Option<TokenSettings> {
        let token = &self.token;
        token.enabled.then(|| TokenSettings {
            service: token.service.clone(),
            issuer: token.issuer.clone(),
            realm: token.realm.clone(),
            key_file: token.key_file.clone().unwrap_or_else(|| data_directory.join("auth").join("token.pem")),
            verification_keys: token.verification_keys.clone(),
            lifetime: token.lifetime.get(),
            refresh_lifetime: token.refresh_lifetime.get(),
        })
    }

    /// How many failures are borne.
    pub fn failure_limits(&self) -> FailureLimits {
        let Failures { per_address, per_name, window } = self.failures;
        FailureLimits { per_address, per_name, window: window.get() }
    }

    pub(super) fn problems(&self, add: &mut dyn FnMut(ConfigError)) {
        if let Err(errors) = self.policy() {
            errors.into_iter().for_each(&mut *add);
        }
        let anonymous =
            self.policy.iter().flatten().flat_map(|rule| &rule.subjects).any(|s| s == "anonymous");
        if self.htpasswd.is_none() && self.oidc.is_empty() && !self.certificates && !anonymous {
            let remedy = "set auth.htpasswd, auth.oidc or auth.certificates, or remove the section";
            add(ConfigError::semantic("auth", "lets nobody in", remedy));
        }
        self.token.problems(add);
        self.grants.problems(add);
        let mut names = BTreeSet::new();
        for (at, oidc) in self.oidc.iter().enumerate() {
            oidc.problems(&format!("oidc.{at}"), add);
            if !names.insert(&oidc.issuer) {
                add(problem(
                    &format!("oidc.{at}.issuer"),
                    "is there twice",
                    "keep one entry for each issuer",
                ));
            }
        }
        if !self.groups.is_empty() && self.htpasswd.is_none() {
            add(problem(
                "groups",
                "are groups of nobody",
                "set auth.htpasswd; other issuers name groups themselves",
            ));
        }
        for (key, zero) in [
            ("failures.per_address", self.failures.per_address == 0),
            ("failures.per_name", self.failures.per_name == 0),
            ("failures.window", self.failures.window.get().as_secs() == 0),
        ] {
            if zero {
                add(problem(key, "is zero, so nobody could log in", "leave it out for the default"));
            }
        }
    }
}

impl Token {
    fn problems(&self, add: &mut dyn FnMut(ConfigError)) {
        let quotable = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
        };
        for (key, text) in [("token.service", &self.service), ("token.issuer", &self.issuer)] {
            if !quotable(text) {
                add(problem(
                    key,
                    "is empty, or has blanks or quotes",
                    "write a short name such as registry.example.com",
                ));
            }
        }
        if let Some(realm) = &self.realm
            && (!is_url(realm) || !quotable(realm))
        {
            add(problem(
                "token.realm",
                "is not a URL",
                "write it whole, as in https://registry.example.com/token",
            ));
        }
        if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&self.lifetime.get()) {
            let remedy =
                "5m suits most: a token cannot be called back, and clients fetch another one by themselves";
            add(problem("token.lifetime", "is not between a minute and a day", remedy));
        }
    }
}

impl Oidc {
    /// The issuer as the guard takes it.
    pub fn settings(&self) -> OidcSettings {
        let keys = match (&self.jwks_file, &self.jwks_uri) {
            (Some(path), _) => KeyLocation::File(path.clone()),
            (None, Some(url)) => KeyLocation::Url(url.clone()),
            (None, None) => KeyLocation::Discovery,
        };
        OidcSettings {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            keys,
            username_claim: self.username_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            required_claims: self.required_claims.clone(),
            prefix: self.prefix.clone().unwrap_or_else(|| format!("{}:", self.name)),
        }
    }

    fn problems(&self, path: &str, add: &mut dyn FnMut(ConfigError)) {
        let mut add =
            |key: &str, what: &str, remedy: &str| add(problem(&format!("{path}.{key}"), what, remedy));
        if self.name.is_empty() {
            add("name", "is empty", "write a short name such as github; names of its users begin with it");
        }
        if self.issuer.is_empty() {
            add(
                "issuer",
                "is empty",
                "write the `iss` of its tokens, as in https://token.actions.githubusercontent.com",
            );
        } else if self.jwks_file.is_none() && self.jwks_uri.is_none() && !is_url(&self.issuer) {
            add("issuer", "is not a URL, so its keys cannot be found", "set jwks_file or jwks_uri");
        }
        if self.audiences.is_empty() {
            let remedy = "name the audience that its tokens for this registry have; without, every token that it gave to anybody would do";
            add("audiences", "is empty", remedy);
        }
        if self.jwks_file.is_some() && self.jwks_uri.is_some() {
            add("jwks_uri", "is given beside jwks_file", "keep one of them");
        }
        if self.jwks_uri.as_deref().is_some_and(|url| !is_url(url)) {
            add("jwks_uri", "is not a URL", "write it whole, as in https://ci.example.com/keys");
        }
        if self.username_claim.is_empty() {
            add("username_claim", "is empty", "leave it out for `sub`");
        }
        for (claim, values) in &self.required_claims {
            if values.is_empty() {
                add(&format!("required_claims.{claim}"), "has no value that would do", "list the values");
            }
        }
    }
}

impl Rule {
    fn as_policy(&self) -> shoal_auth::Rule {
        let Self { subjects, repositories, actions } = self.clone();
        shoal_auth::Rule { subjects, repositories, actions }
    }
}

impl Immutable {
    fn as_policy(&self) -> shoal_auth::Immutable {
        let Self { repositories, tags } = self.clone();
        shoal_auth::Immutable { repositories, tags }
    }
}

/// What holds when there is a section and no policy in it.
fn everything() -> shoal_auth::Rule {
    shoal_auth::Rule {
        subjects: vec!["authenticated".to_owned()],
        repositories: vec!["**".to_owned()],
        actions: ["pull", "push", "delete"].map(str::to_owned).to_vec(),
    }
}

fn problem(key: &str, what: impl Into<String>, remedy: &str) -> ConfigError {
    ConfigError::semantic(format!("auth.{key}"), what.into(), remedy)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(auth: &Auth) -> Vec<String> {
        let mut found = Vec::new();
        auth.problems(&mut |error| found.push(error.path));
        found
    }

    fn good() -> Auth {
        Auth { htpasswd: Some("/etc/shoal/htpasswd".into()), ..Auth::default() }
    }

    #[test]
    fn a_password_file_is_enough() {
        assert_eq!(problems(&good()), [""; 0]);
        assert!(good().policy().is_ok());
        let settings = good().token_settings(Path::new("/data")).unwrap();
        assert_eq!(settings.key_file, Path::new("/data/auth/token.pem"));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let auth = Auth {
            groups: BTreeMap::from([("team".to_owned(), vec!["alice".to_owned()])]),
            token: Token {
                service: "a b".to_owned(),
                realm: Some("registry/token".to_owned()),
                lifetime: Duration::secs(1),
                ..Token::default()
            },
            oidc: vec![
                Oidc {
                    jwks_uri: Some("x".to_owned()),
                    jwks_file: Some("/x".into()),
                    required_claims: BTreeMap::from([("owner".to_owned(), Vec::new())]),
                    ..Oidc::default()
                },
                Oidc { name: "ci".to_owned(), ..Oidc::default() },
            ],
            policy: Some(vec![Rule { actions: vec!["write".to_owned()], ..Rule::default() }]),
            failures: Failures { per_address: 0, ..Failures::default() },
            ..Auth::default()
        };
        let expected = [
            "auth.policy.0.subjects",
            "auth.policy.0.repositories",
            "auth.policy.0.actions.0",
            "auth.token.service",
            "auth.token.realm",
            "auth.token.lifetime",
            "auth.oidc.0.name",
            "auth.oidc.0.issuer",
            "auth.oidc.0.audiences",
            "auth.oidc.0.jwks_uri",
            "auth.oidc.0.jwks_uri",
            "auth.oidc.0.required_claims.owner",
            "auth.oidc.1.issuer",
            "auth.oidc.1.audiences",
            "auth.oidc.1.issuer",
            "auth.groups",
            "auth.failures.per_address",
        ];
        assert_eq!(problems(&auth), expected);
        assert_eq!(problems(&Auth::default()), ["auth"]);
    }

    #[test]
    fn names_of_an_issuer_begin_with_its_name() {
        let oidc = Oidc { name: "ci".to_owned(), ..Oidc::default() };
        assert_eq!(oidc.settings().prefix, "ci:");
        assert_eq!(oidc.settings().keys, KeyLocation::Discovery);
        assert_eq!(Oidc { prefix: Some(String::new()), ..oidc }.settings().prefix, "");
    }
}
