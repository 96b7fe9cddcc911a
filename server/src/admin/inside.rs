//! What members of the cluster and clients of the registry are told elsewhere, for the operator beside the server: swarms, pieces, names.
//!
//! The other ports ask who somebody is; the admin port is the operator's own and asks nobody. So it tells names and numbers only, and
//! no content.

use std::net::SocketAddr;

use http::Method;
use shoal_http::{Handler, Request, Response};
use shoal_origin::OriginHandler;
use shoal_registry::Registry;
use shoal_tracker::TrackerHandler;

/// The faces behind the admin port.
pub(crate) struct Inside {
    pub(crate) tracker: TrackerHandler,
    pub(crate) origin: OriginHandler,
    /// A registry that asks nobody; only its lists are reached here.
    pub(crate) registry: Registry,
}

impl Inside {
    /// The face that answers this request, if one does.
    fn face(&self, request: &Request) -> Option<&dyn Handler> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        match request.uri().path() {
            "/swarms" | "/agents" => Some(&self.tracker),
            path if path.starts_with("/blobs/") && path.ends_with("/metainfo") => Some(&self.origin),
            "/v2/_catalog" => Some(&self.registry),
            path if path.starts_with("/v2/") && path.ends_with("/tags/list") => Some(&self.registry),
            _ => None,
        }
    }

    /// That face's answer.
    pub(crate) async fn answer(&self, request: Request, peer: SocketAddr) -> Result<Response, Request> {
        match self.face(&request) {
            Some(face) => Ok(face.handle(request, peer).await),
            None => Err(request),
        }
    }
}
