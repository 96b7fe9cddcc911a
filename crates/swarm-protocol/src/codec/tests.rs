//! Round trips, hostile lengths and garbage.

use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::{collection, prop_assert_eq};

use std::net::{IpAddr, SocketAddr};

use shoal_swarm_types::{PeerId, PeerInfo, Zone};

use super::*;
use crate::message::PEERS_PER_MESSAGE_MAX;

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    collection::vec(any::<u8>(), 1..max).prop_map(Bytes::from)
}

fn message() -> impl Strategy<Value = Message> {
    let pieces = prop_oneof![
        proptest::strategy::Just(Pieces::Nothing),
        proptest::strategy::Just(Pieces::All),
        bytes(300).prop_map(Pieces::Some)
    ];
    let grant = collection::vec(any::<u8>(), 0..=GRANT_LEN_MAX).prop_map(Bytes::from);
    let join = (any::<u32>(), any::<bool>(), any::<bool>(), any::<[u8; 4]>(), grant, pieces);
    let words = (0..15_u8, any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>());
    let named = (any::<u32>(), collection::vec(peer(), 1..=PEERS_PER_MESSAGE_MAX));
    let piece = (any::<u32>(), any::<u32>(), any::<u32>(), bytes(2_000));
    prop_oneof![
        join.prop_map(|(swarm, long, owner, seed, grant, pieces)| {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            Message::Join { swarm, digest: Digest::of(algorithm, &seed), owner, grant, pieces }
        }),
        words.prop_map(|(kind, swarm, index, queue, urgent)| of_words(
            kind,
            swarm,
            PieceIndex(index),
            queue,
            urgent
        )),
        named.prop_map(|(swarm, peers)| Message::Peers { swarm, peers }),
        piece.prop_map(|(swarm, index, queue, data)| Message::Piece {
            swarm,
            index: PieceIndex(index),
            queue,
            data
        }),
    ]
}

fn peer() -> impl Strategy<Value = PeerInfo> {
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    (any::<[u8; 20]>(), any::<u32>(), any::<bool>(), ip, any::<u16>()).prop_map(
        |(id, zone, complete, ip, port)| {
            let (id, addr, zone) = (PeerId(id), SocketAddr::new(ip, port), Zone(zone));
            PeerInfo { id, addr, complete, owner: false, zone }
        },
    )
}

fn of_words(kind: u8, swarm: u32, index: PieceIndex, queue: u32, urgent: bool) -> Message {
    match kind {
        0 => Message::KeepAlive,
        1 => Message::Decline { swarm },
        2 => Message::Leave { swarm },
        3 => Message::Have { swarm, index, queue },
        4 => Message::Request { swarm, index, urgent },
        5 => Message::RequestAny { swarm, part: Part::new(2, 5).unwrap_or(Part::WHOLE) },
        6 => Message::Assign { swarm, index },
        7 => Message::Reject { swarm, index },
        8 => Message::RejectAny { swarm },
        9 => Message::Hurry { swarm, index },
        10 => Message::Arrived { swarm, index },
        12 => Message::Demand { swarm, index },
        13 => Message::Press { swarm, index },
        11 => {
            let indices = (0..=index.0 % 7).map(PieceIndex).collect();
            Message::Haves { swarm, indices, queue }
        }
        _ => Message::Cancel { swarm, index },
    }
}

proptest! {
    #[test]
    fn decodes_what_it_encodes_however_it_is_cut(messages in collection::vec(message(), 1..8), step in 1_usize..700) {
        let mut wire = BytesMut::new();
        messages.iter().for_each(|message| encode(message, &mut wire));
        let mut input = BytesMut::new();
        let mut got = Vec::new();
        for chunk in wire.chunks(step) {
            input.extend_from_slice(chunk);
            while let Some(message) = decode(&mut input).unwrap() {
                got.push(message);
            }
        }
        prop_assert_eq!(got, messages);
        prop_assert_eq!(input.len(), 0);
    }

    #[test]
    fn garbage_never_panics_nor_grows(garbage in collection::vec(any::<u8>(), 0..600)) {
        let mut input = BytesMut::from(&garbage[..]);
        while let Ok(Some(_)) = decode(&mut input) {}
        prop_assert_eq!(input.capacity() <= FRAME_LEN_MAX + 1024, true);
    }

    #[test]
    fn damaged_frames_never_panic(message in message(), at in 0_usize..400, with in any::<u8>()) {
        let mut wire = BytesMut::new();
        encode(&message, &mut wire);
        let at = at % wire.len();
        wire[at] = with;
        while let Ok(Some(_)) = decode(&mut wire) {}
    }
}

fn frame(len: u32, rest: &[u8]) -> BytesMut {
    let mut wire = BytesMut::new();
    wire.put_u32(len);
    wire.put_slice(rest);
    wire
}

#[test]
fn lengths_are_refused_before_anything_is_waited_for() {
    for (len, rest) in [
        (u32::MAX, &[][..]),
        (0, &[]),
        (FRAME_LEN_MAX as u32 + 1, &[]),
        (2, &[Kind::KeepAlive as u8]),
        (10, &[Kind::RequestAny as u8]),
        (1_000_000, &[Kind::Join as u8]),
        (13, &[Kind::Piece as u8]),
        (5_000_000, &[Kind::Piece as u8]),
        (12, &[Kind::Have as u8]),
        (17, &[Kind::Begin as u8]),
        (13, &[Kind::More as u8]),
        (12 + PieceLength::MAX.get() + 1, &[Kind::More as u8]),
    ] {
        let mut wire = frame(len, rest);
        assert!(matches!(decode(&mut wire), Err(CodecError::Length { .. })), "{len} {rest:?}");
        assert!(wire.capacity() < 1024);
    }
    assert_eq!(decode(&mut frame(1, &[99])), Err(CodecError::Kind(99)));
}

#[test]
fn a_piece_comes_in_parts_with_messages_between_them() {
    let head = PieceHead { swarm: 3, index: PieceIndex(9), queue: 7, len: 100 };
    let more = MoreHead { swarm: 3, index: PieceIndex(9), offset: 40, len: 60 };
    let mut wire = BytesMut::new();
    encode_begin_head(&head, 40, &mut wire);
    wire.put_bytes(1, 40);
    encode(&Message::KeepAlive, &mut wire);
    encode_more_head(&more, &mut wire);
    wire.put_bytes(2, 60);
    assert_eq!(decode_frame(&mut wire), Ok(Some(Frame::Begin(head, 40))));
    assert_eq!(wire.split_to(40), vec![1; 40]);
    assert_eq!(decode_frame(&mut wire), Ok(Some(Frame::Message(Message::KeepAlive))));
    assert!(matches!(decode(&mut wire.clone()), Err(CodecError::Kind(17))), "a part is no message");
    assert_eq!(decode_frame(&mut wire), Ok(Some(Frame::More(more))));
    assert_eq!(wire, vec![2; 60]);
}

#[test]
fn the_beginning_of_a_piece_is_shorter_than_the_piece_and_no_piece_is_too_long() {
    for (whole, len) in [(40, 40), (39, 40), (0, 1), (PieceLength::MAX.get() + 1, 40), (u32::MAX, 1)] {
        let head = PieceHead { swarm: 3, index: PieceIndex(9), queue: 7, len: whole };
        let mut wire = BytesMut::new();
        encode_begin_head(&head, len, &mut wire);
        assert_eq!(decode_frame(&mut wire), Err(CodecError::Field("length of a piece")), "{whole} {len}");
    }
}

#[test]
fn the_bitfield_of_a_tebibyte_fits_a_frame() {
    let message = Message::Join {
        swarm: 1,
        digest: Digest::of(Algorithm::Sha512, b"big"),
        owner: false,
        grant: Bytes::new(),
        pieces: Pieces::Some(Bytes::from(vec![0x55; BITFIELD_LEN_MAX])),
    };
    let mut wire = BytesMut::new();
    encode(&message, &mut wire);
    assert_eq!(decode(&mut wire), Ok(Some(message)));
}

#[test]
fn a_join_must_be_whole() {
    let mut wire = BytesMut::new();
    encode(
        &Message::Join {
            swarm: 1,
            digest: Digest::sha256(b"x"),
            owner: false,
            grant: Bytes::new(),
            pieces: Pieces::All,
        },
        &mut wire,
    );
    let good = wire.clone();
    // A sha512 digest in a frame that is only as long as one with sha256.
    wire[9] = 1;
    assert!(matches!(decode(&mut wire), Err(CodecError::Length { .. })));
    let last = good.len() - 1;
    // Behind the digest: owner flag, length of the grant, form of the pieces.
    for (form, want) in [(2, true), (3, false)] {
        let mut wire = good.clone();
        wire[last] = form;
        assert_eq!(matches!(decode(&mut wire), Err(CodecError::Length { .. })), want, "{form}");
    }
}

#[test]
fn grants_and_lists_of_peers_are_bounded() {
    let mut wire = BytesMut::new();
    let grant = Bytes::from(vec![7; GRANT_LEN_MAX]);
    let (digest, pieces) = (Digest::sha256(b"x"), Pieces::All);
    let join = Message::Join { swarm: 1, digest, owner: false, grant, pieces };
    encode(&join, &mut wire);
    let length_at = FRAME_HEAD_LEN + 4 + 1 + 32 + 1;
    for claimed in [GRANT_LEN_MAX as u16 + 1, u16::MAX] {
        let mut wire = wire.clone();
        wire[length_at..length_at + 2].copy_from_slice(&claimed.to_be_bytes());
        assert!(matches!(decode(&mut wire), Err(CodecError::Length { .. })), "{claimed}");
    }
    assert_eq!(decode(&mut wire), Ok(Some(join)));
    let one = |port| PeerInfo {
        id: PeerId([1; 20]),
        addr: SocketAddr::from(([10, 0, 0, 1], port)),
        complete: true,
        owner: false,
        zone: Zone(5),
    };
    let peers: Vec<_> = (0..40).map(one).collect();
    encode(&Message::Peers { swarm: 3, peers: peers.clone() }, &mut wire);
    let mut counts = wire.clone();
    let Ok(Some(Message::Peers { peers: read, .. })) = decode(&mut wire) else { panic!("no peers") };
    assert_eq!(read, peers[..PEERS_PER_MESSAGE_MAX], "what is too much is not sent");
    counts[FRAME_HEAD_LEN + 4] = 0;
    assert_eq!(decode(&mut counts.clone()), Err(CodecError::Field("number of peers")));
    counts[FRAME_HEAD_LEN + 4] = PEERS_PER_MESSAGE_MAX as u8 - 1;
    assert!(matches!(decode(&mut counts.clone()), Err(CodecError::Length { .. })));
}
