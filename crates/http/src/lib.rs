//! HTTP both ways over hyper: listeners that survive bad clients, and a client that survives bad servers.
//!
//! Goals: one accept loop with limits, timeouts and drain for every listener of the house; bodies that can be *cut*, so that a
//! client never mistakes half a blob for a whole one; a pooled client whose every wait has an end. Listeners speak HTTP/1.1 and
//! HTTP/2, plain or over TLS; the client speaks HTTP/1.1, which carries blobs with less work. Non-goals: routing (each room matches
//! its own paths), content encoding (it would break digests, ranges and lengths).
//! Rooms see the types of the `http` crate with our [`Body`]; hyper itself does not leave this crate.

pub mod body;
pub mod client;
mod closing;
mod connection;
pub mod json;
mod open_connections;
pub mod open_files;
pub mod probes;
pub mod query;
pub mod server;
pub mod shutdown;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;

pub use body::{Body, BodyError, BodySender, Closed};
pub use client::dial::{Dial, DialError};
pub use client::{Client, ClientError, ClientOptions, Idempotent};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
pub use probes::ProbeHandler;
pub use server::{Limits, Listener};
pub use shutdown::Shutdown;
pub use tls::{
    ClientTls, ClientTlsFiles, ClusterTls, ClusterTlsFiles, Identity, PeerCertificate, PeerSocket, Tls,
    TlsError, TlsFiles,
};

/// A request as handlers receive it and as clients send it.
pub type Request = http::Request<Body>;
/// A response as handlers give it and as clients receive it.
pub type Response = http::Response<Body>;

/// The connection that a request came over; every request has it in its extensions.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Whether it is encrypted (TLS).
    pub secure: bool,
    /// The client's certificate, verified against the listener's client authorities.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// Answers the requests of a listener.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. `peer` is the other end of the TCP connection. The future is dropped when the client goes away;
    /// work that must go on is spawned.
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response;
}
