//! shoal-agent: the OCI mirror and swarm peer on every machine.
//!
//! Two faces of one process. The *mirror* speaks the OCI distribution API to the runtimes of this machine; the *peer* exchanges pieces
//! with other agents and the origins. Between them lies one seam, [`fetch`]: digest → verified bytes.

pub mod admin;
mod ahead;
pub mod announcer;
pub mod app;
pub mod cli;
mod clients;
pub mod config;
pub mod contents;
mod direct;
mod drain;
pub mod faces;
pub mod fetch;
mod gate;
mod hedge;
pub mod hosts;
pub mod image;
pub mod leads;
pub mod limits;
pub mod manifest_cache;
pub mod mirror;
pub mod namespace;
pub mod notify;
pub mod pins;
pub mod preheat;
mod recent;
pub mod references;
mod relay;
pub mod reload;
pub mod resolve;
mod scrub;
pub mod signals;
pub mod trace;
mod tracker_check;
mod upkeep;
mod upstream;
pub mod web_seed;
pub mod why;
