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
//! `StorePiece` and `FetchWeb` gets exactly one answer, sooner or later and in any order; every `SendPiece` is followed by a
//! `Drained`, a `SendFailed` or a `Disconnected`. Inputs about connections or blobs that the core has already forgotten are ignored.
//! A late answer does no harm: each carries its digest or connection, and the core checks it against its present state.
//!
//! # Goals, non-goals, price
//!
//! The fleet should finish in the time that its links allow (the fluid bound), with one copy out of the owner's uplink, on any piece of
//! hardware going wrong. So owners hand out distinct pieces, neighbours are asked by load, and nobody is choked or punished for anything
//! but corrupt bytes. Fairness among peers is no goal: they belong to one operator. The price of a core without input or output is that
//! every decision waits for the driver's next call, and that a piece is the smallest thing it sees: progress within a piece is not known.
//!
//! # Rooms
//!
//! `download` owns the states of pieces (`download/STATE.md` has the drawing), `pick` and `availability` choose among them, `window` sizes requests,
//! `upload` orders what is sent, `pace` measures how fast pieces travel, `near` which may come from another zone, `spread` who passes them on, `noise` who talks in vain, `announce`, `dial` and `ban` keep their own time, `core` joins them. `tests/sim.rs` runs many cores in
//! virtual time.

mod announce;
mod availability;
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
mod near;
mod noise;
mod pace;
mod peer;
mod pick;
mod sorted;
mod spread;
pub mod stats;
mod timers;
mod upload;
mod window;

pub use crate::codec::{
    Begun, CodecError, FRAME_LEN_MAX, Frame, MoreHead, PartError, Parts, PieceHead, decode, decode_frame,
    encode, encode_begin_head, encode_head, encode_more_head, encode_piece_head,
};
pub use crate::core::{Core, CoreConfig};
pub use crate::handshake::{
    Accepting, Dialling, HANDSHAKE_LEN, HandshakeError, Identity, NONCE_LEN, PROOF_LEN,
};
pub use crate::io::{
    AnnounceError, AnnounceEvent, AnnounceReply, BanReason, CloseReason, ConnId, FailReason, Input, Output,
    ReaderId, RejectCause, Role, Source, Time, Violation,
};
pub use crate::limits::Limits;
pub use crate::message::{Message, Part, Pieces};
pub use crate::stats::{BlobPhase, BlobStatus, Received, Totals};
