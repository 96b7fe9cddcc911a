//! What goes wrong in a fleet: liars, broken disks, silence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm::{AnnounceEvent, OpenError, ReadError, Role};
use shoal_swarm_types::PieceIndex;
use shoal_telemetry::rooms::swarm::PieceResult;

use crate::tracker::Tracker;
use crate::world::{Actor, Plan, content, damage, metainfo, read_all, within};

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_wrong_bytes_is_banned_and_the_others_deliver() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(30, 2 * MIB);
    let metainfo = metainfo(&bytes);
    let digest = *metainfo.digest();
    let liar = Actor::new().await;
    tracker.publish(&metainfo, &[&liar.peer]);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let reader = {
        let lies = liar.perform(&metainfo, |index| {
            let len = metainfo.layout().piece_len(index) as usize;
            Some(Bytes::from(vec![0x55; len]))
        });
        // The performance ends when the agent has had enough.
        let (reader, ()) = within(async { tokio::join!(agent.swarm.open(&digest), lies) }).await;
        reader.unwrap()
    };
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    owner.publish(&tracker, &bytes);
    assert!(within(read_all(&reader)).await == bytes);
    within(reader.complete()).await.unwrap();
    within(agent.swarm.shutdown()).await;
    assert!(agent.metrics.banned_peers.get() >= 1);
    assert!(agent.pieces(PieceResult::Corrupt) >= 1);
    assert_eq!(agent.received_in_all(), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_blob_that_rots_on_disk_is_healed_under_its_reader() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(31, 2 * MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    within(reader.complete()).await.unwrap();
    damage(agent.dir.path(), bytes.len(), MIB);
    damage(agent.dir.path(), bytes.len(), MIB + 300_000);
    assert!(within(read_all(&reader)).await == bytes);
    within(reader.complete()).await.unwrap();
    assert!(within(agent.fetch(&digest)).await == bytes);
    within(agent.swarm.shutdown()).await;
    assert_eq!(agent.received_in_all(), bytes.len() as u64 + 2 * 65_536);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_with_a_rotten_blob_serves_no_bad_byte_and_heals() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(32, 2 * MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let rotten = Plan::new(Role::Agent).start(&tracker).await;
    within(rotten.fetch(&digest)).await;
    damage(rotten.dir.path(), bytes.len(), 5);
    // Only the rotten one is named to the newcomer, which cannot finish before the rotten one has healed from the owner.
    tracker.silence(&owner.peer);
    let newcomer = Plan::new(Role::Agent).start(&tracker).await;
    assert!(within(newcomer.fetch(&digest)).await == bytes);
    assert_eq!(newcomer.pieces(PieceResult::Corrupt), 0);
    assert!(within(rotten.fetch(&digest)).await == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_the_disk_did_not_keep_is_noticed_by_the_receiver_and_healed_by_the_sender() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(36, 2 * MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let id = owner.store.create_upload("team/app").unwrap();
    let mut upload = owner.store.open_upload(&id).unwrap();
    upload.write(&bytes).unwrap();
    damage(owner.dir.path(), bytes.len(), MIB);
    let metainfo = upload.commit(&Digest::sha256(&bytes)).unwrap();
    let digest = *metainfo.digest();
    tracker.publish(&metainfo, &[&owner.peer]);
    owner.swarm.seed(digest);
    let bad = metainfo.layout().piece_at(MIB as u64);

    let first = Plan::new(Role::Agent).start(&tracker).await;
    let reader = within(first.swarm.open(&digest)).await.unwrap();
    let others = (0..metainfo.layout().piece_count()).map(PieceIndex).filter(|index| *index != bad);
    for index in others {
        assert!(metainfo.verify(index, &within(reader.read_piece(index)).await.unwrap()));
    }
    within(async {
        while first.pieces(PieceResult::Corrupt) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    // Whoever asks next makes the owner read what it sends.
    let second = Plan::new(Role::Agent).start(&tracker).await;
    let _opened = within(second.swarm.open(&digest)).await.unwrap();
    within(async {
        while owner.store.partials().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mirror = Plan::new(Role::Owner).start(&tracker).await;
    mirror.publish(&tracker, &bytes);
    assert!(within(second.fetch(&digest)).await == bytes);
    assert_eq!(second.pieces(PieceResult::Corrupt), 0, "one bad copy left the owner, and no second");
    assert!(within(read_all(&reader)).await == bytes);
    assert!(within(owner.fetch(&digest)).await == bytes, "the owner is whole again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_was_removed_is_fetched_again() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(33, MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    within(agent.swarm.open(&digest).await.unwrap().complete()).await.unwrap();
    within(tracker.hears(&agent.peer, &digest, AnnounceEvent::Completed)).await;
    assert!(agent.store.remove(&digest).unwrap());
    assert!(within(agent.fetch(&digest)).await == bytes);
    assert_eq!(agent.store.stat(&digest).unwrap(), Some(bytes.len() as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_anybody_the_answer_is_an_error_in_bounded_time() {
    let tracker = Arc::new(Tracker::default());
    let mut plan = Plan::new(Role::Agent);
    plan.options.limits.fail_ms = 300;
    plan.options.times.open = Duration::from_secs(5);
    let agent = plan.start(&tracker).await;

    let unknown = Digest::sha256(b"nobody has this");
    assert_eq!(within(agent.swarm.open(&unknown)).await.err(), Some(OpenError::NotFound));

    // Known to the tracker, but nobody is there.
    let bytes = content(34, MIB);
    let lonely = metainfo(&bytes);
    tracker.publish(&lonely, &[]);
    let reader = within(agent.swarm.open(lonely.digest())).await.unwrap();
    let error = within(reader.read_piece(PieceIndex(3))).await.unwrap_err();
    assert!(matches!(error, ReadError::Stalled | ReadError::Unavailable), "{error}");

    tracker.break_down();
    let other = Digest::sha256(b"nobody can be asked about this");
    assert_eq!(within(agent.swarm.open(&other)).await.err(), Some(OpenError::Unavailable));

    // And once somebody is there, the next try succeeds.
    let tracker = Arc::new(Tracker::default());
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    owner.publish(&tracker, &bytes);
    let agent = Plan::new(Role::Agent).start(&tracker).await;
    assert!(within(agent.fetch(lonely.digest())).await == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_is_told_as_such() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(35, 2 * MIB);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let plan = Plan::new(Role::Agent);
    let agent = plan.start_with_capacity(&tracker, MIB as u64).await;
    assert_eq!(within(agent.swarm.open(&digest)).await.err(), Some(OpenError::NoSpace));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_just_used_makes_room_for_what_is_wanted() {
    let tracker = Arc::new(Tracker::default());
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let agent = Plan::new(Role::Agent).start_with_capacity(&tracker, 5 * MIB as u64).await;
    for seed in 40..44 {
        let bytes = content(seed, 2 * MIB);
        let digest = owner.publish(&tracker, &bytes);
        assert!(within(agent.fetch(&digest)).await == bytes, "blob {seed}");
    }
}
