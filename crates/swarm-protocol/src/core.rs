//! The state machine itself: one owner of all state, one way in, one way out.
//!
//! An input is applied at once; what follows from it (asking for pieces, sending, dialling) is decided once per input, when the state
//! has settled. The rooms of the house are modules below: each adds methods to [`Core`] about one noun.

mod announcing;
mod blobs;
mod connecting;
mod exchange;
mod fetching;
mod owners;
mod receiving;
mod serving;
mod standing;
mod status;
mod storing;
mod telling;
mod upkeep;
mod wants;
mod web;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use fastrand::Rng;
use shoal_oci::Digest;
use shoal_swarm_types::{PeerId, Zone};

use self::connecting::Newcomer;
use crate::announce::Announcer;
use crate::ban::Bans;
use crate::blob::Blob;
use crate::dial::Dials;
use crate::io::{ConnId, Input, Output, Role, Time};
use crate::limits::Limits;
use crate::pace::Pace;
use crate::peer::Peer;
use crate::sorted::SortedMap;
use crate::stats::Totals;
use crate::timers::{Timer, Timers};
use crate::upload::Uploads;

/// What a core must know from the start.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Our identity.
    pub peer_id: PeerId,
    /// Where we stand.
    pub zone: Zone,
    /// What we are.
    pub role: Role,
    /// Seed of every random choice; the same seed and inputs give the same outputs.
    pub seed: u64,
    /// The numbers.
    pub limits: Limits,
}

/// The swarm's state machine.
#[derive(Debug)]
pub struct Core {
    peer_id: PeerId,
    zone: Zone,
    role: Role,
    limits: Limits,
    rng: Rng,
    now: Time,
    outputs: VecDeque<Output>,
    timers: Timers,
    peers: SortedMap<ConnId, Peer>,
    /// Bytes of pieces that all peers together owe us, as far as we count on them.
    asked_bytes: u64,
    by_id: BTreeMap<PeerId, ConnId>,
    /// Who was behind connections that closed lately: their last pieces may still prove corrupt.
    departed: VecDeque<(ConnId, PeerId, SocketAddr)>,
    blobs: BTreeMap<Digest, Blob>,
    announcers: BTreeMap<Digest, Announcer>,
    uploads: Uploads,
    /// How fast pieces come in.
    intake: Pace,
    /// `RequestAny` of peers that wait for their turn.
    credits: VecDeque<(ConnId, Digest)>,
    dials: Dials,
    bans: Bans,
    totals: Totals,
    /// Blobs for which something may be asked for now.
    dirty: BTreeSet<Digest>,
    /// Neighbours with something new for us: they alone may be asked for more, if their blob is not dirty.
    nudged: Vec<(ConnId, Digest)>,
    /// Nothing more was asked for, because too much is on its way.
    is_sated: bool,
    /// To whom something was said about which blob since the last settling.
    spoken: Vec<(ConnId, Digest)>,
    /// A connection may be wanted now.
    may_dial: bool,
    /// A piece may be sent, or chosen, now.
    may_send: bool,
}

impl Core {
    /// A core that takes part in nothing yet.
    pub fn new(config: CoreConfig, now: Time) -> Self {
        Self {
            peer_id: config.peer_id,
            zone: config.zone,
            role: config.role,
            rng: Rng::with_seed(config.seed),
            now,
            outputs: VecDeque::new(),
            timers: Timers::default(),
            peers: SortedMap::default(),
            asked_bytes: 0,
            by_id: BTreeMap::new(),
            departed: VecDeque::new(),
            blobs: BTreeMap::new(),
            announcers: BTreeMap::new(),
            uploads: Uploads::new(config.limits.uploads_max),
            intake: Pace::default(),
            credits: VecDeque::new(),
            dials: Dials::default(),
            bans: Bans::new(config.limits.ban_ms),
            totals: Totals::default(),
            dirty: BTreeSet::new(),
            nudged: Vec::new(),
            is_sated: false,
            spoken: Vec::new(),
            may_dial: false,
            may_send: false,
            limits: config.limits,
        }
    }

    /// Takes in what happened at `now`. Afterwards [`Core::poll`] until it has nothing more.
    pub fn handle(&mut self, input: Input, now: Time) {
        self.now = self.now.max(now);
        self.fire();
        self.apply(input);
        self.settle();
    }

    /// Where we stand.
    pub const fn zone(&self) -> Zone {
        self.zone
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due; `None` while nothing is timed.
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    fn apply(&mut self, input: Input) {
        match input {
            Input::Open { digest } => self.open(digest),
            Input::Close { digest } => self.close(digest),
            Input::Seed { digest } => self.seed(digest),
            Input::Want { digest, reader, pieces, demand } => self.want(digest, reader, pieces, demand),
            Input::Unwant { digest, reader } => self.unwant(digest, reader),
            Input::Prepared { digest, metainfo, have } => self.prepared(digest, metainfo, have),
            Input::Absent { digest } => self.absent(digest),
            Input::Announced { digest, reply } => self.announced(digest, reply),
            Input::AnnounceFailed { digest, error } => self.announce_failed(digest, error),
            Input::Connected { conn, peer, addr, outbound, zone } => {
                self.connected(conn, Newcomer { id: peer, addr, outbound, zone });
            }
            Input::Ungranted { conn, swarm } => self.ungranted(conn, swarm),
            Input::DialFailed { addr } => self.dial_failed(addr),
            Input::Disconnected { conn } => self.disconnected(conn),
            Input::Received { conn, message } => self.received(conn, message),
            Input::PieceArrived { conn, swarm, index, queue, len } => {
                self.piece_arrived(conn, swarm, index, queue, len);
            }
            Input::Drained { conn } => self.drained(conn),
            Input::SendFailed { conn, digest, index } => self.send_failed(conn, digest, index),
            Input::PieceStored { digest, index } => self.piece_stored(digest, index),
            Input::PieceRejected { digest, index, source, why } => {
                self.piece_rejected(digest, index, source, why);
            }
            Input::PieceAppeared { digest, index } => self.piece_appeared(digest, index),
            Input::Alive { digest } => self.note_alive(digest),
            Input::PieceLost { digest, index } => self.piece_lost(digest, index),
            Input::WebFetched { digest, index, data } => self.web_fetched(digest, index, data),
            Input::WebFailed { digest, index } => self.web_failed(digest, index),
            Input::Tick => {}
        }
    }

    fn fire(&mut self) {
        while let Some(timer) = self.timers.pop(self.now) {
            match timer {
                Timer::Announce(digest) => self.announce_due(digest),
                Timer::Blob(digest) => self.look_at_blob(digest),
                Timer::Conn(conn) => self.look_at_conn(conn),
                Timer::Dial => self.may_dial = true,
                Timer::Upload => self.may_send = true,
                Timer::Tell(digest) => self.tell_all(digest),
            }
        }
    }

    /// Does what follows from the state as it is now.
    fn settle(&mut self) {
        while let Some((conn, digest)) = self.nudged.pop() {
            if !self.dirty.contains(&digest) {
                self.ask_nudged(conn, digest);
            }
        }
        while let Some(digest) = self.dirty.pop_first() {
            self.ask(digest);
        }
        if std::mem::take(&mut self.may_send) {
            self.send_pieces();
        }
        self.tell_along();
        if std::mem::take(&mut self.may_dial) {
            self.dial();
        }
    }
}
