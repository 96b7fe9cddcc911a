//! The one who is asked: who is this, may they do that, what token do they get.
//!
//! Cheap to clone; clones are the same guard. What an operator can change while the server runs (accounts, keys, policy) is one value
//! that is replaced as a whole; a file that cannot be read leaves the old one in place.

mod challenge;
mod identify;
mod reply;
mod request;
mod settings;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::rand;
use shoal_oci::{Repository, Tag};

pub use reply::TokenReply;
pub use request::{Grant, TokenRequest};
pub use settings::Settings;

use crate::accounts::Accounts;
use crate::action::Action;
use crate::denials::Denial;
use crate::failures::Failures;
use crate::files::Watch;
use crate::memo::{Fingerprints, Memo};
use crate::oidc::{External, KeySource};
use crate::policy::Policy;
use crate::principal::Principal;
use crate::rejection::AuthError;
use crate::slots::Slots;
use crate::token::Issuer;

/// Verified passwords and tokens that are remembered: the clients of a large cluster, in less than two megabytes.
const MEMO_MAX: usize = 4096;

/// What a request came with.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The names in a client certificate that the listener has verified.
    pub certificate: Option<&'a CertificateNames>,
    /// Where it came from.
    pub address: IpAddr,
}

/// The names in a client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The common name of the subject.
    pub common_name: Option<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs, such as SPIFFE identities.
    pub uris: Vec<String>,
    /// Mail addresses.
    pub emails: Vec<String>,
}

/// The answer to "may they do that".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allowed,
    /// The policy says yes, but the token that the request came with does not include it: another token would do.
    OutOfScope,
    /// No.
    Refused,
}

/// Identity and rights. See the module.
#[derive(Clone)]
pub struct Guard(Option<Arc<Inner>>);

pub(crate) struct Inner {
    settings: Settings,
    live: RwLock<Arc<Live>>,
    oidc: Vec<External>,
    fingerprints: Fingerprints,
    /// Names and passwords that were right.
    passwords: Memo<()>,
    /// Tokens that were good, by whom they are for.
    tokens: Memo<Principal>,
    failures: Failures,
    slots: Slots,
    watch: Mutex<Watch>,
}

/// What can be replaced while the server runs.
pub(crate) struct Live {
    /// Counts replacements; in the address of a remembered password, so that an old file's passwords are forgotten.
    generation: u64,
    accounts: Option<Arc<Accounts>>,
    issuer: Option<Arc<Issuer>>,
    policy: Arc<Policy>,
}

impl Guard {
    /// Everybody may do everything: no authentication is configured.
    pub const fn open() -> Self {
        Self(None)
    }

    /// Reads files, makes the key of our tokens if there is none. Blocks.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub fn new(settings: Settings, source: Option<&Arc<dyn KeySource>>) -> Result<Self, Vec<AuthError>> {
        let mut errors = Vec::new();
        let paths = settings.files();
        let live = Live::read(&settings, Arc::new(settings.policy.clone()), 0, &mut errors);
        let mut oidc = Vec::new();
        for external in &settings.oidc {
            match External::open(external.clone(), source.map(Arc::clone)) {
                Ok(external) => oidc.push(external),
                Err(error) => errors.push(error),
            }
        }
        let mut key = [0; 32];
        if rand::fill(&mut key).is_err() {
            errors.push(AuthError::Random);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self(Some(Arc::new(Inner {
            live: RwLock::new(Arc::new(live)),
            oidc,
            fingerprints: Fingerprints::new(&key),
            passwords: Memo::new(MEMO_MAX),
            tokens: Memo::new(MEMO_MAX),
            failures: Failures::new(settings.failures),
            slots: Slots::new(),
            watch: Mutex::new(Watch::new(paths)),
            settings,
        }))))
    }

    /// Whether no authentication is configured.
    pub const fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the names in a client certificate say who somebody is.
    pub fn takes_certificates(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.settings.certificates)
    }

    /// Whether `principal` may do `action` in `repository`: the policy gives it and the token does not exclude it.
    pub fn may(&self, principal: &Principal, action: Action, repository: &Repository) -> bool {
        self.decide(principal, action, repository) == Decision::Allowed
    }

    /// [`Guard::may`], and if not, why not.
    pub fn decide(&self, principal: &Principal, action: Action, repository: &Repository) -> Decision {
        let Some(inner) = &self.0 else { return Decision::Allowed };
        if !inner.live().policy.allows(principal, action, repository) {
            Decision::Refused
        } else if principal.is_scoped_for(action, repository) {
            Decision::Allowed
        } else {
            Decision::OutOfScope
        }
    }

    /// Whether `principal` may ask for the list of repositories. What is in it is another question: see [`Guard::sees`].
    pub fn may_list(&self, principal: &Principal) -> Decision {
        let Some(inner) = &self.0 else { return Decision::Allowed };
        if !inner.live().policy.gives_anything(principal) {
            Decision::Refused
        } else if principal.is_scoped_for_catalog() {
            Decision::Allowed
        } else {
            Decision::OutOfScope
        }
    }

    /// Whether the policy lets `principal` pull from `repository`, whatever repositories its token names. For lists, which a token
    /// names by another scope.
    pub fn sees(&self, principal: &Principal, repository: &Repository) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.live().policy.allows(principal, Action::Pull, repository))
    }

    /// Whether a tag stays where it is against the wish of `principal`: it is immutable, and they are no admin. A token need not name
    /// the right of an admin, because the tools that push cannot ask for it.
    pub fn is_immutable(&self, principal: &Principal, repository: &Repository, tag: &Tag) -> bool {
        self.0.as_ref().is_some_and(|inner| {
            let policy = &inner.live().policy;
            policy.is_immutable(repository, tag) && !policy.allows(principal, Action::Admin, repository)
        })
    }

    /// Whether a tag is immutable, whoever asks.
    pub fn keeps(&self, repository: &Repository, tag: &Tag) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.live().policy.is_immutable(repository, tag))
    }

    /// Whether some tag of `repository` could stay where it is against the wish of `principal`.
    pub fn has_immutable(&self, principal: &Principal, repository: &Repository) -> bool {
        self.0.as_ref().is_some_and(|inner| {
            let policy = &inner.live().policy;
            policy.has_immutable(repository) && !policy.allows(principal, Action::Admin, repository)
        })
    }

    /// Reports a refusal to whoever listens.
    pub fn report(&self, denial: &Denial<'_>) {
        if let Some(inner) = &self.0 {
            inner.settings.denials.denied(denial);
        }
    }

    /// Whether a request from `address` may say with `X-Forwarded-*` where it came from.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.settings.trusted_proxies.contains(&address.to_canonical()))
    }

    /// Reads accounts and keys again and forgets what was verified with the old ones. Blocks.
    ///
    /// # Errors
    /// Every file that cannot be taken; the old state of all of them stays.
    pub fn reload(&self) -> Result<(), Vec<AuthError>> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let old = inner.live();
        let mut errors = Vec::new();
        let live =
            Live::read(&inner.settings, Arc::clone(&old.policy), old.generation.wrapping_add(1), &mut errors);
        errors.extend(inner.oidc.iter().filter_map(|external| external.reload().err()));
        if !errors.is_empty() {
            return Err(errors);
        }
        inner.replace(live);
        Ok(())
    }

    /// [`Guard::reload`] when a file has changed and settled; to be called every few seconds. Mistakes are logged. Blocks.
    pub fn reload_changed(&self) {
        let Some(inner) = &self.0 else { return };
        let changed = inner.watch.lock().unwrap_or_else(PoisonError::into_inner).changed();
        if !changed {
            return;
        }
        match self.reload() {
            Ok(()) => {
                let accounts = inner.live().accounts.as_ref().map(|accounts| accounts.count());
                tracing::info!(accounts, "accounts and keys read again");
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(%error, "accounts and keys stay as they were");
                }
            }
        }
    }

    /// Takes another policy from now on.
    pub fn set_policy(&self, policy: Policy) {
        if let Some(inner) = &self.0 {
            let old = inner.live();
            inner.replace(Live {
                generation: old.generation,
                accounts: old.accounts.clone(),
                issuer: old.issuer.clone(),
                policy: Arc::new(policy),
            });
        }
    }
}

impl Inner {
    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.passwords.clear();
        self.tokens.clear();
    }
}

impl Live {
    fn read(settings: &Settings, policy: Arc<Policy>, generation: u64, errors: &mut Vec<AuthError>) -> Self {
        let mut note = |error| errors.push(error);
        let accounts = settings.htpasswd.as_ref().map(|path: &PathBuf| Accounts::read(path));
        let issuer = settings.token.clone().map(Issuer::open);
        Self {
            generation,
            accounts: accounts.and_then(|read| read.map_err(&mut note).ok()).map(Arc::new),
            issuer: issuer.and_then(|opened| opened.map_err(&mut note).ok()).map(Arc::new),
            policy,
        }
    }
}

impl CertificateNames {
    /// All names, the one that stands for the certificate first.
    fn all(&self) -> Vec<String> {
        let rest = self.dns.iter().chain(&self.uris).chain(&self.emails);
        self.common_name.iter().chain(rest).filter(|name| !name.is_empty()).cloned().collect()
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::open()
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_open() { "Guard(open)" } else { "Guard(closed)" })
    }
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let given = if self.authorization.is_some() { "<redacted>" } else { "none" };
        f.debug_struct("Credentials")
            .field("authorization", &given)
            .field("certificate", &self.certificate)
            .field("address", &self.address)
            .finish()
    }
}

#[cfg(test)]
mod tests;
