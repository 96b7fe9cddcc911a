//! The origin's HTTP face on port 15002: `GET` and `HEAD /blobs/{digest}` with `Range`, `GET /blobs/{digest}/metainfo` and
//! `GET /blobs/{digest}/arriving`; all for the repository in `?repository=`, from which whoever asks must be allowed to pull.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use shoal_api::origin::{AT_ONCE, METAINFO_TYPE, REPOSITORY};
use shoal_api::{Member, Rights, RightsError};
use shoal_http::{Body, Handler, Request, Response, json, query};
use shoal_oci::{Digest, ParseDigestError, ParseNameError, Repository, Selection, reply};

use crate::body::{self, Pieces};
use crate::error::OriginError;
use crate::origin::Origin;
use crate::tell;

/// HTTP over an [`Origin`].
pub struct OriginHandler {
    origin: Origin,
    rights: Arc<dyn Rights>,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Question {
    Blob(Digest),
    Metainfo(Digest),
    Arriving(Digest),
}

/// Why a question gets no blob.
#[derive(Debug)]
enum Refusal {
    UnknownPath,
    Digest(ParseDigestError),
    Repository(ParseNameError),
    Method,
    Absent(Digest),
    Range { size: u64 },
    Rights(RightsError),
    Failed(OriginError),
}

impl From<OriginError> for Refusal {
    fn from(error: OriginError) -> Self {
        Self::Failed(error)
    }
}

impl OriginHandler {
    /// HTTP over `origin`, for those whom `rights` allow.
    pub fn new(origin: Origin, rights: Arc<dyn Rights>) -> Self {
        Self { origin, rights }
    }

    async fn answer(&self, request: &Request, peer: SocketAddr) -> Result<Response, Refusal> {
        let question = Question::of(request.uri().path())?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        self.check_rights(request, peer, question.digest()).await?;
        match question {
            Question::Blob(digest) => self.blob(request, &digest).await,
            Question::Metainfo(digest) => {
                let metainfo = self.origin.metainfo(&digest).await?.ok_or(Refusal::Absent(digest))?;
                Ok(json::with_type(StatusCode::OK, METAINFO_TYPE, metainfo.encode()))
            }
            Question::Arriving(digest) => {
                let told = self.told(&digest).await?.ok_or(Refusal::Absent(digest))?;
                let mut answer = Response::new(told);
                let kind = (header::CONTENT_TYPE, HeaderValue::from_static(METAINFO_TYPE));
                answer.headers_mut().extend([kind]);
                Ok(answer)
            }
        }
    }

    /// What is told of a blob that is arriving, or has arrived.
    async fn told(&self, digest: &Digest) -> Result<Option<Body>, OriginError> {
        if let Some(blob) = self.origin.blob(digest).await? {
            return Ok(Some(tell::whole(blob.metainfo())));
        }
        let Some(arrival) = self.origin.intake.arrival(digest) else { return Ok(None) };
        let place = self.origin.intake.follower()?;
        Ok(Some(tell::growing(arrival, place)))
    }

    /// Whether whoever asks may have the blob. If not, it hears what it would hear if the blob were not here.
    async fn check_rights(
        &self,
        request: &Request,
        peer: SocketAddr,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        let repository = query::value(request.uri().query(), REPOSITORY);
        let repository = repository.map(|name| name.parse::<Repository>()).transpose();
        let repository = repository.map_err(Refusal::Repository)?;
        let member = Member::of(request, peer);
        if self.rights.may_read(&member, repository.as_ref(), digest).await.map_err(Refusal::Rights)? {
            return Ok(());
        }
        let repository = repository.as_ref().map(Repository::as_str);
        tracing::debug!(%digest, repository, %peer, "not handed out");
        Err(Refusal::Absent(*digest))
    }

    async fn blob(&self, request: &Request, digest: &Digest) -> Result<Response, Refusal> {
        let size = self.origin.expected_size(digest)?.ok_or(Refusal::Absent(*digest))?;
        let range = request.headers().get(header::RANGE).map(|value| value.to_str().unwrap_or_default());
        let selection = Selection::of(range, size);
        if selection == Selection::Unsatisfiable {
            return Err(Refusal::Range { size });
        }
        let head = reply::blob(digest, size, &selection);
        if self.origin.size(digest)?.is_none() && (head.body.is_empty() || head.body == (0..size)) {
            // Whether the whole of it is right is not known yet, nor whether there is such a blob.
            return Err(Refusal::Failed(OriginError::Arriving(*digest)));
        }
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
        for (name, value) in &head.headers {
            answer.headers_mut().extend(header_pair(HeaderName::from_static(name), value));
        }
        if *request.method() == Method::GET && !head.body.is_empty() {
            *answer.body_mut() = self.body(request, digest, head.body, size).await?;
        }
        Ok(answer)
    }

    /// The bytes of `range`. Whoever wants a small blob at once gets it from memory or not at all; others wait for their turn.
    async fn body(
        &self,
        request: &Request,
        digest: &Digest,
        range: Range<u64>,
        size: u64,
    ) -> Result<Body, Refusal> {
        if request.headers().contains_key(&AT_ONCE) && range == (0..size) {
            let content = self.origin.content(digest, size).await?;
            return content.map(Body::from).ok_or(Refusal::Failed(OriginError::Busy));
        }
        let pieces = match self.origin.blob(digest).await? {
            Some(blob) => Pieces::Blob(blob),
            None => self.arrived(digest, &range).await?,
        };
        let turn = self.origin.turn().await?;
        Ok(body::stream(pieces, range, turn))
    }

    /// What has come of a blob, when `range` has; waits a little for it. Its last piece comes with the verdict on the whole.
    async fn arrived(&self, digest: &Digest, range: &Range<u64>) -> Result<Pieces, Refusal> {
        let arrival = self.origin.intake.arrival(digest).ok_or(Refusal::Absent(*digest))?;
        let last = arrival.metainfo().layout().piece_at(range.end.saturating_sub(1));
        if !arrival.reaches(last.0).await {
            return Err(Refusal::Failed(OriginError::Arriving(*digest)));
        }
        Ok(Pieces::Partial(arrival.partial().clone()))
    }
}

impl Question {
    const fn digest(&self) -> &Digest {
        match self {
            Self::Blob(digest) | Self::Metainfo(digest) | Self::Arriving(digest) => digest,
        }
    }

    fn of(path: &str) -> Result<Self, Refusal> {
        let rest = path.strip_prefix("/blobs/").ok_or(Refusal::UnknownPath)?;
        let (digest, question): (_, fn(Digest) -> Self) = match rest.split_once('/') {
            None => (rest, Self::Blob),
            Some((digest, "metainfo")) => (digest, Self::Metainfo),
            Some((digest, "arriving")) => (digest, Self::Arriving),
            Some(_) => return Err(Refusal::UnknownPath),
        };
        // Clients may write the colon as %3A.
        let digest = query::decode_segment(digest).unwrap_or_default();
        let digest: Digest = digest.parse().map_err(Refusal::Digest)?;
        Ok(question(digest))
    }
}

impl Refusal {
    fn into_response(self) -> Response {
        let (status, message, extra) = match self {
            Self::UnknownPath => {
                let known =
                    "the origin answers /blobs/{digest}, and /metainfo and /arriving below it".to_owned();
                (StatusCode::NOT_FOUND, known, None)
            }
            Self::Digest(error) => (StatusCode::BAD_REQUEST, format!("invalid digest: {error}"), None),
            Self::Repository(error) => {
                (StatusCode::BAD_REQUEST, format!("invalid {REPOSITORY}: {error}"), None)
            }
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
            Self::Rights(error) => {
                tracing::error!(%error, "an origin request failed");
                let again = (header::RETRY_AFTER, "1".to_owned());
                (StatusCode::SERVICE_UNAVAILABLE, error.to_string(), Some(again))
            }
            Self::Failed(error @ (OriginError::Busy | OriginError::Arriving(_))) => {
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
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        self.answer(&request, peer).await.unwrap_or_else(Refusal::into_response)
    }
}

/// A header whose value is made of digits and names, and therefore always valid.
fn header_pair(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(value).ok().map(|value| (name, value))
}

#[cfg(test)]
mod tests;
