//! Answers as the wire needs them: status, headers, body.

use http::{HeaderName, HeaderValue, StatusCode, header};
use shoal_http::{Body, Response};
use shoal_oci::reply::Headers;

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

/// A JSON document that was written by hand or by `shoal_oci::reply`.
pub(crate) fn json(content_type: &str, text: String, mut headers: Headers) -> Response {
    headers.push(("content-type", content_type.to_owned()));
    headers.push(("content-length", text.len().to_string()));
    with(StatusCode::OK, headers, text)
}

/// The same answer to HEAD: no body, the headers of GET.
pub(crate) fn without_body(mut response: Response) -> Response {
    if let (Some(size), false) =
        (response.body().size(), response.headers().contains_key(header::CONTENT_LENGTH))
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    *response.body_mut() = Body::empty();
    response
}
