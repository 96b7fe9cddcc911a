//! The origin's HTTP face on port 15002: `GET` and `HEAD /blobs/{digest}` with `Range`, `GET /blobs/{digest}/metainfo`.

use std::net::SocketAddr;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use shoal_api::origin::METAINFO_TYPE;
use shoal_http::{Body, Handler, Request, Response, json};
use shoal_oci::{Digest, ParseDigestError, Selection, reply};

use crate::body;
use crate::error::OriginError;
use crate::origin::Origin;

/// HTTP over an [`Origin`].
pub struct OriginHandler {
    origin: Origin,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Question {
    Blob(Digest),
    Metainfo(Digest),
}

/// Why a question gets no blob.
#[derive(Debug)]
enum Refusal {
    UnknownPath,
    Digest(ParseDigestError),
    Method,
    Absent(Digest),
    Range { size: u64 },
    Failed(OriginError),
}

impl From<OriginError> for Refusal {
    fn from(error: OriginError) -> Self {
        Self::Failed(error)
    }
}

impl OriginHandler {
    /// HTTP over `origin`.
    pub const fn new(origin: Origin) -> Self {
        Self { origin }
    }

    async fn answer(&self, request: &Request) -> Result<Response, Refusal> {
        let question = Question::of(request.uri().path())?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        match question {
            Question::Blob(digest) => self.blob(request, &digest).await,
            Question::Metainfo(digest) => {
                let metainfo = self.origin.metainfo(&digest).await?.ok_or(Refusal::Absent(digest))?;
                Ok(json::with_type(StatusCode::OK, METAINFO_TYPE, metainfo.encode()))
            }
        }
    }

    async fn blob(&self, request: &Request, digest: &Digest) -> Result<Response, Refusal> {
        let size = self.origin.size(digest).ok_or(Refusal::Absent(*digest))?;
        let range = request.headers().get(header::RANGE).map(|value| value.to_str().unwrap_or_default());
        let selection = Selection::of(range, size);
        if selection == Selection::Unsatisfiable {
            return Err(Refusal::Range { size });
        }
        let head = reply::blob(digest, size, &selection);
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
        for (name, value) in &head.headers {
            answer.headers_mut().extend(header_pair(HeaderName::from_static(name), value));
        }
        if *request.method() == Method::GET && !head.body.is_empty() {
            let turn = self.origin.turn().await?;
            let blob = self.origin.blob(digest).await?.ok_or(Refusal::Absent(*digest))?;
            *answer.body_mut() = body::stream(blob, head.body, turn);
        }
        Ok(answer)
    }
}

impl Question {
    fn of(path: &str) -> Result<Self, Refusal> {
        let rest = path.strip_prefix("/blobs/").ok_or(Refusal::UnknownPath)?;
        let (digest, metainfo) = match rest.split_once('/') {
            None => (rest, false),
            Some((digest, "metainfo")) => (digest, true),
            Some(_) => return Err(Refusal::UnknownPath),
        };
        // Clients may write the colon as %3A.
        let digest = shoal_http::query::decode_segment(digest).unwrap_or_default();
        let digest: Digest = digest.parse().map_err(Refusal::Digest)?;
        Ok(if metainfo { Self::Metainfo(digest) } else { Self::Blob(digest) })
    }
}

impl Refusal {
    fn into_response(self) -> Response {
        let (status, message, extra) = match self {
            Self::UnknownPath => {
                let known = "the origin answers /blobs/{digest} and /blobs/{digest}/metainfo".to_owned();
                (StatusCode::NOT_FOUND, known, None)
            }
            Self::Digest(error) => (StatusCode::BAD_REQUEST, format!("invalid digest: {error}"), None),
            Self::Method => {
                let allow = (header::ALLOW, "GET, HEAD".to_owned());
                (
                    StatusCode::METHOD_NOT_ALLOWED,
                    "blobs are read here; push to the registry".to_owned(),
                    Some(allow),
                )
            }
            Self::Absent(digest) => {
                (StatusCode::NOT_FOUND, format!("this origin does not have {digest}"), None)
            }
            Self::Range { size } => {
                let stated = (header::CONTENT_RANGE, shoal_oci::range::unsatisfied_range(size));
                (StatusCode::RANGE_NOT_SATISFIABLE, format!("the blob has {size} bytes"), Some(stated))
            }
            Self::Failed(error @ OriginError::Busy) => {
                let again = (header::RETRY_AFTER, "1".to_owned());
                (StatusCode::SERVICE_UNAVAILABLE, error.to_string(), Some(again))
            }
            Self::Failed(error) => {
                tracing::error!(%error, "an origin request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), None)
            }
        };
        let mut answer = json::error(status, message);
        answer.headers_mut().extend(extra.and_then(|(name, value)| header_pair(name, &value)));
        answer
    }
}

#[async_trait]
impl Handler for OriginHandler {
    async fn handle(&self, request: Request, _peer: SocketAddr) -> Response {
        self.answer(&request).await.unwrap_or_else(Refusal::into_response)
    }
}

/// A header whose value is made of digits and names, and therefore always valid.
fn header_pair(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(value).ok().map(|value| (name, value))
}

#[cfg(test)]
mod tests;
