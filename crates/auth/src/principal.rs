//! Who asks: the outcome of looking at a request's credentials. Holds no secret, so it may be logged.

use std::fmt;

use crate::action::Action;
use crate::scope::Scope;
use shoal_oci::Repository;

/// By what a request showed who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By nothing.
    Anonymous,
    /// By a name and a password.
    Password,
    /// By a token that we gave.
    Token,
    /// By a token of an external issuer.
    Oidc,
    /// By a client certificate.
    Certificate,
}

impl Origin {
    /// The word in logs, audit records and token claims.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Password => "password",
            Self::Token => "token",
            Self::Oidc => "oidc",
            Self::Certificate => "certificate",
        }
    }
}

/// What a name is a name of; a token keeps it. A certificate for `alice` is not the account `alice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Nobody,
    Account,
    External,
    Certificate,
}

impl Source {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "anonymous",
            Self::Account => "account",
            Self::External => "external",
            Self::Certificate => "certificate",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Nobody, Self::Account, Self::External, Self::Certificate]
            .into_iter()
            .find(|source| source.as_str() == word)
    }
}

/// Whoever sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name; empty for anonymous.
    pub name: String,
    /// The groups that the name is in.
    pub groups: Vec<String>,
    /// By what it was shown.
    pub origin: Origin,
    /// What the name is a name of.
    pub(crate) source: Source,
    /// All names in the client certificate.
    pub(crate) certificate: Vec<String>,
    /// What a token narrows the rights to; `None`: not narrowed.
    pub(crate) scopes: Option<Vec<Scope>>,
}

impl Principal {
    /// Somebody without credentials.
    pub const fn anonymous() -> Self {
        Self {
            name: String::new(),
            groups: Vec::new(),
            origin: Origin::Anonymous,
            source: Source::Nobody,
            certificate: Vec::new(),
            scopes: None,
        }
    }

    /// The holder of a password.
    pub(crate) fn account(name: &str, groups: Vec<String>) -> Self {
        let name = name.to_owned();
        Self { name, groups, origin: Origin::Password, source: Source::Account, ..Self::anonymous() }
    }

    /// Somebody whom an external issuer vouches for.
    pub(crate) fn external(name: String, groups: Vec<String>) -> Self {
        Self { name, groups, origin: Origin::Oidc, source: Source::External, ..Self::anonymous() }
    }

    /// The holder of a client certificate with these names, the first of which stands for it in logs; `None` without a name.
    pub(crate) fn certificate(names: Vec<String>) -> Option<Self> {
        let name = names.first()?.clone();
        let (origin, source) = (Origin::Certificate, Source::Certificate);
        Some(Self { name, origin, source, certificate: names, ..Self::anonymous() })
    }

    /// Whether nobody knows who it is, with or without an anonymous token.
    pub fn is_anonymous(&self) -> bool {
        self.source == Source::Nobody
    }

    /// The repositories that a token names; `None` when it does not come with a token of ours.
    pub fn scopes(&self) -> Option<&[Scope]> {
        self.scopes.as_deref()
    }

    /// Whether the token it came with, if any, includes this.
    pub fn is_scoped_for(&self, action: Action, repository: &Repository) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(|scope| scope.covers(action, repository)))
    }

    /// Whether the token it came with, if any, includes the list of repositories.
    pub fn is_scoped_for_catalog(&self) -> bool {
        let all = |scope: &Scope| scope.is_catalog() && scope.actions.iter().any(|action| action == "*");
        self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(all))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_anonymous() { f.write_str("anonymous") } else { f.write_str(&self.name) }
    }
}
