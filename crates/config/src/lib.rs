//! Configuration: file, environment and flags into one checked value.
//!
//! Goals: an operator sees every mistake at once, each with its place, what is wrong and what to do; a misspelt key never passes
//! silently; what was written in the file, in `SHOAL_REGISTRY__LISTEN=…` and in a flag means the same. Non-goals: watching for
//! changes, formats other than YAML, knowing any key (each program declares its own with serde).
//! The price: our own small reader between the YAML parser and serde, because serde stops at the first mistake and forgets where
//! a value came from.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     capacity: shoal_config::ByteSize,
//! }
//! let sources = shoal_config::Sources { flags: vec![("capacity".into(), "10GiB".into())], ..Default::default() };
//! let config: Config = shoal_config::load(&sources).unwrap();
//! assert_eq!(config.capacity.bytes(), 10 << 30);
//! ```

mod check;
mod environment;
mod error;
mod interpolate;
mod load;
mod node;
mod reader;
mod render;
mod secret;
mod suggest;
pub mod units;
mod yaml;

pub use error::{ConfigError, ConfigErrors};
pub use load::{Sources, load, load_checked};
pub use render::render;
pub use secret::Secret;
pub use units::{ByteRate, ByteSize, Duration};
