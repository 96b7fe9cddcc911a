//! The client against real listeners, and the JSON that both sides agree on.

use std::sync::Mutex as StdMutex;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use shoal_http::{Handler, Limits, Listener, Request, Response, Shutdown, json};
use shoal_swarm_types::Zone;

use super::*;

/// A tracker that answers every item with one owner "here" and remembers what it was asked.
#[derive(Default)]
struct FakeTracker {
    requests: StdMutex<Vec<AnnounceRequest>>,
    answer: Answer,
    epoch: std::sync::atomic::AtomicU32,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Answer {
    #[default]
    Good,
    TooFew,
    Failure,
    Absent,
    Garbage,
}

#[async_trait]
impl Handler for FakeTracker {
    async fn handle(&self, request: Request, _: std::net::SocketAddr) -> Response {
        assert_eq!(request.uri().path(), ANNOUNCE_PATH);
        let request: AnnounceRequest = json::read(request.into_body(), REQUEST_LEN_MAX).await.unwrap();
        let mut items: Vec<_> = request.items.iter().map(reply_to).collect();
        self.requests.lock().unwrap().push(request);
        match self.answer {
            Answer::Failure => return json::error(StatusCode::SERVICE_UNAVAILABLE, "starting"),
            Answer::Absent => return json::text(StatusCode::NOT_FOUND, "no such page"),
            Answer::Garbage => return json::text(StatusCode::OK, "<html>welcome</html>"),
            Answer::TooFew => drop(items.pop()),
            Answer::Good => {}
        }
        let epoch = self.epoch.load(std::sync::atomic::Ordering::Relaxed);
        let look_ms = 7_000;
        json::response(
            StatusCode::OK,
            &AnnounceResponse { items, epoch, look_ms, ..AnnounceResponse::default() },
        )
    }
}

fn reply_to(item: &AnnounceItem) -> ItemReply {
    if item.digest == digest(404) {
        return ItemReply::Error(ItemError::new(ItemErrorCode::NotFound, "no owner has it"));
    }
    let owner = PeerInfo {
        id: PeerId([9; 20]),
        addr: "0.0.0.0:15001".parse().unwrap(),
        complete: true,
        owner: true,
        zone: Zone::UNKNOWN,
    };
    ItemReply::Ok(AnnounceReply {
        metainfo: item.need_metainfo.then(|| Metainfo::of(item.digest, &[7; 200_000])),
        peers: vec![owner],
        web_seeds: vec![crate::origin::web_seed_url("http", "[::]:15002", &item.digest, None)],
        interval_ms: 3000,
        ..AnnounceReply::default()
    })
}

fn digest(number: u32) -> Digest {
    Digest::sha256(&number.to_be_bytes())
}

fn items(numbers: std::ops::Range<u32>) -> Vec<AnnounceItem> {
    let item = |number| AnnounceItem {
        digest: digest(number),
        event: AnnounceEvent::Started,
        complete: false,
        need_metainfo: true,
        repository: None,
        known: 0,
        peers_wanted: PEERS_WANTED,
        content_max: 0,
    };
    numbers.map(item).collect()
}

async fn serve(answer: Answer) -> (std::sync::Arc<FakeTracker>, String, Shutdown) {
    let tracker = std::sync::Arc::new(FakeTracker { answer, ..FakeTracker::default() });
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}", listener.local_addr());
    let shutdown = Shutdown::new();
    tokio::spawn(listener.serve(tracker.clone(), Limits::default(), shutdown.clone()));
    (tracker, url, shutdown)
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    format!("http://{}", listener.local_addr())
}

fn client(urls: &[String]) -> TrackerClient {
    TrackerClient::new(urls, shoal_http::Client::default(), PeerId([1; 20]), 16001).unwrap()
}

fn asked(tracker: &FakeTracker) -> usize {
    tracker.requests.lock().unwrap().iter().map(|request| request.items.len()).sum()
}

#[tokio::test]
async fn replies_come_in_order_with_the_trackers_host_in_place() {
    let (tracker, url, _shutdown) = serve(Answer::Good).await;
    let mut asked = items(0..3);
    asked[1].digest = digest(404);
    let replies = client(&[url]).with_ip("192.0.2.7".parse().unwrap()).announce(asked).await;
    let first = replies[0].as_ref().unwrap();
    assert_eq!(first.metainfo.as_ref().unwrap().digest(), &digest(0));
    assert_eq!(first.peers[0].addr, "127.0.0.1:15001".parse().unwrap());
    assert_eq!(first.web_seeds[0], format!("http://127.0.0.1:15002/blobs/{}", digest(0)));
    assert_eq!(replies[1].as_ref().unwrap_err().code, ItemErrorCode::NotFound);
    assert!(replies[2].is_ok());
    let requests = tracker.requests.lock().unwrap();
    assert_eq!((requests[0].port, requests[0].ip), (16001, Some("192.0.2.7".parse().unwrap())));
}

#[tokio::test]
async fn a_tracker_that_begins_anew_is_noticed_once() {
    let (tracker, url, _shutdown) = serve(Answer::Good).await;
    let client = client(&[url]);
    assert_eq!(client.look_interval(), None);
    for (epoch, anew) in [(5, false), (5, false), (6, true), (6, false), (0, true), (7, false)] {
        tracker.epoch.store(epoch, std::sync::atomic::Ordering::Relaxed);
        client.probe().await;
        assert_eq!((client.take_begun_anew(), client.take_begun_anew()), (anew, false), "{epoch}");
    }
    assert_eq!(client.look_interval(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn many_items_go_in_several_requests() {
    let (tracker, url, _shutdown) = serve(Answer::Good).await;
    let mut many = items(1000..1600);
    many.iter_mut().for_each(|item| item.need_metainfo = false);
    let replies = client(&[url]).announce(many).await;
    assert!(replies.len() == 600 && replies.iter().all(Result::is_ok));
    let sizes: Vec<_> = tracker.requests.lock().unwrap().iter().map(|request| request.items.len()).collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= ITEMS_MAX), "{sizes:?}");
}

#[tokio::test]
async fn two_trackers_share_the_blobs_and_agree_whatever_the_order_of_their_urls() {
    let ((one, url_one, _a), (other, url_other, _b)) = (serve(Answer::Good).await, serve(Answer::Good).await);
    client(&[url_one.clone(), url_other.clone()]).announce(items(0..100)).await;
    let first = (asked(&one), asked(&other));
    assert!(first.0 > 20 && first.1 > 20, "{first:?}");
    client(&[url_other, url_one]).announce(items(0..100)).await;
    assert_eq!((asked(&one), asked(&other)), (first.0 * 2, first.1 * 2));
}

#[tokio::test]
async fn a_tracker_that_fails_is_replaced_by_the_next_and_then_asked_last() {
    let (good, url, _shutdown) = serve(Answer::Good).await;
    let (bad, bad_url, _shutdown) = serve(Answer::Failure).await;
    let client = client(&[bad_url, url, nobody().await]);
    let replies = client.announce(items(0..60)).await;
    assert!(replies.iter().all(Result::is_ok));
    assert_eq!(asked(&good), 60);
    let asked_bad = asked(&bad);
    assert!(asked_bad > 0);
    client.announce(items(0..60)).await;
    assert_eq!((asked(&good), asked(&bad)), (120, asked_bad));
}

#[tokio::test]
async fn without_any_tracker_every_item_is_unavailable() {
    let replies = client(&[nobody().await]).announce(items(0..2)).await;
    for reply in replies {
        let error = reply.unwrap_err();
        assert_eq!(error.code, ItemErrorCode::Unavailable);
        assert!(error.message.contains("cannot connect"), "{error}");
    }
    assert!(client(&[nobody().await]).announce(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn an_answer_with_too_few_replies_is_not_used() {
    let (_tracker, url, _shutdown) = serve(Answer::TooFew).await;
    let replies = client(&[url]).announce(items(0..2)).await;
    assert!(
        replies.iter().all(|reply| reply.as_ref().is_err_and(|e| e.message.contains("1 replies to 2 items")))
    );
}

#[tokio::test]
async fn only_what_a_tracker_says_counts_as_an_answer() {
    for answer in [Answer::Failure, Answer::Absent, Answer::Garbage] {
        let (_other, url, _shutdown) = serve(answer).await;
        let client = client(std::slice::from_ref(&url));
        assert_eq!(client.reach(), Reach::Unknown);
        let lost = |reach| matches!(reach, Reach::Lost(why) if why.contains(&url));
        assert!(lost(client.probe().await));
        client.announce(items(0..1)).await;
        assert!(lost(client.reach()));
    }
    let (_tracker, url, _shutdown) = serve(Answer::Good).await;
    assert_eq!(client(&[url]).probe().await, Reach::Reached);
}

#[tokio::test]
async fn one_tracker_that_answers_is_enough() {
    let (_tracker, url, shutdown) = serve(Answer::Good).await;
    let client = client(&[nobody().await, url]);
    assert_eq!(client.probe().await, Reach::Reached);
    client.announce(items(0..20)).await;
    assert_eq!(client.reach(), Reach::Reached);
    drop(shutdown);
}

#[test]
fn urls_are_checked_at_the_start() {
    for bad in
        ["", "tracker:15003", "ftp://tracker:15003", "http://tracker:15003/x", "http://u@tracker", "http://"]
    {
        let result = TrackerClient::new(&[bad.to_owned()], shoal_http::Client::default(), PeerId([1; 20]), 1);
        assert!(matches!(result, Err(crate::ApiError::Url { .. })), "{bad}");
    }
    assert!(TrackerClient::new(&[], shoal_http::Client::default(), PeerId([1; 20]), 1).is_err());
    for good in ["http://tracker:15003", "http://tracker:15003/", "http://[::1]:15003", "http://10.0.0.1"] {
        client(&[good.to_owned()]);
    }
}

#[test]
fn the_json_is_what_the_protocol_says() {
    let text = format!(
        r#"{{"peer_id":"{}","port":16001,"items":[{{"digest":"{}","event":"started","need_metainfo":true}}]}}"#,
        "01".repeat(20),
        digest(1)
    );
    let request: AnnounceRequest = serde_json::from_str(&text).unwrap();
    assert_eq!((request.ip, request.items[0].complete), (None, false));
    assert_eq!(request.items[0].event, AnnounceEvent::Started);
    assert_eq!(request.items[0].repository, None, "agents that know nothing of it are understood");
    let item = AnnounceItem { repository: Some("team/app".parse().unwrap()), ..request.items[0].clone() };
    let json = serde_json::to_string(&item).unwrap();
    assert!(json.ends_with(r#""repository":"team/app"}"#), "{json}");
    assert_eq!(serde_json::from_str::<AnnounceItem>(&json).unwrap(), item);
    let error = ItemReply::Error(ItemError::new(ItemErrorCode::NotFound, "gone"));
    assert_eq!(serde_json::to_string(&error).unwrap(), r#"{"error":{"code":"not_found","message":"gone"}}"#);
    let reply = reply_to(&items(1..2)[0]);
    let json = serde_json::to_string(&reply).unwrap();
    assert!(json.starts_with(r#"{"ok":{"metainfo":""#), "{json}");
    assert_eq!(serde_json::from_str::<ItemReply>(&json).unwrap(), reply);
    let broken = r#"{"ok":{"metainfo":"AAAA","interval_ms":1}}"#;
    assert!(serde_json::from_str::<ItemReply>(broken).is_err());
}
