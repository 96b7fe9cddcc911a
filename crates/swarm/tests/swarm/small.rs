//! Small blobs in one go, and what takes over when that does not work.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm::{AnnounceEvent, Lead, Progress, RangeSource, Role};
use shoal_telemetry::rooms::swarm::Source;
use tokio::sync::Semaphore;

use crate::tracker::Tracker;
use crate::world::{Node, Plan, content, metainfo, read_all, within};

/// An owner's HTTP port that says one thing, and counts how often it is asked.
#[derive(Default)]
struct Owner {
    says: Option<Bytes>,
    /// Answers only when it has permits.
    gate: Option<Arc<Semaphore>>,
    /// Bytes of the answer that come before that.
    begins: usize,
    asked: AtomicUsize,
    dropped: AtomicUsize,
}

impl Owner {
    fn new(says: Option<&[u8]>) -> Arc<Self> {
        let says = says.map(Bytes::copy_from_slice);
        Arc::new(Self { says, ..Self::default() })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Counts when it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl RangeSource for Owner {
    async fn fetch(&self, _: &str, _: &Digest, _: Range<u64>) -> io::Result<Bytes> {
        Err(io::Error::other("ranges are not what these tests are about"))
    }

    async fn fetch_whole(&self, _: &str, _: &Digest, _: u64, progress: &Progress) -> io::Result<Bytes> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(&self.dropped);
        if self.begins > 0 {
            progress.note(self.begins);
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        std::mem::forget(under_way);
        self.says.clone().ok_or_else(|| io::Error::other("busy"))
    }
}

async fn agent(tracker: &Arc<Tracker>, web: Arc<Owner>) -> Node {
    Plan { web: Some(web), ..Plan::new(Role::Agent) }.start(tracker).await
}

#[tokio::test]
async fn content_inside_the_answer_needs_nobody_else() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(1, 60_000);
    let digest = Digest::sha256(&bytes);
    tracker.publish(&metainfo(&bytes), &[]);
    tracker.add_content(&digest, &bytes);
    tracker.add_web_seed(&digest, "http://owner/");
    let owner = Owner::new(None);
    let agent = agent(&tracker, owner.clone()).await;
    assert!(within(agent.fetch(&digest)).await == bytes);
    assert_eq!(agent.store.stat(&digest).unwrap(), Some(60_000));
    within(tracker.hears(&agent.peer, &digest, AnnounceEvent::Completed)).await;
    assert_eq!((agent.received(Source::Tracker), agent.received_in_all()), (60_000, 60_000));
    assert_eq!(owner.asked(), 0);
    // Whoever comes later has it from this agent.
    let late = Plan::new(Role::Agent).start(&tracker).await;
    tracker.add_content(&digest, b"");
    assert!(within(late.fetch(&digest)).await == bytes);
}

#[tokio::test]
async fn wrong_content_inside_the_answer_is_never_served() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(2, 60_000);
    let owner = Plan::new(Role::Owner).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    for wrong in [content(3, 60_000), bytes[..59_999].to_vec(), Vec::new()] {
        tracker.add_content(&digest, &wrong);
        let agent = Plan::new(Role::Agent).start(&tracker).await;
        assert!(within(agent.fetch(&digest)).await == bytes);
        within(agent.swarm.shutdown()).await;
        assert_eq!((agent.received(Source::Tracker), agent.received(Source::Owner) > 0), (0, true));
    }
}

#[tokio::test]
async fn an_owner_gives_a_small_blob_before_the_tracker_has_answered() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(4, 1 << 20);
    let digest = Digest::sha256(&bytes);
    let gate = Arc::new(Semaphore::new(0));
    tracker.publish(&metainfo(&bytes), &[]);
    tracker.wait_for(&gate);
    let owner = Owner::new(Some(&bytes));
    let agent = agent(&tracker, owner.clone()).await;
    let lead = Lead { size: 1 << 20, url: "http://owner/".to_owned() };
    let reader = within(agent.swarm.open_with(&digest, Some(lead.clone()))).await.unwrap();
    assert!(within(read_all(&reader)).await == bytes);
    within(reader.complete()).await.unwrap();
    gate.add_permits(100);
    within(tracker.hears(&agent.peer, &digest, AnnounceEvent::Completed)).await;
    assert_eq!((owner.asked(), agent.received(Source::Web)), (1, 1 << 20));
    // It is here now, so nobody is asked.
    within(agent.swarm.open_with(&digest, Some(lead))).await.unwrap();
    assert_eq!(owner.asked(), 1);
}

#[tokio::test]
async fn an_owner_that_the_tracker_names_is_asked_for_a_small_blob_only() {
    let tracker = Arc::new(Tracker::default());
    for (seed, size, asked) in [(5, 200_000, 1), (6, (1 << 20) + 1, 0)] {
        let bytes = content(seed, size);
        let peer = Plan::new(Role::Owner).start(&tracker).await;
        let digest = peer.publish(&tracker, &bytes);
        tracker.add_web_seed(&digest, "http://owner/");
        let owner = Owner::new(Some(&bytes));
        let agent = agent(&tracker, owner.clone()).await;
        assert!(within(agent.fetch(&digest)).await == bytes);
        assert_eq!(owner.asked(), asked, "{size}");
    }
}

#[tokio::test]
async fn owners_that_lie_refuse_or_are_silent_cost_nothing_but_a_request() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(7, 300_000);
    let peer = Plan::new(Role::Owner).start(&tracker).await;
    let digest = peer.publish(&tracker, &bytes);
    tracker.add_web_seed(&digest, "http://owner/");
    let (liar, brief, refuses) = (content(8, 300_000), vec![1; 7], None);
    let silent = Owner { gate: Some(Arc::new(Semaphore::new(0))), ..Owner::default() };
    let owners = [Owner::new(Some(&liar)), Owner::new(Some(&brief)), Owner::new(refuses), Arc::new(silent)];
    for owner in owners {
        let agent = agent(&tracker, owner.clone()).await;
        assert!(within(agent.fetch(&digest)).await == bytes);
        assert_eq!(owner.asked(), 1);
        within(agent.swarm.shutdown()).await;
        assert_eq!(agent.received(Source::Web), 0);
    }
}

#[tokio::test]
async fn an_owner_that_answers_late_still_helps() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(9, 300_000);
    let digest = Digest::sha256(&bytes);
    tracker.publish(&metainfo(&bytes), &[]);
    tracker.add_web_seed(&digest, "http://owner/");
    let gate = Arc::new(Semaphore::new(0));
    let owner = Owner { says: Some(bytes.clone().into()), gate: Some(gate.clone()), ..Owner::default() };
    let agent = agent(&tracker, Arc::new(owner)).await;
    // Opened without the owner: the swarm was asked when it was late.
    let reader = within(agent.swarm.open(&digest)).await.unwrap();
    gate.add_permits(1);
    assert!(within(read_all(&reader)).await == bytes);
    within(reader.complete()).await.unwrap();
}

#[tokio::test]
async fn whoever_loses_the_race_is_called_off() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(12, 300_000);
    let peer = Plan::new(Role::Owner).start(&tracker).await;
    let digest = peer.publish(&tracker, &bytes);
    tracker.add_web_seed(&digest, "http://owner/");
    // One byte, which is slow, or none.
    for begins in [1, 0] {
        let gate = Some(Arc::new(Semaphore::new(0)));
        let owner = Arc::new(Owner { gate, begins, ..Owner::default() });
        let agent = agent(&tracker, owner.clone()).await;
        let lead = Lead { size: 300_000, url: "http://owner/".to_owned() };
        let reader = within(agent.swarm.open_with(&digest, Some(lead))).await.unwrap();
        within(reader.complete()).await.unwrap();
        within(async {
            while owner.dropped.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!((owner.asked(), agent.received(Source::Web)), (1, 0));
    }
}

#[tokio::test]
async fn a_tracker_that_answers_after_a_silent_owner_is_heard_at_once() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(13, 300_000);
    let peer = Plan::new(Role::Owner).start(&tracker).await;
    let digest = peer.publish(&tracker, &bytes);
    let turn = Arc::new(Semaphore::new(0));
    tracker.wait_for(&turn);
    let owner = Arc::new(Owner { gate: Some(Arc::new(Semaphore::new(0))), ..Owner::default() });
    let mut plan = Plan { web: Some(owner.clone()), ..Plan::new(Role::Agent) };
    plan.options.times.web = std::time::Duration::from_secs(3600);
    let agent = plan.start(&tracker).await;
    let lead = Lead { size: 300_000, url: "http://owner/".to_owned() };
    let opening = agent.swarm.open_with(&digest, Some(lead));
    // Long enough for the owner to be late.
    let answer = async {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        turn.add_permits(100);
    };
    let reader = within(async { tokio::join!(opening, answer) }).await.0.unwrap();
    assert!(within(read_all(&reader)).await == bytes);
}

#[tokio::test]
async fn when_enough_agents_have_it_no_owner_is_asked() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(10, 300_000);
    let digest = Digest::sha256(&bytes);
    let mut holders = Vec::new();
    for _ in 0..4 {
        let holder = Plan::new(Role::Agent).start(&tracker).await;
        holder.publish(&tracker, &bytes);
        within(tracker.hears(&holder.peer, &digest, AnnounceEvent::Started)).await;
        holders.push(holder);
    }
    tracker.add_web_seed(&digest, "http://owner/");
    let owner = Owner::new(Some(&bytes));
    let agent = agent(&tracker, owner.clone()).await;
    assert!(within(agent.fetch(&digest)).await == bytes);
    assert_eq!(owner.asked(), 0);
}

#[tokio::test]
async fn leads_to_what_is_not_small_are_not_followed() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(11, 100_000);
    let peer = Plan::new(Role::Owner).start(&tracker).await;
    let digest = peer.publish(&tracker, &bytes);
    let owner = Owner::new(Some(&bytes));
    for size in [0, (1 << 20) + 1, u64::MAX] {
        let agent = agent(&tracker, owner.clone()).await;
        let lead = Lead { size, url: "http://owner/".to_owned() };
        let reader = within(agent.swarm.open_with(&digest, Some(lead))).await.unwrap();
        assert!(within(read_all(&reader)).await == bytes);
    }
    assert_eq!(owner.asked(), 0);
}
