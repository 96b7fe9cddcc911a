//! What peers say to one another on a connection, after the handshake.
//!
//! One connection carries every blob that two peers share. Each side numbers its channels itself: [`Message::Join`] binds the
//! *sender's* number to a digest, and later messages of that sender carry the number instead of the digest. There is no interest,
//! no choking and no rate negotiation: the fleet belongs to one operator, and requests alone say what is wanted.
//!
//! Every `Request` and every `Assign` ends in exactly one `Piece` or `Reject`, and every `RequestAny` in exactly one `Assign` or
//! `RejectAny`, unless one side leaves the swarm first. So both sides always agree on what is outstanding, and a piece that nobody
//! asked for is a violation rather than a race.

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, PeerInfo, PieceIndex};

/// The longest grant in bytes.
pub const GRANT_LEN_MAX: usize = 256;

/// Peers in one [`Message::Peers`].
pub const PEERS_PER_MESSAGE_MAX: usize = 16;

/// Which pieces the sender of a [`Message::Join`] has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// None, or it does not know the blob's size yet.
    Nothing,
    /// Every one.
    All,
    /// A bitfield in wire form. Its length can be checked only by a peer that knows the blob's size, so it stays raw here.
    Some(Bytes),
}

impl Pieces {
    /// The shortest form of a bitfield.
    pub fn of(field: &Bitfield) -> Self {
        match (field.is_full(), field.count()) {
            (true, _) => Self::All,
            (false, 0) => Self::Nothing,
            (false, _) => Self::Some(Bytes::copy_from_slice(field.as_bytes())),
        }
    }

    /// The bitfield for a blob of `count` pieces; `None` when it does not fit.
    pub fn to_bitfield(&self, count: u32) -> Option<Bitfield> {
        match self {
            Self::Nothing => Some(Bitfield::empty(count)),
            Self::All => Some(Bitfield::full(count)),
            Self::Some(bytes) => Bitfield::from_bytes(bytes, count),
        }
    }
}

/// Pieces in one [`Message::Haves`]: as many as a fast link brings between two of them, and a frame of at most 4 KiB.
pub const HAVES_MAX: usize = 1_000;

/// Which of several owners one is: they hand out a part of the pieces each, before they hand out those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: u16,
    of: u16,
}

impl Part {
    /// There is only one owner.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// Number `number`, counted from 0, of `of`; `None` when there is no such part.
    pub fn new(number: u16, of: u16) -> Option<Self> {
        (number < of).then_some(Self { number, of })
    }

    /// Its number, counted from 0.
    pub const fn number(self) -> u16 {
        self.number
    }

    /// How many parts there are.
    pub const fn of(self) -> u16 {
        self.of
    }

    /// How far a piece is from being in this part: 0 if it is, 1 if it is in that of the next owner, and so on.
    pub(crate) fn distance(self, index: PieceIndex) -> u32 {
        let of = u32::from(self.of);
        (index.0 % of + of - u32::from(self.number)) % of
    }
}

/// One message. `swarm` is always the sender's channel number, except in [`Message::Decline`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Nothing to say, still here.
    KeepAlive,
    /// The sender takes part in the swarm of `digest` and calls it `swarm` from now on.
    Join {
        /// The sender's channel number.
        swarm: u32,
        /// The blob.
        digest: Digest,
        /// Whether the sender is an owner: it answers [`Message::RequestAny`].
        owner: bool,
        /// Proof that the sender may have the blob, as its tracker gave it; at most [`GRANT_LEN_MAX`] bytes, empty for none. Opaque
        /// here: the driver judges it.
        grant: Bytes,
        /// What the sender has.
        pieces: Pieces,
    },
    /// The sender does not take part in a swarm that the receiver joined; `swarm` is the *receiver's* channel number.
    Decline {
        /// The receiver's channel number.
        swarm: u32,
    },
    /// The sender takes part no longer; everything asked for on the channel is void, both ways.
    Leave {
        /// The sender's channel number.
        swarm: u32,
    },
    /// The sender has got a piece.
    Have {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
        /// Bytes waiting in the sender's upload queue, for everybody: its load.
        queue: u32,
    },
    /// The sender has got several pieces, which saves as many frames.
    Haves {
        /// The sender's channel number.
        swarm: u32,
        /// The pieces: at least one, at most [`HAVES_MAX`].
        indices: Vec<PieceIndex>,
        /// Bytes waiting in the sender's upload queue, for everybody: its load.
        queue: u32,
    },
    /// A piece that the receiver of this message sent has arrived whole, wanted or not: what is on the way has become less. Whether its
    /// bytes are right is not said yet.
    Arrived {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
    },
    /// Please send this piece.
    Request {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
        /// Whether a reader comes by it soon: served before the background.
        urgent: bool,
    },
    /// As a [`Message::Request`], for a reader that waits for a few bytes and nothing else: served before everything, also before the rest
    /// of a piece that is being sent.
    Demand {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
    },
    /// A piece that was requested or assigned has become one for a [`Message::Demand`]. Void if the piece is under way.
    Press {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
    },
    /// To an owner: please send any piece that I lack. Answered, when its turn comes, by [`Message::Assign`] and then the piece.
    RequestAny {
        /// The sender's channel number.
        swarm: u32,
        /// Which of the owners that the sender knows this one is.
        part: Part,
    },
    /// From an owner: this is the piece that answers your oldest [`Message::RequestAny`]; it follows soon, ask nobody else for it.
    Assign {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
    },
    /// From an owner: there is nothing to answer your oldest [`Message::RequestAny`] with.
    RejectAny {
        /// The sender's channel number.
        swarm: u32,
    },
    /// A reader has begun to wait for a piece that was requested or assigned: serve it before the background. Void if the piece is
    /// under way.
    Hurry {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
    },
    /// A piece, as requested or assigned.
    Piece {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
        /// Bytes still waiting in the sender's upload queue, for everybody: its load.
        queue: u32,
        /// The bytes.
        data: Bytes,
    },
    /// The sender will not send this piece: ask somebody else, or again later.
    Reject {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
    },
    /// Others who take part in the blob's swarm, so that it holds together without a tracker: peers with which the sender has spoken,
    /// at addresses that it has dialled itself. At most [`PEERS_PER_MESSAGE_MAX`]; none of them is called an owner, since only a
    /// tracker knows owners.
    Peers {
        /// The sender's channel number.
        swarm: u32,
        /// The others.
        peers: Vec<PeerInfo>,
    },
    /// The sender no longer wants a piece that it requested or was assigned. Answered by [`Message::Reject`], unless the piece is
    /// under way.
    Cancel {
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
    },
}
