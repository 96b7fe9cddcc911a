//! The HTTP face of the role on port 15004: a tag's digest, and the tags of a repository.
//!
//! Paths and JSON are those of Kraken's build-index, so that what asked it can ask us. Unlike there, only a tag that does not exist
//! is a 404; a store that cannot answer is a 503, so that nobody takes an outage for an absence.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use shoal_api::tags::{Page, PageAfter, Tags, TagsError, TagsErrorKind};
use shoal_http::{Handler, Request, Response, json, query};
use shoal_oci::{Repository, Tag};

/// Tags in one page unless `limit` asks for another number.
const PAGE_LEN: usize = 1000;
/// The most tags in one page: about 1 MiB of JSON with long tags.
const PAGE_LEN_MAX: usize = 10_000;
/// The seconds after which a client may ask again when the store is unavailable.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// What may be asked here.
const READING: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// HTTP over a [`Tags`].
pub struct TagsHandler {
    tags: Arc<dyn Tags>,
}

/// One page of names, as build-index writes it.
#[derive(Debug, Serialize)]
struct List {
    links: Links,
    size: usize,
    result: Vec<Tag>,
}

/// Paths of this page and of the next one; the latter is empty on the last page.
#[derive(Debug, Serialize)]
struct Links {
    next: String,
    #[serde(rename = "self")]
    this: String,
}

impl TagsHandler {
    /// HTTP over `tags`.
    pub fn new(tags: Arc<dyn Tags>) -> Self {
        Self { tags }
    }

    /// `name` is `repository:tag`, percent-encoded or not.
    async fn tag(&self, name: &str) -> Result<Response, Refusal> {
        let name = query::decode_segment(name)
            .ok_or_else(|| bad_request("the path is not percent-encoded UTF-8"))?;
        let (repository, tag) = name
            .rsplit_once(':')
            .ok_or_else(|| bad_request("a tag is written repository:tag, as in team%2Fapp:v1"))?;
        let repository = repository.parse::<Repository>().map_err(|error| bad_request(error.to_string()))?;
        let tag = tag.parse::<Tag>().map_err(|error| bad_request(error.to_string()))?;
        match self.tags.resolve(&repository, &tag).await? {
            Some(digest) => Ok(json::text(StatusCode::OK, digest.to_string())),
            None => Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no tag {repository}:{tag}"))),
        }
    }

    /// `name` is the repository, percent-encoded or not.
    async fn tags_of(&self, name: &str, request: &Request) -> Result<Response, Refusal> {
        let name = query::decode_segment(name)
            .ok_or_else(|| bad_request("the path is not percent-encoded UTF-8"))?;
        let repository = name.parse::<Repository>().map_err(|error| bad_request(error.to_string()))?;
        let limit = limit(request)?;
        let last = query::value(request.uri().query(), "offset").filter(|offset| !offset.is_empty());
        let page = PageAfter { last, limit };
        match self.tags.tags(&repository, page).await? {
            Some(page) => Ok(json::response(StatusCode::OK, &list(request, limit, page))),
            None => Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no repository {repository}"))),
        }
    }

    async fn answer(&self, request: &Request) -> Result<Response, Refusal> {
        let path = request.uri().path();
        let repository = || path.strip_prefix("/repositories/")?.strip_suffix("/tags");
        if let Some(name) = path.strip_prefix("/tags/") {
            reading(request)?;
            self.tag(name).await
        } else if let Some(name) = repository() {
            reading(request)?;
            self.tags_of(name, request).await
        } else {
            let message =
                "this port answers GET /tags/{repository:tag} and GET /repositories/{repository}/tags";
            Err(Refusal::new(StatusCode::NOT_FOUND, message))
        }
    }
}

#[async_trait]
impl Handler for TagsHandler {
    async fn handle(&self, request: Request, _peer: SocketAddr) -> Response {
        self.answer(&request).await.unwrap_or_else(Refusal::into_response)
    }
}

fn reading(request: &Request) -> Result<(), Refusal> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here; tags are set by pushing"))
}

fn limit(request: &Request) -> Result<usize, Refusal> {
    match query::value(request.uri().query(), "limit").map(|text| text.parse::<usize>()) {
        None => Ok(PAGE_LEN),
        Some(Ok(limit @ 1..)) => Ok(limit.min(PAGE_LEN_MAX)),
        Some(_) => Err(bad_request("limit is the number of tags to list, 1 or more")),
    }
}

fn list(request: &Request, limit: usize, page: Page<Tag>) -> List {
    let uri = request.uri();
    let next = match page.items.last() {
        Some(last) if page.more => {
            let limit = limit.to_string();
            let parameters = query::encode([("limit", limit.as_str()), ("offset", last.as_str())]);
            format!("{}?{parameters}", uri.path())
        }
        _ => String::new(),
    };
    let this = uri.path_and_query().map_or_else(String::new, ToString::to_string);
    List { links: Links { next, this }, size: page.items.len(), result: page.items }
}

/// An answer that is not what was asked for.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn into_response(self) -> Response {
        let mut answer = json::error(self.status, self.message);
        let header = match self.status {
            StatusCode::METHOD_NOT_ALLOWED => Some((header::ALLOW, READING)),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, RETRY_AFTER)),
            _ => None,
        };
        answer.headers_mut().extend(header);
        answer
    }
}

impl From<TagsError> for Refusal {
    fn from(error: TagsError) -> Self {
        let status = match error.kind {
            TagsErrorKind::NotFound => StatusCode::NOT_FOUND,
            TagsErrorKind::Conflict => StatusCode::CONFLICT,
            TagsErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            TagsErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.message)
    }
}

fn bad_request(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests;
