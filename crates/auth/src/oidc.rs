//! External issuers (OpenID Connect): CI systems and clusters vouch for their own, with tokens that we can check and not make.
//!
//! The crate has no network: a [`KeySource`] brings documents. Keys are kept; an unknown `kid` and old age make them be asked for again, at a
//! bounded rate, and when the issuer does not answer the keys that are here stay good. Names and groups get a prefix, so that an
//! issuer cannot vouch for our accounts.

mod keys;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use serde_json::Value;

use crate::claims::{self, Claims};
use crate::header::TOKEN_LEN_MAX;
use crate::pattern::name_matches;
use crate::principal::Principal;
use crate::rejection::{AuthError, Rejection};
use keys::Keys;

/// The longest name or group that is taken, in bytes; GitHub's subjects have some 100.
const NAME_LEN_MAX: usize = 256;
/// The most groups that are taken. They travel in our tokens, which have to fit into a header.
const GROUPS_MAX: usize = 32;

/// Brings documents of external issuers. The server implements it over its HTTP client, with a timeout of its own.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The body of the document at `url`, at most 1 MiB.
    ///
    /// # Errors
    /// A sentence for the log.
    async fn document(&self, url: &str) -> Result<Vec<u8>, String>;
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// In a file: a JWK set.
    File(PathBuf),
    /// At a URL: a JWK set.
    Url(String),
    /// Where `<issuer>/.well-known/openid-configuration` says.
    Discovery,
}

/// An external issuer as an operator describes it.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// A short name for logs.
    pub name: String,
    /// The `iss` claim, exactly.
    pub issuer: String,
    /// The `aud` claim is one of these.
    pub audiences: Vec<String>,
    /// Where the keys are.
    pub keys: KeyLocation,
    /// The claim that is the name; `sub` usually.
    pub username_claim: String,
    /// The claim that is the list of groups.
    pub groups_claim: Option<String>,
    /// Claims that must have one of these values; `*` in a value stands for any text.
    pub required_claims: BTreeMap<String, Vec<String>>,
    /// What names and groups get in front.
    pub prefix: String,
}

/// An external issuer and its keys.
pub(crate) struct External {
    settings: OidcSettings,
    keys: Keys,
}

impl External {
    /// Reads the keys when they are in a file. Blocks.
    pub(crate) fn open(
        settings: OidcSettings,
        source: Option<Arc<dyn KeySource>>,
    ) -> Result<Self, AuthError> {
        if settings.audiences.is_empty() {
            let name = &settings.name;
            return Err(AuthError::Settings(format!(
                "the issuer {name} has no audience; without one, any token that it gave to anybody would be taken"
            )));
        }
        let keys = Keys::open(&settings, source)?;
        Ok(Self { settings, keys })
    }

    /// Whether a token claims to be from this issuer.
    pub(crate) fn issued(&self, claims: &Claims) -> bool {
        claims::text(claims, "iss") == Some(self.settings.issuer.as_str())
    }

    /// The file with the keys.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        match &self.settings.keys {
            KeyLocation::File(path) => Some(path),
            KeyLocation::Url(_) | KeyLocation::Discovery => None,
        }
    }

    /// Reads the file with the keys again; the old keys stay when that fails. Blocks.
    pub(crate) fn reload(&self) -> Result<(), AuthError> {
        self.file().map_or(Ok(()), |path| self.keys.read(path))
    }

    /// Checks a token; who it is for, and until when it is good.
    pub(crate) async fn verify(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<(Principal, SystemTime), Rejection> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(Rejection::Token("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| Rejection::Token("it is not a JWT, or its algorithm is not known"))?;
        let claims = self.keys.verified(token, &header, now).await?;
        if !self.issued(&claims) {
            return Err(Rejection::Token("it is from another issuer"));
        }
        claims::check_audience(&claims, &self.settings.audiences).map_err(Rejection::Token)?;
        let until = claims::check_times(&claims, now).map_err(Rejection::Token)?;
        self.check_required(&claims)?;
        Ok((self.principal(&claims)?, until))
    }

    fn check_required(&self, claims: &Claims) -> Result<(), Rejection> {
        for (claim, allowed) in &self.settings.required_claims {
            let fits = |value: &Value| {
                as_text(value).is_some_and(|text| allowed.iter().any(|pattern| name_matches(pattern, &text)))
            };
            let good = match claims.get(claim) {
                Some(Value::Array(values)) => values.iter().any(fits),
                Some(value) => fits(value),
                None => false,
            };
            if !good {
                tracing::debug!(
                    issuer = self.settings.name,
                    claim,
                    "a required claim is missing or different"
                );
                return Err(Rejection::Token("it does not have the claims that are required here"));
            }
        }
        Ok(())
    }

    fn principal(&self, claims: &Claims) -> Result<Principal, Rejection> {
        let prefix = &self.settings.prefix;
        let plain =
            |text: &str| !text.is_empty() && text.len() <= NAME_LEN_MAX && !text.contains(char::is_control);
        let name = claims
            .get(&self.settings.username_claim)
            .and_then(as_text)
            .filter(|name| plain(name))
            .ok_or(Rejection::Token("it has no usable name"))?;
        let groups = self.settings.groups_claim.as_ref().and_then(|claim| claims.get(claim));
        let groups: Vec<String> = match groups {
            Some(Value::Array(groups)) => groups.iter().filter_map(as_text).collect(),
            Some(one) => as_text(one).into_iter().collect(),
            None => Vec::new(),
        };
        let groups = groups.into_iter().filter(|group| plain(group)).take(GROUPS_MAX);
        let groups = groups.map(|group| format!("{prefix}{group}")).collect();
        Ok(Principal::external(format!("{prefix}{name}"), groups))
    }
}

/// Text, or what is written like text: issuers are not agreed on whether an id is a number.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
