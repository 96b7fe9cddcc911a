//! The tokio driver of the swarm protocol: sockets, disk, tracker and timers around the sans-io core of `shoal-swarm-protocol`.
//!
//! One task, the actor, owns the core and every table that changes with it. Whatever happens reaches it as one event or command
//! through a bounded channel, becomes one input of the core, and what the core then asks for is done: queued on a connection,
//! handed to a disk worker, put into the next announce. The actor itself never waits for a socket, a disk or a caller.
//!
//! Goals: every byte that leaves here, to a reader or to a peer, was verified by the store when it came in or when it was read;
//! memory is bounded whatever peers do ([`limits`]); a piece is copied once on its way from the socket to the disk.
//! Non-goals: deciding anything about pieces, peers or retries (the core does), knowing how blobs lie on disk (the store does),
//! speaking HTTP (the traits [`Announcer`] and [`RangeSource`] are implemented elsewhere).
//! The price: one task handles all events of the process; at about a microsecond each, that is some 100,000 pieces a second.

mod actor;
pub mod announce;
mod blobs;
mod conn;
mod conns;
mod desk;
mod dial;
mod disk;
mod envelope;
mod error;
mod event;
mod experiment;
mod follow;
mod grant;
mod handles;
mod handshake;
pub mod limits;
mod listen;
mod metrics;
mod options;
mod pool;
mod reader;
pub mod shape;
mod swarm;
mod view;
pub mod web;
pub mod whole;

pub use announce::{AnnounceItem, Announcer};
pub use envelope::{Envelope, Enveloped};
pub use error::{OpenError, ReadError};
pub use experiment::Experiment;
pub use follow::{Ending, Growth};
pub use grant::{EverybodyMayHave, GrantCheck};
pub use limits::{Bounds, Times};
pub use options::SwarmOptions;
pub use reader::{BlobReader, Part};
pub use shape::{RateLimits, Shaper};
pub use shoal_swarm_protocol::{
    AnnounceError, AnnounceEvent, AnnounceReply, BlobPhase, BlobStatus, Limits, Role,
};
pub use swarm::Swarm;
pub use view::Origin;
pub use web::{Progress, RangeSource};
pub use whole::Lead;
