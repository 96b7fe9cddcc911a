//! Batches, and answers that do not fit the question.

use std::sync::Mutex;

use super::*;

/// Answers with one answer too few, and remembers what it was told.
#[derive(Default)]
struct Forgetful(Mutex<Vec<usize>>);

#[async_trait]
impl Announcer for Forgetful {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        self.0.lock().unwrap().push(items.len());
        items.iter().skip(1).map(|_| Ok(AnnounceReply::default())).collect()
    }
}

/// Never answers.
struct Deaf;

#[async_trait]
impl Announcer for Deaf {
    async fn announce(&self, _: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        std::future::pending().await
    }
}

fn item(number: u32, need_metainfo: bool) -> AnnounceItem {
    let digest = Digest::sha256(&number.to_be_bytes());
    AnnounceItem {
        digest,
        event: AnnounceEvent::Started,
        complete: false,
        need_metainfo,
        known: 0,
        peers_wanted: 50,
    }
}

fn announces(announcer: Arc<dyn Announcer>) -> (Announces, mpsc::Receiver<Event>) {
    let (events, received) = mpsc::channel(16);
    (Announces::new(announcer, &Times::default(), events), received)
}

async fn answers(received: &mut mpsc::Receiver<Event>) -> Answers {
    match received.recv().await {
        Some(Event::Announced(answers)) => answers,
        _ => panic!("not an answer"),
    }
}

#[tokio::test(start_paused = true)]
async fn announcements_of_a_moment_share_one_call_and_each_gets_an_answer() {
    let announcer = Arc::new(Forgetful::default());
    let (mut announces, mut received) = announces(announcer.clone());
    let now = Instant::now();
    (0..10).for_each(|number| announces.add(item(number, false), now));
    announces.leave(now);
    assert!(announcer.0.lock().unwrap().is_empty(), "left before the window was over");
    announces.leave(announces.due().unwrap());
    let answers = answers(&mut received).await;
    assert_eq!(*announcer.0.lock().unwrap(), [10]);
    assert_eq!(answers.len(), 10);
    assert_eq!(answers.iter().filter(|(_, answer)| answer.is_err()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newer_announcement_replaces_the_older_but_keeps_its_wish() {
    let (mut announces, _received) = announces(Arc::new(Deaf));
    let now = Instant::now();
    announces.add(item(1, true), now);
    announces.add(AnnounceItem { event: AnnounceEvent::Periodic, ..item(1, false) }, now);
    let batch = announces.batch();
    assert_eq!(batch, [AnnounceItem { event: AnnounceEvent::Periodic, ..item(1, true) }]);
}

#[tokio::test(start_paused = true)]
async fn a_deaf_tracker_costs_few_calls_and_a_bounded_time() {
    let (mut announces, mut received) = announces(Arc::new(Deaf));
    let now = Instant::now();
    let count = u32::try_from(ANNOUNCE_BATCH_MAX * (ANNOUNCES_MAX + 2)).unwrap();
    (0..count).for_each(|number| announces.add(item(number, false), now));
    announces.leave(now + Duration::from_secs(1));
    assert_eq!(announces.under_way, ANNOUNCES_MAX);
    assert_eq!(announces.due(), None, "no more calls while so many are under way");
    let answers = answers(&mut received).await;
    assert_eq!(answers.len(), ANNOUNCE_BATCH_MAX);
    assert!(answers.iter().all(|(_, answer)| *answer == Err(AnnounceError::Unavailable)));
    announces.done();
    assert!(announces.due().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_farewell_does_not_wait_for_a_deaf_tracker() {
    let (announces, _received) = announces(Arc::new(Deaf));
    let before = Instant::now();
    announces.farewell(vec![item(1, false)], Duration::from_millis(1500)).await;
    assert_eq!(before.elapsed(), Duration::from_millis(1500));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_leaves_at_once_and_a_farewell_is_not_answered() {
    let announcer = Arc::new(Forgetful::default());
    let (mut announces, mut received) = announces(announcer.clone());
    let now = Instant::now();
    announces.add(AnnounceItem { event: AnnounceEvent::Stopped, ..item(1, false) }, now);
    announces.add(item(2, true), now);
    announces.leave(now);
    let answers = answers(&mut received).await;
    assert_eq!(*announcer.0.lock().unwrap(), [2]);
    assert_eq!(answers.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(), [item(2, true).digest]);
}
