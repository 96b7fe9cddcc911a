//! One foreign registry: a question with the right credentials, followed through redirects, and the answer's status as one of our words.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use shoal_http::{Body, Client, Response};
use shoal_oci::Repository;
use shoal_telemetry::UpstreamMetrics;
use shoal_telemetry::rooms::upstream::{UpstreamKind, UpstreamResult};
use tokio::time::Instant;

use crate::address::Standing;
use crate::challenge::Challenge;
use crate::credential::{Credential, Credentials};
use crate::dialer::{Dialer, host_and_port};
use crate::error::UpstreamError;
use crate::location::{resolve, same_origin};
use crate::name::RegistryName;
use crate::options::Timeouts;
use crate::pause::{Kind, Paused, Pauses};
use crate::quota;
use crate::token::{Service, Tokens, pull_scope};

/// Redirects that are followed for one answer: a registry to its store, the store to another region.
const REDIRECTS_MAX: usize = 5;

/// How long a question may wait for an upstream that asks for a short pause, or falters: within what an agent waits for the head of a blob.
const PATIENCE: Duration = Duration::from_secs(5);

/// Before a question that failed is asked again; three times as long before the last time.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(600)];

/// One registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) name: RegistryName,
    /// Scheme, host, port and path before `/v2/`, without a slash at the end.
    pub(crate) endpoint: Uri,
    pub(crate) dialer: Dialer,
    /// For the endpoint and the hosts that are named: with this upstream's own TLS.
    pub(crate) own: Client,
    /// For everybody else.
    pub(crate) others: Client,
    pub(crate) credentials: Credentials,
    pub(crate) tokens: Tokens,
    pub(crate) pauses: Pauses,
    pub(crate) timeouts: Timeouts,
    pub(crate) metrics: UpstreamMetrics,
    /// The configured pattern, for metrics: names are chosen by strangers.
    pub(crate) label: String,
}

/// What an upstream says to whom it does not know: the challenge as it was, for whoever has credentials to answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenged {
    /// The value of `WWW-Authenticate`.
    pub header: String,
}

/// One question.
pub(crate) struct Ask<'a> {
    pub(crate) kind: Kind,
    pub(crate) method: Method,
    pub(crate) repository: &'a Repository,
    /// Below `/v2/<repository>/`.
    pub(crate) path: String,
    pub(crate) accept: Option<&'static str>,
    pub(crate) range_from: Option<u64>,
    /// Somebody else's credential, to be used in place of ours.
    pub(crate) passed: Option<&'a Credential>,
}

impl Upstream {
    /// Its name.
    pub fn name(&self) -> &RegistryName {
        &self.0.name
    }

    pub(crate) fn registry(&self) -> &str {
        self.0.name.as_str()
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.0.dialer
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// Whether the configuration lets it be asked over plain HTTP.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.endpoint.scheme_str() == Some("http")
    }

    /// The client that is meant for `uri`.
    pub(crate) fn client_for(&self, uri: &Uri) -> &Client {
        match self.0.dialer.standing(uri) {
            Standing::Named => &self.0.own,
            Standing::Stranger => &self.0.others,
        }
    }

    /// Whether credentials for this upstream may be shown at `uri`, a token service: at the registry's own host, at one that is named in
    /// the configuration, and within the registry's own domain (`auth.docker.io` for `registry-1.docker.io`).
    pub(crate) fn trusts_with_credentials(&self, uri: &Uri) -> bool {
        let (host, _) = host_and_port(uri);
        let (own, _) = host_and_port(&self.0.endpoint);
        self.0.dialer.standing(uri) == Standing::Named
            || host == own
            || domain_of(&own).is_some_and(|domain| {
                host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            })
    }

    /// The answer to a question: 200 or 206. What passes soon is waited for, because some clients never come back to a mirror that gave them
    /// a manifest and then no blob.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Response, UpstreamError> {
        let until = Instant::now() + PATIENCE;
        let mut retries = RETRY_PAUSES.into_iter();
        // Whether a tag has moved can be left open for once, and what resumes a body tries again by itself.
        let matters = ask.kind == Kind::Blob || ask.method == Method::GET;
        let is_patient = matters && ask.range_from.is_none();
        loop {
            let error = match self.ask_once(ask).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let wait = match &error {
                UpstreamError::Paused { left, .. } => Some(*left),
                // That it was away lately is said at once.
                UpstreamError::Unavailable { .. } if !self.0.pauses.is_away() => retries.next(),
                _ => None,
            };
            match wait {
                Some(wait) if is_patient && Instant::now() + wait <= until => tokio::time::sleep(wait).await,
                _ => return Err(error),
            }
        }
    }

    /// Asks once, and counts.
    async fn ask_once(&self, ask: &Ask<'_>) -> Result<Response, UpstreamError> {
        let answer = self.ask_uncounted(ask).await;
        let kind = match ask.kind {
            Kind::Manifest => UpstreamKind::Manifest,
            Kind::Blob => UpstreamKind::Blob,
        };
        let result = match &answer {
            Ok(_) => UpstreamResult::Ok,
            Err(UpstreamError::NotFound(_)) => UpstreamResult::NotFound,
            Err(UpstreamError::Denied { .. } | UpstreamError::Credentials { .. }) => UpstreamResult::Denied,
            Err(UpstreamError::Paused { .. }) => UpstreamResult::Paused,
            Err(UpstreamError::Unavailable { .. }) => UpstreamResult::Unavailable,
            Err(UpstreamError::Refused { .. } | UpstreamError::Invalid { .. }) => UpstreamResult::Refused,
        };
        self.0.metrics.request(&self.0.label, kind, result);
        answer
    }

    async fn ask_uncounted(&self, ask: &Ask<'_>) -> Result<Response, UpstreamError> {
        self.0.pauses.check(ask.kind).map_err(|paused| self.paused(paused))?;
        let response = self.authorized(ask).await?;
        self.judge(ask, response)
    }

    fn paused(&self, paused: Paused) -> UpstreamError {
        let registry = self.registry().to_owned();
        match paused {
            Paused::Asked(left) => UpstreamError::Paused { registry, left },
            Paused::Away(left) => {
                let why = format!(
                    "it did not answer several times in a row; asked again in {} s",
                    left.as_secs() + 1
                );
                UpstreamError::Unavailable { registry, why }
            }
        }
    }

    /// Notes that the upstream asked for a pause.
    pub(crate) fn pause(&self, kind: Kind, headers: &HeaderMap) -> UpstreamError {
        let left = self.0.pauses.open(kind, headers);
        tracing::warn!(
            registry = self.registry(),
            ?kind,
            seconds = left.as_secs(),
            "the upstream asks for a pause"
        );
        UpstreamError::Paused { registry: self.registry().to_owned(), left }
    }

    /// The answer to a question with credentials, after one challenge at most.
    async fn authorized(&self, ask: &Ask<'_>) -> Result<Response, UpstreamError> {
        if let Some(passed) = ask.passed {
            return self.follow(ask, passed.header()).await;
        }
        let scope = pull_scope(ask.repository.as_str());
        let before = self.known_authorization(&scope).await?;
        let response = self.follow(ask, before.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(challenge) = Challenge::best(response.headers()) else { return Ok(response) };
        drop(response);
        if before.is_some() {
            // What was shown is not taken any more: the token expired early, the password changed.
            self.0.tokens.forget(&scope);
            self.0.credentials.doubt();
        }
        match self.answer(challenge, &scope).await? {
            Some(value) => self.follow(ask, Some(value)).await,
            None => {
                let why = "it wants a name and a password, and none are configured".to_owned();
                Err(UpstreamError::Denied { registry: self.registry().to_owned(), status: 401, why })
            }
        }
    }

    async fn credential(&self) -> Result<Credential, UpstreamError> {
        let read = self.0.credentials.current().await;
        read.map_err(|why| UpstreamError::Credentials { registry: self.registry().to_owned(), why })
    }

    /// What can be shown without being asked: a kept token, a new one of a service that is known, a password where it is wanted.
    async fn known_authorization(&self, scope: &str) -> Result<Option<HeaderValue>, UpstreamError> {
        if let Some(value) = self.0.tokens.get(scope) {
            return Ok(Some(value));
        }
        if let Some(service) = self.0.tokens.service() {
            let credential = self.credential().await?;
            // The challenge of this repository may say more; so a failure here is none yet.
            return match self.fetch_token(&service, scope, scope, &credential).await {
                Err(UpstreamError::Denied { .. }) => Ok(None),
                other => other.map(Some),
            };
        }
        match self.credential().await? {
            credential @ Credential::Bearer(_) => Ok(credential.header()),
            credential if self.0.tokens.is_basic() => Ok(credential.header()),
            _ => Ok(None),
        }
    }

    /// What is to be shown after a challenge; `None` when we have nothing of that kind.
    async fn answer(&self, challenge: Challenge, scope: &str) -> Result<Option<HeaderValue>, UpstreamError> {
        let credential = self.credential().await?;
        match challenge {
            Challenge::Basic => {
                self.0.tokens.note_basic();
                Ok(credential.header())
            }
            Challenge::Bearer { realm, service, scope: asked } => {
                let service = Service { realm, service };
                let wanted = asked.as_deref().filter(|asked| !asked.is_empty()).unwrap_or(scope);
                let value = self.fetch_token(&service, wanted, scope, &credential).await?;
                self.0.tokens.note_service(service);
                Ok(Some(value))
            }
        }
    }

    fn url(&self, ask: &Ask<'_>) -> Result<Uri, UpstreamError> {
        let base = self.0.endpoint.to_string();
        let url = format!("{}/v2/{}/{}", base.trim_end_matches('/'), ask.repository, ask.path);
        url.parse().map_err(|_| UpstreamError::invalid(self.registry(), "the URL cannot be formed"))
    }

    /// One request and the redirects that follow from it. The credential goes to the endpoint and to nobody else.
    async fn follow(
        &self,
        ask: &Ask<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, UpstreamError> {
        let mut uri = self.url(ask)?;
        for _ in 0..=REDIRECTS_MAX {
            self.0.dialer.check(&uri).map_err(|why| self.refused_at(&uri, &why))?;
            let shown = authorization.as_ref().filter(|_| same_origin(&uri, &self.0.endpoint));
            let response = self.request(ask, &uri, shown).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let location =
                response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let next = resolve(&uri, location)
                .ok_or_else(|| UpstreamError::invalid(self.registry(), "it redirects to nowhere"))?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(self.refused_at(&next, "a redirect from HTTPS to plain HTTP"));
            }
            uri = next;
        }
        Err(UpstreamError::refused(self.registry(), format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// Names the host and nothing more: the rest of a redirect's URL may be a credential.
    fn refused_at(&self, uri: &Uri, why: &str) -> UpstreamError {
        UpstreamError::refused(self.registry(), format!("{}: {why}", uri.host().unwrap_or_default()))
    }

    async fn request(
        &self,
        ask: &Ask<'_>,
        uri: &Uri,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, UpstreamError> {
        let mut request = http::Request::builder().method(ask.method.clone()).uri(uri.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(from) = ask.range_from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let request = request
            .body(Body::empty())
            .map_err(|error| UpstreamError::invalid(self.registry(), error.to_string()))?;
        match self.client_for(uri).send(request, self.0.timeouts.head).await {
            Ok(response) => {
                self.0.pauses.answered();
                Ok(response)
            }
            Err(error) => {
                let error = UpstreamError::of_client(self.registry(), error);
                if matches!(error, UpstreamError::Unavailable { .. }) {
                    self.0.pauses.failed();
                }
                Err(error)
            }
        }
    }

    fn judge(&self, ask: &Ask<'_>, response: Response) -> Result<Response, UpstreamError> {
        if let Some(remaining) = quota::remaining(response.headers()) {
            self.0.metrics.set_quota(&self.0.label, remaining);
        }
        let registry = self.registry();
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(UpstreamError::NotFound(registry.to_owned())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(UpstreamError::Denied {
                registry: registry.to_owned(),
                status: status.as_u16(),
                why: "the content may be private, or not exist".to_owned(),
            }),
            // Somebody else's quota is no reason to keep everybody waiting.
            StatusCode::TOO_MANY_REQUESTS if ask.passed.is_some() => {
                Err(UpstreamError::Paused { registry: registry.to_owned(), left: Duration::from_secs(1) })
            }
            StatusCode::TOO_MANY_REQUESTS => Err(self.pause(ask.kind, response.headers())),
            StatusCode::REQUEST_TIMEOUT => {
                Err(UpstreamError::unavailable(registry, format!("it answered {status}")))
            }
            status if status.is_server_error() => {
                Err(UpstreamError::unavailable(registry, format!("it answered {status}")))
            }
            status => Err(UpstreamError::invalid(registry, format!("it answered {status}"))),
        }
    }

    /// What the upstream says to somebody without credentials who wants to pull from `repository`; `None` when it asks for none.
    ///
    /// # Errors
    /// [`UpstreamError`] when it does not say.
    pub async fn challenge(&self, repository: &Repository) -> Result<Option<Challenged>, UpstreamError> {
        self.0.pauses.check(Kind::Blob).map_err(|paused| self.paused(paused))?;
        let ask = Ask {
            kind: Kind::Blob,
            method: Method::HEAD,
            repository,
            // A tag that hardly exists: what counts is whether it is said that it does not, or who may know.
            path: "manifests/latest".to_owned(),
            accept: Some(shoal_oci::media_type::MANIFEST_ACCEPT),
            range_from: None,
            passed: Some(&Credential::Anonymous),
        };
        let response = self.follow(&ask, None).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        let header = response.headers().get(http::header::WWW_AUTHENTICATE);
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or("Bearer").to_owned();
        Ok(Some(Challenged { header }))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The domain that a registry shares with its token service: its name without the first label, unless that is nobody's (`io`, `co.uk`).
fn domain_of(host: &str) -> Option<&str> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let (_, domain) = host.split_once('.')?;
    let (first, last) = domain.split_once('.')?;
    // `co.uk`, `com.au`, `gov.br`: the two-letter countries below which others register.
    let is_shared = !last.contains('.') && last.len() == 2 && first.len() <= 3;
    (!is_shared).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_shared_only_where_it_belongs_to_somebody() {
        assert_eq!(domain_of("registry-1.docker.io"), Some("docker.io"));
        assert_eq!(domain_of("registry.gitlab.com"), Some("gitlab.com"));
        assert_eq!(domain_of("a.b.example.co.uk"), Some("b.example.co.uk"));
        for none in ["ghcr.io", "localhost", "10.0.0.1", "example.co.uk", "::1"] {
            assert_eq!(domain_of(none), None, "{none}");
        }
    }
}
