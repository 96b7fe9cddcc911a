//! The main road: blobs reach readers, mostly from one another.

use std::sync::Arc;

use bytes::Bytes;
use shoal_swarm::{AnnounceEvent, BlobPhase, RateLimits, Role};
use shoal_swarm_types::PieceIndex;
use shoal_telemetry::rooms::swarm::Source;

use crate::tracker::Tracker;
use crate::world::{Plan, Shelf, content, metainfo, read_all, within};

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_agents_fetch_one_blob_at_once_while_reading_in_order() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(1, 5 * MIB + 12_345);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let mut agents = Vec::new();
    for _ in 0..3 {
        agents.push(Plan::new(Role::Agent).start(&tracker).await);
    }
    let (a, b, c) = within(async {
        tokio::join!(agents[0].fetch(&digest), agents[1].fetch(&digest), agents[2].fetch(&digest))
    })
    .await;
    assert!(a == bytes && b == bytes && c == bytes);
    for agent in &agents {
        assert_eq!(agent.store.stat(&digest).unwrap(), Some(bytes.len() as u64));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_agent_is_served_by_peers_when_the_owner_is_gone() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(2, 3 * MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let first = Plan::new(Role::Agent).start(&tracker).await;
    assert!(within(first.fetch(&digest)).await == bytes);
    within(tracker.hears(&first.peer, &digest, AnnounceEvent::Completed)).await;
    within(owner.swarm.shutdown()).await;

    let second = Plan::new(Role::Agent).start(&tracker).await;
    assert!(within(second.fetch(&digest)).await == bytes);
    within(second.swarm.shutdown()).await;
    assert_eq!(second.received(Source::Peer), bytes.len() as u64);
    assert_eq!(second.received(Source::Owner), 0);
    within(first.swarm.shutdown()).await;
    assert!(first.sent() >= bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_outlives_the_owner_it_began_with() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(9, 8 * MIB);
    let first = Plan::new(Role::Owner).start(&tracker).await;
    let digest = first.publish(&tracker, &bytes);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    within(reader.read_piece(PieceIndex(1))).await.unwrap();
    tracker.silence(&first.peer);
    within(first.swarm.shutdown()).await;
    let second = Plan::new(Role::Owner).start(&tracker).await;
    second.publish(&tracker, &bytes);
    assert!(within(read_all(&reader)).await == bytes);
    within(reader.complete()).await.unwrap();
    within(agent.swarm.shutdown()).await;
    assert_eq!(agent.received_in_all(), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_opens_share_one_download() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(3, 2 * MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let reads = (0..8).map(|_| {
        let swarm = agent.swarm.clone();
        tokio::spawn(async move { read_all(&swarm.open(&digest).await.unwrap()).await })
    });
    for read in reads.collect::<Vec<_>>() {
        assert!(within(read).await.unwrap() == bytes);
    }
    within(agent.fetch(&digest)).await;
    within(agent.swarm.shutdown()).await;
    assert_eq!(agent.received_in_all(), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_download_goes_on_when_its_reader_is_dropped() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(4, 2 * MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    reader.read_piece(PieceIndex(0)).await.unwrap();
    drop(reader);
    within(tracker.hears(&agent.peer, &digest, AnnounceEvent::Completed)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_was_given_up_can_be_repeated() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(5, MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    for index in 0..reader.layout().piece_count() {
        // Polled once and dropped.
        let read = reader.read_piece(PieceIndex(index));
        let _ = tokio::time::timeout(std::time::Duration::ZERO, read).await;
    }
    assert!(within(read_all(&reader)).await == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_blob_is_read_without_tracker_or_peers() {
    let tracker = Arc::new(Tracker::default());
    tracker.break_down();
    let bytes = content(6, MIB + 1);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let digest = *agent.store.put(&shoal_oci::Digest::sha256(&bytes), &bytes).unwrap().digest();
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    assert_eq!(reader.size(), bytes.len() as u64);
    assert!(within(read_all(&reader)).await == bytes);
    let chunk = reader.chunk_at(70_000).await.unwrap();
    assert_eq!(chunk[..], bytes[70_000..131_072]);
    assert!(reader.chunk_at(bytes.len() as u64).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_blob_and_a_tiny_one_arrive_too() {
    let tracker = Arc::new(Tracker::default());
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    for bytes in [b"".as_slice(), b"x"] {
        let digest = owner.publish(&tracker, bytes);
        let reader = within(agent.swarm.open(&digest)).await.unwrap();
        assert_eq!(within(read_all(&reader)).await, bytes);
        within(reader.complete()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_blobs_share_one_connection() {
    let tracker = Arc::new(Tracker::default());
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let blobs: Vec<_> = (0..24).map(|seed| content(100 + seed, 100_000)).collect();
    let digests: Vec<_> = blobs.iter().map(|bytes| owner.publish(&tracker, bytes)).collect();
    let fetches = digests.iter().map(|digest| {
        let (swarm, digest) = (agent.swarm.clone(), *digest);
        tokio::spawn(async move { read_all(&swarm.open(&digest).await.unwrap()).await })
    });
    for (fetch, bytes) in fetches.collect::<Vec<_>>().into_iter().zip(&blobs) {
        assert!(within(fetch).await.unwrap() == *bytes);
    }
    let statuses = within(agent.swarm.status()).await;
    assert_eq!(statuses.len(), blobs.len());
    assert_eq!(agent.metrics.connections.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_alone_suffices() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(7, 2 * MIB + 7);
    let metainfo = metainfo(&bytes);
    tracker.publish(&metainfo, &[]);
    tracker.add_web_seed(
        metainfo.digest(),
        &format!("http://owner/blobs/sha256:{}", metainfo.digest().to_hex()),
    );
    let mut plan = Plan::new(Role::Agent);
    plan.web = Some(Arc::new(Shelf(Bytes::from(bytes.clone()))));
    plan.options.limits.web_after_ms = 10;
    let agent = plan.start(&tracker).await;
    assert!(within(agent.fetch(metainfo.digest())).await == bytes);
    within(agent.swarm.shutdown()).await;
    assert_eq!(agent.received(Source::Web), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_tells_the_tracker_and_stops_everything() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(8, MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    within(reader.complete()).await.unwrap();
    let status = within(agent.swarm.status()).await;
    assert_eq!(status.len(), 1);
    assert!(matches!(status[0].phase, BlobPhase::Seeding | BlobPhase::Idle));
    within(agent.swarm.shutdown()).await;
    within(tracker.hears(&agent.peer, &digest, AnnounceEvent::Stopped)).await;
    assert!(agent.swarm.status().await.is_empty());
    // What is on disk can still be read.
    assert!(within(read_all(&reader)).await == bytes);
    tokio::net::TcpStream::connect(agent.peer.addr).await.expect_err("still listening");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_keeps_to_the_limit_of_its_direction() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(32, 2 * MIB);
    let (limited, free) = (Some(8 * MIB as u64), None);
    for (upload, download) in [(limited, free), (free, limited)] {
        let plan = Plan::new(Role::Owner);
        plan.options.shaper.set(RateLimits { upload, ..RateLimits::default() });
        let owner = plan.start(&tracker).await;
        let digest = owner.publish(&tracker, &bytes);
        let plan = Plan::new(Role::Agent);
        plan.options.shaper.set(RateLimits { download, ..RateLimits::default() });
        let agent = plan.start(&tracker).await;
        let begun = std::time::Instant::now();
        assert!(within(agent.fetch(&digest)).await == bytes);
        // A quarter of a second on the line; how much later it ends is the machine's affair.
        assert!(begun.elapsed() >= std::time::Duration::from_millis(235), "{:?}", begun.elapsed());
    }
}
