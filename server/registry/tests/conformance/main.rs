//! The distribution specification (1.1 and what its main branch added), requirement by requirement, over a real socket.
//!
//! Written from the specification's text, one test for each requirement, with the endpoint's number in its name. `hack/conformance`
//! runs the official suite as well; this one also covers what that leaves out: paging, limits, error bodies, concurrency, conditions,
//! HTTP/2.

#![allow(clippy::unwrap_used, reason = "clippy knows only the functions marked as tests, not their helpers")]

mod blobs;
mod concurrency;
mod conditions;
mod documented;
mod documents;
mod errors;
mod http2;
mod lists;
mod manifests;
mod mounts;
mod overload;
mod referrers;
#[path = "../served/server.rs"]
#[expect(dead_code, reason = "the hostile tests look at the directory as well")]
mod server;
mod sessions;
mod talk;
mod uploads;
