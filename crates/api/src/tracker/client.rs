//! Announces to one of several trackers, and to the next when it fails.
//!
//! A tracker keeps its swarms in memory and does not talk to the others, so all agents must take the same blob to the same
//! tracker. Each digest therefore has its own order of trackers, computed like owners on the ring: load spreads over them, and
//! when one is down its swarms meet again at the same second choice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join_all, select_ok};
use shoal_http::Client;
use shoal_ring::{Addresses, Member, MemberId, Ring, Weight};
use shoal_swarm_types::{PeerId, ZoneName};
use tokio::time::Instant;

use super::{
    ANNOUNCE_PATH, AnnounceItem, AnnounceReply, AnnounceRequest, AnnounceResponse, ITEMS_MAX, ItemError,
    ItemErrorCode, ItemReply, RESPONSE_LEN_MAX, place,
};
use crate::error::ApiError;
use crate::exchange::{self, Base};

/// How long one tracker may take for one request. A tracker answers from memory; the bound is for networks that lose packets.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a tracker that failed is asked last instead of first, so that one dead tracker does not cost each new download a
/// timeout.
const DOWN_TIME: Duration = Duration::from_secs(10);

/// A peer's connection to its trackers. Cheap to clone.
#[derive(Clone)]
pub struct TrackerClient {
    trackers: Arc<Trackers>,
    http: Client,
    peer_id: PeerId,
    port: u16,
    ip: Option<IpAddr>,
    zone: Option<ZoneName>,
}

struct Trackers {
    ring: Ring,
    by_id: BTreeMap<MemberId, Tracker>,
    /// Whether one of them has begun a new life, of which nobody was told yet.
    begun_anew: AtomicBool,
    /// When to look next, as told last.
    look_ms: AtomicU64,
}

struct Tracker {
    base: Base,
    state: Mutex<State>,
    /// What it last said about the keys of grants; `None` before its first answer.
    grant_keys: Mutex<Option<Vec<String>>>,
    /// Its life of which it last told; 0 before its first answer.
    epoch: AtomicU32,
}

/// What the last exchange with a tracker says about it.
#[derive(Default)]
enum State {
    #[default]
    Unasked,
    Answers,
    /// When, and why.
    Failed(Instant, String),
}

/// Whether trackers give answers that this program understands, as their last exchanges say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None has answered, and not all have been asked.
    Unknown,
    /// One tracker at least answers.
    Reached,
    /// None answers. The reason of each, with its URL.
    Lost(String),
}

/// What became of one item so far.
type Outcome = Option<Result<AnnounceReply, ItemError>>;

impl TrackerClient {
    /// A client of the trackers at `urls` (`http://host:port`), on behalf of the peer `peer_id` that takes swarm connections on
    /// `port`.
    ///
    /// # Errors
    /// [`ApiError::Url`] when a URL is not one, or when there is none.
    pub fn new(urls: &[String], http: Client, peer_id: PeerId, port: u16) -> Result<Self, ApiError> {
        let mut by_id = BTreeMap::new();
        for url in urls {
            let base = Base::parse(url)?;
            by_id.insert(
                tracker_id(&base)?,
                Tracker {
                    base,
                    state: Mutex::default(),
                    grant_keys: Mutex::default(),
                    epoch: AtomicU32::default(),
                },
            );
        }
        if by_id.is_empty() {
            return Err(ApiError::Url { url: String::new(), why: "no tracker is given".to_owned() });
        }
        let (weight, addresses) = (Weight::default(), Addresses::default());
        let member = |id: &MemberId| Member { id: id.clone(), weight, addresses: addresses.clone() };
        let ring = Ring::new(by_id.keys().map(member).collect(), 0);
        let trackers =
            Trackers { ring, by_id, begun_anew: AtomicBool::default(), look_ms: AtomicU64::default() };
        Ok(Self { trackers: Arc::new(trackers), http, peer_id, port, ip: None, zone: None })
    }

    /// The same client, stating `ip` as the address at which other peers reach this one. Without it they are told the source
    /// address of the request.
    #[must_use]
    pub fn with_ip(mut self, ip: IpAddr) -> Self {
        self.ip = Some(ip);
        self
    }

    /// The same client, saying that it stands in `zone`.
    #[must_use]
    pub fn in_zone(mut self, zone: Option<ZoneName>) -> Self {
        self.zone = zone;
        self
    }

    /// Announces `items` and returns one result for each, in the same order. Takes at most 5 s for each tracker. When no tracker
    /// answers, the items fail as [`ItemErrorCode::Unavailable`] with the last reason.
    ///
    /// No address in a reply is unspecified: owners "at the tracker's host" carry the address that was reached.
    pub async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, ItemError>> {
        let orders: Vec<_> = items.iter().map(|item| self.order(item)).collect();
        let mut outcomes: Vec<Outcome> = vec![None; items.len()];
        let mut last_error = String::new();
        for attempt in 0..self.trackers.by_id.len() {
            let batches = batches(&orders, &outcomes, attempt);
            if batches.is_empty() {
                break;
            }
            let sent = batches.iter().map(|(id, indices)| self.send(id, indices, &items));
            for ((_, indices), result) in batches.iter().zip(join_all(sent).await) {
                match result {
                    Ok(replies) => fill(&mut outcomes, indices, replies),
                    Err(error) => last_error = error.to_string(),
                }
            }
        }
        let unavailable =
            || ItemError::new(ItemErrorCode::Unavailable, format!("no tracker answered; {last_error}"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(unavailable()))).collect()
    }

    /// Asks every tracker at once about nothing, and returns when one has answered or all have failed, which takes at most twice 5 s.
    /// Any HTTP server answers; only what a tracker says counts here.
    pub async fn probe(&self) -> Reach {
        let asked = self.trackers.by_id.keys().map(|id| Box::pin(self.send(id, &[], &[])));
        // Either way each exchange has left its outcome with its tracker.
        _ = select_ok(asked).await;
        self.reach()
    }

    /// The public keys by which grants are judged, as all trackers together told last; `None` before the first answer of any.
    pub fn grant_keys(&self) -> Option<BTreeSet<String>> {
        let said = self.trackers.by_id.values().filter_map(|tracker| tracker.grant_keys().clone());
        said.reduce(|mut all, more| {
            all.extend(more);
            all
        })
        .map(BTreeSet::from_iter)
    }

    /// Whether a tracker has begun a new life since this was asked last: what it was told before is forgotten.
    pub fn take_begun_anew(&self) -> bool {
        self.trackers.begun_anew.swap(false, Ordering::Relaxed)
    }

    /// How long to wait until the next look whether all live the same life; `None` when no tracker has said so.
    pub fn look_interval(&self) -> Option<Duration> {
        let millis = self.trackers.look_ms.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// What the exchanges so far say.
    pub fn reach(&self) -> Reach {
        let (mut reasons, mut unasked) = (Vec::new(), false);
        for tracker in self.trackers.by_id.values() {
            match &*tracker.state() {
                State::Unasked => unasked = true,
                State::Answers => return Reach::Reached,
                State::Failed(_, why) => reasons.push(why.clone()),
            }
        }
        if unasked { Reach::Unknown } else { Reach::Lost(reasons.join("; ")) }
    }

    /// The trackers for one blob, the first choice first, those that have just failed last.
    fn order(&self, item: &AnnounceItem) -> Vec<&MemberId> {
        let now = Instant::now();
        let ranked = self.trackers.ring.owners(&item.digest, self.trackers.by_id.len());
        let (mut up, down): (Vec<_>, Vec<_>) = ranked
            .into_iter()
            .map(|member| &member.id)
            .partition(|id| !self.trackers.by_id[*id].is_down(now));
        up.extend(down);
        up
    }

    /// One request to one tracker.
    async fn send(
        &self,
        id: &MemberId,
        indices: &[usize],
        items: &[AnnounceItem],
    ) -> Result<Vec<Result<AnnounceReply, ItemError>>, ApiError> {
        let tracker = &self.trackers.by_id[id];
        let request = AnnounceRequest {
            peer_id: self.peer_id,
            port: self.port,
            ip: self.ip,
            zone: self.zone.clone(),
            items: indices.iter().map(|at| items[*at].clone()).collect(),
        };
        let result = self.exchange(tracker, &request).await;
        *tracker.state() = match &result {
            Ok(_) => State::Answers,
            Err(error) => {
                tracing::debug!(tracker = %id, items = indices.len(), %error, "announce failed");
                State::Failed(Instant::now(), error.to_string())
            }
        };
        result
    }

    async fn exchange(
        &self,
        tracker: &Tracker,
        request: &AnnounceRequest,
    ) -> Result<Vec<Result<AnnounceReply, ItemError>>, ApiError> {
        let base = &tracker.base;
        let what = format!("announce to tracker {base}");
        let url = base.url(ANNOUNCE_PATH);
        let answer: exchange::Answer<AnnounceResponse> =
            exchange::post_json(&self.http, &url, &what, request, RESPONSE_LEN_MAX, ATTEMPT_TIMEOUT).await?;
        let AnnounceResponse { items: mut replies, grant_keys, epoch, look_ms } = answer.value;
        if replies.len() != request.items.len() {
            let why = format!("{} replies to {} items", replies.len(), request.items.len());
            return Err(ApiError::Answer { what, why });
        }
        *tracker.grant_keys() = Some(grant_keys);
        self.trackers.look_ms.store(look_ms, Ordering::Relaxed);
        let former = tracker.epoch.swap(epoch, Ordering::Relaxed);
        if former != 0 && former != epoch {
            self.trackers.begun_anew.store(true, Ordering::Relaxed);
        }
        let unplaced = |item: &ItemReply| matches!(item, ItemReply::Ok(reply) if place::is_unplaced(reply));
        let host = if replies.iter().any(unplaced) { host_of(answer.remote, base).await } else { None };
        for reply in &mut replies {
            let ItemReply::Ok(reply) = reply else { continue };
            match host {
                Some(host) => place::place(reply, host),
                None => place::drop_unplaced(reply),
            }
        }
        Ok(replies.into_iter().map(Into::into).collect())
    }
}

impl Tracker {
    fn is_down(&self, now: Instant) -> bool {
        matches!(&*self.state(), State::Failed(at, _) if now < *at + DOWN_TIME)
    }

    fn grant_keys(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.grant_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fill(outcomes: &mut [Outcome], indices: &[usize], replies: Vec<Result<AnnounceReply, ItemError>>) {
    for (at, reply) in indices.iter().zip(replies) {
        outcomes[*at] = Some(reply);
    }
}

/// Items without an outcome, by the tracker that is next in their order, cut to the size of a request.
fn batches<'a>(
    orders: &[Vec<&'a MemberId>],
    outcomes: &[Outcome],
    attempt: usize,
) -> Vec<(&'a MemberId, Vec<usize>)> {
    let mut by_tracker: BTreeMap<&MemberId, Vec<usize>> = BTreeMap::new();
    for (at, order) in orders.iter().enumerate() {
        if let (None, Some(id)) = (&outcomes[at], order.get(attempt)) {
            by_tracker.entry(id).or_default().push(at);
        }
    }
    by_tracker
        .into_iter()
        .flat_map(|(id, indices)| {
            let chunks: Vec<_> = indices.chunks(ITEMS_MAX).map(|chunk| (id, chunk.to_vec())).collect();
            chunks
        })
        .collect()
}

/// A tracker's name in the order of trackers: host and port, without the brackets of IPv6.
fn tracker_id(base: &Base) -> Result<MemberId, ApiError> {
    let name: String = base.authority().chars().filter(|char| !matches!(char, '[' | ']')).collect();
    name.parse().map_err(|_| ApiError::Url {
        url: base.to_string(),
        why: "the host is not a name or an address".to_owned(),
    })
}

/// The address at which the tracker was reached: that of the connection, or what its name resolves to.
async fn host_of(remote: Option<SocketAddr>, base: &Base) -> Option<IpAddr> {
    if let Some(remote) = remote {
        return Some(remote.ip().to_canonical());
    }
    if let Some(literal) = place::literal_ip(base.host()) {
        return Some(literal);
    }
    let resolved = tokio::net::lookup_host((base.host(), base.port())).await.ok()?.next();
    resolved.map(|addr| addr.ip())
}
