//! Repositories that are copies of an upstream's: which requests mean one, and what is done before they are read.
//!
//! A copy is named in three ways: by its name here (`/v2/docker.io/library/nginx/…`), by `?ns=` (containerd, Docker), or by a host with a
//! port as first path segment. What is not had from an upstream is answered 404, whatever the reason, because only that sends every client
//! on to its next host at once; the header `Shoal-Freshness` and the message say which.

use http::header::AGE;
use http::{HeaderName, HeaderValue, Method, Uri};
use shoal_api::copies::FRESHNESS;
use shoal_api::{CopyError, CopyErrorKind, Resolution};
use shoal_http::Response;
use shoal_oci::{Digest, ErrorCode, OciError, Query, Reference, Repository, Route};

use crate::context::Context;
use crate::error::Refusal;

/// The route of a request. One that means a copy names it by its one name.
pub(crate) fn route(cx: &Context, uri: &Uri) -> Result<Route, OciError> {
    let Some(copies) = &cx.copies else { return Route::parse(uri.path()) };
    let parsed = Route::parse(uri.path());
    // A query that cannot be read is refused later, with the words for that.
    let ns = Query::parse(uri.query()).and_then(|query| query.ns()).ok().flatten();
    let route = match (ns, parsed) {
        (Some(host), Ok(route)) => {
            let copy = route.repository().and_then(|repository| copies.of(&host, repository));
            return Ok(match copy {
                Some(copy) => route.in_repository(copy),
                None => route,
            });
        }
        (_, Ok(route)) => route,
        (_, Err(error)) => {
            let Ok((Some(host), route)) = Route::parse_mirror(uri.path()) else { return Err(error) };
            let copy = route.repository().and_then(|repository| copies.of(&host, repository));
            return copy.map(|copy| route.in_repository(copy)).ok_or(error);
        }
    };
    Ok(match route.repository().and_then(|repository| copies.canonical(repository)) {
        Some(copy) => route.in_repository(copy),
        None => route,
    })
}

/// Whether a repository is a copy.
pub(crate) fn is_copy(cx: &Context, repository: &Repository) -> bool {
    cx.copies.as_ref().is_some_and(|copies| copies.canonical(repository).is_some())
}

/// Refuses to put anything into a copy: what is there came from the upstream. What is there may be deleted.
pub(crate) fn check_change(cx: &Context, route: &Route, method: &Method) -> Result<(), Refusal> {
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::DELETE);
    match route.repository() {
        Some(repository) if changes && is_copy(cx, repository) => {
            let message =
                format!("{repository} is a copy of an upstream's repository; push to the upstream itself");
            Err(Refusal::new(ErrorCode::Denied, message).denied("copy"))
        }
        _ => Ok(()),
    }
}

/// What `reference` means in a copy, fetched if need be; `None` when the repository is no copy.
pub(crate) async fn resolve(
    cx: &Context,
    repository: &Repository,
    reference: &Reference,
) -> Result<Option<Resolution>, Refusal> {
    let Some(copies) = cx.copies.as_ref().filter(|_| is_copy(cx, repository)) else { return Ok(None) };
    let resolved = copies.manifest(repository, reference).await;
    resolved.map(Some).map_err(|error| refusal(ErrorCode::ManifestUnknown, error))
}

/// The size of a blob that a copy is to have, when it is known; the blob comes. Waits until it is here when `whole`, or when the upstream
/// does not say its size. `None` when the repository is no copy.
pub(crate) async fn bring(
    cx: &Context,
    repository: &Repository,
    digest: &Digest,
    whole: bool,
) -> Result<Option<u64>, Refusal> {
    let Some(copies) = cx.copies.as_ref().filter(|_| is_copy(cx, repository)) else { return Ok(None) };
    let failed = |error| refusal(ErrorCode::BlobUnknown, error);
    let arrival = copies.blob(repository, digest).await.map_err(failed)?;
    match arrival.size.filter(|_| !whole) {
        Some(size) => Ok(Some(size)),
        None => arrival.ended.await.map(Some).map_err(failed),
    }
}

fn refusal(code: ErrorCode, error: CopyError) -> Refusal {
    let CopyError { kind, message } = error;
    let refusal = Refusal::new(code, message).with_status(http::StatusCode::NOT_FOUND);
    let refusal = refusal.with_header(FRESHNESS, kind.as_str());
    if kind == CopyErrorKind::Unavailable { refusal.with_header("retry-after", "5") } else { refusal }
}

/// Says who vouches for the answer, and since when.
pub(crate) fn tell(response: &mut Response, resolution: &Resolution) {
    let headers = response.headers_mut();
    let said = HeaderValue::from_static(resolution.freshness.as_str());
    headers.insert(HeaderName::from_static(FRESHNESS), said);
    if let Some(age) = resolution.age {
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
    }
}
