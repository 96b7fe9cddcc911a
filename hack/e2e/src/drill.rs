//! Drills: random load by seed, faults in the middle of it, and a journal that says what has to be true afterwards.
//!
//! The end-to-end tests run them for seconds, `cargo xtask drill` for as long as asked. What a drill finds is a list of sentences
//! with digests, tags and the round, because a seed replays the load but not the moment at which the server was hit.

pub mod collect;
pub mod content;
pub mod crash;
pub mod journal;
pub mod session;
pub mod verify;

pub use content::Content;
pub use journal::Journal;
pub use session::{Manner, Session};
