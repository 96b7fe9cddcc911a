//! What this process knows of one blob's swarm: who takes part, what they have, who reads here, and how it is going.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use fastrand::Rng;
use shoal_swarm_types::{Bitfield, Metainfo, PeerId, PeerInfo, PieceIndex, Zone};

use crate::availability::Availability;
use crate::download::Download;
use crate::io::{ConnId, ReaderId, Time};
use crate::limits::{
    CANDIDATES_MAX, GIVEN_MAX, OWNER_DEMAND_MICROS, WANT_CREDIT_MAX, WEB_RETRY_MS, WEB_SEEDS_MAX,
};
use crate::message::{Part, Pieces};
use crate::near::Near;
use crate::sorted::SortedMap;
use crate::spread::Spread;
use crate::stats::Received;

/// How far a blob is from being exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The driver looks whether the store has it.
    Lookup,
    /// The tracker was asked for its metainfo.
    Starting,
    /// The store makes room for it.
    Preparing,
    /// There is a download, perhaps complete.
    Ready,
}

/// A peer that takes part in the swarm.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Whether it answers `RequestAny`.
    pub(crate) owner: bool,
    /// Where it stands.
    pub(crate) zone: Zone,
    /// What it has; meaningless while `early` stands.
    pub(crate) pieces: Bitfield,
    /// What it told before we knew the blob's size.
    pub(crate) early: Option<(Pieces, Vec<PieceIndex>)>,
    /// Pieces that we assigned to it and that it has not confirmed.
    pub(crate) promised: Option<Bitfield>,
    /// Our `RequestAny` that it has not answered.
    pub(crate) credits: u32,
    /// When each of these was sent, the oldest first.
    pub(crate) asked_any: VecDeque<Time>,
    /// No `RequestAny` before this.
    pub(crate) any_hold: Time,
    /// How many of our [`Blob::news`] it has been told.
    pub(crate) news_told: usize,
    /// Pieces not to be asked of it before some moment.
    pub(crate) holds: BTreeMap<PieceIndex, Time>,
    /// Which of the owners we are, as it last said.
    part: Option<Part>,
    /// Others whom it named last.
    pub(crate) named: Vec<PeerInfo>,
    /// Whom we named to it.
    pub(crate) told: Vec<PeerId>,
}

impl Member {
    /// A peer that has just joined.
    pub(crate) const fn new(
        owner: bool,
        zone: Zone,
        pieces: Bitfield,
        early: Option<(Pieces, Vec<PieceIndex>)>,
    ) -> Self {
        let holds = BTreeMap::new();
        let named = Vec::new();
        Self {
            owner,
            zone,
            pieces,
            early,
            promised: None,
            credits: 0,
            asked_any: VecDeque::new(),
            news_told: 0,
            any_hold: Time(0),
            holds,
            part: None,
            named,
            told: Vec::new(),
        }
    }

    /// Whether it has a piece and was not told to keep it for now.
    pub(crate) fn offers(&self, index: PieceIndex, now: Time) -> bool {
        self.pieces.has(index) && self.holds.get(&index).is_none_or(|until| now >= *until)
    }

    /// Whether we assigned it a piece that it has not confirmed.
    pub(crate) fn is_promised(&self, index: PieceIndex) -> bool {
        self.promised.as_ref().is_some_and(|promised| promised.has(index))
    }
}

/// The owners' HTTP addresses of a blob, and what is being fetched from them.
#[derive(Clone, Debug, Default)]
pub(crate) struct WebSeeds {
    urls: Vec<String>,
    turn: usize,
    /// Pieces under way.
    pub(crate) active: u32,
    /// No fetch before this.
    pub(crate) hold: Time,
    failures: u32,
}

impl WebSeeds {
    /// Takes over what the tracker said.
    pub(crate) fn update(&mut self, urls: Vec<String>) {
        if !urls.is_empty() {
            self.urls = urls;
            self.urls.truncate(WEB_SEEDS_MAX);
        }
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// The next one in turn.
    pub(crate) fn next(&mut self) -> Option<String> {
        let url = self.urls.get(self.turn % self.urls.len().max(1)).cloned();
        self.turn = self.turn.wrapping_add(1);
        url
    }

    /// A fetch brought a piece.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A fetch failed: wait, longer each time.
    pub(crate) fn failed(&mut self, now: Time, rng: &mut Rng) {
        let (first, most) = WEB_RETRY_MS;
        let wait = first.saturating_mul(1 << self.failures.min(10)).min(most);
        self.failures += 1;
        self.hold = now.plus_millis(crate::announce::jitter(wait, rng));
    }
}

/// What a reader wants next.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    /// Piece indices.
    pub(crate) pieces: Range<u32>,
    /// Whether it waits for these and nothing else.
    pub(crate) demand: bool,
}

/// One blob's swarm.
#[derive(Debug)]
pub(crate) struct Blob {
    /// How far it is.
    pub(crate) phase: Phase,
    /// Whether somebody here wants all of it.
    pub(crate) wanted: bool,
    /// Its size and piece digests, once known.
    pub(crate) metainfo: Option<Metainfo>,
    /// Proof that we may have it, for other peers; empty for none.
    pub(crate) grant: Bytes,
    /// The state of its pieces, once [`Phase::Ready`].
    pub(crate) download: Option<Download>,
    /// Connected peers that take part.
    pub(crate) members: SortedMap<ConnId, Member>,
    /// How many of the members are owners, and how many of these have everything.
    owners: (usize, usize),
    /// Peers who have heard our Join and may not have answered yet.
    pub(crate) to_come: Vec<ConnId>,
    /// Which of the owners we, an owner, are, as most of those say who ask us.
    part: Part,
    /// How many say what about that.
    parts: BTreeMap<(u16, u16), u32>,
    /// What becomes of the pieces that we, an owner, give.
    pub(crate) spread: Spread,
    /// For each piece, how many members have it, or were promised it by us.
    pub(crate) availability: Availability,
    /// The same of our zone, and what may come from others.
    pub(crate) near: Near,
    /// Pieces in the order in which we got them, for those who are not told at once.
    pub(crate) news: Vec<PieceIndex>,
    /// When owners were last told.
    pub(crate) owners_told: Time,
    /// Readers and what they want next.
    pub(crate) readers: BTreeMap<ReaderId, Want>,
    /// Thousandths of pieces that may still go before rarest-first.
    pub(crate) want_credit: u64,
    /// Peers that the tracker named, owners first.
    pub(crate) candidates: Vec<PeerInfo>,
    /// Peers that said they do not take part, and until when to believe it.
    pub(crate) declined: BTreeMap<PeerId, Time>,
    /// How far the tracker's list has come that `candidates` is made from; 0 for none.
    pub(crate) version: u64,
    /// Owners' HTTP addresses.
    pub(crate) web: WebSeeds,
    /// The tracker's last word was that no owner has it.
    pub(crate) not_found: bool,
    /// When a piece last came, from anywhere; at first, when the download began.
    pub(crate) progress: Time,
    /// When a piece last came from a peer; at first, when the download began.
    pub(crate) peer_progress: Time,
    /// When a peer last asked for anything.
    pub(crate) used: Time,
    /// When we, an owner, lately chose or were asked to send each piece.
    pub(crate) given: BTreeMap<PieceIndex, Time>,
    /// Our disk failed: no requests before this, and how often in a row.
    pub(crate) disk_hold: (Time, u32),
    /// Bytes received and stored.
    pub(crate) received: Received,
    /// Bytes sent.
    pub(crate) sent_bytes: u64,
    /// Pieces that came and were not needed.
    pub(crate) duplicates: u64,
    /// Pieces that came and did not verify.
    pub(crate) corrupt: u64,
}

impl Blob {
    /// A blob of which nothing is known yet.
    pub(crate) fn new(phase: Phase, wanted: bool, now: Time) -> Self {
        Self {
            phase,
            wanted,
            metainfo: None,
            grant: Bytes::new(),
            download: None,
            members: SortedMap::default(),
            owners: (0, 0),
            part: Part::WHOLE,
            parts: BTreeMap::new(),
            spread: Spread::default(),
            to_come: Vec::new(),
            availability: Availability::default(),
            near: Near::default(),
            news: Vec::new(),
            owners_told: now,
            readers: BTreeMap::new(),
            want_credit: WANT_CREDIT_MAX,
            candidates: Vec::new(),
            declined: BTreeMap::new(),
            version: 0,
            web: WebSeeds::default(),
            not_found: false,
            progress: now,
            peer_progress: now,
            used: now,
            given: BTreeMap::new(),
            disk_hold: (Time(0), 0),
            received: Received::default(),
            sent_bytes: 0,
            duplicates: 0,
            corrupt: 0,
        }
    }

    /// Whether every piece is present.
    pub(crate) fn is_complete(&self) -> bool {
        self.download.as_ref().is_some_and(Download::is_complete)
    }

    /// Whether pieces are being fetched, or will be as soon as it is known how.
    pub(crate) fn is_downloading(&self) -> bool {
        self.wanted && !self.is_complete()
    }

    /// Number of pieces; 0 while unknown.
    pub(crate) fn piece_count(&self) -> u32 {
        self.download.as_ref().map_or(0, |download| download.layout().piece_count())
    }

    /// How many members have a piece, or were promised it.
    pub(crate) fn copies(&self, index: PieceIndex) -> u32 {
        self.availability.of(index)
    }

    /// Number of members that are owners.
    pub(crate) const fn owner_count(&self) -> usize {
        self.owners.0
    }

    /// Number of members that are owners and have every piece.
    pub(crate) const fn complete_owners(&self) -> usize {
        self.owners.1
    }

    /// A member is there: counts what it has. Only once the size is known.
    pub(crate) fn add_member(&mut self, conn: ConnId, member: Member) {
        for index in member.pieces.iter() {
            self.availability.add(index);
            self.near.add(member.zone, index);
        }
        self.near.changed(member.zone);
        if member.owner {
            self.owners.0 += 1;
            self.owners.1 += usize::from(member.pieces.is_full());
        }
        self.members.insert(conn, Member { news_told: self.news.len(), ..member });
    }

    /// A member is gone: what it had counts no longer.
    pub(crate) fn remove_member(&mut self, conn: ConnId) -> Option<Member> {
        let member = self.members.remove(&conn)?;
        self.spread.forget(conn);
        if member.part.is_some() {
            self.take_back_part(member.part);
            self.count_parts();
        }
        if member.early.is_none() {
            if member.owner {
                self.owners.0 -= 1;
                self.owners.1 -= usize::from(member.pieces.is_full());
            }
            let promised = member.promised.iter().flat_map(Bitfield::iter);
            let promised = promised.filter(|index| !member.pieces.has(*index));
            for index in member.pieces.iter().chain(promised) {
                self.availability.remove(index);
            }
            member.pieces.iter().for_each(|index| self.near.remove(member.zone, index));
            self.near.changed(member.zone);
        }
        Some(member)
    }

    /// A member has got a piece. False when that was known.
    pub(crate) fn confirm(&mut self, conn: ConnId, index: PieceIndex) -> bool {
        let Some(member) = self.members.get_mut(&conn) else { return false };
        if !member.pieces.set(index) {
            return false;
        }
        self.near.add(member.zone, index);
        self.owners.1 += usize::from(member.owner && member.pieces.is_full());
        let counted = member.promised.as_mut().is_some_and(|promised| promised.unset(index));
        if !counted {
            self.availability.add(index);
        }
        true
    }

    /// A member will get a piece from us.
    pub(crate) fn promise(&mut self, conn: ConnId, index: PieceIndex) {
        let count = self.piece_count();
        let Some(member) = self.members.get_mut(&conn) else { return };
        let fresh = !member.pieces.has(index)
            && member.promised.get_or_insert_with(|| Bitfield::empty(count)).set(index);
        if fresh {
            self.availability.add(index);
        }
    }

    /// Somebody says which of the owners we are. Most are right: one who says something else, in error or in bad faith, changes nothing
    /// for the others.
    pub(crate) fn take_part(&mut self, conn: ConnId, part: Part) {
        let Some(member) = self.members.get_mut(&conn) else { return };
        let before = member.part.replace(part);
        if before == Some(part) {
            return;
        }
        self.take_back_part(before);
        *self.parts.entry((part.of(), part.number())).or_default() += 1;
        self.count_parts();
    }

    fn take_back_part(&mut self, part: Option<Part>) {
        let Some(part) = part else { return };
        let key = (part.of(), part.number());
        if let Some(count) = self.parts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.parts.remove(&key);
            }
        }
    }

    /// What most say; of several the one who knows of more owners.
    fn count_parts(&mut self) {
        let most = self.parts.iter().max_by_key(|(part, count)| (**count, **part));
        self.part = most.and_then(|((of, number), _)| Part::new(*number, *of)).unwrap_or(Part::WHOLE);
    }

    /// Which of the owners we, an owner, are.
    pub(crate) const fn part(&self) -> Part {
        self.part
    }

    /// We, an owner, send a piece to somebody. What was long ago is forgotten.
    pub(crate) fn note_given(&mut self, index: PieceIndex, now: Time) {
        if self.given.len() >= GIVEN_MAX {
            self.given.retain(|_, at| now.micros_since(*at) < OWNER_DEMAND_MICROS);
        }
        self.given.insert(index, now);
    }

    /// A member will not get a piece from us after all.
    pub(crate) fn unpromise(&mut self, conn: ConnId, index: PieceIndex) {
        self.spread.taken_back(conn, index);
        let Some(member) = self.members.get_mut(&conn) else { return };
        let counted = member.promised.as_mut().is_some_and(|promised| promised.unset(index));
        if counted {
            self.availability.remove(index);
        }
    }

    /// A member turned out not to have a piece.
    pub(crate) fn correct(&mut self, conn: ConnId, index: PieceIndex) {
        let Some(member) = self.members.get_mut(&conn) else { return };
        let was_full = member.pieces.is_full();
        if member.pieces.unset(index) {
            self.near.remove(member.zone, index);
            self.owners.1 -= usize::from(member.owner && was_full);
            self.availability.remove(index);
        }
    }

    /// Everybody who is said to take part, by the tracker or by members.
    pub(crate) fn named(&self) -> impl Iterator<Item = &PeerInfo> {
        self.candidates.iter().chain(self.members.values().flat_map(|member| &member.named))
    }

    /// Takes over the peers that the tracker named: owners first, the others in random order.
    pub(crate) fn add_candidates(&mut self, peers: Vec<PeerInfo>, rng: &mut Rng) {
        let mut fresh = peers;
        let known = std::mem::take(&mut self.candidates);
        let old = known.into_iter().filter(|old| !fresh.iter().any(|new| new.id == old.id));
        let mut old: Vec<_> = old.collect();
        rng.shuffle(&mut fresh);
        fresh.append(&mut old);
        fresh.sort_by_key(|peer| !peer.owner);
        fresh.truncate(CANDIDATES_MAX);
        self.candidates = fresh;
    }
}
