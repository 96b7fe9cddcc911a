//! What one announce does and what it is answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use shoal_api::tracker::{
    AnnounceEvent, AnnounceItem, AnnounceReply, AnnounceRequest, AnnounceResponse, CONTENT_LEN_MAX,
    ITEMS_MAX, ItemError, ItemErrorCode, METAINFO_LEN_MAX,
};
use shoal_api::{Member, Rights, RightsError};
use shoal_http::Shutdown;
use shoal_oci::{Digest, Repository};
use shoal_swarm_types::{Metainfo, PeerId, PeerInfo};
use shoal_telemetry::TrackerMetrics;
use shoal_telemetry::rooms::tracker::TrackerResult;
use tokio::time::Instant;

use crate::fleet::{Fleet, Seen};
use crate::handout::PEERS_MAX;
use crate::interval::{interval, time_to_live};
use crate::owners::Owners;
use crate::roster::Peer;
use crate::source::{MetainfoSource, SourceError};
use crate::swarms::{SwarmLimits, SwarmSummary, Swarms, Totals};

/// How long the owners may take for all items of one request; below the 5 s after which a client goes to another tracker.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(4);

/// How often expired peers are looked for and gauges are brought up to date: below the 15 s at which most scrapers come. Expired
/// peers are never handed out; until then they only take memory. Two million peers cost some 40 ms each time.
const EXPIRE_PERIOD: Duration = Duration::from_secs(5);

/// Bytes of one piece digest: what an item takes of [`METAINFO_LEN_MAX`].
const PIECE_DIGEST_LEN: usize = 32;

/// What can be chosen about a tracker.
#[derive(Clone, Copy, Debug)]
pub struct TrackerOptions {
    /// Bounds of memory.
    pub limits: SwarmLimits,
    /// Most agents in one reply.
    pub peers_max: usize,
    /// Seed of the hand-out's random choices.
    pub seed: u64,
}

impl TrackerOptions {
    /// The usual bounds with a seed.
    pub fn with_seed(seed: u64) -> Self {
        Self { limits: SwarmLimits::default(), peers_max: PEERS_MAX, seed }
    }
}

/// The tracker's state and its use case.
pub struct Tracker {
    swarms: Swarms,
    fleet: Fleet,
    owners: Owners,
    source: Arc<dyn MetainfoSource>,
    rights: Arc<dyn Rights>,
    metrics: TrackerMetrics,
    peers_max: usize,
    seeds: Mutex<fastrand::Rng>,
}

/// Why a whole request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnnounce {
    /// Nobody can connect to port zero.
    #[error("port 0 is not a port that others can connect to")]
    Port,
    /// The stated address is not one of a machine.
    #[error(
        "the stated address is unspecified, multicast or broadcast; leave it out to use the source address"
    )]
    Address,
    /// More than [`ITEMS_MAX`] items.
    #[error("more than {ITEMS_MAX} items in one announce; send several")]
    TooMany,
}

/// Who announces, and what is left of the request's bounds.
struct Round {
    id: PeerId,
    addr: SocketAddr,
    now: Instant,
    deadline: Instant,
    metainfo_left: usize,
    rng: fastrand::Rng,
}

impl Tracker {
    /// A tracker that knows nobody yet, and hands out what `rights` allow.
    pub fn new(
        owners: Owners,
        source: Arc<dyn MetainfoSource>,
        rights: Arc<dyn Rights>,
        metrics: TrackerMetrics,
        options: TrackerOptions,
    ) -> Self {
        Self {
            swarms: Swarms::new(options.limits),
            fleet: Fleet::default(),
            owners,
            source,
            rights,
            metrics,
            peers_max: options.peers_max,
            seeds: Mutex::new(fastrand::Rng::with_seed(options.seed)),
        }
    }

    /// Answers a request of `member`.
    ///
    /// # Errors
    /// [`InvalidAnnounce`] when the request as a whole makes no sense; errors about single blobs are in the response.
    pub async fn announce(
        &self,
        request: &AnnounceRequest,
        member: &Member,
        now: Instant,
    ) -> Result<AnnounceResponse, InvalidAnnounce> {
        let addr = announced_addr(request, member.address)?;
        self.fleet.note(request.peer_id, addr, now);
        let rng = self.seeds.lock().unwrap_or_else(PoisonError::into_inner).fork();
        let deadline = now + SOURCE_TIMEOUT;
        let mut round =
            Round { id: request.peer_id, addr, now, deadline, metainfo_left: METAINFO_LEN_MAX, rng };
        let mut items = Vec::with_capacity(request.items.len());
        for item in &request.items {
            let result = self.announce_item(item, member, &mut round).await;
            self.metrics.announces.of(result_label(&result)).inc();
            items.push(result.into());
        }
        Ok(AnnounceResponse { items })
    }

    async fn announce_item(
        &self,
        item: &AnnounceItem,
        member: &Member,
        round: &mut Round,
    ) -> Result<AnnounceReply, ItemError> {
        if item.event == AnnounceEvent::Stopped {
            self.swarms.remove(&item.digest, round.addr);
            return Ok(AnnounceReply {
                interval_ms: millis(interval(true, None, &mut round.rng)),
                ..Default::default()
            });
        }
        if item.complete || item.event == AnnounceEvent::Completed {
            return Ok(self.admit(item, true, None, round));
        }
        self.check_rights(item, member, round).await?;
        let requester = (round.id, round.addr);
        let peers = self.swarms.handout(&item.digest, requester, self.peers_max, round.now, &mut round.rng);
        let (size, metainfo) = self.ask_owners(item, !peers.is_empty(), round).await?;
        let mut reply = self.admit(item, false, size, round);
        if size.is_some() {
            // Owners first: they are known to have every piece, and a client that takes a prefix keeps them.
            reply.peers = self.owners.peers(&item.digest);
            reply.web_seeds = self.owners.web_seeds(&item.digest, item.repository.as_ref());
        }
        reply.peers.extend(peers);
        reply.metainfo = metainfo;
        reply.content = self.content(item, size, round).await.unwrap_or_default();
        Ok(reply)
    }

    /// Whether a peer that lacks pieces may have them. If not, it hears what it would hear if there were no such blob. A peer that has the
    /// whole of it is not asked: it is told nothing.
    async fn check_rights(
        &self,
        item: &AnnounceItem,
        member: &Member,
        round: &Round,
    ) -> Result<(), ItemError> {
        let repository = item.repository.as_ref();
        let asked = self.rights.may_read(member, repository, &item.digest);
        let answer = tokio::time::timeout_at(round.deadline, asked).await;
        match answer.unwrap_or_else(|_elapsed| Err(RightsError("no answer in time".to_owned()))) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let repository = repository.map(Repository::as_str);
                tracing::debug!(digest = %item.digest, repository, address = %member.address, "not handed out");
                Err(not_found(item))
            }
            Err(error) => {
                tracing::warn!(%error, "announce without rights");
                Err(ItemError::new(ItemErrorCode::Unavailable, error.to_string()))
            }
        }
    }

    /// What the owners know of a blob. A peer that has the metainfo may go on without them as long as others share the blob.
    async fn ask_owners(
        &self,
        item: &AnnounceItem,
        shared: bool,
        round: &mut Round,
    ) -> Result<(Option<u64>, Option<Metainfo>), ItemError> {
        if !item.need_metainfo {
            let size = match bounded(round.deadline, self.source.size(&item.digest)).await {
                Err(error) if !shared => return Err(unavailable(&error)),
                size => size.ok().flatten(),
            };
            return if size.is_none() && !shared { Err(not_found(item)) } else { Ok((size, None)) };
        }
        let metainfo = bounded(round.deadline, self.source.metainfo(&item.digest))
            .await
            .map_err(|error| unavailable(&error))?;
        let metainfo = metainfo.ok_or_else(|| not_found(item))?;
        let len = metainfo.layout().piece_count() as usize * PIECE_DIGEST_LEN;
        let left = round.metainfo_left.checked_sub(len).ok_or_else(|| {
            let why = "the metainfo does not fit into this answer; ask for fewer blobs at once";
            ItemError::new(ItemErrorCode::Unavailable, why)
        })?;
        round.metainfo_left = left;
        Ok((Some(metainfo.size()), Some(metainfo)))
    }

    /// The content of a small blob that may come inside the answer. Without it the answer is whole all the same.
    async fn content(&self, item: &AnnounceItem, size: Option<u64>, round: &mut Round) -> Option<Bytes> {
        let size_max = item.content_max.min(CONTENT_LEN_MAX);
        let size = size.filter(|size| (1..=size_max).contains(size))?;
        round.metainfo_left = round.metainfo_left.checked_sub(usize::try_from(size).ok()?)?;
        let content = bounded(round.deadline, self.source.content(&item.digest, size)).await;
        content
            .inspect_err(|error| tracing::warn!(%error, digest = %item.digest, "announce without content"))
            .ok()
            .flatten()
    }

    /// Remembers the peer and says when to announce again.
    fn admit(
        &self,
        item: &AnnounceItem,
        complete: bool,
        size: Option<u64>,
        round: &mut Round,
    ) -> AnnounceReply {
        let interval = interval(complete, size, &mut round.rng);
        let expires = round.now + time_to_live(interval);
        if !self.swarms.put(&item.digest, Peer { id: round.id, addr: round.addr, complete, expires }) {
            tracing::debug!(digest = %item.digest, addr = %round.addr, "peer not remembered: a bound is reached");
        }
        AnnounceReply { interval_ms: millis(interval), ..AnnounceReply::default() }
    }

    /// Forgets the silent until `shutdown`.
    pub async fn run(&self, shutdown: Shutdown) {
        let mut period = tokio::time::interval(EXPIRE_PERIOD);
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                _ = period.tick() => self.expire(Instant::now()),
            }
        }
    }

    /// Forgets the silent as of `now`.
    pub fn expire(&self, now: Instant) {
        self.fleet.expire(now);
        let totals = self.swarms.expire(now);
        self.metrics.peers.set(i64::try_from(totals.peers).unwrap_or(i64::MAX));
        self.metrics.swarms.set(i64::try_from(totals.swarms).unwrap_or(i64::MAX));
    }

    /// The agents that have announced lately.
    pub fn agents(&self) -> Vec<Seen> {
        self.fleet.agents()
    }

    /// Agents that have announced the whole of a blob lately: for an owner whose own copy is damaged. It stands beside the tracker, so
    /// peers on this machine are of use to it.
    pub fn holders(&self, digest: &Digest, now: Instant) -> Vec<PeerInfo> {
        let nobody = (PeerId([0; 20]), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mut rng = fastrand::Rng::new();
        let mut peers = self.swarms.handout(digest, nobody, PEERS_MAX, now, &mut rng);
        peers.retain(|peer| peer.complete);
        peers
    }

    /// How much is remembered.
    pub fn totals(&self) -> Totals {
        self.swarms.totals()
    }

    /// The `limit` largest swarms.
    pub fn summary(&self, limit: usize) -> Vec<SwarmSummary> {
        self.swarms.summary(limit)
    }

    /// The owners of digests.
    pub const fn owners(&self) -> &Owners {
        &self.owners
    }

    /// What the tracker counts.
    pub const fn metrics(&self) -> &TrackerMetrics {
        &self.metrics
    }
}

/// The address at which the announcing peer is introduced.
fn announced_addr(request: &AnnounceRequest, source: IpAddr) -> Result<SocketAddr, InvalidAnnounce> {
    if request.port == 0 {
        return Err(InvalidAnnounce::Port);
    }
    if request.items.len() > ITEMS_MAX {
        return Err(InvalidAnnounce::TooMany);
    }
    // A listener on [::] sees IPv4 clients as ::ffff:a.b.c.d; others must not.
    let ip = request.ip.unwrap_or(source).to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(InvalidAnnounce::Address);
    }
    Ok(SocketAddr::new(ip, request.port))
}

async fn bounded<T>(
    deadline: Instant,
    answer: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    let late = |_| Err(SourceError(format!("no answer within {} s", SOURCE_TIMEOUT.as_secs())));
    tokio::time::timeout_at(deadline, answer).await.unwrap_or_else(late)
}

fn not_found(item: &AnnounceItem) -> ItemError {
    ItemError::new(ItemErrorCode::NotFound, format!("no owner has {}", item.digest))
}

fn unavailable(error: &SourceError) -> ItemError {
    tracing::warn!(%error, "announce without owners");
    ItemError::new(ItemErrorCode::Unavailable, error.to_string())
}

const fn result_label(result: &Result<AnnounceReply, ItemError>) -> TrackerResult {
    match result {
        Ok(_) => TrackerResult::Ok,
        Err(ItemError { code: ItemErrorCode::NotFound, .. }) => TrackerResult::NotFound,
        Err(ItemError { code: ItemErrorCode::Unavailable, .. }) => TrackerResult::Unavailable,
    }
}

fn millis(interval: Duration) -> u64 {
    u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
