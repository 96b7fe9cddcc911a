//! The way of a piece's bytes: from the file into the socket, from the socket into the file, and what may go wrong on it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_store::{Options, Store};
use shoal_swarm::{Part, Role};
use shoal_swarm_protocol::{Message, Pieces};
use shoal_swarm_types::{Metainfo, PieceIndex};

use crate::tracker::Tracker;
use crate::world::{Actor, Node, Plan, Talk, content, damage, metainfo, within};

const MIB: usize = 1024 * 1024;

/// Pieces of 512 KiB: longer than a segment of memory, a portion for the socket, and what a socket takes at once.
const LONG: usize = 129 * MIB;

/// Content of a blob with long pieces.
fn long() -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| content(70, LONG));
    &BYTES
}

/// A peer of `node` that has nothing and has joined the swarm of `digest`.
async fn join(node: &Node, digest: Digest) -> Talk {
    let actor = Actor::new().await;
    let mut talk = Talk::dial(node.peer.addr, &actor.peer).await;
    let grant = Bytes::new();
    talk.say(&Message::Join { swarm: 7, digest, owner: false, pieces: Pieces::Nothing, grant }).await;
    while !matches!(talk.hear().await, Some(Message::Join { .. })) {}
    talk
}

async fn ask(talk: &mut Talk, index: u32) {
    talk.say(&Message::Request { swarm: 7, index: PieceIndex(index), urgent: false }).await;
}

/// The next piece or refusal.
async fn answer(talk: &mut Talk) -> Option<(PieceIndex, Option<Bytes>)> {
    loop {
        match talk.hear().await? {
            Message::Piece { index, data, .. } => return Some((index, Some(data))),
            Message::Reject { index, .. } => return Some((index, None)),
            _ => {}
        }
    }
}

fn piece<'a>(metainfo: &Metainfo, bytes: &'a [u8], index: u32) -> &'a [u8] {
    let range = metainfo.layout().piece_range(PieceIndex(index));
    &bytes[range.start as usize..range.end as usize]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_pieces_go_out_whole_through_a_socket_that_takes_little_at_once() {
    let tracker = Arc::new(Tracker::default());
    let bytes = long();
    let owner = Plan::new(Role::Agent).start(&tracker).await;
    let digest = owner.publish(&tracker, bytes);
    let metainfo = metainfo(bytes);
    let mut talk = within(join(&owner, digest)).await;
    for index in [3, 0, 257] {
        ask(&mut talk, index).await;
    }
    // Twice: verified when it is sent for the first time, known at the second.
    for round in 0..2 {
        for _ in 0..3 {
            let (index, data) = within(answer(&mut talk)).await.unwrap();
            assert!(data.unwrap() == piece(&metainfo, bytes, index.0), "{round}: {}", index.0);
            if round == 0 {
                ask(&mut talk, index.0).await;
            }
        }
    }
    within(owner.swarm.shutdown()).await;
    assert_eq!(owner.sent(), 6 * 512 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_blob_arrives_in_pieces_that_are_written_while_they_come() {
    let tracker = Arc::new(Tracker::default());
    let bytes = long();
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, bytes);
    let mut plan = Plan::new(Role::Agent);
    // Two segments: everything waits for everything, and still arrives.
    plan.options.bounds.inbound_bytes_max = MIB / 2;
    let agent = plan.start(&tracker).await;
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    let mut at = 0;
    while at < bytes.len() as u64 {
        let part = within(reader.part_at(at..u64::MAX)).await.unwrap();
        let mut got = vec![0; part.len() as usize];
        match &part {
            Part::Bytes(data) => got.copy_from_slice(data),
            Part::File(range) => assert_eq!(range.read(0, &mut got).unwrap(), got.len()),
        }
        assert!(got == bytes[at as usize..][..got.len()], "{at}");
        at += part.len();
    }
    within(reader.complete()).await.unwrap();
    // What was verified when it came need not be read again, also now that the blob is complete.
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    assert!(matches!(reader.part_at(5..10).await.unwrap(), Part::File(range) if range.len == 5));
    assert_eq!(reader.part_at(bytes.len() as u64..u64::MAX).await.unwrap().len(), 0);
    within(agent.swarm.shutdown()).await;
    assert_eq!(agent.received_in_all(), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hangs_up_inside_a_piece_costs_nobody_else() {
    let tracker = Arc::new(Tracker::default());
    let bytes = long();
    let owner = Plan::new(Role::Agent).start(&tracker).await;
    let digest = owner.publish(&tracker, bytes);
    for _ in 0..3 {
        let mut talk = within(join(&owner, digest)).await;
        ask(&mut talk, 1).await;
        // It is on its way.
        within(talk.stream.readable()).await.unwrap();
        drop(talk);
    }
    let mut talk = within(join(&owner, digest)).await;
    ask(&mut talk, 2).await;
    let (index, data) = within(answer(&mut talk)).await.unwrap();
    assert!(data.unwrap() == piece(&metainfo(bytes), bytes, index.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_stops_inside_a_piece_does_not_keep_it_from_us() {
    let tracker = Arc::new(Tracker::default());
    let bytes = long();
    let metainfo = metainfo(bytes);
    let stalling = Actor::new().await;
    tracker.publish(&metainfo, &[&stalling.peer]);
    let mut plan = Plan::new(Role::Agent);
    plan.options.times.frame = Duration::from_secs(60);
    let agent = plan.start(&tracker).await;
    // It sends the head of a piece and half of the piece, and then nothing more.
    let half = stalling.half_a_piece(&metainfo, bytes);
    let (reader, stuck) = within(async { tokio::join!(agent.swarm.open(metainfo.digest()), half) }).await;
    let reader = reader.unwrap();
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    owner.publish(&tracker, bytes);
    within(reader.complete()).await.unwrap();
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_flips_after_verification_is_seen_before_it_is_sent() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(74, 2 * MIB);
    let owner = Plan::new(Role::Agent).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let mut talk = within(join(&owner, digest)).await;
    // A file that has just changed is not trusted, so wait until it is, and is known.
    tokio::time::sleep(Duration::from_millis(50)).await;
    ask(&mut talk, 0).await;
    assert!(within(answer(&mut talk)).await.unwrap().1.is_some());
    damage(owner.dir.path(), bytes.len(), 5);
    ask(&mut talk, 0).await;
    assert_eq!(within(answer(&mut talk)).await.unwrap(), (PieceIndex(0), None), "refused, not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_removed_while_a_piece_goes_out_is_sent_to_the_piece_s_end() {
    let tracker = Arc::new(Tracker::default());
    let bytes = long();
    let owner = Plan::new(Role::Agent).start(&tracker).await;
    let digest = owner.publish(&tracker, bytes);
    let mut talk = within(join(&owner, digest)).await;
    ask(&mut talk, 1).await;
    within(talk.stream.readable()).await.unwrap();
    owner.store.remove(&digest).unwrap();
    let (index, data) = within(answer(&mut talk)).await.unwrap();
    assert!(data.unwrap() == piece(&metainfo(bytes), bytes, index.0));
}

#[tokio::test]
async fn a_metainfo_that_belongs_to_other_content_than_its_digest() {
    // The owner vouches that the piece digests belong to the SHA-256. What if it is wrong? A cache takes what the metainfo says, and whoever
    // pulls compares the SHA-256; a durable store compares before it acknowledges.
    let bytes = content(76, 2 * MIB);
    let claimed = Digest::sha256(b"something else");
    let wrong = Metainfo::of(claimed, &bytes);
    for (options, taken) in [(Options::cache(1 << 30), true), (Options::durable(), false)] {
        let dir = tempfile::TempDir::new().unwrap();
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let partial = store.partial(&wrong).unwrap();
        for index in 0..wrong.layout().piece_count() {
            partial.write_piece(PieceIndex(index), piece(&wrong, &bytes, index)).unwrap();
        }
        let committed = partial.commit();
        assert_eq!(committed.is_ok(), taken);
        assert_eq!(store.stat(&claimed).unwrap().is_some(), taken);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_stands_still_holds_no_piece_in_memory() {
    let tracker = Arc::new(Tracker::default());
    let bytes = long();
    let owner = Plan::new(Role::Agent).start(&tracker).await;
    let digest = owner.publish(&tracker, bytes);
    let mut slow = within(join(&owner, digest)).await;
    for index in 0..20 {
        ask(&mut slow, index).await;
    }
    within(slow.stream.readable()).await.unwrap();
    // Others are served meanwhile, and the slow one gets everything when it reads again.
    let mut quick = within(join(&owner, digest)).await;
    ask(&mut quick, 30).await;
    assert_eq!(within(answer(&mut quick)).await.unwrap().0, PieceIndex(30));
    let metainfo = metainfo(bytes);
    for _ in 0..20 {
        let (index, data) = within(answer(&mut slow)).await.unwrap();
        assert!(data.unwrap() == piece(&metainfo, bytes, index.0));
    }
}
