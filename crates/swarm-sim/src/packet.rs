//! A message on its way, in sixteen bytes.
//!
//! A fleet has millions of messages under way, nearly all of a few words. The whole [`Message`] is large, because a `Join` holds a
//! digest; so the frequent ones are packed and only the others are boxed. Nothing is encoded: what arrives is what was sent.

use bytes::Bytes;
use shoal_swarm_protocol::{Message, Part};
use shoal_swarm_types::PieceIndex;

/// One message.
#[derive(Debug)]
pub(crate) enum Packet {
    /// See [`Message::Have`].
    Have { swarm: u32, index: u32, queue: u32 },
    /// See [`Message::Request`], in the background.
    Request { swarm: u32, index: u32 },
    /// See [`Message::Request`], for a waiting reader.
    RequestUrgent { swarm: u32, index: u32 },
    /// See [`Message::RequestAny`].
    RequestAny { swarm: u32, part: Part },
    /// See [`Message::Assign`].
    Assign { swarm: u32, index: u32 },
    /// See [`Message::Piece`], of which blob of the world, and whether its bytes are wrong.
    Piece { bad: bool, blob: u16, swarm: u32, index: u32, queue: u32 },
    /// The connection ends.
    Fin,
    /// Any other.
    Other(Box<Message>),
}

impl Packet {
    /// Packs a message that is no piece.
    pub(crate) fn of(message: Message) -> Self {
        match message {
            Message::Have { swarm, index, queue } => Self::Have { swarm, index: index.0, queue },
            Message::Request { swarm, index, urgent: false } => Self::Request { swarm, index: index.0 },
            Message::Request { swarm, index, urgent: true } => Self::RequestUrgent { swarm, index: index.0 },
            Message::RequestAny { swarm, part } => Self::RequestAny { swarm, part },
            Message::Assign { swarm, index } => Self::Assign { swarm, index: index.0 },
            other => Self::Other(Box::new(other)),
        }
    }

    /// The message; `data` gives the bytes of a piece from its blob, index and whether they are wrong. `None` for the end of the
    /// connection.
    pub(crate) fn open(self, data: impl FnOnce(u16, PieceIndex, bool) -> Bytes) -> Option<Message> {
        Some(match self {
            Self::Have { swarm, index, queue } => Message::Have { swarm, index: PieceIndex(index), queue },
            Self::Request { swarm, index } => {
                Message::Request { swarm, index: PieceIndex(index), urgent: false }
            }
            Self::RequestUrgent { swarm, index } => {
                Message::Request { swarm, index: PieceIndex(index), urgent: true }
            }
            Self::RequestAny { swarm, part } => Message::RequestAny { swarm, part },
            Self::Assign { swarm, index } => Message::Assign { swarm, index: PieceIndex(index) },
            Self::Piece { bad, blob, swarm, index, queue } => {
                let index = PieceIndex(index);
                Message::Piece { swarm, index, queue, data: data(blob, index, bad) }
            }
            Self::Fin => return None,
            Self::Other(message) => *message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_unchanged() {
        assert!(size_of::<Packet>() <= 16);
        let index = PieceIndex(7);
        for message in [
            Message::Have { swarm: 1, index, queue: 9 },
            Message::Request { swarm: 1, index, urgent: false },
            Message::Request { swarm: 1, index, urgent: true },
            Message::RequestAny { swarm: 3, part: Part::WHOLE },
            Message::Assign { swarm: 1, index },
            Message::Cancel { swarm: 1, index },
            Message::KeepAlive,
        ] {
            assert_eq!(Packet::of(message.clone()).open(|_, _, _| Bytes::new()), Some(message));
        }
    }
}
