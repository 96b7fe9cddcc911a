//! A blob that agents pull while it still arrives at the origin: the body is fed by hand, everything else is real.

#![allow(clippy::unwrap_used, reason = "a failure of the test's own means is a failure of the test")]

mod world;

use std::time::{Duration, Instant};

use shoal_http::Body;
use shoal_oci::Digest;
use shoal_origin::{TakeInError, Taken};
use shoal_swarm::{BlobReader, OpenError, ReadError};
use shoal_swarm_types::PieceIndex;
use tokio::time::timeout;

use world::{Agent, Cluster, Server, content, feed, until};

const LEN: usize = 64 * 1024;

/// Ten pieces, the last of them short.
const SIZE: usize = 9 * LEN + 1000;

/// The bytes of one piece.
fn piece(bytes: &[u8], index: usize) -> &[u8] {
    &bytes[index * LEN..bytes.len().min((index + 1) * LEN)]
}

fn take_in(
    server: &Server,
    digest: Digest,
    from: u64,
    body: Body,
) -> tokio::task::JoinHandle<Result<Taken, TakeInError>> {
    let origin = server.origin.clone();
    tokio::spawn(async move { origin.take_in_from(&digest, Some(SIZE as u64), from, body).await })
}

async fn read_piece(reader: &BlobReader, index: usize) -> Result<bytes::Bytes, ReadError> {
    let reading = reader.read_piece(PieceIndex(index as u32));
    timeout(Duration::from_secs(20), reading).await.expect("the piece did not come")
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_have_each_piece_before_the_next_one_has_left_the_source() {
    let server = Server::start().await;
    let cluster = Cluster::of(&server);
    let bytes = content(SIZE);
    let digest = Digest::sha256(&bytes);
    let (source, body) = Body::channel(1);
    let taking = take_in(&server, digest, 0, body);
    feed(&source, piece(&bytes, 0)).await;
    let agents = [Agent::start(&cluster).await, Agent::start(&cluster).await];
    let mut readers = Vec::new();
    for agent in &agents {
        readers.push(agent.swarm.open(&digest).await.unwrap());
    }
    for index in 0..9 {
        for reader in &readers {
            assert_eq!(read_piece(reader, index).await.unwrap(), piece(&bytes, index), "{index}");
        }
        feed(&source, piece(&bytes, index + 1)).await;
    }
    // Every byte has left the source, which has not said that this is all.
    for (reader, agent) in readers.iter().zip(&agents) {
        let last = timeout(Duration::from_millis(100), reader.read_piece(PieceIndex(9))).await;
        assert!(last.is_err(), "the last piece before the verdict");
        assert_eq!(agent.store.stat(&digest).unwrap(), None);
    }
    source.finish().await.unwrap();
    for (reader, agent) in readers.iter().zip(&agents) {
        assert_eq!(read_piece(reader, 9).await.unwrap(), piece(&bytes, 9));
        reader.complete().await.unwrap();
        assert_eq!(agent.store.blob(&digest).unwrap().read_range(100..200).unwrap(), &bytes[100..200]);
    }
    assert_eq!(taking.await.unwrap().unwrap(), Taken { size: SIZE as u64 });
    assert_eq!(server.store.stat(&digest).unwrap(), Some(SIZE as u64));
    // From now on it is a blob like any other.
    let late = Agent::start(&cluster).await;
    late.swarm.open(&digest).await.unwrap().complete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_blob_is_nobodys_and_leaves_nothing() {
    let server = Server::start().await;
    let cluster = Cluster::of(&server);
    let bytes = content(SIZE);
    let digest = Digest::sha256(b"something else");
    let (source, body) = Body::channel(1);
    let taking = take_in(&server, digest, 0, body);
    feed(&source, &bytes).await;
    let agents = [Agent::start(&cluster).await, Agent::start(&cluster).await];
    let mut readers = Vec::new();
    for agent in &agents {
        let reader = agent.swarm.open(&digest).await.unwrap();
        for index in 0..9 {
            read_piece(&reader, index).await.unwrap();
        }
        readers.push(reader);
    }
    source.finish().await.unwrap();
    for reader in &readers {
        assert_eq!(read_piece(reader, 9).await, Err(ReadError::Refuted));
        assert_eq!(reader.complete().await, Err(ReadError::Refuted));
    }
    assert!(matches!(taking.await.unwrap(), Err(TakeInError::Digest { .. })));
    for agent in &agents {
        until(|| agent.is_empty()).await;
        assert_eq!(agent.swarm.open(&digest).await.err(), Some(OpenError::NotFound));
    }
    let usage = server.store.usage();
    assert_eq!((usage.blobs, usage.partial_bytes, usage.upload_bytes), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_is_gone_on_with_and_agents_notice_nothing() {
    let server = Server::start().await;
    let cluster = Cluster::of(&server);
    let bytes = content(SIZE);
    let digest = Digest::sha256(&bytes);
    let (source, body) = Body::channel(1);
    let taking = take_in(&server, digest, 0, body);
    let half = 4 * LEN + 77;
    feed(&source, &bytes[..half]).await;
    let agent = Agent::start(&cluster).await;
    let reader = agent.swarm.open(&digest).await.unwrap();
    assert_eq!(read_piece(&reader, 3).await.unwrap(), piece(&bytes, 3));
    source.abort();
    assert!(matches!(taking.await.unwrap(), Err(TakeInError::Broken { got, .. }) if got == half as u64));
    assert_eq!(server.origin.arrived(&digest), half as u64);
    let (_source, body) = Body::channel(1);
    let gap = take_in(&server, digest, half as u64 + 1, body).await.unwrap();
    assert!(matches!(gap, Err(TakeInError::Gap { got, .. }) if got == half as u64));
    // One that has to begin earlier says some bytes again.
    let (source, body) = Body::channel(1);
    let taking = take_in(&server, digest, half as u64 - 1000, body);
    feed(&source, &bytes[half - 1000..]).await;
    source.finish().await.unwrap();
    taking.await.unwrap().unwrap();
    for index in 0..10 {
        assert_eq!(read_piece(&reader, index).await.unwrap(), piece(&bytes, index));
    }
    reader.complete().await.unwrap();
    assert_eq!(server.origin.arrived(&digest), 0);
}

/// An agent that has given up on its server, with the first pieces of the blob.
async fn deserted(bytes: &[u8], digest: Digest, cluster: &Cluster, server: &Server) -> Agent {
    let (source, body) = Body::channel(1);
    let taking = take_in(server, digest, 0, body);
    feed(&source, &bytes[..5 * LEN]).await;
    let agent = Agent::with(cluster, |options| options.limits.fail_ms = 500).await;
    let reader = agent.swarm.open(&digest).await.unwrap();
    for index in 0..5 {
        assert_eq!(read_piece(&reader, index).await.unwrap(), piece(bytes, index));
    }
    server.kill().await;
    assert!(matches!(taking.await.unwrap(), Err(TakeInError::Stopped)));
    assert!(read_piece(&reader, 5).await.is_err());
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_origin_dies_readers_are_cut_off_and_the_next_origin_goes_on_with_what_agents_have() {
    let first = Server::start().await;
    let cluster = Cluster::of(&first);
    let bytes = content(SIZE);
    let digest = Digest::sha256(&bytes);
    let agent = deserted(&bytes, digest, &cluster, &first).await;
    let second = Server::start().await;
    cluster.move_to(&second);
    let (source, body) = Body::channel(1);
    let taking = take_in(&second, digest, 0, body);
    feed(&source, &bytes[..10]).await;
    // The new origin has no piece yet.
    let reader = agent.swarm.open(&digest).await.unwrap();
    for index in 0..5 {
        assert_eq!(read_piece(&reader, index).await.unwrap(), piece(&bytes, index));
    }
    feed(&source, &bytes[10..]).await;
    source.finish().await.unwrap();
    assert_eq!(read_piece(&reader, 9).await.unwrap(), piece(&bytes, 9));
    reader.complete().await.unwrap();
    taking.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_fetches_other_bytes_than_the_one_before_ends_the_download() {
    let first = Server::start().await;
    let cluster = Cluster::of(&first);
    let bytes = content(SIZE);
    let digest = Digest::sha256(&bytes);
    // The first origin's source lied; the second one's does not.
    let mut lies = bytes.clone();
    lies[3 * LEN] ^= 1;
    let agent = deserted(&lies, digest, &cluster, &first).await;
    let second = Server::start().await;
    cluster.move_to(&second);
    let (source, body) = Body::channel(1);
    let taking = take_in(&second, digest, 0, body);
    feed(&source, &bytes).await;
    let reader = agent.swarm.open(&digest).await;
    if let Ok(reader) = reader {
        assert_eq!(read_piece(&reader, 5).await, Err(ReadError::Refuted));
    }
    until(|| agent.is_empty()).await;
    source.finish().await.unwrap();
    taking.await.unwrap().unwrap();
    let reader = agent.swarm.open(&digest).await.unwrap();
    for index in 0..10 {
        assert_eq!(read_piece(&reader, index).await.unwrap(), piece(&bytes, index));
    }
    reader.complete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_have_come_are_given_over_http_and_others_are_waited_for() {
    let server = Server::start().await;
    let bytes = content(SIZE);
    let digest = Digest::sha256(&bytes);
    let (source, body) = Body::channel(1);
    let taking = take_in(&server, digest, 0, body);
    feed(&source, &bytes[..3 * LEN]).await;
    let client = shoal_api::OriginClient::new(shoal_http::Client::default());
    let origin = shoal_api::Base::parse(&format!("http://{}", server.http)).unwrap();
    let read = |range| client.read(&origin, &digest, range);
    let len = LEN as u64;
    assert_eq!(read(len + 5..2 * len + 9).await.unwrap(), bytes[LEN + 5..2 * LEN + 9]);
    let metainfo = client.metainfo(&origin, &digest).await.unwrap().unwrap();
    assert!(!metainfo.is_whole() && metainfo.verify(PieceIndex(1), piece(&bytes, 1)));
    let (later, ()) = tokio::join!(read(3 * len..3 * len + 10), feed(&source, &bytes[3 * LEN..]));
    assert_eq!(later.unwrap(), bytes[3 * LEN..3 * LEN + 10]);
    for whole in [client.stat(&origin, &digest).await.is_err(), read(0..SIZE as u64).await.is_err()] {
        assert!(whole, "nobody may have the whole of it, or hear that it is there");
    }
    let (last, ()) = tokio::join!(read(9 * len..SIZE as u64), async { source.finish().await.unwrap() });
    assert_eq!(last.unwrap(), piece(&bytes, 9));
    taking.await.unwrap().unwrap();
    assert_eq!(client.stat(&origin, &digest).await.unwrap(), Some(SIZE as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_cold_agents_cost_the_source_one_copy() {
    pull_by_sixteen(4 * 1024 * 1024, Duration::ZERO).await;
}

/// Run it alone and optimised: `cargo test --release -p shoal-origin --test arriving -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures time, so it needs the machine for itself"]
async fn sixteen_cold_agents_take_hardly_longer_than_the_body() {
    // 40 MB/s: what a source at a distance gives, and sixteen agents on one machine take in; less without optimisation.
    let (size, rate) = if cfg!(debug_assertions) { (8 << 20, 4e6) } else { (64 << 20, 40e6) };
    let (body, slowest, copies) = pull_by_sixteen(size, Duration::from_secs_f64(size as f64 / rate)).await;
    let ratio = slowest.as_secs_f64() / body.as_secs_f64();
    eprintln!("{size} bytes in {body:?}; the slowest of 16 agents took {slowest:?}: {ratio:.3}");
    eprintln!("{copies:.2} copies left the origin");
    assert!(ratio < 1.3, "{ratio}");
}

/// Sixteen agents pull a blob of `size` bytes whose body takes `pace` at least. How long the body took, and the slowest agent; and how many
/// copies left the origin.
async fn pull_by_sixteen(size: usize, pace: Duration) -> (Duration, Duration, f64) {
    const AGENTS: usize = 16;
    const PORTION: usize = 64 * 1024;
    let server = Server::start().await;
    let cluster = Cluster::of(&server);
    let bytes = content(size);
    let digest = Digest::sha256(&bytes);
    let mut agents = Vec::new();
    for _ in 0..AGENTS {
        agents.push(Agent::start(&cluster).await);
    }
    let (source, body) = Body::channel(1);
    let origin = server.origin.clone();
    let taking = tokio::spawn(async move { origin.take_in(&digest, Some(size as u64), body).await });
    until(|| server.origin.expected_size(&digest).is_ok_and(|size| size.is_some())).await;
    let begin = Instant::now();
    let pulls: Vec<_> = agents
        .iter()
        .map(|agent| {
            let swarm = agent.swarm.clone();
            tokio::spawn(async move {
                let reader = swarm.open(&digest).await.unwrap();
                for index in 0..reader.layout().piece_count() {
                    reader.read_piece(PieceIndex(index)).await.unwrap();
                }
                reader.complete().await.unwrap();
                begin.elapsed()
            })
        })
        .collect();
    let mut sent = 0;
    for part in bytes.chunks(PORTION) {
        tokio::time::sleep_until((begin + pace.mul_f64(sent as f64 / size as f64)).into()).await;
        feed(&source, part).await;
        sent += part.len();
    }
    source.finish().await.unwrap();
    let body_time = begin.elapsed();
    taking.await.unwrap().unwrap();
    let mut slowest = Duration::ZERO;
    for pull in pulls {
        slowest = slowest.max(pull.await.unwrap());
    }
    assert_eq!(sent, size, "one copy left the source");
    let status = server.origin.status().await;
    let copies = status.iter().map(|blob| blob.sent_bytes).sum::<u64>() as f64 / size as f64;
    (body_time, slowest, copies)
}
