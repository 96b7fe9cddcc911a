//! The agent's OCI face: what containerd, Docker, podman and people pull from.
//!
//! Two rules come from how those clients behave. Give-up is always 404 in OCI form: it is the only answer on which every client goes on
//! to its next host without delay. And no header of a success leaves before verified bytes are in hand, because a 200 that then
//! carries nothing fails the whole pull.

mod blob;
mod manifest;
mod passthrough;
mod stride;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use shoal_http::{Body, Client, Handler, Request, Response};
use shoal_oci::{ErrorCode, Host, OciError, Query, Route, reply};
use shoal_telemetry::MirrorMetrics;

use crate::fetch::Fetch;
use crate::resolve::Resolver;
use crate::trace::TraceId;
use crate::why::{Journal, Outcome, Pull};
use stride::Strides;

/// The header by which old clients recognise a registry.
const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");

/// Bytes of a blob in memory between the swarm and a client's socket, and again inside the connection. Small for the reason given with
/// the socket's own buffer in [`crate::app`]; below 64 KiB the cost per write shows.
pub(crate) const WRITE_AHEAD: usize = 64 * 1024;

/// The mirror.
#[derive(Clone)]
pub struct Mirror(Arc<Rooms>);

/// What the mirror answers from.
struct Rooms {
    resolver: Resolver,
    fetch: Fetch,
    server: String,
    client: Client,
    metrics: MirrorMetrics,
    strides: Strides,
    journal: Journal,
}

impl Mirror {
    /// A mirror in front of the server's registry at `server` (`http://host:port`).
    pub fn new(
        resolver: Resolver,
        fetch: Fetch,
        server: String,
        client: Client,
        metrics: MirrorMetrics,
        journal: Journal,
    ) -> Self {
        let strides = Strides::new();
        Self(Arc::new(Rooms { resolver, fetch, server, client, metrics, strides, journal }))
    }

    /// Notes a request in the journal.
    fn begin(&self, request: &Request, peer: SocketAddr) -> Pull {
        let trace = TraceId::of(request.headers());
        let asked = format!("{} {}", request.method(), request.uri());
        // What a client asks for may be as long as a header.
        let asked = asked.chars().take(300).collect();
        self.0.journal.begin(trace, peer.ip(), program(request), asked)
    }

    async fn answer(&self, request: &Request, pull: &Pull) -> Result<Response, OciError> {
        let (host, route) = Route::parse_mirror(request.uri().path())?;
        let query = Query::parse(request.uri().query())?;
        // `ns` names the registry that a client believes in; it wins over a host in the path, which is then part of the name.
        let (host, route) = match query.ns()? {
            Some(ns) => (Some(ns), Route::parse(request.uri().path())?),
            None => (host, route),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(read_only(request.method()));
        }
        self.read(request, host.as_ref(), route, pull).await
    }

    async fn read(
        &self,
        request: &Request,
        host: Option<&Host>,
        route: Route,
        pull: &Pull,
    ) -> Result<Response, OciError> {
        match route {
            Route::Base => Ok(shoal_http::json::with_type(StatusCode::OK, shoal_http::json::JSON, "{}")),
            Route::Blob { repository, digest } => {
                blob::serve(&self.0, request, host, (&repository, &digest), pull).await
            }
            Route::Manifest { repository, reference } => {
                manifest::serve(&self.0, request, host, (&repository, &reference), pull).await
            }
            Route::Tags { .. } | Route::Referrers { .. } | Route::Catalog => {
                passthrough::serve(&self.0, request, host, &route).await
            }
            Route::Uploads { .. } | Route::Upload { .. } => Err(read_only(request.method())),
            // Which extensions there are is a question to the registry that a client pushes to.
            Route::Extensions { .. } => {
                Err(OciError::new(ErrorCode::Unsupported, "a mirror has no extensions").with_status(404))
            }
        }
    }
}

#[async_trait]
impl Handler for Mirror {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        let pull = self.begin(&request, peer);
        let mut response = self.answer(&request, &pull).await.unwrap_or_else(|error| {
            tracing::debug!(%peer, method = %request.method(), uri = %request.uri(), %error, trace = %pull.trace(), "answered with an error");
            pull.event(error.to_string());
            error_response(&error)
        });
        pull.answered(response.status().as_u16());
        if !response.body().is_streamed() {
            pull.end(Outcome::Served);
        }
        let (name, value) = API_VERSION;
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        if let Ok(value) = HeaderValue::try_from(pull.trace().response()) {
            response.headers_mut().insert(HeaderName::from_static("traceresponse"), value);
        }
        response
    }
}

/// What the client calls itself.
fn program(request: &Request) -> &str {
    request.headers().get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn read_only(method: &Method) -> OciError {
    OciError::new(
        ErrorCode::Unsupported,
        format!("{method} is not possible on a mirror; push to the Shoal server"),
    )
}

/// An error in OCI form.
fn error_response(error: &OciError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_headers(status, &reply::error(error), Body::from(error.to_json()));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// A response with headers that were made from valid names, digests and numbers; one that is not printable is left out.
fn with_headers(status: StatusCode, headers: &reply::Headers, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
