//! Manifests: exact bytes, exact media type, and how old the answer is when the server could not be asked.

use std::time::Instant;

use http::header::{AGE, IF_NONE_MATCH, WARNING};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use shoal_api::copies::FRESHNESS;
use shoal_http::{Body, Request, Response};
use shoal_oci::manifest::Manifest;
use shoal_oci::{ErrorCode, Host, OciError, Reference, Repository, reply};
use shoal_telemetry::rooms::mirror::{AnswerSource, RequestKind};

use super::{Rooms, with_headers};
use crate::resolve::{Copied, Found, Freshness, ResolveError};
use crate::why::{self, Pull};

/// Answers GET and HEAD of a manifest.
pub(super) async fn serve(
    rooms: &Rooms,
    request: &Request,
    host: Option<&Host>,
    (repository, reference): (&Repository, &Reference),
    pull: &Pull,
) -> Result<Response, OciError> {
    let asked = Instant::now();
    let resolved = rooms.resolver.manifest(host, repository, reference).await;
    pull.waited(asked, || "the manifest".to_owned());
    match resolved {
        Ok(found) if request.method() != Method::HEAD && !can_be_kept(rooms, &found).await => {
            rooms.metrics.request(RequestKind::Manifest, AnswerSource::Miss);
            let why = "it is known here, but its layers are not, and nobody who has them can be asked";
            Err(OciError::new(ErrorCode::ManifestUnknown, format!("{repository} {reference}: {why}")))
        }
        Ok(found) => {
            rooms.metrics.request(RequestKind::Manifest, source(found.freshness));
            note(pull, &found);
            if request.method() == Method::GET {
                look_ahead(rooms, host, repository, &found);
            }
            Ok(respond(request, &found))
        }
        Err(error) => {
            rooms.metrics.request(RequestKind::Manifest, AnswerSource::Miss);
            Err(refusal(repository, reference, &error))
        }
    }
}

/// Whether the promise can be kept that a manifest makes: podman and others never leave a mirror that gave them one, so its layers must
/// be here, or somebody to ask for them. A `HEAD` promises nothing: the layers may be with the runtime already.
async fn can_be_kept(rooms: &Rooms, found: &Found) -> bool {
    match Manifest::parse(&found.bytes, Some(&found.media_type)) {
        Ok(manifest) => rooms.fetch.can_give(&manifest.blobs()).await,
        // An index, or something that names no blob.
        Err(_) => true,
    }
}

/// Does what a runtime needs next. The tracker is asked about the layers, and the image's configuration is fetched: it is small, every
/// runtime needs it, and podman asks for it last of all.
fn look_ahead(rooms: &Rooms, host: Option<&Host>, repository: &Repository, found: &Found) {
    let Ok(Manifest::Image(image)) = Manifest::parse(&found.bytes, Some(&found.media_type)) else { return };
    let repositories = rooms.resolver.blob_candidates(host, repository);
    let layers: Vec<_> = image.layers.iter().map(|layer| layer.digest).collect();
    rooms.fetch.look_ahead(&layers, &repositories);
    rooms.resolver.through().prefetch(&rooms.fetch, &image.config.digest, image.config.size, &repositories);
}

/// Notes where a manifest came from.
fn note(pull: &Pull, found: &Found) {
    pull.is_about(&found.digest, None);
    let source = match found.freshness {
        Freshness::Server => why::Source::Server,
        Freshness::Immutable => why::Source::Cache,
        Freshness::Stale(age) => {
            pull.event(format!("the server cannot be asked; answered from memory, {} s old", age.as_secs()));
            why::Source::Cache
        }
    };
    pull.sent(0..found.bytes.len() as u64, source);
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
    if let Some(copy) = &found.copy {
        tell(&mut response, copy);
    }
    if let Freshness::Stale(age) = found.freshness {
        response.headers_mut().insert(AGE, HeaderValue::from(age.as_secs()));
        response
            .headers_mut()
            .insert(WARNING, HeaderValue::from_static("110 - \"the server cannot be reached\""));
    }
    response
}

/// Says what the server said of its copy: who vouches for the answer, and how long ago the upstream said so.
fn tell(response: &mut Response, copy: &Copied) {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(FRESHNESS), HeaderValue::from_static(copy.freshness.as_str()));
    if let Some(age) = copy.age {
        headers.insert(AGE, HeaderValue::from(age));
    }
}
