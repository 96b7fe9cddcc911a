//! shoal-server: the cluster side in one process.
//!
//! This crate wires and does nothing else: it reads the configuration, binds the listeners, builds the roles over one store and
//! one metadata engine, and drains them at the end. What a role does is in its own crate.

pub mod addresses;
pub mod admin;
pub mod advertise;
pub mod app;
mod auth;
pub mod cli;
pub mod config;
mod copies;
mod denials;
mod grants;
pub mod housekeeping;
mod intake;
pub mod output;
pub mod owner_source;
mod preheat;
pub mod ready;
mod rights;
mod tls;
mod upkeep;
mod witnesses;

pub use addresses::Addresses;
pub use app::App;
pub use config::Config;
