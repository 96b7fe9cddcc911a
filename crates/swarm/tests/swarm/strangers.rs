//! Whoever does not belong here, or does not behave, is gone quickly.

use std::sync::Arc;
use std::time::Duration;

use shoal_swarm::Role;
use shoal_swarm_protocol::{Dialling, HANDSHAKE_LEN, Identity, NONCE_LEN, PROOF_LEN};
use shoal_swarm_types::{PeerId, Zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tracker::Tracker;
use crate::world::{Actor, KEY, Node, Plan, Talk, content, within};

/// Whether the other end closes without having said anything.
async fn is_refused(mut stream: TcpStream) -> bool {
    let mut bytes = [0; 1];
    !matches!(within(stream.read(&mut bytes)).await, Ok(1))
}

async fn knock(node: &Node, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(node.peer.addr).await.unwrap();
    // Refused early enough, the rest of a long greeting finds no taker.
    let _ = stream.write_all(bytes).await;
    stream
}

async fn node(handshake: Duration) -> Node {
    let mut plan = Plan::new(Role::Agent);
    plan.options.times.handshake = handshake;
    plan.options.times.frame = Duration::from_millis(200);
    plan.start(&Arc::new(Tracker::default())).await
}

#[tokio::test]
async fn garbage_and_other_clusters_are_refused_without_a_word() {
    let node = node(Duration::from_secs(30)).await;
    let ours = Identity { peer_id: PeerId([9; 20]), port: 1, zone: Zone::UNKNOWN };
    let (_, hello) = Dialling::begin(&KEY, &ours, [1; NONCE_LEN]);
    let (_, other_cluster) = Dialling::begin(&[8; 32], &ours, [1; NONCE_LEN]);
    let mut other_version = hello;
    other_version[6] = b'9';
    // The first is shorter than a handshake: it must not take the time limit to see that it is none.
    for greeting in [&b"GET / HTTP/1.1\r\n\r\n"[..], &other_cluster, &other_version] {
        assert!(is_refused(knock(&node, greeting).await).await);
    }
}

#[tokio::test]
async fn a_recording_is_answered_once_more_and_not_let_in() {
    let node = node(Duration::from_secs(30)).await;
    let ours = Identity { peer_id: PeerId([9; 20]), port: 1, zone: Zone::UNKNOWN };
    let (dialling, hello) = Dialling::begin(&KEY, &ours, [1; NONCE_LEN]);
    let mut answer = [0; HANDSHAKE_LEN];
    let mut stream = knock(&node, &hello).await;
    within(stream.read_exact(&mut answer)).await.unwrap();
    let (theirs, proof) = dialling.finish(&answer).unwrap();
    assert_eq!(theirs.peer_id, node.peer.id);
    stream.write_all(&proof).await.unwrap();
    // Somebody who listened plays both parts of it back.
    let mut replayed = knock(&node, &hello).await;
    within(replayed.read_exact(&mut answer)).await.unwrap();
    replayed.write_all(&proof).await.unwrap();
    assert!(is_refused(replayed).await);
    // And nobody gets in by a guess, or by the tag that it has just been shown.
    for guess in [[0; PROOF_LEN], *answer.last_chunk().unwrap()] {
        let mut stream = knock(&node, &hello).await;
        within(stream.read_exact(&mut answer)).await.unwrap();
        stream.write_all(&guess).await.unwrap();
        assert!(is_refused(stream).await);
    }
}

#[tokio::test]
async fn silence_after_the_answer_ends_after_the_limit() {
    let node = node(Duration::from_millis(50)).await;
    let ours = Identity { peer_id: PeerId([9; 20]), port: 1, zone: Zone::UNKNOWN };
    let (_, hello) = Dialling::begin(&KEY, &ours, [1; NONCE_LEN]);
    let mut stream = knock(&node, &hello).await;
    let mut answer = [0; HANDSHAKE_LEN];
    within(stream.read_exact(&mut answer)).await.unwrap();
    assert!(is_refused(stream).await);
}

#[tokio::test]
async fn silence_at_the_door_ends_after_the_limit() {
    let node = node(Duration::from_millis(50)).await;
    assert!(is_refused(knock(&node, b"").await).await);
    assert!(is_refused(knock(&node, b"shoal/1\n").await).await);
}

#[tokio::test]
async fn garbage_after_the_handshake_ends_the_connection() {
    let node = node(Duration::from_secs(30)).await;
    for frame in [
        // A length beyond every message, a message of nothing, an unknown type, half a message that never goes on.
        &[0xff, 0xff, 0xff, 0xff, 8][..],
        &[0, 0, 0, 0, 0],
        &[0, 0, 0, 1, 200],
        &[0, 0, 0, 9, 5, 0],
    ] {
        let stranger = Actor::new().await;
        let mut talk = Talk::dial(node.peer.addr, &stranger.peer).await;
        talk.stream.write_all(frame).await.unwrap();
        within(async { while talk.hear().await.is_some() {} }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_door_does_not_keep_friends_out() {
    let tracker = Arc::new(Tracker::default());
    let mut plan = Plan::new(Role::Owner);
    plan.options.times.handshake = Duration::from_millis(300);
    let owner = plan.start(&tracker).await;
    let bytes = content(40, 300_000);
    let digest = owner.publish(&tracker, &bytes);
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(owner.peer.addr).await.unwrap());
    }
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    assert!(within(agent.fetch(&digest)).await == bytes);
    for stream in crowd {
        assert!(is_refused(stream).await);
    }
}
