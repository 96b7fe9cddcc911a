//! Long pieces that pause for others: how they go out, how they come in, and what a hostile sender may not do with them.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use shoal_oci::Digest;
use shoal_swarm::Role;
use shoal_swarm_protocol::{
    Frame, Message, MoreHead, Parts, PieceHead, Pieces, encode, encode_begin_head, encode_more_head,
};
use shoal_swarm_types::{Metainfo, PieceIndex};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::tracker::Tracker;
use crate::world::{Actor, Node, Plan, Talk, content, metainfo, within};

/// Pieces of 256 KiB: two parts each while somebody waits for pieces.
const SIZE: usize = 65 * 1024 * 1024;
const LEN: u32 = 256 * 1024;

/// A peer of `node` that has nothing and has joined the swarm of `digest`.
async fn join(node: &Node, digest: Digest) -> Talk {
    join_by(node, digest, None).await
}

/// The same, whose socket takes so many bytes at a time.
async fn join_by(node: &Node, digest: Digest, room: Option<u32>) -> Talk {
    let actor = Actor::new().await;
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(room) = room {
        socket.set_recv_buffer_size(room).unwrap();
    }
    let mut talk = Talk::greet(socket.connect(node.peer.addr).await.unwrap(), &actor.peer).await;
    let grant = Bytes::new();
    talk.say(&Message::Join { swarm: 7, digest, owner: false, pieces: Pieces::Nothing, grant }).await;
    while !matches!(talk.hear().await, Some(Message::Join { .. })) {}
    talk
}

fn piece<'a>(metainfo: &Metainfo, bytes: &'a [u8], index: PieceIndex) -> &'a [u8] {
    let range = metainfo.layout().piece_range(index);
    &bytes[range.start as usize..range.end as usize]
}

/// What a peer hears that puts pieces together.
#[derive(Default)]
struct Ear {
    parts: Parts<BytesMut>,
    begun: usize,
}

impl Ear {
    /// The next whole piece.
    async fn piece(&mut self, talk: &mut Talk) -> (PieceIndex, Bytes) {
        loop {
            match talk.frame().await.unwrap() {
                Frame::Message(Message::Reject { index, .. }) => panic!("{} was rejected", index.0),
                Frame::Message(_) => {}
                Frame::Piece(head) => {
                    self.parts.may_begin(&head, false).unwrap();
                    return (head.index, talk.bytes(head.len).await.freeze());
                }
                Frame::Begin(head, len) => {
                    self.parts.may_begin(&head, true).unwrap();
                    self.begun += 1;
                    self.parts.keep(head, len, talk.bytes(len).await);
                }
                Frame::More(more) => {
                    let mut begun = self.parts.go_on(&more).unwrap();
                    begun.kept.unsplit(talk.bytes(more.len).await);
                    if begun.is_whole() {
                        self.begun -= 1;
                        return (begun.head.index, begun.kept.freeze());
                    }
                    self.parts.keep_again(begun);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_that_a_reader_waits_for_goes_before_the_rest_of_another() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(71, SIZE);
    let owner = Plan::new(Role::Agent).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let metainfo = metainfo(&bytes);
    // It takes little at a time, so that the first piece has hardly begun to leave when the last one is asked for.
    let mut talk = within(join_by(&owner, digest, Some(16 * 1024))).await;
    let (mut ear, mut overtaken) = (Ear::default(), 0);
    for round in 0..5 {
        // From now on long pieces go in parts.
        talk.say(&Message::Demand { swarm: 7, index: PieceIndex(99) }).await;
        assert_eq!(within(ear.piece(&mut talk)).await.0, PieceIndex(99));
        for index in 0..8 {
            talk.say(&Message::Request { swarm: 7, index: PieceIndex(index), urgent: false }).await;
        }
        let urgent = PieceIndex(100 + round);
        talk.say(&Message::Demand { swarm: 7, index: urgent }).await;
        for nth in 0..9 {
            let (index, data) = within(ear.piece(&mut talk)).await;
            assert!(data == piece(&metainfo, &bytes, index), "{}", index.0);
            assert!(index != urgent || nth < 8, "it came last");
            overtaken += usize::from(index == urgent && ear.begun > 0);
        }
    }
    assert!(overtaken > 0, "no piece paused");
    within(owner.swarm.shutdown()).await;
    assert_eq!(owner.sent(), 5 * 10 * u64::from(LEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_that_come_in_parts_are_put_together() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(72, 33 * 1024 * 1024);
    let metainfo = metainfo(&bytes);
    let actor = Actor::new().await;
    tracker.publish(&metainfo, &[&actor.peer]);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let whole = bytes.clone();
    let serving = tokio::spawn(async move { serve_in_parts(&actor, &metainfo, &whole).await });
    let got = within(agent.fetch(&Digest::sha256(&bytes))).await;
    assert!(got == bytes);
    within(agent.swarm.shutdown()).await;
    within(serving).await.unwrap();
}

/// Serves one connection: each piece in three parts, with other words between them, and with all of another piece if two are wanted.
async fn serve_in_parts(actor: &Actor, metainfo: &Metainfo, bytes: &[u8]) {
    let mut talk = actor.take_in().await;
    let mut wanted = Vec::new();
    while let Some(frame) = talk.frame().await {
        match frame {
            Frame::Message(Message::Join { digest, .. }) => {
                let (grant, pieces) = (Bytes::new(), Pieces::All);
                talk.say(&Message::Join { swarm: 1, digest, owner: false, grant, pieces }).await;
            }
            Frame::Message(Message::Request { index, .. }) => wanted.push(index),
            _ => {}
        }
        if !talk.is_quiet() {
            continue;
        }
        let mut wire = BytesMut::new();
        for together in std::mem::take(&mut wanted).chunks(2) {
            for index in together {
                put_beginning(*index, metainfo, bytes, &mut wire);
            }
            encode(&Message::KeepAlive, &mut wire);
            for index in together.iter().rev() {
                put_rest(*index, metainfo, bytes, &mut wire);
            }
        }
        let _ = talk.stream.write_all(&wire).await;
    }
}

/// Bytes in the first part.
const FIRST: u32 = 10_000;

fn put_beginning(index: PieceIndex, metainfo: &Metainfo, bytes: &[u8], wire: &mut BytesMut) {
    let data = piece(metainfo, bytes, index);
    encode_begin_head(&PieceHead { swarm: 1, index, queue: 0, len: data.len() as u32 }, FIRST, wire);
    wire.put_slice(&data[..FIRST as usize]);
}

fn put_rest(index: PieceIndex, metainfo: &Metainfo, bytes: &[u8], wire: &mut BytesMut) {
    let data = piece(metainfo, bytes, index);
    let middle = FIRST as usize + data.len() / 3;
    for part in [FIRST as usize..middle, middle..data.len()] {
        let (offset, len) = (part.start as u32, part.len() as u32);
        encode_more_head(&MoreHead { swarm: 1, index, offset, len }, wire);
        wire.put_slice(&data[part]);
    }
}

/// Parts of pieces of zeros.
fn begin(index: u32, len: u32, wire: &mut BytesMut) {
    encode_begin_head(&PieceHead { swarm: 7, index: PieceIndex(index), queue: 0, len: LEN }, len, wire);
    wire.put_bytes(0, len as usize);
}

fn more(index: u32, offset: u32, len: u32, wire: &mut BytesMut) {
    encode_more_head(&MoreHead { swarm: 7, index: PieceIndex(index), offset, len }, wire);
    wire.put_bytes(0, len as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_parts_that_do_not_fit_together_is_cut_off() {
    let tracker = Arc::new(Tracker::default());
    let node = Plan::new(Role::Agent).start(&tracker).await;
    let digest = node.publish(&tracker, &content(73, SIZE));
    type Script = fn(&mut BytesMut);
    let scripts: [(&str, Script); 8] = [
        ("more of nothing", |wire| more(1, 0, 10, wire)),
        ("a gap", |wire| (begin(1, 10, wire), more(1, 11, 10, wire)).1),
        ("an overlap", |wire| (begin(1, 10, wire), more(1, 9, 10, wire)).1),
        ("the same again", |wire| (begin(1, 10, wire), begin(1, 10, wire)).1),
        ("too many", |wire| (begin(1, 10, wire), begin(2, 10, wire), begin(3, 10, wire)).2),
        ("too much", |wire| (begin(1, LEN - 10, wire), more(1, LEN - 10, 11, wire)).1),
        ("another piece", |wire| (begin(1, 10, wire), more(2, 10, 10, wire)).1),
        // Only the core knows what was asked for.
        ("a whole piece that nobody asked for", |wire| (begin(1, 10, wire), more(1, 10, LEN - 10, wire)).1),
    ];
    for (name, script) in scripts {
        let mut talk = within(join(&node, digest)).await;
        let mut wire = BytesMut::new();
        script(&mut wire);
        let _ = talk.stream.write_all(&wire).await;
        within(async { while talk.frame().await.is_some() {} }).await;
        assert!(talk.is_over(), "{name}");
    }
    // Somebody who stops and hangs up between two parts is no violation, and costs nobody else.
    let mut talk = within(join(&node, digest)).await;
    let mut wire = BytesMut::new();
    begin(1, 10, &mut wire);
    talk.stream.write_all(&wire).await.unwrap();
    drop(talk);
    let mut talk = within(join(&node, digest)).await;
    talk.say(&Message::Demand { swarm: 7, index: PieceIndex(1) }).await;
    let (index, _) = within(Ear::default().piece(&mut talk)).await;
    assert_eq!(index, PieceIndex(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_piece_that_has_begun_comes_all_the_same() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(74, SIZE);
    let owner = Plan::new(Role::Agent).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let mut talk = within(join(&owner, digest)).await;
    let mut ear = Ear::default();
    // From now on long pieces go in parts.
    talk.say(&Message::Demand { swarm: 7, index: PieceIndex(50) }).await;
    within(ear.piece(&mut talk)).await;
    talk.say(&Message::Request { swarm: 7, index: PieceIndex(1), urgent: false }).await;
    let (head, first) = within(async {
        loop {
            if let Frame::Begin(head, len) = talk.frame().await.unwrap() {
                break (head, talk.bytes(len).await);
            }
        }
    })
    .await;
    talk.say(&Message::Cancel { swarm: 7, index: PieceIndex(1) }).await;
    talk.say(&Message::Demand { swarm: 7, index: PieceIndex(51) }).await;
    let come = first.len() as u32;
    ear.parts.keep(head, come, first);
    ear.begun = 1;
    let (one, other) = (within(ear.piece(&mut talk)).await.0, within(ear.piece(&mut talk)).await.0);
    let mut both = [one.0, other.0];
    both.sort_unstable();
    assert_eq!(both, [1, 51]);
}
