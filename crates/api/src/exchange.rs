//! One request and its whole answer, with bounds on both: what every thin client here is made of.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Uri, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_http::{Body, Client, ClientError, Idempotent, Request, Response};

use crate::error::ApiError;

/// Longest error body that is read for its sentence, in bytes.
const ERROR_LEN_MAX: usize = 4 * 1024;

/// How long an error body may take: it is a courtesy, and the status is known already.
const ERROR_TIMEOUT: Duration = Duration::from_secs(1);

/// Scheme, host and port of one of our listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    secure: bool,
    authority: String,
    host: String,
    port: u16,
}

/// An answer and where it came from.
pub(crate) struct Answer<T> {
    pub(crate) value: T,
    /// The other end of the connection, when the client knows it.
    pub(crate) remote: Option<SocketAddr>,
}

impl Base {
    /// Reads `http://host:port` or `https://host:port` with an optional slash at the end.
    ///
    /// # Errors
    /// [`ApiError::Url`] names what is wrong.
    pub fn parse(url: &str) -> Result<Self, ApiError> {
        let refuse = |why: &str| ApiError::Url { url: url.to_owned(), why: why.to_owned() };
        let uri: Uri = url.parse().map_err(|_| refuse("not a URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse("the scheme is neither http nor https")),
        };
        if uri.path() != "/" || uri.query().is_some() {
            return Err(refuse("a path is not expected"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("no host"))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(refuse("no plain host"));
        }
        Ok(Self {
            secure,
            authority: authority.as_str().to_owned(),
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        })
    }

    /// `http` or `https`.
    pub const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Host and port as they were written.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The URL of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority)
    }
}

/// Posts `body` as JSON and reads a JSON answer of at most `limit` bytes. `timeout` bounds the head and the body each. Only for
/// requests that do no harm when they arrive twice: they are repeated when a pooled connection turns out to be closed.
pub(crate) async fn post_json<T: DeserializeOwned>(
    http: &Client,
    url: &str,
    what: &str,
    body: &(impl Serialize + Sync),
    limit: usize,
    timeout: Duration,
) -> Result<Answer<T>, ApiError> {
    let bytes = serde_json::to_vec(body).map_err(|error| not_understood(what, &error))?;
    let mut request = request(Method::POST, url, Body::from(bytes))?;
    request
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(shoal_http::json::JSON));
    request.extensions_mut().insert(Idempotent);
    let response = send(http, request, what, timeout).await?;
    let remote = shoal_http::client::remote_addr(&response);
    let response = accept(response, url, what, StatusCode::OK).await?;
    let bytes = read(response, url, what, limit, timeout).await?;
    let value = serde_json::from_slice(&bytes).map_err(|error| not_understood(what, &error))?;
    Ok(Answer { value, remote })
}

/// A request without headers of its own.
pub(crate) fn request(method: Method, url: &str, body: Body) -> Result<Request, ApiError> {
    let refuse = |error: http::Error| ApiError::Url { url: url.to_owned(), why: error.to_string() };
    http::Request::builder().method(method).uri(url).body(body).map_err(refuse)
}

/// Sends a request and waits for the head of the answer.
pub(crate) async fn send(
    http: &Client,
    request: Request,
    what: &str,
    timeout: Duration,
) -> Result<Response, ApiError> {
    http.send(request, timeout).await.map_err(failed(what))
}

/// Lets only one status through; others become an error with the sentence that the other side sent.
pub(crate) async fn accept(
    response: Response,
    url: &str,
    what: &str,
    wanted: StatusCode,
) -> Result<Response, ApiError> {
    let status = response.status();
    if status == wanted {
        return Ok(response);
    }
    let sentence = tokio::time::timeout(ERROR_TIMEOUT, response.into_body().collect(ERROR_LEN_MAX)).await;
    let body = sentence.ok().and_then(Result::ok).unwrap_or_default();
    Err(failed(what)(ClientError::Status { url: url.to_owned(), status, body }))
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read(
    response: Response,
    url: &str,
    what: &str,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, ApiError> {
    read_telling(response, url, what, limit, timeout, |_| {}).await
}

/// As [`read`]; `came` is told the length of each part as it comes.
pub(crate) async fn read_telling(
    response: Response,
    url: &str,
    what: &str,
    limit: usize,
    timeout: Duration,
    came: impl FnMut(usize) + Send,
) -> Result<Bytes, ApiError> {
    let late = |_| ClientError::Timeout { url: url.to_owned(), after: timeout };
    let reading = response.into_body().collect_telling(limit, came);
    let body = tokio::time::timeout(timeout, reading).await.map_err(late);
    let broken = |source| ClientError::Body { url: url.to_owned(), source };
    body.and_then(|whole| whole.map_err(broken)).map_err(failed(what))
}

fn failed(what: &str) -> impl FnOnce(ClientError) -> ApiError {
    let what = what.to_owned();
    |source| ApiError::Http { what, source }
}

/// The answer came, and is not one of ours.
pub(crate) fn not_understood(what: &str, why: &impl fmt::Display) -> ApiError {
    ApiError::Answer { what: what.to_owned(), why: why.to_string() }
}
