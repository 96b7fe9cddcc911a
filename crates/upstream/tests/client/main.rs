//! The client of foreign registries against one that misbehaves on order.

mod blobs;
mod credentials;
mod fake;
mod manifests;
mod redirects;
