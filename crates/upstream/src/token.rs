//! Bearer tokens of registries: had from the token service that a challenge names, and kept until shortly before they expire.
//!
//! As containerd does it: credentials go by POST (OAuth 2), and by GET with Basic where a service knows no POST; nobody asks anonymously
//! but by GET.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::Deserialize;
use shoal_config::Secret;
use shoal_http::{Body, query};
use tokio::time::Instant;

use crate::credential::Credential;
use crate::error::UpstreamError;
use crate::upstream::Upstream;

/// Tokens kept at most: one for each repository that is pulled from within some minutes.
const TOKENS_MAX: usize = 1024;

/// The longest answer of a token service.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// What a token without a lifetime has (distribution-spec token authentication).
const LIFETIME_DEFAULT: Duration = Duration::from_secs(60);
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// A token is not used in its last seconds, in which it could expire on the way.
const MARGIN: Duration = Duration::from_secs(10);

/// Who we say we are.
const CLIENT_ID: &str = "shoal";

/// The tokens of one upstream by scope, and the token service that it named last.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    kept: HashMap<String, (Instant, HeaderValue)>,
    service: Option<Service>,
    /// The registry wants name and password themselves.
    is_basic: bool,
}

/// A token service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    pub(crate) fn get(&self, scope: &str) -> Option<HeaderValue> {
        let state = self.lock();
        let (until, value) = state.kept.get(scope)?;
        (*until > Instant::now()).then(|| value.clone())
    }

    pub(crate) fn forget(&self, scope: &str) {
        self.lock().kept.remove(scope);
    }

    pub(crate) fn service(&self) -> Option<Service> {
        self.lock().service.clone()
    }

    pub(crate) fn note_service(&self, service: Service) {
        self.lock().service = Some(service);
    }

    pub(crate) fn is_basic(&self) -> bool {
        self.lock().is_basic
    }

    pub(crate) fn note_basic(&self) {
        self.lock().is_basic = true;
    }

    fn keep(&self, scope: &str, lifetime: Duration, value: HeaderValue) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.kept.len() >= TOKENS_MAX {
            state.kept.retain(|_, (until, _)| *until > now);
        }
        if state.kept.len() < TOKENS_MAX {
            state.kept.insert(scope.to_owned(), (now + lifetime.saturating_sub(MARGIN), value));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The scope for pulling.
pub(crate) fn pull_scope(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

impl Upstream {
    /// A token for `scope` from `service`, and keeps it under `key`.
    pub(crate) async fn fetch_token(
        &self,
        service: &Service,
        scope: &str,
        key: &str,
        credential: &Credential,
    ) -> Result<HeaderValue, UpstreamError> {
        let realm = self.realm(service, credential)?;
        let bytes = match credential {
            Credential::Anonymous | Credential::Bearer(_) => {
                self.get_token(&realm, service, scope, None).await?
            }
            Credential::Identity(refresh) => {
                let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.reveal())];
                self.post_token(&realm, service, scope, &form).await?
            }
            Credential::Basic { username, password } => {
                let form = [
                    ("grant_type", "password"),
                    ("username", username.as_str()),
                    ("password", password.reveal()),
                ];
                match self.post_token(&realm, service, scope, &form).await {
                    // A service that knows no POST, or not for passwords.
                    Err(UpstreamError::Denied { status: 400 | 401 | 404 | 405, .. }) => {
                        self.get_token(&realm, service, scope, credential.header()).await?
                    }
                    answer => answer?,
                }
            }
        };
        let (value, lifetime) = self.read_token(&bytes)?;
        self.tokens().keep(key, lifetime, value.clone());
        Ok(value)
    }

    /// The URL of a token service, if we go there.
    fn realm(&self, service: &Service, credential: &Credential) -> Result<Uri, UpstreamError> {
        let refused =
            |why: String| UpstreamError::refused(self.registry(), format!("its token service {why}"));
        let realm: Uri = service.realm.parse().map_err(|_| refused("has no usable URL".to_owned()))?;
        let is_secure = match realm.scheme_str() {
            Some("https") => true,
            Some("http") => self.is_plain(),
            _ => false,
        };
        if !is_secure {
            return Err(refused("is not asked over plain HTTP".to_owned()));
        }
        self.dialer().check(&realm).map_err(|why| refused(format!("is {why}")))?;
        if !matches!(credential, Credential::Anonymous) && !self.trusts_with_credentials(&realm) {
            let host = realm.host().unwrap_or_default();
            return Err(refused(format!(
                "is at {host}, and our credentials do not go to that host; list it in `hosts` of this upstream if they may"
            )));
        }
        Ok(realm)
    }

    async fn get_token(
        &self,
        realm: &Uri,
        service: &Service,
        scope: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Bytes, UpstreamError> {
        let mut pairs = Vec::new();
        pairs.extend(service.service.as_deref().map(|service| ("service", service)));
        pairs.push(("scope", scope));
        let separator = if realm.query().is_some() { '&' } else { '?' };
        let url = format!("{realm}{separator}{}", query::encode(pairs));
        let mut request = http::Request::get(url).header(ACCEPT, "application/json");
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        self.exchange_token(realm, request.body(Body::empty())).await
    }

    async fn post_token(
        &self,
        realm: &Uri,
        service: &Service,
        scope: &str,
        form: &[(&str, &str)],
    ) -> Result<Bytes, UpstreamError> {
        let mut pairs = form.to_vec();
        pairs.extend(service.service.as_deref().map(|service| ("service", service)));
        pairs.extend([("client_id", CLIENT_ID), ("scope", scope)]);
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(realm.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Body::from(query::encode(pairs)));
        self.exchange_token(realm, request).await
    }

    async fn exchange_token(
        &self,
        realm: &Uri,
        request: Result<shoal_http::Request, http::Error>,
    ) -> Result<Bytes, UpstreamError> {
        let registry = self.registry();
        let request = request.map_err(|error| UpstreamError::invalid(registry, error.to_string()))?;
        let timeout = self.timeouts().token;
        let exchange = async {
            let response = self.client_for(realm).send(request, timeout).await;
            let response = response.map_err(|error| UpstreamError::of_client(registry, error))?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                return Err(self.pause(crate::pause::Kind::Manifest, response.headers()));
            }
            if status.is_server_error() {
                return Err(UpstreamError::unavailable(
                    registry,
                    format!("its token service answered {status}"),
                ));
            }
            // Redirects too: a token service has no reason to send credentials elsewhere.
            if !status.is_success() {
                let why = "its token service gives no token".to_owned();
                return Err(UpstreamError::Denied {
                    registry: registry.to_owned(),
                    status: status.as_u16(),
                    why,
                });
            }
            let body = response.into_body().collect(ANSWER_LEN_MAX).await;
            body.map_err(|error| UpstreamError::unavailable(registry, format!("its token service: {error}")))
        };
        let late =
            || UpstreamError::unavailable(registry, format!("its token service took more than {timeout:?}"));
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_elapsed| Err(late()))
    }

    fn read_token(&self, bytes: &[u8]) -> Result<(HeaderValue, Duration), UpstreamError> {
        let invalid = |why: &str| UpstreamError::invalid(self.registry(), format!("its token service {why}"));
        let answer: Answer =
            serde_json::from_slice(bytes).map_err(|_| invalid("did not answer with a token"))?;
        let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if token.is_empty() {
            return Err(invalid("answered without a token"));
        }
        let value =
            Credential::Bearer(Secret::new(token)).header().ok_or_else(|| invalid("gave no usable token"))?;
        let lifetime = answer
            .expires_in
            .map_or(LIFETIME_DEFAULT, Duration::from_secs)
            .clamp(LIFETIME_DEFAULT, LIFETIME_MAX);
        Ok((value, lifetime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_are_kept_until_shortly_before_they_expire() {
        let tokens = Tokens::default();
        let scope = pull_scope("a/b");
        assert_eq!(scope, "repository:a/b:pull");
        tokens.keep(&scope, Duration::from_secs(60), HeaderValue::from_static("Bearer x"));
        tokio::time::advance(Duration::from_secs(49)).await;
        assert!(tokens.get(&scope).is_some() && tokens.get("other").is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(tokens.get(&scope), None);
        for number in 0..2 * TOKENS_MAX {
            tokens.keep(&number.to_string(), Duration::from_secs(60), HeaderValue::from_static("Bearer x"));
        }
        assert!(tokens.lock().kept.len() <= TOKENS_MAX);
    }
}
