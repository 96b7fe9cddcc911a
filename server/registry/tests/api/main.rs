//! The registry role driven through its handler, over the real store and the real metadata in a temporary directory.

#![allow(clippy::unwrap_used, reason = "clippy knows only the functions marked as tests, not their helpers")]

mod auth;
mod blobs;
mod faults;
mod images;
mod lists;
mod manifests;
mod mount;
mod pulls;
mod refusals;
mod uploads;
mod wire;
mod world;
