//! The client of foreign registries against one that misbehaves on order.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

mod blobs;
mod credentials;
mod fake;
mod manifests;
mod redirects;
