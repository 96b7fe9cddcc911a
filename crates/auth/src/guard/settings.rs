//! What a guard is made of.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::denials::{Denials, LoggedDenials};
use crate::failures::FailureLimits;
use crate::oidc::{KeyLocation, OidcSettings};
use crate::policy::Policy;
use crate::token::TokenSettings;

/// Everything that an operator decides about identity and rights, checked.
#[derive(Clone)]
pub struct Settings {
    /// The password file.
    pub htpasswd: Option<PathBuf>,
    /// Groups of accounts: group → names.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Our own tokens; `None`: clients send their password with every request (Basic).
    pub token: Option<TokenSettings>,
    /// External issuers.
    pub oidc: Vec<OidcSettings>,
    /// Whether the names in a client certificate say who somebody is.
    pub certificates: bool,
    /// Who may do what.
    pub policy: Policy,
    /// How many failures are borne.
    pub failures: FailureLimits,
    /// Proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Where refusals are reported to.
    pub denials: Arc<dyn Denials>,
}

impl Settings {
    /// The files that are read again when they change.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let keys = self.token.iter().flat_map(|token| {
            std::iter::once(token.key_file.clone()).chain(token.verification_keys.iter().cloned())
        });
        let sets = self.oidc.iter().filter_map(|external| match &external.keys {
            KeyLocation::File(path) => Some(path.clone()),
            KeyLocation::Url(_) | KeyLocation::Discovery => None,
        });
        self.htpasswd.iter().cloned().chain(keys).chain(sets).collect()
    }

    /// The groups that an account is in.
    pub(crate) fn groups_of(&self, name: &str) -> Vec<String> {
        let member = |(_, names): &(&String, &Vec<String>)| names.iter().any(|own| own == name);
        self.groups.iter().filter(member).map(|(group, _)| group.clone()).collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            htpasswd: None,
            groups: BTreeMap::new(),
            token: None,
            oidc: Vec::new(),
            certificates: false,
            policy: Policy::default(),
            failures: FailureLimits::default(),
            trusted_proxies: Vec::new(),
            denials: Arc::new(LoggedDenials),
        }
    }
}
