//! What a peer does next: the swarm's state machine, without sockets, clock or disk.
//!
//! # Driving law
//!
//! A driver owns one [`Core`] and does, forever:
//!
//! 1. [`Core::handle`] one [`Input`] with the present [`Time`];
//! 2. [`Core::poll`] until it returns `None`, and do what each [`Output`] says, in order;
//! 3. wait for the next event, or for [`Core::next_timeout`], which is answered by [`Input::Tick`].
//!
//! Nothing is answered twice and nothing may stay unanswered: every `Prepare`, `Lookup`, `Announce` (but `Stopped`), `Dial`,
//! `ReadPiece`, `StorePiece` and `FetchWeb` gets exactly one answer, sooner or later and in any order; every sent `Piece` is
//! followed by a `Drained` or a `Disconnected`. Inputs about connections or blobs that the core has already forgotten are ignored.

mod announce;
mod ban;
mod blob;
pub mod codec;
mod core;
mod dial;
mod download;
pub mod handshake;
pub mod io;
pub mod limits;
pub mod message;
mod peer;
mod pick;
pub mod stats;
mod timers;
mod upload;
mod window;

pub use crate::codec::{CodecError, FRAME_LEN_MAX, decode, encode, encode_head};
pub use crate::core::{Core, CoreConfig};
pub use crate::handshake::{HANDSHAKE_LEN, Handshake, HandshakeError};
pub use crate::io::{
    AnnounceError, AnnounceEvent, AnnounceReply, BanReason, CloseReason, ConnId, FailReason, Input, Output,
    ReaderId, RejectCause, Role, Source, Time, Violation,
};
pub use crate::limits::Limits;
pub use crate::message::{Message, Pieces};
pub use crate::stats::{BlobPhase, BlobStatus, Received, Totals};
