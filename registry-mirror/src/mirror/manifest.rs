//! Manifests: exact bytes, exact media type, and how old the answer is when the server could not be asked.

use http::header::{AGE, IF_NONE_MATCH, WARNING};
use http::{HeaderValue, Method, StatusCode};
use shoal_http::{Body, Request, Response};
use shoal_oci::{ErrorCode, Host, OciError, Reference, Repository, reply};
use shoal_telemetry::rooms::mirror::{AnswerSource, RequestKind};

use super::{Rooms, with_headers};
use crate::resolve::{Found, Freshness, ResolveError};

/// Answers GET and HEAD of a manifest.
pub(super) async fn serve(
    rooms: &Rooms,
    request: &Request,
    host: Option<&Host>,
    repository: &Repository,
    reference: &Reference,
) -> Result<Response, OciError> {
    match rooms.resolver.manifest(host, repository, reference).await {
        Ok(found) => {
            rooms.metrics.request(RequestKind::Manifest, source(found.freshness));
            Ok(respond(request, &found))
        }
        Err(error) => {
            rooms.metrics.request(RequestKind::Manifest, AnswerSource::Miss);
            Err(refusal(repository, reference, &error))
        }
    }
}

fn source(freshness: Freshness) -> AnswerSource {
    match freshness {
        Freshness::Server => AnswerSource::Server,
        Freshness::Immutable | Freshness::Stale(_) => AnswerSource::Cache,
    }
}

/// Whatever the reason, the client shall go on to its next host at once; the message tells people why.
fn refusal(repository: &Repository, reference: &Reference, error: &ResolveError) -> OciError {
    OciError::new(ErrorCode::ManifestUnknown, format!("{repository} {reference}: {error}"))
}

fn respond(request: &Request, found: &Found) -> Response {
    let headers = reply::manifest(&found.digest, &found.media_type, found.bytes.len() as u64);
    let known = request.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| reply::not_modified(known, &found.digest)) {
        let headers = headers.into_iter().filter(|(name, _)| *name != "content-length").collect();
        with_headers(StatusCode::NOT_MODIFIED, &headers, Body::empty())
    } else if request.method() == Method::HEAD {
        with_headers(StatusCode::OK, &headers, Body::empty())
    } else {
        with_headers(StatusCode::OK, &headers, Body::from(found.bytes.clone()))
    };
    if let Freshness::Stale(age) = found.freshness {
        response.headers_mut().insert(AGE, HeaderValue::from(age.as_secs()));
        response
            .headers_mut()
            .insert(WARNING, HeaderValue::from_static("110 - \"the server cannot be reached\""));
    }
    response
}
