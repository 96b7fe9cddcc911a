//! Role origin: owns blobs and seeds them.
//!
//! Two faces over one store. On port 15001 it is a peer of every swarm whose blob it has: a peer that asks for a digest gets it
//! looked up in the store, so a blob can be downloaded from the moment its push was acknowledged, and none takes memory before
//! somebody asks. On port 15002 it answers HTTP: sizes, metainfo, and ranges for peers that find no other source (web seed).
//!
//! The room does not know who else owns a blob, and it never announces: trackers compute owners from the ring. Every byte that
//! leaves, on either port, is checked against its piece digest on the way from the disk.

mod announcer;
pub mod body;
mod coming;
pub mod error;
pub mod handler;
pub mod intake;
mod mend;
pub mod origin;
pub mod small;
mod tell;

pub use error::OriginError;
pub use handler::OriginHandler;
pub use intake::{TakeInError, Taken};
pub use origin::{Origin, OriginOptions};
