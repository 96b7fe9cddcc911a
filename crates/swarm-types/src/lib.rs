//! Nouns of the swarm. Pure: no disk, no network, no clock.
//!
//! A blob is cut into pieces of one length (the last may be shorter). Each piece has a digest of its own, so that a peer can
//! check and pass on a piece before it has the rest. The list of piece digests with the blob's size is the *metainfo*; an origin
//! makes it in the same pass over the bytes that checks the blob's own digest, and vouches for it.

pub mod bitfield;
pub mod layout;
pub mod metainfo;
pub mod peer;
pub mod zone;

pub use bitfield::{Bitfield, set_bits, word_bit};
pub use layout::{Layout, PieceIndex, PieceLength};
pub use metainfo::{
    DecodeMetainfoError, Disagreement, Metainfo, MetainfoHead, PieceCheck, PieceDigest, PieceDigester,
    PieceVerdict,
};
pub use peer::{PeerId, PeerInfo};
pub use zone::{InvalidZoneName, Zone, ZoneName};
