//! Content-addressed blobs on one disk. A blob's life: upload (a push), partial (a download) or inflow (a partial from one source, in order) →
//! complete → evicted or removed.
//!
//! Goals: a blob is either completely there or not visible, whatever the process or the machine does in between; no byte of a blob
//! leaves the store unverified; bytes are hashed once, while they are written; readers, writers and commits of different blobs do
//! not wait for each other. Non-goals: more than one disk, more than one process, and knowing why a blob is wanted (references,
//! repositories and tags are others' business).
//!
//! The rules that the rooms keep:
//! - a complete blob is a data file plus a metainfo file whose size agrees, or, when it is small and the store durable, a record in
//!   the pack (`pack`); each change of files has one rename or unlink as the moment from which it holds (`commit`, `demote`,
//!   `evict`), and `open` brings every other state into order;
//! - what is complete, used and pinned is known in memory (`index`, `pack`); a durable store fills the index after it was opened and
//!   until then looks for each blob under its name (`counting`);
//! - a file is trusted as long as it is the one that was verified (`verified`); a damaged blob of a durable store leaves it at once
//!   and is kept aside (`quarantine`);
//! - bytes are counted before they are taken (`space`), and a cache makes room by evicting (`evict`);
//! - locks have an order (`locks`), and none of them is held while bytes of a blob move.
//!
//! The price: two files per large blob; and, in a cache, one short read for each at start.

mod append;
mod arriving;
mod blob;
mod commit;
mod counting;
mod demote;
mod direct;
mod disk;
mod error;
mod evict;
mod faults;
mod hashes;
mod id;
mod index;
mod inflow;
mod kept;
mod locks;
mod lost;
mod open;
mod options;
mod pack;
mod partial;
mod partials;
mod paths;
mod piece;
mod quarantine;
mod range;
mod scrub;
mod space;
mod steps;
mod store;
mod upload;
mod uploads;
mod verified;
mod writer;

pub use arriving::PieceWriter;
pub use blob::Blob;
pub use direct::Buffer;
pub use error::{Error, ErrorKind, NoSpace, Result};
pub use id::{ParseUploadIdError, UploadId};
pub use inflow::Inflow;
pub use open::Recovery;
pub use options::{Durability, Options};
pub use partial::{Partial, Written};
pub use quarantine::Quarantined;
pub use range::FileRange;
pub use scrub::Scrubbed;
pub use space::Shortage;
pub use store::{Listed, SMALL_SIZE_MAX, Store, Usage};
pub use upload::{Upload, UploadStatus};
pub use uploads::LABEL_LEN_MAX;
