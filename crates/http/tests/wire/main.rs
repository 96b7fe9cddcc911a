//! What goes over the wire: files, TLS, HTTP/2, limits. Real sockets and real certificates; clients that are written here, so that
//! they can misbehave.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

mod authority;
mod cluster;
mod curl;
mod files;
mod frames;
mod harness;
mod http2;
mod limits;
mod tls;
mod tls_files;
