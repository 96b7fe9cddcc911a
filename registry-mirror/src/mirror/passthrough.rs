//! Lists (tags, referrers, catalog): asked of the server and passed on. They change at any moment, so nothing is cached.

use std::time::Duration;

use http::header::{ACCEPT, AGE, CONTENT_LENGTH, CONTENT_TYPE, LINK};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use shoal_api::copies::FRESHNESS;
use shoal_http::{Body, Request, Response};
use shoal_oci::{ErrorCode, Host, OciError, Repository, Route};
use shoal_telemetry::rooms::mirror::{AnswerSource, RequestKind};

use super::Rooms;
use crate::hedge::{PATIENCE, hedged};

/// For one list in all, whatever the number of names that may be meant. A list is one indexed query on the server.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest list that is passed on: referrers pages are cut at 4 MiB by registries, tag pages are far smaller.
const LIST_LEN_MAX: usize = 8 * 1024 * 1024;

/// Headers of the server's answer that a client needs.
const PASSED_ON: [HeaderName; 5] = [
    CONTENT_TYPE,
    LINK,
    HeaderName::from_static("oci-filters-applied"),
    HeaderName::from_static(FRESHNESS),
    AGE,
];

/// Asks the server for a list under each name that may be meant, and passes on the first that exists.
pub(super) async fn serve(
    rooms: &Rooms,
    request: &Request,
    host: Option<&Host>,
    route: &Route,
) -> Result<Response, OciError> {
    let paths: Vec<String> = match route.repository() {
        None => vec![route.to_path()],
        Some(repository) => {
            let candidates = rooms.resolver.candidates(host, repository);
            candidates.into_iter().filter_map(|candidate| renamed(route, candidate)).collect()
        }
    };
    let asked = tokio::time::timeout(TIMEOUT, ask_each(rooms, request, &paths)).await;
    let answer = asked.unwrap_or_else(|_elapsed| Err(unreachable(&format!("no answer within {TIMEOUT:?}"))));
    let source = if answer.is_ok() { AnswerSource::Server } else { AnswerSource::Miss };
    rooms.metrics.request(RequestKind::Other, source);
    answer
}

/// The first list that exists.
async fn ask_each(rooms: &Rooms, request: &Request, paths: &[String]) -> Result<Response, OciError> {
    let mut last = OciError::new(ErrorCode::NameUnknown, "this mirror does not answer for that registry");
    for path in paths {
        match ask(rooms, request, path).await {
            Ok(response) => return Ok(response),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Clients go on to their next host after this, as after a name that the server does not know; the message tells people why.
fn unreachable(why: &str) -> OciError {
    OciError::new(ErrorCode::NameUnknown, format!("the server cannot be asked: {why}"))
}

/// Path of the same list of another repository.
fn renamed(route: &Route, repository: Repository) -> Option<String> {
    match route {
        Route::Tags { .. } => Some(Route::Tags { repository }.to_path()),
        Route::Referrers { subject, .. } => {
            Some(Route::Referrers { repository, subject: *subject }.to_path())
        }
        _ => None,
    }
}

async fn ask(rooms: &Rooms, request: &Request, path: &str) -> Result<Response, OciError> {
    // `ns` is between the client and us; the rest is the server's.
    let pairs = shoal_http::query::pairs(request.uri().query());
    let passed_on = pairs.iter().filter(|(name, _)| matches!(name.as_str(), "n" | "last" | "artifactType"));
    let query = shoal_http::query::encode(passed_on.map(|(name, value)| (name.as_str(), value.as_str())));
    let url = format!("{}{path}{}{query}", rooms.server, if query.is_empty() { "" } else { "?" });
    let accept = request.headers().get(ACCEPT).cloned();
    let answer = hedged(PATIENCE, || async {
        let mut asked = http::Request::builder().method(Method::GET).uri(&url);
        if let Some(accept) = &accept {
            asked = asked.header(ACCEPT, accept);
        }
        let asked = asked.body(Body::empty()).map_err(|error| unreachable(&error.to_string()))?;
        rooms.client.send(asked, TIMEOUT).await.map_err(|error| unreachable(&error.to_string()))
    });
    let answer = answer.await?;
    let (head, body) = answer.into_parts();
    let bytes = body.collect(LIST_LEN_MAX).await.map_err(|error| unreachable(&error.to_string()))?;
    match head.status {
        StatusCode::OK => {}
        StatusCode::BAD_REQUEST => return Err(refused(&bytes).with_status(400)),
        StatusCode::NOT_FOUND => {
            return Err(OciError::new(ErrorCode::NameUnknown, "the server has no such repository"));
        }
        status => return Err(unreachable(&format!("it answered {status}"))),
    }
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CONTENT_LENGTH, bytes.len().into());
    for name in PASSED_ON {
        let value = head.headers.get(&name);
        let value =
            if name == LINK { value.and_then(|link| next_page(request, link)) } else { value.cloned() };
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    if request.method() != Method::HEAD {
        *response.body_mut() = Body::from(bytes);
    }
    Ok(response)
}

/// The link to the next page by the name under which the client asked: the server has another name for the repository, and has not
/// heard of `ns`.
fn next_page(request: &Request, link: &HeaderValue) -> Option<HeaderValue> {
    let target = link.to_str().ok()?.split_once('<')?.1.split_once('>')?.0;
    let (_, query) = target.split_once('?')?;
    let mut pairs = shoal_http::query::pairs(Some(query));
    let asked = shoal_http::query::pairs(request.uri().query());
    pairs.extend(asked.into_iter().filter(|(name, _)| name == "ns"));
    let query = shoal_http::query::encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    HeaderValue::try_from(format!("<{}?{query}>; rel=\"next\"", request.uri().path())).ok()
}

/// What the server found wrong with the question.
fn refused(body: &[u8]) -> OciError {
    let parsed: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &parsed["errors"][0];
    let message = first["message"].as_str().unwrap_or("the server refused the request");
    let code = match first["code"].as_str() {
        Some("PAGINATION_NUMBER_INVALID") => ErrorCode::PaginationNumberInvalid,
        Some("DIGEST_INVALID") => ErrorCode::DigestInvalid,
        _ => ErrorCode::NameInvalid,
    };
    OciError::new(code, message)
}
