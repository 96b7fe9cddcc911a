//! The keys of an external issuer: where they come from, and when they are asked for again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde_json::Value;

use super::{KeyLocation, KeySource, OidcSettings};
use crate::claims::{self, Claims};
use crate::rejection::{AuthError, Rejection};

/// The largest JWK set in bytes.
const JWKS_LEN_MAX: u64 = 1024 * 1024;
/// The most keys that are taken from a set. Issuers have two to five.
const KEYS_MAX: usize = 32;
/// How soon the issuer is asked again, whatever tokens come in: a token with an invented `kid` must not make us a load on it.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How old keys are when they are asked for again although every `kid` is known: so a key that was withdrawn goes.
const REFRESH_AFTER: Duration = Duration::from_secs(60 * 60);

/// The algorithms that are taken: all are asymmetric.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::EdDSA,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// One key of a set.
#[derive(Clone)]
struct Key {
    kid: Option<String>,
    /// What it may be used with.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The keys that are here.
#[derive(Default)]
struct Held {
    keys: Arc<Vec<Key>>,
    /// When they came.
    fetched: Option<SystemTime>,
    /// When they were asked for last, with or without success.
    tried: Option<SystemTime>,
}

/// Keys of one issuer.
pub(super) struct Keys {
    name: String,
    issuer: String,
    location: KeyLocation,
    source: Option<Arc<dyn KeySource>>,
    held: Mutex<Held>,
    /// Whoever asks the issuer holds it; the others wait for her answer and do not ask themselves.
    asking: tokio::sync::Mutex<()>,
}

impl Keys {
    pub(super) fn open(
        settings: &OidcSettings,
        source: Option<Arc<dyn KeySource>>,
    ) -> Result<Self, AuthError> {
        let keys = Self {
            name: settings.name.clone(),
            issuer: settings.issuer.clone(),
            location: settings.keys.clone(),
            source,
            held: Mutex::default(),
            asking: tokio::sync::Mutex::new(()),
        };
        match &settings.keys {
            KeyLocation::File(path) => keys.read(path)?,
            KeyLocation::Url(_) | KeyLocation::Discovery if keys.source.is_none() => {
                let message =
                    format!("the keys of the issuer {} have to be fetched, and nothing can", keys.name);
                return Err(AuthError::Settings(message));
            }
            KeyLocation::Url(_) | KeyLocation::Discovery => {}
        }
        Ok(keys)
    }

    /// Reads a file of keys. Blocks.
    pub(super) fn read(&self, path: &Path) -> Result<(), AuthError> {
        let text = crate::files::read(path, JWKS_LEN_MAX)?;
        let keys = parse(text.as_bytes()).map_err(|why| AuthError::Key { path: path.to_owned(), why })?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).keys = Arc::new(keys);
        Ok(())
    }

    /// Checks a signature with the key that the header names, and asks for newer keys when there is reason to.
    pub(super) async fn verified(
        &self,
        token: &str,
        header: &Header,
        now: SystemTime,
    ) -> Result<Claims, Rejection> {
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Rejection::Token("its algorithm is not accepted"));
        }
        let mut candidates = self.candidates(header);
        if self.is_due(candidates.is_empty(), now) {
            self.ask(candidates.is_empty(), now).await;
            candidates = self.candidates(header);
        } else if candidates.is_empty() {
            // Somebody else may be asking at this moment.
            drop(self.asking.lock().await);
            candidates = self.candidates(header);
        }
        if candidates.is_empty() {
            let none = self.held.lock().unwrap_or_else(PoisonError::into_inner).keys.is_empty();
            return Err(if none {
                Rejection::Unavailable("the keys of the token's issuer could not be fetched")
            } else {
                Rejection::Token("its key is not known")
            });
        }
        candidates
            .iter()
            .find_map(|key| claims::verified(token, &key.key, header.alg))
            .ok_or(Rejection::Token("its signature is wrong"))
    }

    /// The keys that a token with this header may be signed with.
    fn candidates(&self, header: &Header) -> Vec<Key> {
        let keys = Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner).keys);
        keys.iter()
            .filter(|key| key.algorithms.contains(&header.alg))
            .filter(|key| header.kid.is_none() || key.kid == header.kid)
            .cloned()
            .collect()
    }

    /// Whether the issuer is to be asked now.
    fn is_due(&self, missing: bool, now: SystemTime) -> bool {
        if matches!(self.location, KeyLocation::File(_)) {
            return false;
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let older = |since: Option<SystemTime>, than: Duration| {
            // A clock that went back counts as time that passed.
            since.is_none_or(|at| now.duration_since(at).map_or(true, |age| age >= than))
        };
        (missing || older(held.fetched, REFRESH_AFTER)) && older(held.tried, RETRY_AFTER)
    }

    /// Asks the issuer. Only who lacks a key waits for somebody else who is asking.
    async fn ask(&self, missing: bool, now: SystemTime) {
        let _asking = match self.asking.try_lock() {
            Ok(asking) => asking,
            Err(_) if !missing => return,
            Err(_) => {
                drop(self.asking.lock().await);
                return;
            }
        };
        self.held.lock().unwrap_or_else(PoisonError::into_inner).tried = Some(now);
        match self.fetch().await {
            Ok(keys) => {
                tracing::info!(issuer = self.name, keys = keys.len(), "keys of an external issuer fetched");
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                held.keys = Arc::new(keys);
                held.fetched = Some(now);
            }
            Err(why) => {
                tracing::warn!(
                    issuer = self.name,
                    why,
                    "keys of an external issuer cannot be fetched; those that are here stay"
                );
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let source = self.source.as_ref().ok_or("there is nothing to fetch with")?;
        let url = match &self.location {
            KeyLocation::Url(url) => url.clone(),
            _ => {
                let issuer = self.issuer.trim_end_matches('/');
                let url = format!("{issuer}/.well-known/openid-configuration");
                jwks_uri(&source.document(&url).await?, &self.issuer)?
            }
        };
        parse(&source.document(&url).await?)
    }
}

/// What a discovery document says about where the keys are (OpenID Connect Discovery §4.3: the issuer must be the one asked for).
fn jwks_uri(document: &[u8], issuer: &str) -> Result<String, String> {
    let document: Value =
        serde_json::from_slice(document).map_err(|_| "the discovery document is not JSON".to_owned())?;
    if document["issuer"].as_str() != Some(issuer) {
        return Err("the discovery document names another issuer".to_owned());
    }
    let uri = document["jwks_uri"].as_str().ok_or("the discovery document has no jwks_uri")?;
    // Keys that anybody on the way could replace would be no keys.
    if issuer.starts_with("https://") && !uri.starts_with("https://") {
        return Err("the discovery document has a jwks_uri that is not https".to_owned());
    }
    Ok(uri.to_owned())
}

/// Reads a JWK set and leaves out what cannot check a signature.
fn parse(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let not_a_set = || "it is not a JWK set".to_owned();
    let document: Value = serde_json::from_slice(bytes).map_err(|_| not_a_set())?;
    let listed = document["keys"].as_array().ok_or_else(not_a_set)?;
    let keys: Vec<Key> = listed.iter().take(KEYS_MAX).filter_map(key).collect();
    if keys.is_empty() { Err("it has no key that can check a signature".to_owned()) } else { Ok(keys) }
}

fn key(value: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    if matches!(&jwk.common.public_key_use, Some(use_) if *use_ != PublicKeyUse::Signature) {
        return None;
    }
    let mut algorithms: Vec<Algorithm> = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => {
            use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
            vec![RS256, RS384, RS512, PS256, PS384, PS512]
        }
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        // A symmetric key that everybody can read checks nothing.
        _ => return None,
    };
    if let Some(stated) = jwk.common.key_algorithm {
        let stated: Option<Algorithm> = stated.to_string().parse().ok();
        algorithms.retain(|algorithm| Some(*algorithm) == stated);
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (!algorithms.is_empty()).then_some(Key { kid: jwk.common.key_id, algorithms, key })
}
