//! shoal-agent: the OCI mirror and swarm peer on every machine.
//!
//! Two faces of one process. The *mirror* speaks the OCI distribution API to the runtimes of this machine; the *peer* exchanges pieces
//! with other agents and the origins. Between them lies one seam, [`fetch`]: digest → verified bytes.

pub mod admin;
pub mod announcer;
pub mod app;
pub mod cli;
mod clients;
pub mod config;
pub mod fetch;
mod gate;
pub mod leads;
pub mod limits;
pub mod manifest_cache;
pub mod mirror;
pub mod namespace;
mod recent;
pub mod references;
pub mod resolve;
pub mod signals;
mod tracker_check;
mod upkeep;
pub mod web_seed;
