//! The driver with real sockets on the loopback interface, real stores in temporary directories, and a tracker in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot build its world fails")]

mod envelopes;
mod faults;
mod fetch;
mod grants;
mod parts;
mod pieces;
mod resume;
mod small;
mod strangers;
mod tracker;
mod world;
