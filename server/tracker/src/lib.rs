//! Role tracker: introduces peers.
//!
//! Goals: one announce is one round trip that answers everything (metainfo, peers, owners, next time); memory only, bounded by
//! numbers; a look-up costs the number of peers handed out, not the number known; no lock is shared by announces of different blobs. Non-goals: durability (agents announce again
//! within seconds of a restart) and knowledge of who has which piece (peers tell each other).
//!
//! The room does not know where a blob is stored: owners are computed from the ring, and metainfo comes through
//! [`MetainfoSource`], which the server wires to the origin beside it.

mod address;
pub mod announce;
pub mod fleet;
pub mod handler;
pub mod handout;
pub mod interval;
mod load;
pub mod owners;
pub mod roster;
pub mod source;
pub mod swarms;

pub use announce::{Tracker, TrackerOptions};
pub use handler::TrackerHandler;
pub use owners::Owners;
pub use source::{MetainfoSource, SourceError};
