//! What one announce does and what it is answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shoal_api::tracker::{
    AnnounceEvent, AnnounceItem, AnnounceReply, AnnounceRequest, AnnounceResponse, CONTENT_LEN_MAX,
    ITEMS_MAX, ItemError, ItemErrorCode, METAINFO_LEN_MAX,
};
use shoal_api::{Grants, Member, Rights, RightsError};
use shoal_http::Shutdown;
use shoal_oci::{Digest, Repository};
use shoal_swarm_types::{Metainfo, PeerId, PeerInfo, Zone, ZoneName};
use shoal_telemetry::TrackerMetrics;
use shoal_telemetry::rooms::tracker::TrackerResult;
use tokio::time::Instant;

use crate::fleet::{Fleet, Flood, Seen};
use crate::handout::PEERS_MAX;
use crate::interval::{Pace, State, interval, jitter, time_to_live};
use crate::load::Load;
use crate::owners::Owners;
use crate::roster::{Admission, Asking, Peer, Tick};
use crate::source::{MetainfoSource, SourceError};
use crate::swarms::{Introduction, SwarmLimits, SwarmSummary, Swarms, Totals};

/// Milliseconds of a [`Tick`].
const TICK_MS: u128 = 100;

/// How long the owners may take for all items of one request; below the 5 s after which a client goes to another tracker.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long after its start a tracker does not take its word for it that nobody has a blob: agents see within [`Pace::look`] that it has
/// forgotten them, and tell it again what they have.
const REUNION: Duration = Duration::from_secs(60);

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
    grants: Option<Arc<dyn Grants>>,
    metrics: TrackerMetrics,
    peers_max: usize,
    load: Load,
    /// Zero of its ticks.
    start: Instant,
    /// Tells its versions from those of other trackers, and of its former life.
    epoch: u32,
    seed: AtomicU64,
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
    /// It states an address that is not its own.
    #[error(
        "the stated address is not the one that the request comes from; leave peer.advertise out, or use cluster_tls"
    )]
    Foreign,
    /// The machine has announced too much lately.
    #[error("too many announces from this machine; come again in {} ms", .0.retry_after.as_millis())]
    Flood(Flood),
    /// More than [`ITEMS_MAX`] items.
    #[error("more than {ITEMS_MAX} items in one announce; send several")]
    TooMany,
}

/// Who announces, and what is left of the request's bounds.
struct Round {
    id: PeerId,
    addr: SocketAddr,
    zone: Zone,
    now: Tick,
    pace: Pace,
    jitter: f64,
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
            load: Load::default(),
            owners,
            source,
            rights,
            grants: None,
            metrics,
            peers_max: options.peers_max,
            start: Instant::now(),
            epoch: epoch(options.seed),
            seed: AtomicU64::new(options.seed),
        }
    }

    /// The same, giving those who may have a blob what proves it to other peers.
    #[must_use]
    pub fn with_grants(mut self, grants: Option<Arc<dyn Grants>>) -> Self {
        self.grants = grants;
        self
    }

    /// Answers a request of `member`.
    ///
    /// # Errors
    /// [`InvalidAnnounce`] when the request as a whole makes no sense or comes too soon; errors about single blobs are in the response.
    pub async fn announce(
        &self,
        request: &AnnounceRequest,
        member: &Member,
        now: Instant,
    ) -> Result<AnnounceResponse, InvalidAnnounce> {
        let addr = announced_addr(request, member)?;
        self.fleet.admit(member.address.to_canonical(), request.items.len(), now)?;
        self.fleet.note(request.peer_id, addr, request.zone.as_ref(), now);
        let mut round = self.round(request, addr, now);
        let mut items = Vec::with_capacity(request.items.len());
        for item in &request.items {
            let result = self.announce_item(item, member, &mut round).await;
            self.metrics.announces.of(result_label(&result)).inc();
            items.push(result.into());
        }
        let grant_keys = self.grants.as_ref().map(|grants| grants.keys()).unwrap_or_default();
        let look_ms = millis(round.pace.look());
        Ok(AnnounceResponse { items, grant_keys, epoch: self.epoch, look_ms })
    }

    fn round(&self, request: &AnnounceRequest, addr: SocketAddr, now: Instant) -> Round {
        let second = now.saturating_duration_since(self.start).as_secs();
        let rate = self.load.count(second, request.items.len() as u64);
        let mut rng = self.rng();
        Round {
            id: request.peer_id,
            addr,
            zone: request.zone.as_ref().map_or(Zone::UNKNOWN, ZoneName::zone),
            now: self.tick(now),
            pace: Pace { agents: self.fleet.len() as u64, rate },
            deadline: now + SOURCE_TIMEOUT,
            jitter: jitter(&mut rng),
            metainfo_left: METAINFO_LEN_MAX,
            rng,
        }
    }

    /// A generator of its own for each request, so that requests do not wait for one another.
    fn rng(&self) -> fastrand::Rng {
        // The constant of Weyl's sequence in SplitMix64: consecutive seeds have nothing in common.
        fastrand::Rng::with_seed(self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    async fn announce_item(
        &self,
        item: &AnnounceItem,
        member: &Member,
        round: &mut Round,
    ) -> Result<AnnounceReply, ItemError> {
        if item.event == AnnounceEvent::Stopped {
            self.swarms.remove(&item.digest, round.addr);
            let interval_ms = millis(interval(State::Complete, round.pace, round.jitter));
            return Ok(AnnounceReply { interval_ms, ..AnnounceReply::default() });
        }
        if item.complete || item.event == AnnounceEvent::Completed {
            return Ok(self.admit(item, State::Complete, round));
        }
        let since = self.since(item);
        if let Some(reply) = self.renew(item, since, round) {
            return Ok(reply);
        }
        self.check_rights(item, member, round).await?;
        let limit = self.peers_max.min(usize::from(item.peers_wanted));
        let asking = Asking { id: round.id, addr: round.addr, zone: round.zone, limit, since };
        let introduction = self.swarms.handout(&item.digest, &asking, round.now, &mut round.rng);
        let (size, metainfo) = self.ask_owners(item, introduction.has_others, round).await?;
        let content = self.content(item, size, round).await.unwrap_or_default();
        let reply = self.reply(item, introduction, size, round);
        let grant = self.grants.as_ref().map(|grants| grants.grant(&item.digest, &round.id));
        Ok(AnnounceReply { metainfo, content, grant: grant.unwrap_or_default(), ..reply })
    }

    fn reply(
        &self,
        item: &AnnounceItem,
        introduction: Introduction,
        size: Option<u64>,
        round: &mut Round,
    ) -> AnnounceReply {
        let Introduction { mut peers, last, is_delta, .. } = introduction;
        let mut web_seeds = Vec::new();
        // Whoever knows this tracker's list knows the owners as well.
        if size.is_some() && !is_delta {
            // Owners first: they are known to have every piece, and a client that takes a prefix keeps them.
            let mut owners = self.owners.peers(&item.digest);
            owners.append(&mut peers);
            peers = owners;
            web_seeds = self.owners.web_seeds(&item.digest, item.repository.as_ref());
        }
        let told = if is_delta { usize::MAX } else { peers.len() };
        let reply = self.admit(item, State::Downloading { told }, round);
        let version = (u64::from(self.epoch) << 32) | u64::from(last);
        AnnounceReply { peers, web_seeds, version, ..reply }
    }

    /// How far the peer has heard of this tracker's list.
    fn since(&self, item: &AnnounceItem) -> Option<u32> {
        (item.known >> 32 == u64::from(self.epoch)).then_some(item.known as u32)
    }

    /// The short way: a peer that was let in before, wants nothing, and is told nothing but when to come again. Nobody else is asked; so
    /// it is no way where the peer is given grants, which need its rights each time.
    fn renew(&self, item: &AnnounceItem, since: Option<u32>, round: &mut Round) -> Option<AnnounceReply> {
        if self.grants.is_some() || since.is_none() || item.need_metainfo || item.peers_wanted > 0 {
            return None;
        }
        let interval = interval(State::Downloading { told: usize::MAX }, round.pace, round.jitter);
        if !self.swarms.renew(&item.digest, &round.peer(false, interval)) {
            return None;
        }
        // The version that it knows, not the present one: it has not heard of those between.
        let interval_ms = millis(interval);
        Some(AnnounceReply { interval_ms, version: item.known, ..AnnounceReply::default() })
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
        let owned = bounded(round.deadline, self.source.metainfo(&item.digest))
            .await
            .map_err(|error| unavailable(&error))?;
        let is_owned = owned.is_some();
        let metainfo = match owned {
            Some(metainfo) => metainfo,
            None => self.of_lost(item, round).await?,
        };
        let len = metainfo.layout().piece_count() as usize * PIECE_DIGEST_LEN;
        let left = round.metainfo_left.checked_sub(len).ok_or_else(|| {
            let why = "the metainfo does not fit into this answer; ask for fewer blobs at once";
            ItemError::new(ItemErrorCode::Unavailable, why)
        })?;
        round.metainfo_left = left;
        // Owners that have lost it are of no use to anybody.
        Ok((is_owned.then_some(metainfo.size()), Some(metainfo)))
    }

    /// Metainfo of a blob that no owner has: it is of use as long as agents have the blob, from whom the owners get it back meanwhile.
    async fn of_lost(&self, item: &AnnounceItem, round: &Round) -> Result<Metainfo, ItemError> {
        let lost = bounded(round.deadline, self.source.lost(&item.digest)).await;
        let Some(metainfo) = lost.map_err(|error| unavailable(&error))? else { return Err(not_found(item)) };
        let now = Instant::now();
        let holders = self.holders(&item.digest, now);
        if !holders.is_empty() {
            tracing::warn!(digest = %item.digest, holders = holders.len(), "the owners have lost a blob that agents have");
            self.source.bring_back(&item.digest, holders);
            return Ok(metainfo);
        }
        if now.saturating_duration_since(self.start) < REUNION {
            let why = "the owners have lost this blob, and who else has it is not known yet";
            return Err(ItemError::new(ItemErrorCode::Unavailable, why));
        }
        Err(not_found(item))
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
    fn admit(&self, item: &AnnounceItem, state: State, round: &mut Round) -> AnnounceReply {
        let interval = interval(state, round.pace, round.jitter);
        let peer = round.peer(state == State::Complete, interval);
        if self.swarms.put(&item.digest, &peer) == Admission::Refused {
            tracing::debug!(digest = %item.digest, addr = %round.addr, "peer not remembered: a bound is reached");
        }
        AnnounceReply { interval_ms: millis(interval), ..AnnounceReply::default() }
    }

    fn tick(&self, now: Instant) -> Tick {
        Tick::try_from(now.saturating_duration_since(self.start).as_millis() / TICK_MS).unwrap_or(Tick::MAX)
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
        let totals = self.swarms.expire(self.tick(now));
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
        let asking = Asking {
            id: PeerId([0; 20]),
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            zone: Zone::UNKNOWN,
            limit: PEERS_MAX,
            since: None,
        };
        let mut peers = self.swarms.handout(digest, &asking, self.tick(now), &mut self.rng()).peers;
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

impl From<Flood> for InvalidAnnounce {
    fn from(flood: Flood) -> Self {
        Self::Flood(flood)
    }
}

impl Round {
    /// The peer as it is to be remembered until a while after its next announce is due.
    fn peer(&self, complete: bool, interval: Duration) -> Peer {
        let ticks = time_to_live(interval).as_millis().div_ceil(TICK_MS);
        let expires = self.now.saturating_add(Tick::try_from(ticks).unwrap_or(Tick::MAX));
        Peer { id: self.id, addr: self.addr, complete, zone: self.zone, expires }
    }
}

/// A number that two trackers, or two lives of one, hardly share: 20 bits and never 0, so that with 32 bits of arrivals a version is a
/// whole number in everybody's JSON.
fn epoch(seed: u64) -> u32 {
    (fastrand::Rng::with_seed(seed).u32(..) & 0xf_ffff).max(1)
}

/// The address at which the announcing peer is introduced: where it comes from. It may state another one only with a certificate, or from
/// the tracker's own machine (a proxy in front of it hides where peers come from); else it could send a fleet to a victim of its choice.
fn announced_addr(request: &AnnounceRequest, member: &Member) -> Result<SocketAddr, InvalidAnnounce> {
    if request.port == 0 {
        return Err(InvalidAnnounce::Port);
    }
    if request.items.len() > ITEMS_MAX {
        return Err(InvalidAnnounce::TooMany);
    }
    // A listener on [::] sees IPv4 clients as ::ffff:a.b.c.d; others must not.
    let source = member.address.to_canonical();
    let ip = request.ip.map_or(source, |ip| ip.to_canonical());
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(InvalidAnnounce::Address);
    }
    if ip != source && member.certificate.is_none() && !source.is_loopback() {
        return Err(InvalidAnnounce::Foreign);
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
