//! A pooled HTTP client in which every wait has an end.
//!
//! A pooled connection may have been closed by the server a moment ago. The client notices only when it uses it, so requests that
//! are safe to repeat are repeated a few times when the connection ends before an answer starts. All other decisions to try again
//! belong to the caller, who knows the alternatives; [`ClientError::is_retryable`] tells whether it makes sense.

mod connector;
pub mod dial;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, StatusCode};
use hyper_util::client::legacy::connect::HttpInfo;
use hyper_util::client::legacy::{Client as HyperClient, Error as HyperError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json::JSON;
use crate::{Body, BodyError, ClientTls, Request, Response};
use connector::Connector;
use dial::{Dial, DialError};

/// How the client connects and keeps connections.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// For one TCP connection to come about, and again for the TLS handshake on it.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// How many unused connections are kept for each host.
    pub pool_idle_max: usize,
    /// Whom to trust for `https` URLs, and the certificate to show; `None` trusts the system's authorities and shows none.
    pub tls: Option<ClientTls>,
    /// What requests say in `Authorization` that do not say something else there. Only for a client that talks to one party.
    pub authorization: Option<HeaderValue>,
    /// Who connects; `None` for wherever the system's resolver says.
    pub dial: Option<Arc<dyn Dial>>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            // A SYN is repeated after one second and again after three; a host of our network answers the first two or is down.
            connect_timeout: Duration::from_secs(3),
            // Less than the 60 seconds that servers keep idle connections at least, so that ours seldom goes stale.
            pool_idle_timeout: Duration::from_secs(45),
            // The parallelism of one pull.
            pool_idle_max: 8,
            tls: None,
            authorization: None,
            dial: None,
        }
    }
}

/// Marks a request as safe to repeat although its method is not (an announce by POST, for example): put it into the request's
/// extensions.
#[derive(Clone, Copy, Debug)]
pub struct Idempotent;

/// How often a request that is safe to repeat is repeated on another connection. After a server's restart several pooled
/// connections can be stale at once.
const STALE_RETRIES: u32 = 3;

/// The longest JSON answer that is read. An announce for a full batch of large blobs with their metainfos stays below it.
pub const JSON_LEN_MAX: usize = 32 * 1024 * 1024;

/// The longest body of an error answer that is kept for the error message.
const ERROR_BODY_LEN_MAX: usize = 64 * 1024;

/// An HTTP client. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Client {
    inner: HyperClient<Connector, Body>,
    authorization: Option<HeaderValue>,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request could not be formed.
    #[error("invalid request: {0}")]
    Invalid(#[from] http::Error),
    /// No connection came about.
    #[error("cannot connect to {authority}: {why}")]
    Connect {
        /// Host and port.
        authority: String,
        /// What the system says.
        why: String,
    },
    /// It is not to be connected to.
    #[error("{authority} is not asked: {why}")]
    Refused {
        /// Host and port.
        authority: String,
        /// What the dialer says.
        why: String,
    },
    /// The answer took too long.
    #[error("no answer from {url} within {after:?}")]
    Timeout {
        /// What was asked for.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// The connection broke before the answer started.
    #[error("the connection to {authority} broke: {why}")]
    Broken {
        /// Host and port.
        authority: String,
        /// What happened.
        why: String,
    },
    /// The answer is an error.
    #[error("{url} answered {status}: {}", excerpt(body))]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: StatusCode,
        /// The start of the body.
        body: Bytes,
    },
    /// The body of the answer could not be read.
    #[error("the answer of {url} could not be read: {source}")]
    Body {
        /// What was asked for.
        url: String,
        /// Why.
        source: BodyError,
    },
    /// The answer is not the JSON that was expected.
    #[error("the answer of {url} is not understood: {source}")]
    Json {
        /// What was asked for.
        url: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Whether the same request may succeed later, or elsewhere.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Body { source, .. } => !matches!(source, BodyError::TooLong { .. }),
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Invalid(_) | Self::Json { .. } | Self::Refused { .. } => false,
        }
    }

    /// The status of an answer that is an error.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// The start of an error's body, for people.
fn excerpt(body: &Bytes) -> String {
    String::from_utf8_lossy(body).trim().chars().take(200).collect()
}

impl Client {
    /// A client with an empty pool. Needs a tokio runtime when used.
    pub fn new(options: &ClientOptions) -> Self {
        let connector = Connector::new(options.connect_timeout, options.tls.clone(), options.dial.clone());
        let inner = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.pool_idle_timeout)
            .pool_max_idle_per_host(options.pool_idle_max)
            .build(connector);
        let mut authorization = options.authorization.clone();
        // Then it is not printed.
        authorization.iter_mut().for_each(|value| value.set_sensitive(true));
        Self { inner, authorization }
    }

    /// Sends a request and waits for the head of the answer, at most `head_timeout` in all. The body is read by the caller. Any
    /// status is an answer, not an error. Needs an absolute URI.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::Timeout`], [`ClientError::Broken`].
    pub async fn send(&self, request: Request, head_timeout: Duration) -> Result<Response, ClientError> {
        let url = request.uri().to_string();
        tokio::time::timeout(head_timeout, self.send_with_retries(request))
            .await
            .unwrap_or(Err(ClientError::Timeout { url, after: head_timeout }))
    }

    async fn send_with_retries(&self, mut request: Request) -> Result<Response, ClientError> {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT_VALUE));
        if let Some(value) = &self.authorization {
            request.headers_mut().entry(AUTHORIZATION).or_insert_with(|| value.clone());
        }
        let mut retries = if is_repeatable(&request) { STALE_RETRIES } else { 0 };
        loop {
            let copy = if retries > 0 { try_clone(&request) } else { None };
            let error = match self.inner.request(request).await {
                Ok(response) => return Ok(response.map(Body::from)),
                Err(error) => error,
            };
            match copy {
                Some(copy) if ended_before_answer(&error) => request = copy,
                _ => return Err(classify(authority, &error)),
            }
            retries -= 1;
        }
    }

    /// GET with at most `limit` bytes of answer, everything within `timeout`.
    ///
    /// # Errors
    /// Any [`ClientError`]; a status other than 2xx is [`ClientError::Status`].
    pub async fn get_bytes(&self, url: &str, limit: usize, timeout: Duration) -> Result<Bytes, ClientError> {
        let request = http::Request::get(url).body(Body::empty())?;
        self.exchange(request, limit, timeout).await
    }

    /// GET of a JSON document of at most [`JSON_LEN_MAX`] bytes, everything within `timeout`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        url: &str,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let request = http::Request::get(url).header(ACCEPT, JSON).body(Body::empty())?;
        self.exchange_json(request, timeout).await
    }

    /// POST of a JSON document, with a JSON answer. Not repeated on a stale connection; see [`Idempotent`] for that.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        url: &str,
        value: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, ClientError> {
        self.exchange_json(json_request(Method::POST, url, value)?, timeout).await
    }

    /// As [`Self::post_json`], for a request that does no harm when it arrives twice.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn post_json_idempotent<T: DeserializeOwned>(
        &self,
        url: &str,
        value: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let mut request = json_request(Method::POST, url, value)?;
        request.extensions_mut().insert(Idempotent);
        self.exchange_json(request, timeout).await
    }

    /// Sends `request` and reads a 2xx answer of at most `limit` bytes, everything within `timeout`.
    ///
    /// # Errors
    /// Any [`ClientError`]; a status other than 2xx is [`ClientError::Status`].
    pub async fn exchange(
        &self,
        request: Request,
        limit: usize,
        timeout: Duration,
    ) -> Result<Bytes, ClientError> {
        let url = request.uri().to_string();
        let exchange = async {
            let response = self.send_with_retries(request).await?;
            let status = response.status();
            if !status.is_success() {
                let body = response.into_body().collect(ERROR_BODY_LEN_MAX).await.unwrap_or_default();
                return Err(ClientError::Status { url: url.clone(), status, body });
            }
            let body = response.into_body().collect(limit).await;
            body.map_err(|source| ClientError::Body { url: url.clone(), source })
        };
        let outcome = tokio::time::timeout(timeout, exchange).await;
        outcome.unwrap_or_else(|_| Err(ClientError::Timeout { url: url.clone(), after: timeout }))
    }

    async fn exchange_json<T: DeserializeOwned>(
        &self,
        request: Request,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let url = request.uri().to_string();
        let bytes = self.exchange(request, JSON_LEN_MAX, timeout).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Json { url, source })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new(&ClientOptions::default())
    }
}

/// The other end of the connection that an answer came over, as the socket knows it; `None` for an answer that no client received.
pub fn remote_addr(response: &Response) -> Option<SocketAddr> {
    response.extensions().get::<HttpInfo>().map(HttpInfo::remote_addr)
}

const USER_AGENT_VALUE: &str = concat!("shoal/", env!("CARGO_PKG_VERSION"));

fn json_request(method: Method, url: &str, value: &impl Serialize) -> Result<Request, ClientError> {
    let body =
        serde_json::to_vec(value).map_err(|source| ClientError::Json { url: url.to_owned(), source })?;
    Ok(http::Request::builder()
        .method(method)
        .uri(url)
        .header(CONTENT_TYPE, JSON)
        .header(ACCEPT, JSON)
        .body(Body::from(body))?)
}

/// Whether the request does the same when it arrives twice (RFC 9110, 9.2.2).
fn is_repeatable(request: &Request) -> bool {
    request.method().is_idempotent() || request.extensions().get::<Idempotent>().is_some()
}

/// A copy, when the body is at hand.
fn try_clone(request: &Request) -> Option<Request> {
    let mut copy = http::Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Whether the connection ended before the first byte of an answer, as a stale one does.
fn ended_before_answer(error: &HyperError) -> bool {
    if error.is_connect() {
        return false;
    }
    causes(error).any(|cause| {
        let of_hyper = cause.downcast_ref::<hyper::Error>();
        let of_system = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        of_hyper
            .is_some_and(|cause| cause.is_incomplete_message() || cause.is_canceled() || cause.is_closed())
            || matches!(of_system, Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe))
    })
}

fn classify(authority: String, error: &HyperError) -> ClientError {
    if let Some(DialError::Refused(why)) = causes(error).find_map(|cause| cause.downcast_ref()) {
        return ClientError::Refused { authority, why: why.clone() };
    }
    let why = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_connect() {
        ClientError::Connect { authority, why }
    } else {
        ClientError::Broken { authority, why }
    }
}

/// The error and everything below it.
fn causes(error: &HyperError) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
}
