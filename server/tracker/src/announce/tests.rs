//! What a tracker answers, with owners that tests can take away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;
use shoal_api::EverybodyMay;
use shoal_api::tracker::PEERS_WANTED;
use shoal_oci::Digest;
use shoal_ring::{Addresses, Ring, Weight};
use shoal_swarm_types::{Metainfo, PeerInfo, Zone};

use super::*;

/// Owners of some blobs; `None` cannot be asked.
pub(crate) struct FakeSource(pub(crate) Mutex<Option<BTreeMap<Digest, Vec<u8>>>>);

impl FakeSource {
    pub(crate) fn with(blobs: &[&[u8]]) -> Arc<Self> {
        let blobs = blobs.iter().map(|content| (Digest::sha256(content), content.to_vec())).collect();
        Arc::new(Self(Mutex::new(Some(blobs))))
    }

    fn bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, SourceError> {
        let blobs = self.0.lock().unwrap();
        blobs
            .as_ref()
            .map(|blobs| blobs.get(digest).cloned())
            .ok_or_else(|| SourceError("disk on fire".into()))
    }
}

#[async_trait]
impl MetainfoSource for FakeSource {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, SourceError> {
        Ok(self.bytes(digest)?.map(|content| content.len() as u64))
    }

    async fn metainfo(&self, digest: &Digest) -> Result<Option<Metainfo>, SourceError> {
        Ok(self.bytes(digest)?.map(|content| Metainfo::of(*digest, &content)))
    }

    async fn content(&self, digest: &Digest, size_max: u64) -> Result<Option<Bytes>, SourceError> {
        let small = |content: &Vec<u8>| content.len() as u64 <= size_max;
        Ok(self.bytes(digest)?.filter(small).map(Bytes::from))
    }
}

const OWNER: PeerId = PeerId([0xee; 20]);

fn owners() -> Owners {
    let id: shoal_ring::MemberId = "server".parse().unwrap();
    let addresses = Addresses { peer: "0.0.0.0:15001".into(), origin: "0.0.0.0:15002".into() };
    let member = shoal_ring::Member { id: id.clone(), weight: Weight::default(), addresses };
    Owners::new(Ring::new(vec![member], 1), BTreeMap::from([(id, OWNER)]), 1)
}

pub(crate) fn tracker(source: &Arc<FakeSource>) -> Tracker {
    tracker_with(source, Arc::new(EverybodyMay))
}

fn tracker_with(source: &Arc<FakeSource>, rights: Arc<dyn Rights>) -> Tracker {
    Tracker::new(owners(), source.clone(), rights, TrackerMetrics::default(), TrackerOptions::with_seed(1))
}

const BLOB: &[u8] = b"a layer";

fn item(event: AnnounceEvent, complete: bool, need_metainfo: bool) -> AnnounceItem {
    AnnounceItem {
        digest: Digest::sha256(BLOB),
        event,
        complete,
        need_metainfo,
        repository: None,
        known: 0,
        peers_wanted: PEERS_WANTED,
        content_max: 0,
    }
}

/// What peer `number` hears when it announces one item.
async fn ask(
    tracker: &Tracker,
    number: u8,
    item: AnnounceItem,
    now: Instant,
) -> Result<AnnounceReply, ItemError> {
    let request = AnnounceRequest {
        peer_id: PeerId([number; 20]),
        port: 16001,
        ip: None,
        zone: None,
        items: vec![item],
    };
    let member = Member::from(IpAddr::from([10, 0, 0, number]));
    let response = tracker.announce(&request, &member, now).await.unwrap();
    response.items.into_iter().next().unwrap().into()
}

fn agents(reply: &AnnounceReply) -> Vec<u8> {
    let mut ids: Vec<_> = reply.peers.iter().filter(|peer| !peer.owner).map(|peer| peer.id.0[0]).collect();
    ids.sort_unstable();
    ids
}

use AnnounceEvent::{Completed, Periodic, Started, Stopped};

/// Owners that have lost [`BLOB`].
#[derive(Default)]
struct Losers(Mutex<Vec<PeerInfo>>);

#[async_trait]
impl MetainfoSource for Losers {
    async fn size(&self, _: &Digest) -> Result<Option<u64>, SourceError> {
        Ok(None)
    }

    async fn metainfo(&self, _: &Digest) -> Result<Option<Metainfo>, SourceError> {
        Ok(None)
    }

    async fn content(&self, _: &Digest, _: u64) -> Result<Option<Bytes>, SourceError> {
        Ok(None)
    }

    async fn lost(&self, digest: &Digest) -> Result<Option<Metainfo>, SourceError> {
        Ok((*digest == Digest::sha256(BLOB)).then(|| Metainfo::of(*digest, BLOB)))
    }

    fn bring_back(&self, _: &Digest, holders: Vec<PeerInfo>) {
        self.0.lock().unwrap().extend(holders);
    }
}

#[tokio::test(start_paused = true)]
async fn what_owners_have_lost_is_had_from_agents_that_have_it() {
    let (losers, now) = (Arc::new(Losers::default()), Instant::now());
    let options = TrackerOptions::with_seed(1);
    let tracker =
        Tracker::new(owners(), losers.clone(), Arc::new(EverybodyMay), TrackerMetrics::default(), options);
    let wanted = || item(Started, false, true);
    let early = ask(&tracker, 1, wanted(), now).await.unwrap_err();
    assert_eq!(early.code, ItemErrorCode::Unavailable, "who has it may not have said so yet");
    ask(&tracker, 2, item(Completed, true, false), now).await.unwrap();
    let reply = ask(&tracker, 1, wanted(), now).await.unwrap();
    assert_eq!(reply.metainfo.as_ref().map(Metainfo::size), Some(BLOB.len() as u64));
    assert_eq!((agents(&reply), reply.web_seeds.len()), (vec![2], 0));
    assert!(reply.peers.iter().all(|peer| !peer.owner), "owners that have lost it are of no use");
    assert_eq!(losers.0.lock().unwrap().iter().map(|peer| peer.id.0[0]).collect::<Vec<_>>(), [2]);
    ask(&tracker, 2, item(Stopped, true, false), now).await.unwrap();
    ask(&tracker, 1, item(Stopped, false, false), now).await.unwrap();
    tokio::time::advance(REUNION).await;
    let late = ask(&tracker, 1, wanted(), Instant::now()).await.unwrap_err();
    assert_eq!(late.code, ItemErrorCode::NotFound);
}

#[tokio::test]
async fn one_answer_has_metainfo_owner_web_seed_and_peers() {
    let (tracker, now) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    let first = ask(&tracker, 1, item(Started, false, true), now).await.unwrap();
    assert_eq!(first.metainfo.as_ref().unwrap().size(), BLOB.len() as u64);
    let owner = PeerInfo {
        id: OWNER,
        addr: "0.0.0.0:15001".parse().unwrap(),
        complete: true,
        owner: true,
        zone: Zone::UNKNOWN,
    };
    assert_eq!(first.peers, [owner]);
    assert_eq!(first.web_seeds, [format!("http://0.0.0.0:15002/blobs/{}", Digest::sha256(BLOB))]);
    let second = ask(&tracker, 2, item(Started, false, false), now).await.unwrap();
    assert_eq!((second.metainfo.clone(), agents(&second)), (None, vec![1]));
    let again = ask(&tracker, 1, item(Periodic, false, false), now).await.unwrap();
    assert_eq!(agents(&again), [2]);
}

#[tokio::test]
async fn complete_peers_are_handed_out_and_told_nobody() {
    let (tracker, now) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    ask(&tracker, 1, item(Started, false, true), now).await.unwrap();
    let done = ask(&tracker, 1, item(Completed, true, false), now).await.unwrap();
    assert!(done.peers.is_empty() && done.web_seeds.is_empty());
    assert!(done.interval_ms >= 48_000);
    let other = ask(&tracker, 2, item(Started, false, false), now).await.unwrap();
    assert!(other.peers.iter().any(|peer| peer.complete && !peer.owner));
}

#[tokio::test]
async fn stopped_and_silent_peers_are_forgotten() {
    let (tracker, now) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    for number in 1..=3 {
        ask(&tracker, number, item(Started, false, true), now).await.unwrap();
    }
    ask(&tracker, 1, item(Stopped, false, false), now).await.unwrap();
    assert_eq!(agents(&ask(&tracker, 4, item(Started, false, false), now).await.unwrap()), [2, 3]);
    let later = now + Duration::from_secs(120);
    assert!(agents(&ask(&tracker, 5, item(Started, false, false), later).await.unwrap()).is_empty());
    tracker.expire(later);
    assert_eq!(tracker.totals(), Totals { swarms: 1, peers: 1 });
    assert_eq!(tracker.metrics().peers.get(), 1);
}

#[tokio::test]
async fn a_blob_that_nobody_has_is_not_found() {
    let (tracker, now) = (tracker(&FakeSource::with(&[])), Instant::now());
    for need_metainfo in [true, false] {
        let error = ask(&tracker, 1, item(Started, false, need_metainfo), now).await.unwrap_err();
        assert_eq!(error.code, ItemErrorCode::NotFound);
    }
    assert_eq!(tracker.totals(), Totals::default(), "who asks for nothing is not remembered");
}

#[tokio::test]
async fn peers_go_on_without_owners_while_somebody_shares_the_blob() {
    let source = FakeSource::with(&[]);
    let (tracker, now) = (tracker(&source), Instant::now());
    ask(&tracker, 1, item(Started, true, false), now).await.unwrap();
    let reply = ask(&tracker, 2, item(Periodic, false, false), now).await.unwrap();
    assert_eq!((reply.peers.len(), agents(&reply)), (1, vec![1]));
    *source.0.lock().unwrap() = None;
    assert!(ask(&tracker, 2, item(Periodic, false, false), now).await.is_ok());
    let error = ask(&tracker, 3, item(Started, false, true), now).await.unwrap_err();
    assert_eq!(error.code, ItemErrorCode::Unavailable);
    assert!(error.message.contains("disk on fire"));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let (tracker, now) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    let good = AnnounceRequest { peer_id: PeerId([1; 20]), port: 1, ip: None, zone: None, items: vec![] };
    let home = Member::from(IpAddr::from([127, 0, 0, 1]));
    for (request, why) in [
        (AnnounceRequest { port: 0, ..good.clone() }, InvalidAnnounce::Port),
        (AnnounceRequest { ip: Some("::".parse().unwrap()), ..good.clone() }, InvalidAnnounce::Address),
        (
            AnnounceRequest { ip: Some("224.0.0.1".parse().unwrap()), ..good.clone() },
            InvalidAnnounce::Address,
        ),
        (
            AnnounceRequest { items: vec![item(Started, false, false); ITEMS_MAX + 1], ..good.clone() },
            InvalidAnnounce::TooMany,
        ),
    ] {
        assert_eq!(tracker.announce(&request, &home, now).await, Err(why));
    }
    let answer = tracker.announce(&good, &home, now).await.unwrap();
    assert!(answer.items.is_empty() && answer.grant_keys.is_empty(), "{answer:?}");
    assert!(
        answer.epoch != 0 && answer.look_ms >= 5_000,
        "it says that it lives, and when to look again: {answer:?}"
    );
}

#[tokio::test]
async fn addresses_are_the_stated_or_the_canonical_source() {
    let (tracker, now) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    let items = vec![item(Started, false, false)];
    let mut request = AnnounceRequest { peer_id: PeerId([1; 20]), port: 7, ip: None, zone: None, items };
    let at = |address: &str| Member::from(address.parse::<IpAddr>().unwrap());
    let certificate = shoal_http::PeerCertificate {
        common_name: None,
        dns: Vec::new(),
        uris: Vec::new(),
        emails: Vec::new(),
        fingerprint: String::new(),
    };
    let certificate = Some(Arc::new(certificate));
    tracker.announce(&request, &at("::ffff:10.1.1.1"), now).await.unwrap();
    (request.peer_id, request.ip) = (PeerId([2; 20]), Some("2001:db8::2".parse().unwrap()));
    // Somebody else's address is believed of those only who show a certificate, or sit on the tracker's machine.
    let refused = tracker.announce(&request, &at("10.9.9.9"), now).await;
    assert_eq!(refused, Err(InvalidAnnounce::Foreign));
    tracker.announce(&request, &at("127.0.0.1"), now).await.unwrap();
    request.ip = Some("10.1.1.2".parse().unwrap());
    tracker.announce(&request, &Member { certificate, ..at("10.9.9.9") }, now).await.unwrap();
    let addrs: Vec<_> = tracker.agents().iter().map(|agent| agent.addr.to_string()).collect();
    assert_eq!(addrs, ["10.1.1.1:7", "10.1.1.2:7", "[2001:db8::2]:7"]);
}

/// Gives the blobs of `team/app` to the member at 10.0.0.1; of `team/broken` nothing is known.
struct OnlyFirst;

#[async_trait]
impl Rights for OnlyFirst {
    async fn may_read(
        &self,
        member: &Member,
        repository: Option<&Repository>,
        _: &Digest,
    ) -> Result<bool, RightsError> {
        match repository.map(Repository::as_str) {
            Some("team/broken") => Err(RightsError("disk on fire".into())),
            name => Ok(name == Some("team/app") && member.address == IpAddr::from([10, 0, 0, 1])),
        }
    }
}

fn of(repository: &str, mut item: AnnounceItem) -> AnnounceItem {
    item.repository = Some(repository.parse().unwrap());
    item
}

#[tokio::test]
async fn whoever_may_not_read_a_blob_hears_that_there_is_none() {
    let tracker = tracker_with(&FakeSource::with(&[BLOB]), Arc::new(OnlyFirst));
    let now = Instant::now();
    let reply = ask(&tracker, 1, of("team/app", item(Started, false, true)), now).await.unwrap();
    let seed = format!("http://0.0.0.0:15002/blobs/{}?repository=team/app", Digest::sha256(BLOB));
    assert_eq!(reply.web_seeds, [seed]);
    let absent =
        AnnounceItem { digest: Digest::sha256(b"absent"), ..of("team/app", item(Started, false, true)) };
    let absent = ask(&tracker, 1, absent, now).await.unwrap_err();
    for refused in [
        (1, item(Started, false, true)),
        (1, of("team/other", item(Started, false, true))),
        (2, of("team/app", item(Started, false, true))),
        (2, of("team/app", item(Periodic, false, false))),
        (2, item(Periodic, false, false)),
    ] {
        let (number, asked) = refused.clone();
        let error = ask(&tracker, number, asked.clone(), now).await.unwrap_err();
        assert_eq!(error.code, ItemErrorCode::NotFound, "{refused:?}");
        assert_eq!(
            error.message.replace(&asked.digest.to_string(), ""),
            absent.message.replace(&Digest::sha256(b"absent").to_string(), "")
        );
    }
    let reply = ask(&tracker, 1, of("team/app", item(Periodic, false, false)), now).await.unwrap();
    assert!(agents(&reply).is_empty(), "the refused are not introduced: {reply:?}");
}

#[tokio::test]
async fn a_holder_is_introduced_without_a_repository_and_told_nothing() {
    let tracker = tracker_with(&FakeSource::with(&[BLOB]), Arc::new(OnlyFirst));
    let now = Instant::now();
    let seed = ask(&tracker, 2, item(Started, true, true), now).await.unwrap();
    assert!(seed.metainfo.is_none() && seed.peers.is_empty() && seed.web_seeds.is_empty());
    let reply = ask(&tracker, 1, of("team/app", item(Started, false, true)), now).await.unwrap();
    assert_eq!(agents(&reply), [2]);
}

#[tokio::test]
async fn rights_that_cannot_be_looked_up_are_asked_for_again() {
    let tracker = tracker_with(&FakeSource::with(&[BLOB]), Arc::new(OnlyFirst));
    let asked = of("team/broken", item(Started, false, true));
    let error = ask(&tracker, 1, asked, Instant::now()).await.unwrap_err();
    assert_eq!(error.code, ItemErrorCode::Unavailable);
}

#[tokio::test]
async fn a_small_blob_comes_inside_the_answer_to_whoever_wants_it() {
    let large = vec![7; CONTENT_LEN_MAX as usize + 1];
    let source = FakeSource::with(&[BLOB, &large, b""]);
    let tracker = tracker(&source);
    let content_of = async |content: &[u8], content_max: u64| {
        let digest = Digest::sha256(content);
        let item = AnnounceItem { digest, content_max, ..item(Started, false, true) };
        let reply = ask(&tracker, 1, item, Instant::now()).await.unwrap();
        assert_eq!(reply.metainfo.map(|metainfo| metainfo.size()), Some(content.len() as u64));
        reply.content
    };
    assert_eq!(content_of(BLOB, 65_536).await, BLOB);
    assert_eq!(content_of(BLOB, u64::MAX).await, BLOB);
    assert_eq!(content_of(BLOB, BLOB.len() as u64 - 1).await, Bytes::new());
    assert_eq!(content_of(BLOB, 0).await, Bytes::new());
    assert_eq!(content_of(&large, u64::MAX).await, Bytes::new(), "whatever a peer takes");
    assert_eq!(content_of(b"", u64::MAX).await, Bytes::new(), "an empty blob has no content");
}

#[tokio::test]
async fn who_knows_the_list_hears_what_is_new_and_who_wants_nobody_hears_nothing() {
    let (tracker, now) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    let first = ask(&tracker, 1, item(Started, false, true), now).await.unwrap();
    assert!(first.version > 0 && first.version < 1 << 52);
    let knowing = |known, peers_wanted| AnnounceItem { known, peers_wanted, ..item(Periodic, false, false) };
    ask(&tracker, 2, item(Started, false, false), now).await.unwrap();
    let news = ask(&tracker, 1, knowing(first.version, 50), now).await.unwrap();
    assert_eq!((agents(&news), news.peers.len(), news.web_seeds.len()), (vec![2], 1, 0), "{news:?}");
    let nothing = ask(&tracker, 1, knowing(news.version, 50), now).await.unwrap();
    assert!(nothing.peers.is_empty() && nothing.web_seeds.is_empty());
    ask(&tracker, 3, item(Started, false, false), now).await.unwrap();
    let quiet = ask(&tracker, 1, knowing(news.version, 0), now).await.unwrap();
    assert_eq!((quiet.peers.len(), quiet.version), (0, news.version));
    assert!(quiet.interval_ms >= 12_000, "it is not alone: {}", quiet.interval_ms);
    let later = ask(&tracker, 1, knowing(quiet.version, 50), now).await.unwrap();
    assert_eq!(agents(&later), [3], "what was not told then is told now");
}

#[tokio::test]
async fn a_quiet_announce_asks_nobody_and_lets_nobody_in() {
    let source = FakeSource::with(&[BLOB]);
    let tracker = tracker_with(&source, Arc::new(OnlyFirst));
    let now = Instant::now();
    let first = ask(&tracker, 1, of("team/app", item(Started, false, true)), now).await.unwrap();
    *source.0.lock().unwrap() = None;
    let quiet = AnnounceItem { known: first.version, peers_wanted: 0, ..item(Periodic, false, false) };
    assert!(ask(&tracker, 1, quiet.clone(), now).await.is_ok());
    let stranger = ask(&tracker, 2, quiet, now).await.unwrap_err();
    assert_eq!(stranger.code, ItemErrorCode::NotFound, "a version is no right");
}

/// A tracker that has forgotten everything, and a fleet that announces to it when its time has come.
#[tokio::test]
async fn a_restarted_tracker_knows_everybody_again_within_one_interval() {
    let (before, start) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    let mut due = BTreeMap::new();
    for number in 1..=200 {
        let reply = ask(&before, number, item(Started, false, false), start).await.unwrap();
        due.insert(number, (start + Duration::from_millis(reply.interval_ms), reply.version));
    }
    let options = TrackerOptions { seed: 2, ..TrackerOptions::with_seed(1) };
    let source = FakeSource::with(&[BLOB]);
    let metrics = TrackerMetrics::default();
    let after = Tracker::new(owners(), source, Arc::new(EverybodyMay), metrics, options);
    let mut latest = start;
    for (number, (at, known)) in due {
        let again = AnnounceItem { known, peers_wanted: 0, ..item(Periodic, false, false) };
        let reply = ask(&after, number, again, at).await.unwrap();
        assert_ne!(reply.version >> 32, known >> 32, "the other's versions mean nothing to it");
        latest = latest.max(at);
    }
    assert_eq!(after.totals().peers, 200);
    assert!(latest - start <= Duration::from_secs(15).mul_f64(1.2), "{:?}", latest - start);
}

#[tokio::test]
async fn zones_are_told_and_preferred() {
    let (tracker, now) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    let mut replies = Vec::new();
    for number in 1..=120 {
        let zone = Some(if number % 2 == 0 { "even" } else { "odd" }.parse().unwrap());
        let id = PeerId([number; 20]);
        let items = vec![item(Started, false, false)];
        let request = AnnounceRequest { peer_id: id, port: 16001, ip: None, zone, items };
        let member = Member::from(IpAddr::from([10, 0, 0, number]));
        let mut response = tracker.announce(&request, &member, now).await.unwrap();
        let reply: Result<AnnounceReply, ItemError> = response.items.remove(0).into();
        replies.push(reply.unwrap());
    }
    let zones: BTreeSet<_> = replies[119].peers.iter().map(|peer| peer.zone).collect();
    assert_eq!(zones.len(), 3, "own, other, and the owner's that nobody named");
    let even = |peer: &&PeerInfo| peer.id.0[0].is_multiple_of(2) && !peer.owner;
    assert!(replies[119].peers.iter().filter(even).count() >= 34);
}

#[tokio::test]
async fn a_machine_that_floods_is_told_to_wait() {
    let (tracker, now) = (tracker(&FakeSource::with(&[BLOB])), Instant::now());
    let items = vec![item(Started, true, false); ITEMS_MAX];
    let request = AnnounceRequest { peer_id: PeerId([1; 20]), port: 1, ip: None, zone: None, items };
    let member = Member::from(IpAddr::from([10, 0, 0, 1]));
    let mut refused = None;
    for _ in 0..1_000 {
        refused = tracker.announce(&request, &member, now).await.err();
        if refused.is_some() {
            break;
        }
    }
    assert!(matches!(refused, Some(InvalidAnnounce::Flood(_))), "{refused:?}");
    let other = ask(&tracker, 2, item(Started, false, true), now).await;
    assert!(other.is_ok());
}
