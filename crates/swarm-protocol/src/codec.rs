//! Messages as bytes: `u32 length | u8 type | body`, integers big-endian; the length counts type and body.
//!
//! Every length is compared with the most that its message type may have *before* anything is allocated or waited for, so a peer
//! can never make us hold more than one piece's worth of bytes. The table of types is in `Kind`; the rest of the grammar is the
//! order of fields in [`Message`].

mod parts;
mod peers;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shoal_oci::{Algorithm, Digest};
use shoal_swarm_types::{PieceIndex, PieceLength};

use crate::limits::BITFIELD_LEN_MAX;
use crate::message::{GRANT_LEN_MAX, HAVES_MAX, Message, Part, Pieces};
pub use parts::{Begun, PartError, Parts};

/// Bytes of a frame before its body: length and type.
pub const FRAME_HEAD_LEN: usize = 5;

/// The longest frame: all but one byte of a piece of the largest length, with what stands before them.
pub const FRAME_LEN_MAX: usize = FRAME_HEAD_LEN + BEGIN_HEAD_LEN + PieceLength::MAX.get() as usize - 1;

/// Channel, index and queue length before the bytes of a piece.
const PIECE_HEAD_LEN: usize = 12;

/// Channel, index, queue length and length of the whole piece before its first bytes.
const BEGIN_HEAD_LEN: usize = 16;

/// Channel, index and offset before further bytes of a piece.
const MORE_HEAD_LEN: usize = 12;

/// Channel, algorithm, owner flag, length of the grant and form of the pieces in a `Join`.
const JOIN_FIXED_LEN: usize = 4 + 1 + 1 + 2 + 1;

/// The longest digest (sha512).
const DIGEST_LEN_MAX: usize = 64;

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

/// The type bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    KeepAlive = 0,
    Join = 1,
    Decline = 2,
    Leave = 3,
    Have = 4,
    Request = 5,
    RequestAny = 6,
    Assign = 7,
    Piece = 8,
    Reject = 9,
    Cancel = 10,
    RejectAny = 11,
    Hurry = 12,
    Peers = 13,
    Arrived = 14,
    Haves = 15,
    Begin = 16,
    More = 17,
    Demand = 18,
    Press = 19,
}

impl Kind {
    const ALL: [Self; 20] = [
        Self::KeepAlive,
        Self::Join,
        Self::Decline,
        Self::Leave,
        Self::Have,
        Self::Request,
        Self::RequestAny,
        Self::Assign,
        Self::Piece,
        Self::Reject,
        Self::Cancel,
        Self::RejectAny,
        Self::Hurry,
        Self::Peers,
        Self::Arrived,
        Self::Haves,
        Self::Begin,
        Self::More,
        Self::Demand,
        Self::Press,
    ];

    fn of(byte: u8) -> Result<Self, CodecError> {
        Self::ALL.get(usize::from(byte)).copied().ok_or(CodecError::Kind(byte))
    }

    /// The shortest and the longest body.
    const fn body_len(self) -> (usize, usize) {
        match self {
            Self::KeepAlive => (0, 0),
            Self::Join => (
                JOIN_FIXED_LEN + Algorithm::Sha256.byte_len(),
                JOIN_FIXED_LEN + DIGEST_LEN_MAX + GRANT_LEN_MAX + BITFIELD_LEN_MAX,
            ),
            Self::Decline | Self::Leave | Self::RejectAny => (4, 4),
            Self::Have => (12, 12),
            Self::Request => (9, 9),
            Self::RequestAny
            | Self::Assign
            | Self::Reject
            | Self::Cancel
            | Self::Hurry
            | Self::Arrived
            | Self::Demand
            | Self::Press => (8, 8),
            Self::Haves => (12, 8 + 4 * HAVES_MAX),
            Self::Peers => (peers::BODY_LEN_MIN, peers::BODY_LEN_MAX),
            Self::Piece => (PIECE_HEAD_LEN + 1, PIECE_HEAD_LEN + PieceLength::MAX.get() as usize),
            // At least one byte of the piece is elsewhere.
            Self::Begin => (BEGIN_HEAD_LEN + 1, BEGIN_HEAD_LEN + PieceLength::MAX.get() as usize - 1),
            Self::More => (MORE_HEAD_LEN + 1, MORE_HEAD_LEN + PieceLength::MAX.get() as usize - 1),
        }
    }
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
    match message {
        Message::KeepAlive => head(out, Kind::KeepAlive, 0),
        Message::Join { swarm, digest, owner, grant, pieces } => {
            put_join(out, *swarm, digest, *owner, grant, pieces);
        }
        Message::Peers { swarm, peers } => {
            head(out, Kind::Peers, peers::body_len(peers));
            out.put_u32(*swarm);
            peers::put(out, peers);
        }
        Message::Decline { swarm } => put_words(out, Kind::Decline, &[*swarm]),
        Message::Leave { swarm } => put_words(out, Kind::Leave, &[*swarm]),
        Message::Have { swarm, index, queue } => put_words(out, Kind::Have, &[*swarm, index.0, *queue]),
        Message::Arrived { swarm, index } => put_words(out, Kind::Arrived, &[*swarm, index.0]),
        Message::Haves { swarm, indices, queue } => {
            let indices = &indices[..indices.len().min(HAVES_MAX)];
            head(out, Kind::Haves, 8 + 4 * indices.len());
            out.put_u32(*swarm);
            out.put_u32(*queue);
            indices.iter().for_each(|index| out.put_u32(index.0));
        }
        Message::Request { swarm, index, urgent } => {
            head(out, Kind::Request, 9);
            out.put_u32(*swarm);
            out.put_u32(index.0);
            out.put_u8(u8::from(*urgent));
        }
        Message::RequestAny { swarm, part } => {
            let part = u32::from(part.number()) << 16 | u32::from(part.of());
            put_words(out, Kind::RequestAny, &[*swarm, part]);
        }
        Message::RejectAny { swarm } => put_words(out, Kind::RejectAny, &[*swarm]),
        Message::Hurry { swarm, index } => put_words(out, Kind::Hurry, &[*swarm, index.0]),
        Message::Demand { swarm, index } => put_words(out, Kind::Demand, &[*swarm, index.0]),
        Message::Press { swarm, index } => put_words(out, Kind::Press, &[*swarm, index.0]),
        Message::Assign { swarm, index } => put_words(out, Kind::Assign, &[*swarm, index.0]),
        Message::Reject { swarm, index } => put_words(out, Kind::Reject, &[*swarm, index.0]),
        Message::Cancel { swarm, index } => put_words(out, Kind::Cancel, &[*swarm, index.0]),
        Message::Piece { swarm, index, queue, data } => {
            // A piece is at most PieceLength::MAX, far below u32::MAX.
            let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
            encode_piece_head(&PieceHead { swarm: *swarm, index: *index, queue: *queue, len }, out);
            return Some(data.clone());
        }
    }
    None
}

/// What stands before the bytes of a [`Message::Piece`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceHead {
    /// The sender's channel number.
    pub swarm: u32,
    /// The piece.
    pub index: PieceIndex,
    /// Bytes still waiting in the sender's upload queue.
    pub queue: u32,
    /// How many bytes of the piece follow.
    pub len: u32,
}

/// Appends the head of a piece to `out`; exactly [`PieceHead::len`] bytes of the piece must follow it on the wire.
pub fn encode_piece_head(piece: &PieceHead, out: &mut BytesMut) {
    head(out, Kind::Piece, PIECE_HEAD_LEN + piece.len as usize);
    out.put_u32(piece.swarm);
    out.put_u32(piece.index.0);
    out.put_u32(piece.queue);
}

/// What stands before further bytes of a piece that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoreHead {
    /// The sender's channel number.
    pub swarm: u32,
    /// The piece.
    pub index: PieceIndex,
    /// How many bytes of the piece came before.
    pub offset: u32,
    /// How many bytes of the piece follow.
    pub len: u32,
}

/// Appends the head of a piece of which only the first `len` bytes follow at once, fewer than [`PieceHead::len`]; the others follow behind
/// heads of their own.
pub fn encode_begin_head(piece: &PieceHead, len: u32, out: &mut BytesMut) {
    head(out, Kind::Begin, BEGIN_HEAD_LEN + len as usize);
    out.put_u32(piece.swarm);
    out.put_u32(piece.index.0);
    out.put_u32(piece.queue);
    out.put_u32(piece.len);
}

/// Appends the head of further bytes of a piece.
pub fn encode_more_head(more: &MoreHead, out: &mut BytesMut) {
    head(out, Kind::More, MORE_HEAD_LEN + more.len as usize);
    out.put_u32(more.swarm);
    out.put_u32(more.index.0);
    out.put_u32(more.offset);
}

fn head(out: &mut BytesMut, kind: Kind, body_len: usize) {
    // A body is at most a piece and its head, far below u32::MAX.
    out.put_u32(u32::try_from(body_len + 1).unwrap_or(u32::MAX));
    out.put_u8(kind as u8);
}

fn put_words(out: &mut BytesMut, kind: Kind, words: &[u32]) {
    head(out, kind, words.len() * 4);
    words.iter().for_each(|word| out.put_u32(*word));
}

fn put_join(out: &mut BytesMut, swarm: u32, digest: &Digest, owner: bool, grant: &[u8], pieces: &Pieces) {
    let grant = &grant[..grant.len().min(GRANT_LEN_MAX)];
    let bitfield: &[u8] = if let Pieces::Some(bytes) = pieces { bytes } else { &[] };
    head(out, Kind::Join, JOIN_FIXED_LEN + digest.as_bytes().len() + grant.len() + bitfield.len());
    out.put_u32(swarm);
    out.put_u8(match digest.algorithm() {
        Algorithm::Sha256 => 0,
        Algorithm::Sha512 => 1,
    });
    out.put_slice(digest.as_bytes());
    out.put_u8(u8::from(owner));
    out.put_u16(grant.len() as u16);
    out.put_slice(grant);
    out.put_u8(match pieces {
        Pieces::Nothing => 0,
        Pieces::All => 1,
        Pieces::Some(_) => 2,
    });
    out.put_slice(bitfield);
}

/// One frame, or the beginning of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message; never a [`Message::Piece`].
    Message(Message),
    /// The head of a piece; [`PieceHead::len`] bytes of the piece follow in the stream.
    Piece(PieceHead),
    /// The head of a piece that comes in parts; so many bytes of it follow in the stream, fewer than [`PieceHead::len`].
    Begin(PieceHead, u32),
    /// The head of further bytes of a piece; [`MoreHead::len`] of them follow in the stream.
    More(MoreHead),
}

/// As [`decode`], but of bytes of a piece only the head is taken off, so that they can be read to where they belong.
///
/// # Errors
/// [`CodecError`], as soon as the length and type are at hand.
pub fn decode_frame(input: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
    let (kind, body_len) = match frame_head(input)? {
        Some((kind @ (Kind::Piece | Kind::Begin | Kind::More), body_len, _)) => (kind, body_len),
        _ => return Ok(decode(input)?.map(Frame::Message)),
    };
    let head_len = if kind == Kind::Begin { BEGIN_HEAD_LEN } else { PIECE_HEAD_LEN };
    if input.len() < FRAME_HEAD_LEN + head_len {
        return Ok(None);
    }
    input.advance(FRAME_HEAD_LEN);
    let (swarm, index, word) = (input.get_u32(), PieceIndex(input.get_u32()), input.get_u32());
    // The length has passed its check.
    let len = u32::try_from(body_len - head_len).unwrap_or(u32::MAX);
    Ok(Some(match kind {
        Kind::More => Frame::More(MoreHead { swarm, index, offset: word, len }),
        Kind::Begin => {
            let whole = input.get_u32();
            if whole <= len || whole > PieceLength::MAX.get() {
                return Err(CodecError::Field("length of a piece"));
            }
            Frame::Begin(PieceHead { swarm, index, queue: word, len: whole }, len)
        }
        _ => Frame::Piece(PieceHead { swarm, index, queue: word, len }),
    }))
}

/// Takes one frame off the front of `input`; `None` while it is incomplete. Reserves room for the rest of a frame whose length has
/// passed its check. Parts of pieces are no messages: whoever may get some uses [`decode_frame`].
///
/// # Errors
/// [`CodecError`], as soon as the length and type are at hand.
pub fn decode(input: &mut BytesMut) -> Result<Option<Message>, CodecError> {
    let Some((kind, body_len, wrong)) = frame_head(input)? else { return Ok(None) };
    if matches!(kind, Kind::Begin | Kind::More) {
        return Err(CodecError::Kind(kind as u8));
    }
    let frame_len = FRAME_HEAD_LEN + body_len;
    if input.len() < frame_len {
        input.reserve(frame_len - input.len());
        return Ok(None);
    }
    let mut body = input.split_to(frame_len).freeze();
    body.advance(FRAME_HEAD_LEN);
    read_body(kind, body, wrong).map(Some)
}

/// The type and the checked length of the frame that begins, and what to say if the length proves wrong after all; `None` until
/// both are there.
fn frame_head(input: &BytesMut) -> Result<Option<(Kind, usize, CodecError)>, CodecError> {
    let Some(&[a, b, c, d, byte]) = input.first_chunk::<FRAME_HEAD_LEN>() else {
        // A length alone can already be wrong: there is no frame of nothing, and none beyond the longest.
        return match input.first_chunk::<4>().map(|len| u32::from_be_bytes(*len)) {
            Some(len) if len == 0 || len as usize > FRAME_LEN_MAX => {
                Err(CodecError::Length { kind: u8::MAX, len })
            }
            _ => Ok(None),
        };
    };
    let len = u32::from_be_bytes([a, b, c, d]);
    let kind = Kind::of(byte)?;
    let (shortest, longest) = kind.body_len();
    let wrong = CodecError::Length { kind: byte, len };
    let body_len = (len as usize).checked_sub(1).ok_or(wrong)?;
    if !(shortest..=longest).contains(&body_len) {
        return Err(wrong);
    }
    Ok(Some((kind, body_len, wrong)))
}

/// Reads a body whose length is within the limits of its kind.
fn read_body(kind: Kind, mut body: Bytes, wrong: CodecError) -> Result<Message, CodecError> {
    if kind == Kind::KeepAlive {
        return Ok(Message::KeepAlive);
    }
    let swarm = body.get_u32();
    match kind {
        Kind::Join => return read_join(swarm, body, wrong),
        Kind::Decline => return Ok(Message::Decline { swarm }),
        Kind::Leave => return Ok(Message::Leave { swarm }),
        Kind::RequestAny => {
            let part = Part::new(body.get_u16(), body.get_u16()).ok_or(CodecError::Field("part"))?;
            return Ok(Message::RequestAny { swarm, part });
        }
        Kind::RejectAny => return Ok(Message::RejectAny { swarm }),
        Kind::Haves => return read_haves(swarm, body, wrong),
        Kind::Peers => return peers::read(body, wrong).map(|peers| Message::Peers { swarm, peers }),
        _ => {}
    }
    let index = PieceIndex(body.get_u32());
    Ok(match kind {
        Kind::Have => Message::Have { swarm, index, queue: body.get_u32() },
        Kind::Request => Message::Request { swarm, index, urgent: read_flag(&mut body, "urgency")? },
        Kind::Assign => Message::Assign { swarm, index },
        Kind::Reject => Message::Reject { swarm, index },
        Kind::Arrived => Message::Arrived { swarm, index },
        Kind::Hurry => Message::Hurry { swarm, index },
        Kind::Demand => Message::Demand { swarm, index },
        Kind::Press => Message::Press { swarm, index },
        Kind::Cancel => Message::Cancel { swarm, index },
        _ => Message::Piece { swarm, index, queue: body.get_u32(), data: body },
    })
}

fn read_haves(swarm: u32, mut body: Bytes, wrong: CodecError) -> Result<Message, CodecError> {
    let queue = body.get_u32();
    if !body.len().is_multiple_of(4) {
        return Err(wrong);
    }
    let indices = std::iter::from_fn(|| body.has_remaining().then(|| PieceIndex(body.get_u32()))).collect();
    Ok(Message::Haves { swarm, indices, queue })
}

fn read_flag(body: &mut Bytes, field: &'static str) -> Result<bool, CodecError> {
    match body.get_u8() {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CodecError::Field(field)),
    }
}

fn read_join(swarm: u32, mut body: Bytes, wrong: CodecError) -> Result<Message, CodecError> {
    let algorithm = match body.get_u8() {
        0 => Algorithm::Sha256,
        1 => Algorithm::Sha512,
        _ => return Err(CodecError::Field("digest algorithm")),
    };
    // Four more bytes follow the digest: the owner flag, the length of the grant and the form of the pieces.
    if body.len() < algorithm.byte_len() + 4 {
        return Err(wrong);
    }
    let raw = body.split_to(algorithm.byte_len());
    let digest = Digest::from_bytes(algorithm, &raw).ok_or(CodecError::Field("digest"))?;
    let owner = read_flag(&mut body, "owner flag")?;
    let grant_len = usize::from(body.get_u16());
    if grant_len > GRANT_LEN_MAX || body.len() < grant_len + 1 {
        return Err(wrong);
    }
    let grant = body.split_to(grant_len);
    let pieces = match (body.get_u8(), body.len()) {
        (0, 0) => Pieces::Nothing,
        (1, 0) => Pieces::All,
        (2, 1..=BITFIELD_LEN_MAX) => Pieces::Some(body),
        (0..=2, _) => return Err(wrong),
        _ => return Err(CodecError::Field("form of the pieces")),
    };
    Ok(Message::Join { swarm, digest, owner, grant, pieces })
}

#[cfg(test)]
mod tests;
