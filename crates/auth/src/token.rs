//! Our own tokens: signed with EdDSA or ES256, in the form of Docker's token authentication (`access` claim).
//!
//! A token says who somebody is and narrows what the policy gives; the policy is asked again at every use, so a right that is taken away
//! is gone at once. Access tokens live for minutes and cannot be called back. Refresh tokens live for weeks; they are bound to the
//! stored password and end with it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Header;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::claims::{self, Claims};
use crate::header::TOKEN_LEN_MAX;
use crate::key::{SigningKey, VerifyingKey};
use crate::password::Hash;
use crate::principal::{Origin, Principal, Source};
use crate::rejection::{AuthError, Rejection};
use crate::scope::Scope;

/// What an operator decides about tokens.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The name of this registry in challenges and in the `aud` claim.
    pub service: String,
    /// The `iss` claim.
    pub issuer: String,
    /// The URL of the token endpoint; `None`: derived from how the client reached us.
    pub realm: Option<String>,
    /// The private key that signs; made when it is not there.
    pub key_file: PathBuf,
    /// Keys that are accepted besides it: those that signed before, or will.
    pub verification_keys: Vec<PathBuf>,
    /// How long an access token is good.
    pub lifetime: Duration,
    /// How long a refresh token is good; zero: none are given.
    pub refresh_lifetime: Duration,
}

/// What a refresh token stands for.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) name: String,
    pub(crate) stamp: String,
}

/// Signs and checks our tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    settings: TokenSettings,
    signing: SigningKey,
    verifying: Vec<VerifyingKey>,
}

impl Issuer {
    /// Reads the keys. Blocks.
    pub(crate) fn open(settings: TokenSettings) -> Result<Self, AuthError> {
        let signing = SigningKey::read_or_make(&settings.key_file)?;
        let mut verifying = vec![signing.verifying.clone()];
        for path in &settings.verification_keys {
            verifying.push(VerifyingKey::read(path)?);
        }
        Ok(Self { settings, signing, verifying })
    }

    pub(crate) fn settings(&self) -> &TokenSettings {
        &self.settings
    }

    /// Whether a token claims to be ours.
    pub(crate) fn is_ours(&self, claims: &Claims) -> bool {
        claims::text(claims, "iss") == Some(self.settings.issuer.as_str())
    }

    /// An access token for `principal`, narrowed to `scopes`.
    pub(crate) fn access(
        &self,
        principal: &Principal,
        scopes: &[Scope],
        now: SystemTime,
    ) -> Result<String, Rejection> {
        let mut claims = json!({ "aud": self.settings.service, "sub": principal.name, "access": scopes,
            "source": principal.source.as_str() });
        if !principal.groups.is_empty() {
            claims["groups"] = json!(principal.groups);
        }
        if !principal.certificate.is_empty() {
            claims["certificate"] = json!(principal.certificate);
        }
        self.sign(claims, self.settings.lifetime, now)
    }

    /// A refresh token for the holder of a password.
    pub(crate) fn refresh(&self, name: &str, stored: &Hash, now: SystemTime) -> Result<String, Rejection> {
        let claims = json!({ "aud": self.refresh_audience(), "sub": name, "stamp": stamp(stored) });
        self.sign(claims, self.settings.refresh_lifetime, now)
    }

    /// Checks an access token; who it is for, and until when it is good.
    pub(crate) fn verify(&self, token: &str, now: SystemTime) -> Result<(Principal, SystemTime), Rejection> {
        let (claims, until) = self.open_token(token, &self.settings.service, now)?;
        let principal = principal(&claims).ok_or(Rejection::Token("its claims are not understood"))?;
        Ok((principal, until))
    }

    /// Checks a refresh token.
    pub(crate) fn verify_refresh(&self, token: &str, now: SystemTime) -> Result<Refresh, Rejection> {
        let (claims, _) = self.open_token(token, &self.refresh_audience(), now)?;
        match (claims::text(&claims, "sub"), claims::text(&claims, "stamp")) {
            (Some(name), Some(stamp)) => Ok(Refresh { name: name.to_owned(), stamp: stamp.to_owned() }),
            _ => Err(Rejection::Token("its claims are not understood")),
        }
    }

    /// An access token is not a refresh token and the other way round: they are meant for different services.
    fn refresh_audience(&self) -> String {
        format!("{} refresh", self.settings.service)
    }

    fn open_token(
        &self,
        token: &str,
        audience: &str,
        now: SystemTime,
    ) -> Result<(Claims, SystemTime), Rejection> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(Rejection::Token("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Rejection::Token("it is not a JWT"))?;
        // The key decides the algorithm, never the token: `none` and HS256 with a public key end here.
        let key = self.verifying.iter().find(|key| header.kid.as_deref() == Some(key.kid.as_str()));
        let key = key.ok_or(Rejection::Token("its key is not known"))?;
        if header.alg != key.algorithm {
            return Err(Rejection::Token("its algorithm is not that of its key"));
        }
        let claims = claims::verified(token, &key.key, key.algorithm)
            .ok_or(Rejection::Token("its signature is wrong"))?;
        if !self.is_ours(&claims) {
            return Err(Rejection::Token("it is from another issuer"));
        }
        claims::check_audience(&claims, &[audience.to_owned()]).map_err(Rejection::Token)?;
        let until = claims::check_times(&claims, now).map_err(Rejection::Token)?;
        Ok((claims, until))
    }

    fn sign(&self, mut claims: Value, lifetime: Duration, now: SystemTime) -> Result<String, Rejection> {
        let failed = Rejection::Unavailable("no token can be signed");
        let mut id = [0_u8; 16];
        rand::fill(&mut id).map_err(|_| failed.clone())?;
        let issued = claims::seconds(now);
        claims["iss"] = json!(self.settings.issuer);
        claims["iat"] = json!(issued);
        claims["nbf"] = json!(issued);
        claims["exp"] = json!(issued + lifetime.as_secs());
        claims["jti"] = json!(URL_SAFE_NO_PAD.encode(id));
        let mut header = Header::new(self.signing.verifying.algorithm);
        header.kid = Some(self.signing.verifying.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.signing.key).map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            failed
        })?;
        if token.len() > TOKEN_LEN_MAX {
            return Err(Rejection::Malformed("the token would be too long; ask for fewer scopes"));
        }
        Ok(token)
    }
}

/// Says of a stored password that it is still the same one. It cannot be turned back: what is hashed holds the salt and the hash.
pub(crate) fn stamp(stored: &Hash) -> String {
    let mut hash = Sha256::new();
    hash.update(b"shoal refresh token\0");
    hash.update(stored.reveal().as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..16])
}

fn principal(claims: &Claims) -> Option<Principal> {
    let words = |name: &str| match claims.get(name) {
        None => Some(Vec::new()),
        Some(value) => serde_json::from_value::<Vec<String>>(value.clone()).ok(),
    };
    let scopes = claims.get("access").cloned().unwrap_or(Value::Array(Vec::new()));
    Some(Principal {
        name: claims::text(claims, "sub")?.to_owned(),
        groups: words("groups")?,
        origin: Origin::Token,
        source: Source::from_word(claims::text(claims, "source")?)?,
        certificate: words("certificate")?,
        scopes: Some(serde_json::from_value(scopes).ok()?),
    })
}

#[cfg(test)]
mod tests;
