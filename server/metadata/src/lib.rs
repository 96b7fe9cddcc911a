//! What the cluster remembers: which blobs and manifests a repository has, what its tags name, who refers to whom.
//!
//! Goals: a change is acknowledged only when it is on disk, is whole or is not there at all, and is seen by every later question.
//! Non-goals: the bytes of blobs (the store has them), HTTP, and any policy about who may do what.
//!
//! [`Catalog`] is the room's door for requests, [`Upkeep`] the collector's, [`Outbox`] that of whoever delivers messages.
//! [`Embedded`] stands behind them with SQLite in this process; another engine joins by implementing
//! the trait and passing the same contract suite. Errors of every engine are one [`Error`].

pub mod catalog;
pub mod clock;
#[cfg(test)]
mod contract;
pub mod embedded;
pub mod error;
pub mod outbox;
pub mod upkeep;

pub use catalog::{
    Catalog, Condition, DeleteOutcome, Manifest, Match, Page, PageAfter, PutManifest, PutOutcome, References,
};
pub use clock::UnixMillis;
pub use embedded::{Embedded, Options};
pub use error::{Error, ErrorKind};
pub use outbox::{Message, Outbox, OutboxLen};
pub use upkeep::{Cursor, Fault, ManifestRecord, TagRecord, UnreferencedLink, Upkeep, Walk};

/// The result of every question and change.
pub type Result<T> = std::result::Result<T, Error>;
