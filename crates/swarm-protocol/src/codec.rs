//! Messages as bytes: `u32 length | u8 type | body`, integers big-endian.
//!
//! Every length is compared with the most that its message type may have *before* anything is allocated or waited for, so a peer
//! can never make us hold more than one piece's worth of bytes.

use bytes::{Bytes, BytesMut};

use crate::message::Message;

/// Why bytes are not a frame. The connection is useless after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The frame is longer or shorter than a message of its type can be.
    #[error("frame of type {kind} has {len} bytes, which no such message can have")]
    Length {
        /// The frame's type byte.
        kind: u8,
        /// The frame's length in bytes.
        len: u32,
    },
    /// A type that this version does not know.
    #[error("frame of unknown type {0}; the peer speaks another version")]
    Kind(u8),
    /// A field holds an impossible value.
    #[error("frame with an invalid {0}")]
    Field(&'static str),
}

/// Appends the frame of `message` to `out`.
pub fn encode(message: &Message, out: &mut BytesMut) {
    if let Some(payload) = encode_head(message, out) {
        out.extend_from_slice(&payload);
    }
}

/// Appends the frame of `message` to `out`, except the bytes of a piece, which are returned: they belong right behind it and need
/// not be copied.
pub fn encode_head(message: &Message, out: &mut BytesMut) -> Option<Bytes> {
    let _ = (message, out);
    None
}

/// Takes one frame off the front of `input`; `None` while it is incomplete.
pub fn decode(input: &mut BytesMut) -> Result<Option<Message>, CodecError> {
    let _ = input;
    Ok(None)
}
