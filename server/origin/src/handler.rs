//! The origin's HTTP face on port 15002: `GET` and `HEAD /blobs/{digest}` with `Range`, `GET /blobs/{digest}/metainfo`.

use std::net::SocketAddr;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use shoal_api::origin::METAINFO_TYPE;
use shoal_http::{Body, Handler, Request, Response, json};
use shoal_oci::{Digest, Selection, reply};

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

impl OriginHandler {
    /// HTTP over `origin`.
    pub const fn new(origin: Origin) -> Self {
        Self { origin }
    }

    async fn answer(&self, request: &Request) -> Result<Response, Response> {
        let question = Question::of(request.uri().path())?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(not_allowed());
        }
        match question {
            Question::Blob(digest) => self.blob(request, &digest).await,
            Question::Metainfo(digest) => {
                let metainfo =
                    self.origin.metainfo(&digest).await.map_err(failed)?.ok_or_else(|| absent(&digest))?;
                Ok(json::with_type(StatusCode::OK, METAINFO_TYPE, metainfo.encode()))
            }
        }
    }

    async fn blob(&self, request: &Request, digest: &Digest) -> Result<Response, Response> {
        let size = self.origin.size(digest).ok_or_else(|| absent(digest))?;
        let range = request.headers().get(header::RANGE).map(|value| value.to_str().unwrap_or_default());
        let head = reply::blob(digest, size, &Selection::of(range, size));
        if head.status == StatusCode::RANGE_NOT_SATISFIABLE.as_u16() {
            let mut answer =
                json::error(StatusCode::RANGE_NOT_SATISFIABLE, format!("the blob has {size} bytes"));
            let stated = shoal_oci::range::unsatisfied_range(size);
            answer.headers_mut().extend(header_pair(header::CONTENT_RANGE, &stated));
            return Err(answer);
        }
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
        for (name, value) in &head.headers {
            answer.headers_mut().extend(header_pair(HeaderName::from_static(name), value));
        }
        if *request.method() == Method::GET && !head.body.is_empty() {
            let turn = self.origin.turn().await.map_err(failed)?;
            let blob = self.origin.blob(digest).await.map_err(failed)?.ok_or_else(|| absent(digest))?;
            *answer.body_mut() = body::stream(blob, head.body, turn);
        }
        Ok(answer)
    }
}

impl Question {
    fn of(path: &str) -> Result<Self, Response> {
        let unknown = || {
            json::error(
                StatusCode::NOT_FOUND,
                "the origin answers /blobs/{digest} and /blobs/{digest}/metainfo",
            )
        };
        let rest = path.strip_prefix("/blobs/").ok_or_else(unknown)?;
        let (digest, metainfo) = match rest.split_once('/') {
            None => (rest, false),
            Some((digest, "metainfo")) => (digest, true),
            Some(_) => return Err(unknown()),
        };
        // Clients may write the colon as %3A.
        let digest = shoal_http::query::decode_segment(digest).unwrap_or_default();
        let digest: Digest = digest
            .parse()
            .map_err(|error| json::error(StatusCode::BAD_REQUEST, format!("invalid digest: {error}")))?;
        Ok(if metainfo { Self::Metainfo(digest) } else { Self::Blob(digest) })
    }
}

#[async_trait]
impl Handler for OriginHandler {
    async fn handle(&self, request: Request, _peer: SocketAddr) -> Response {
        self.answer(&request).await.unwrap_or_else(|refusal| refusal)
    }
}

fn absent(digest: &Digest) -> Response {
    json::error(StatusCode::NOT_FOUND, format!("this origin does not have {digest}"))
}

fn not_allowed() -> Response {
    let mut answer = json::error(StatusCode::METHOD_NOT_ALLOWED, "blobs are read here; push to the registry");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

fn failed(error: OriginError) -> Response {
    if matches!(error, OriginError::Busy) {
        let mut answer = json::error(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return answer;
    }
    tracing::error!(%error, "an origin request failed");
    json::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// A header whose value is made of digits and names, and therefore always valid.
fn header_pair(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(value).ok().map(|value| (name, value))
}

#[cfg(test)]
mod tests;
