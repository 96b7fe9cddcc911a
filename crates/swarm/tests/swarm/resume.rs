//! A download that was cut short is taken up again, without fetching twice what is there.

use std::sync::Arc;

use bytes::Bytes;
use shoal_swarm::Role;
use shoal_swarm_types::PieceIndex;

use crate::tracker::Tracker;
use crate::world::{Actor, Plan, content, damage, metainfo, within};

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_agent_fetches_only_what_is_missing_or_damaged() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(20, 3 * MIB);
    let metainfo = metainfo(&bytes);
    let (digest, half) = (*metainfo.digest(), metainfo.layout().piece_count() / 2);
    let source = Bytes::from(bytes.clone());

    // A peer that gives only the first half.
    let miser = Actor::new().await;
    tracker.publish(&metainfo, &[&miser.peer]);
    let plan = Plan::new(Role::Agent);
    let dir = Arc::clone(&plan.dir);
    let agent = plan.start(&tracker).await;
    let download = async {
        let reader = agent.swarm.open(&digest).await.unwrap();
        for index in 0..half {
            reader.read_piece(PieceIndex(index)).await.unwrap();
        }
    };
    let layout = *metainfo.layout();
    let serve = miser.perform(&metainfo, |index| {
        let range = layout.piece_range(index);
        (index.0 < half).then(|| source.slice(range.start as usize..range.end as usize))
    });
    within(async {
        tokio::select! {
            () = download => {}
            () = serve => panic!("the agent hung up"),
        }
    })
    .await;
    within(agent.swarm.shutdown()).await;
    let piece_len = u64::from(layout.piece_length.get());
    // Those that were read have been written, whether or not they were counted before the end.
    assert!(agent.received_in_all() <= u64::from(half) * piece_len);
    drop(agent);

    damage(dir.path(), bytes.len(), 10);
    tracker.silence(&miser.peer);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    owner.publish(&tracker, &bytes);
    let mut plan = Plan::new(Role::Agent);
    plan.dir = dir;
    let agent = plan.start(&tracker).await;
    assert!(within(agent.fetch(&digest)).await == bytes);
    within(agent.swarm.shutdown()).await;
    // The first piece was damaged meanwhile; every other one of the first half was still good.
    assert_eq!(agent.received_in_all(), bytes.len() as u64 - u64::from(half - 1) * piece_len);
}
