//! A whole agent in this process, against a made-up server: what clients see in good and bad times.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

mod blobs;
mod checklist;
mod cluster;
mod control;
mod lifecycle;
mod manifests;
mod names;
mod parallel;
