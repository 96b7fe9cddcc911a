//! Answers as the wire needs them: status, headers, body.
//!
//! Two ways to build one. [`with`] takes headers as text and is for answers that are rare or expensive anyway. [`content`] is for what
//! is asked a hundred thousand times a second: it makes one piece of memory for the digest, and both headers that hold it share that.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use shoal_http::{Body, Response};
use shoal_oci::digest::TEXT_LEN_MAX;
use shoal_oci::reply::Headers;
use shoal_oci::{Digest, Repository};

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Headers of an answer, with the few that the listener adds. The map then never grows.
const HEADERS_EXPECTED: usize = 8;

/// An answer with these headers. A value that no header can hold is left out and logged: all of them are made of parsed names
/// and numbers, so that is a fault of ours.
pub(crate) fn with(status: StatusCode, headers: Headers, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    for (name, value) in headers {
        match HeaderValue::try_from(value) {
            Ok(value) => _ = response.headers_mut().append(HeaderName::from_static(name), value),
            Err(error) => tracing::error!(name, %error, "a header could not be written"),
        }
    }
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode, mut headers: Headers) -> Response {
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        headers.push(("content-length", "0".to_owned()));
    }
    with(status, headers, Body::empty())
}

/// The head of a 200 to GET or HEAD of the whole content under `digest`.
pub(crate) fn content(digest: &Digest, content_type: HeaderValue, size: u64) -> Response {
    let mut headers = HeaderMap::with_capacity(HEADERS_EXPECTED);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    insert_digest(&mut headers, digest);
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    response
}

/// 201 for a blob that is in `repository` now.
pub(crate) fn created_blob(repository: &Repository, digest: &Digest) -> Response {
    let mut buffer = [0; TEXT_LEN_MAX];
    let path = format!("/v2/{repository}/blobs/{}", digest.write_to(&mut buffer));
    let mut headers = HeaderMap::with_capacity(HEADERS_EXPECTED);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    match HeaderValue::from_maybe_shared(Bytes::from(path)) {
        Ok(path) => _ = headers.insert(header::LOCATION, path),
        Err(error) => tracing::error!(%repository, %error, "a header could not be written"),
    }
    insert_digest(&mut headers, digest);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    *response.headers_mut() = headers;
    response
}

/// 304 for the content under `digest`.
pub(crate) fn not_modified(digest: &Digest) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    insert_digest(response.headers_mut(), digest);
    response
}

/// Adds `ETag` and `Docker-Content-Digest`.
fn insert_digest(headers: &mut HeaderMap, digest: &Digest) {
    let mut buffer = [0; TEXT_LEN_MAX];
    let text = digest.write_to(&mut buffer);
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(text.as_bytes());
    quoted.push(b'"');
    let quoted = Bytes::from(quoted);
    let plain = quoted.slice(1..quoted.len() - 1);
    for (name, value) in [(header::ETAG, quoted), (CONTENT_DIGEST, plain)] {
        match HeaderValue::from_maybe_shared(value) {
            Ok(value) => _ = headers.insert(name, value),
            Err(error) => tracing::error!(%name, %error, "a header could not be written"),
        }
    }
}

/// A JSON document that was written by hand or by `shoal_oci::reply`.
pub(crate) fn json(content_type: &str, text: String, mut headers: Headers) -> Response {
    headers.push(("content-type", content_type.to_owned()));
    headers.push(("content-length", text.len().to_string()));
    with(StatusCode::OK, headers, text)
}

/// The answer to `GET /v2/`, which load balancers and clients ask for all the time.
pub(crate) fn base() -> Response {
    let mut response = Response::new(Body::from("{}"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(shoal_oci::media_type::JSON));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("2"));
    response
}

/// The same answer to HEAD: no body, the headers of GET.
pub(crate) fn without_body(mut response: Response) -> Response {
    if let (Some(size), false) =
        (response.body().size(), response.headers().contains_key(header::CONTENT_LENGTH))
        && response.status() != StatusCode::NOT_MODIFIED
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    *response.body_mut() = Body::empty();
    response
}
