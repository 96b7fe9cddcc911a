//! Repositories that are copies of an upstream's: which requests mean one, and what is done before they are read.
//!
//! A copy is named in three ways: by its name here (`/v2/docker.io/library/nginx/…`), by `?ns=` (containerd, Docker), or by a host with a
//! port as first path segment. What is not had from an upstream is answered 404, whatever the reason, because only that sends every client
//! on to its next host at once; the header `Shoal-Freshness` and the message say which.

use std::ops::Range;
use std::time::Duration;

use http::header::AGE;
use http::{HeaderName, HeaderValue, Method, Uri};
use shoal_api::copies::FRESHNESS;
use shoal_api::tags::PageAfter;
use shoal_api::{Arrival, CopyError, CopyErrorKind, Freshness, ListedOf, Resolution};
use shoal_http::{Body, Response};
use shoal_oci::{Descriptor, Digest, ErrorCode, OciError, Query, Reference, Repository, Route, Tag};

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

/// A blob that a copy is to have: it comes, or is here.
pub(crate) struct Coming(Arrival);

/// A blob of a copy, which begins to come if need be; `None` when the repository is no copy.
pub(crate) async fn bring(
    cx: &Context,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<Coming>, Refusal> {
    let Some(copies) = cx.copies.as_ref().filter(|_| is_copy(cx, repository)) else { return Ok(None) };
    let arrival = copies.blob(repository, digest).await;
    arrival.map(|arrival| Some(Coming(arrival))).map_err(blob_refusal)
}

impl Coming {
    /// Its size. Waits until it is here when the upstream does not say it.
    pub(crate) async fn size(&mut self) -> Result<u64, Refusal> {
        match self.0.size {
            Some(size) => Ok(size),
            None => self.here().await,
        }
    }

    /// The bytes of `range` as they come; `None` when the blob is here.
    pub(crate) async fn body(
        &mut self,
        cx: &Context,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Body>, Refusal> {
        let Some(copies) = cx.copies.as_ref() else { return Ok(None) };
        tokio::select! {
            biased;
            here = self.0.ended.as_mut() => return here.map(|_| None).map_err(blob_refusal),
            body = copies.coming(digest, range) => if body.is_some() { return Ok(body) },
        }
        self.here().await.map(|_| None)
    }

    async fn here(&mut self) -> Result<u64, Refusal> {
        let size = self.0.ended.as_mut().await.map_err(blob_refusal)?;
        // It is not to be waited for again.
        self.0 = Arrival { size: Some(size), ended: Box::pin(std::future::ready(Ok(size))) };
        Ok(size)
    }
}

fn blob_refusal(error: CopyError) -> Refusal {
    refusal(ErrorCode::BlobUnknown, error)
}

fn refusal(code: ErrorCode, error: CopyError) -> Refusal {
    let CopyError { kind, message } = error;
    let refusal = Refusal::new(code, message).with_status(http::StatusCode::NOT_FOUND);
    let refusal = refusal.with_header(FRESHNESS, kind.as_str());
    if kind == CopyErrorKind::Unavailable { refusal.with_header("retry-after", "5") } else { refusal }
}

/// A list of a copy: what the upstream says, or that what is here has to do.
pub(crate) enum List<T> {
    /// The upstream's, now or when it could be asked.
    Theirs(ListedOf<T>),
    /// The upstream cannot be asked, and nothing is remembered of it.
    Ours,
    /// The repository is no copy.
    NoCopy,
}

impl<T> List<T> {
    fn of(asked: Result<ListedOf<T>, CopyError>, page: &PageAfter) -> Result<Self, Refusal> {
        match asked {
            Ok(listed) => Ok(Self::Theirs(listed)),
            // Where their page begins means nothing to us, so the list is not gone on with.
            Err(error) if error.kind == CopyErrorKind::Unavailable && page.last.is_none() => Ok(Self::Ours),
            Err(error) => Err(refusal(ErrorCode::NameUnknown, error)),
        }
    }
}

/// The tags of a copy.
pub(crate) async fn tags(
    cx: &Context,
    repository: &Repository,
    page: &PageAfter,
) -> Result<List<Tag>, Refusal> {
    match cx.copies.as_ref().filter(|_| is_copy(cx, repository)) {
        Some(copies) => List::of(copies.tags(repository, page.clone()).await, page),
        None => Ok(List::NoCopy),
    }
}

/// What refers to a manifest of a copy.
pub(crate) async fn referrers(
    cx: &Context,
    repository: &Repository,
    (subject, artifact_type): (&Digest, Option<&str>),
    page: &PageAfter,
) -> Result<List<Descriptor>, Refusal> {
    match cx.copies.as_ref().filter(|_| is_copy(cx, repository)) {
        Some(copies) => {
            List::of(copies.referrers(repository, subject, artifact_type, page.clone()).await, page)
        }
        None => Ok(List::NoCopy),
    }
}

/// Says who vouches for the answer, and since when.
pub(crate) fn tell(response: &mut Response, resolution: &Resolution) {
    vouch(response, resolution.freshness, resolution.age);
}

/// The same for an answer that is no manifest.
pub(crate) fn vouch(response: &mut Response, freshness: Freshness, age: Option<Duration>) {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(FRESHNESS), HeaderValue::from_static(freshness.as_str()));
    if let Some(age) = age {
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
    }
}
