//! Which methods a route knows, and the answer to the others.

use http::{Method, StatusCode};
use shoal_oci::{ErrorCode, Route};

use crate::error::Refusal;

/// The methods that a route knows.
pub(crate) fn allowed(route: &Route, delete_enabled: bool) -> &'static [Method] {
    const READ: &[Method] = &[Method::GET, Method::HEAD];
    const READ_DELETE: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE];
    const READ_PUT: &[Method] = &[Method::GET, Method::HEAD, Method::PUT];
    const READ_PUT_DELETE: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE];
    const SESSION: &[Method] = &[Method::GET, Method::HEAD, Method::PATCH, Method::PUT, Method::DELETE];
    match (route, delete_enabled) {
        (Route::Base | Route::Catalog | Route::Tags { .. } | Route::Referrers { .. }, _)
        | (Route::Extensions { .. }, _)
        | (Route::Blob { .. }, false) => READ,
        (Route::Blob { .. }, true) => READ_DELETE,
        (Route::Manifest { .. }, false) => READ_PUT,
        (Route::Manifest { .. }, true) => READ_PUT_DELETE,
        (Route::Uploads { .. }, _) => &[Method::POST],
        (Route::Upload { .. }, _) => SESSION,
    }
}

/// The answer to a method that the route does not know.
pub(crate) fn not_allowed(allowed: &[Method]) -> Refusal {
    let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    Refusal::new(ErrorCode::Unsupported, format!("the methods here are {list}"))
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .with_header("allow", list)
}
