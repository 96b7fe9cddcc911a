//! A world in virtual time: real cores and real messages, on modelled links, disks and tracker.
//!
//! Every node has one access link with a rate each way. Its connections take turns on the uplink in slices, as fair queueing does; at
//! the other end slices queue for the downlink in order, and whoever finds that queue full waits, as TCP does without loss. Headers and
//! acknowledgements take their share of both links. Not modelled: loss, the slow start of TCP, and the cost of CPU.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_protocol::{
    AnnounceEvent, ConnId, Core, CoreConfig, FailReason, Input, Limits, Message, Output, ReaderId,
    RejectCause, Role, Time,
};
use shoal_swarm_types::{Bitfield, Metainfo, PeerId, PieceIndex, Zone};

use crate::tracker::Tracker;

#[path = "world/links.rs"]
mod links;

/// Good bytes of any piece, and bad ones.
static GOOD: [u8; 4 << 20] = [0; 4 << 20];
static BAD: [u8; 4 << 20] = [1; 4 << 20];

/// What a downlink's queue holds, in time.
const QUEUE_MICROS: u64 = 50_000;
/// Bytes on the wire for a full packet, and of payload in it; an acknowledgement, one for two packets.
const PACKET: (u64, u64) = (1_514, 1_448);
const ACK: u64 = 66;
/// Bytes that one connection sends before the next has its turn.
const SLICE: u64 = 16 * 1024;
/// A connection with no more than this unsent counts as drained.
const LOW_WATER: u64 = 16 * 1024;
/// Verifying and writing of one piece.
const STORE_MICROS: u64 = 200;
/// A web seed's answer, beyond the time for its bytes on the downlink.
const WEB_MICROS: u64 = 20_000;

/// Number of a node in its world.
pub(crate) type NodeId = usize;

/// What a node's link and nature are.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) role: Role,
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) latency_micros: u64,
    pub(crate) limits: Limits,
    /// Sends bad bytes instead of good ones.
    pub(crate) corrupt: bool,
    /// Takes connections and messages, but never lets a piece out.
    pub(crate) stingy: bool,
}

impl Spec {
    /// A node whose link does `mbit` Mbit/s each way.
    pub(crate) fn new(role: Role, mbit: u64) -> Self {
        let rate = mbit * 1_000_000 / 8;
        let limits = Limits::for_role(role);
        Self { role, up: rate, down: rate, latency_micros: 500, limits, corrupt: false, stingy: false }
    }
}

#[derive(Debug)]
enum Item {
    Message(Message),
    Fin,
}

#[derive(Debug)]
struct Side {
    other: NodeId,
    /// The connection's number at the other end.
    other_conn: ConnId,
    queue: VecDeque<(Item, u64)>,
    queued: u64,
    owes_drained: bool,
    in_ring: bool,
}

/// A node: a core with its link and disk.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) spec: Spec,
    pub(crate) core: Option<Core>,
    pub(crate) peer_id: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) disk: BTreeMap<Digest, Bitfield>,
    pub(crate) sent_bytes: u64,
    pub(crate) completed: BTreeMap<Digest, Time>,
    pub(crate) failed: Vec<(Digest, FailReason, Time)>,
    pub(crate) banned: Vec<PeerId>,
    pub(crate) stored: BTreeMap<Digest, Vec<(Time, PieceIndex)>>,
    /// When each piece first left; for worlds with one blob.
    pub(crate) first_sent: BTreeMap<PieceIndex, Time>,
    /// Time that the uplink was busy, in microseconds: in all, and when the last of [`Self::first_sent`] had left.
    pub(crate) busy_micros: (u64, u64),
    /// Pieces sent by then.
    pub(crate) sent_by_then: (u64, u64),
    readers: BTreeMap<(Digest, ReaderId), (u32, u32)>,
    ring: VecDeque<ConnId>,
    sending: bool,
    /// A retry is planned, because all connections with something to send are held up.
    held_up: bool,
    /// Acknowledgements that go out before the next slice, in bytes.
    acks: u64,
    down_free: Time,
    wake: Time,
}

#[derive(Debug)]
enum Event {
    Input(NodeId, u32, Input),
    Wake(NodeId, u32),
    Slice(NodeId, u32, ConnId, u64),
    Retry(NodeId, u32),
    Fin(NodeId, u32, ConnId),
    Connect { from: NodeId, life: u32, to: SocketAddr },
    Script(Script),
}

/// What a scenario does at some moment.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few hundred of them in one test")]
pub(crate) enum Script {
    Open(NodeId, Digest),
    Read(NodeId, Digest, u32),
    Input(NodeId, Input),
    Kill(NodeId),
    Start(NodeId),
    TrackerDown(bool),
}

/// The world.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    pub(crate) tracker: Tracker,
    pub(crate) blobs: BTreeMap<Digest, Metainfo>,
    /// Hash of everything that happened.
    pub(crate) log: u64,
    pub(crate) log_len: u64,
    seed: u64,
    lives: Vec<u32>,
    sides: BTreeMap<(NodeId, ConnId), Side>,
    by_addr: BTreeMap<SocketAddr, NodeId>,
    events: BTreeMap<(Time, u64), Event>,
    seq: u64,
    next_conn: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Time(0),
            nodes: Vec::new(),
            tracker: Tracker::new(seed),
            blobs: BTreeMap::new(),
            log: 0xcbf2_9ce4_8422_2325,
            log_len: 0,
            seed,
            lives: Vec::new(),
            sides: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            events: BTreeMap::new(),
            seq: 0,
            next_conn: 0,
        }
    }

    /// Adds a node.
    pub(crate) fn add(&mut self, spec: Spec) -> NodeId {
        let id = self.nodes.len();
        let addr = SocketAddr::from(([10, 0, (id >> 8) as u8, id as u8], 16_001));
        self.by_addr.insert(addr, id);
        self.nodes.push(Node {
            spec,
            core: None,
            peer_id: PeerId([0; 20]),
            addr,
            disk: BTreeMap::new(),
            sent_bytes: 0,
            completed: BTreeMap::new(),
            failed: Vec::new(),
            banned: Vec::new(),
            stored: BTreeMap::new(),
            first_sent: BTreeMap::new(),
            busy_micros: (0, 0),
            sent_by_then: (0, 0),
            readers: BTreeMap::new(),
            ring: VecDeque::new(),
            sending: false,
            held_up: false,
            acks: 0,
            down_free: Time(0),
            wake: Time::NEVER,
        });
        self.lives.push(0);
        self.start(id);
        id
    }

    /// A blob that `owners` hold complete and the tracker knows.
    pub(crate) fn add_blob(&mut self, name: &str, size: u64, owners: &[NodeId]) -> Digest {
        let digest = Digest::sha256(name.as_bytes());
        let count = shoal_swarm_types::Layout::for_size(size).piece_count();
        let pieces = vec![shoal_swarm_types::PieceDigest([7; 32]); count as usize];
        let metainfo = Metainfo::new(digest, size, pieces).expect("as many digests as pieces");
        for owner in owners {
            self.nodes[*owner].disk.insert(digest, Bitfield::full(count));
        }
        self.tracker.own(digest, metainfo.clone(), owners.iter().map(|owner| self.info(*owner)).collect());
        self.blobs.insert(digest, metainfo);
        digest
    }

    /// Starts nodes anew with other limits.
    pub(crate) fn set_limits(&mut self, nodes: &[NodeId], limits: &Limits) {
        for node in nodes {
            self.nodes[*node].spec.limits = limits.clone();
            self.start(*node);
        }
    }

    /// Plans something.
    pub(crate) fn at_ms(&mut self, ms: u64, script: Script) {
        self.push(Time::from_millis(ms), Event::Script(script));
    }

    /// Runs until `until` says so, or `limit` has passed. Whether it said so.
    pub(crate) fn run(&mut self, limit: Time, until: impl Fn(&Self) -> bool) -> bool {
        while let Some(entry) = self.events.first_entry() {
            let at = entry.key().0;
            if at > limit {
                self.now = limit;
                return until(self);
            }
            let event = entry.remove();
            self.now = at;
            self.step(event);
            if until(self) {
                return true;
            }
        }
        until(self)
    }

    /// Whether every one of `nodes` has the blob.
    pub(crate) fn all_have(&self, nodes: &[NodeId], digest: &Digest) -> bool {
        nodes.iter().all(|node| self.nodes[*node].completed.contains_key(digest))
    }

    fn info(&self, node: NodeId) -> shoal_swarm_types::PeerInfo {
        let node = &self.nodes[node];
        let owner = node.spec.role == Role::Owner;
        shoal_swarm_types::PeerInfo {
            id: node.peer_id,
            addr: node.addr,
            complete: owner,
            owner,
            zone: Zone::UNKNOWN,
        }
    }

    fn push(&mut self, at: Time, event: Event) {
        self.seq += 1;
        self.events.insert((at, self.seq), event);
    }

    fn start(&mut self, id: NodeId) {
        self.lives[id] += 1;
        let life = self.lives[id];
        let node = &mut self.nodes[id];
        let mut raw = [0; 20];
        // Identities in an order that has nothing to do with the order of the nodes.
        let mixed = (id as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(life);
        raw[..8].copy_from_slice(&mixed.to_be_bytes());
        node.peer_id = PeerId(raw);
        let config = CoreConfig {
            peer_id: node.peer_id,
            zone: Zone::UNKNOWN,
            role: node.spec.role,
            seed: self.seed ^ mixed,
            limits: node.spec.limits.clone(),
        };
        node.core = Some(Core::new(config, self.now));
        (node.sending, node.held_up, node.wake) = (false, false, Time::NEVER);
        node.ring.clear();
        node.readers.clear();
    }

    fn kill(&mut self, id: NodeId) {
        self.lives[id] += 1;
        self.nodes[id].core = None;
        let conns: Vec<_> = self.sides.keys().filter(|(node, _)| *node == id).copied().collect();
        for key in conns {
            let Some(side) = self.sides.remove(&key) else { continue };
            let at = self.now.plus_micros(self.nodes[id].spec.latency_micros);
            self.push(at, Event::Fin(side.other, self.lives[side.other], side.other_conn));
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Input(node, life, input) => {
                if self.lives[node] == life {
                    self.input(node, input);
                }
            }
            Event::Wake(node, life) => {
                if self.lives[node] == life && self.nodes[node].wake <= self.now {
                    self.nodes[node].wake = Time::NEVER;
                    self.input(node, Input::Tick);
                }
            }
            Event::Slice(node, life, conn, sent) => {
                if self.lives[node] == life {
                    self.slice_sent(node, conn, sent);
                }
            }
            Event::Retry(node, life) => {
                if self.lives[node] == life {
                    self.nodes[node].held_up = false;
                    self.send_slice(node);
                }
            }
            Event::Fin(node, life, conn) => {
                if self.lives[node] == life && self.sides.remove(&(node, conn)).is_some() {
                    self.input(node, Input::Disconnected { conn });
                }
            }
            Event::Connect { from, life, to } => self.connect(from, life, to),
            Event::Script(script) => self.play(script),
        }
    }

    fn play(&mut self, script: Script) {
        match script {
            Script::Open(node, digest) => self.input(node, Input::Open { digest }),
            Script::Read(node, digest, window) => {
                let reader = ReaderId(1);
                self.nodes[node].readers.insert((digest, reader), (0, window));
                self.input(node, Input::Want { digest, reader, pieces: 0..window, demand: false });
            }
            Script::Input(node, input) => self.input(node, input),
            Script::Kill(node) => self.kill(node),
            Script::Start(node) => self.start(node),
            Script::TrackerDown(down) => self.tracker.down = down,
        }
    }

    fn input(&mut self, id: NodeId, input: Input) {
        self.note(id, &input);
        let now = self.now;
        let Some(mut core) = self.nodes[id].core.take() else { return };
        core.handle(input, now);
        while let Some(output) = core.poll() {
            self.output(id, output);
        }
        let next = core.next_timeout().unwrap_or(Time::NEVER);
        self.nodes[id].core = Some(core);
        if next < self.nodes[id].wake {
            self.nodes[id].wake = next;
            let life = self.lives[id];
            self.push(next.max(now), Event::Wake(id, life));
        }
    }

    /// Adds to the log's hash (FNV-1a): who, when, what kind of thing, which connection and piece.
    fn note(&mut self, node: NodeId, input: &Input) {
        let (kind, more) = match input {
            Input::Received { conn, message: Message::Piece { index, .. } } => {
                (1, conn.0 << 32 | u64::from(index.0))
            }
            Input::Received { conn, message: Message::Have { index, .. } } => {
                (2, conn.0 << 32 | u64::from(index.0))
            }
            Input::Received { conn, .. } => (3, conn.0),
            Input::PieceStored { index, .. } => (4, u64::from(index.0)),
            Input::Tick => (5, 0),
            _ => (6, 0),
        };
        for word in [self.now.0, node as u64, kind, more] {
            self.log = (self.log ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.log_len += 1;
    }

    fn later(&mut self, id: NodeId, micros: u64, input: Input) {
        let (at, life) = (self.now.plus_micros(micros), self.lives[id]);
        self.push(at, Event::Input(id, life, input));
    }

    fn output(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Announce { digest, event, complete, need_metainfo, .. } => {
                let info = shoal_swarm_types::PeerInfo { complete, ..self.info(id) };
                let answer = self.tracker.announce(digest, &info, event, need_metainfo);
                if event != AnnounceEvent::Stopped {
                    self.later(id, 2_000, answer);
                }
            }
            Output::Prepare { digest, .. } | Output::Lookup { digest } => self.prepare(id, digest, &output),
            Output::Dial { addr } => {
                let (at, life) =
                    (self.now.plus_micros(2 * self.nodes[id].spec.latency_micros), self.lives[id]);
                self.push(at, Event::Connect { from: id, life, to: addr });
            }
            Output::Send { conn, message } => self.send(id, conn, message),
            Output::Close { conn, .. } => self.enqueue(id, conn, Item::Fin, 1),
            Output::SendPiece { conn, swarm, digest, index, len, queue, .. } => {
                if let Some(data) = self.read(id, digest, index, len) {
                    self.send(id, conn, Message::Piece { swarm, index, queue, data });
                } else if !self.nodes[id].spec.stingy {
                    self.later(id, 0, Input::SendFailed { conn, digest, index });
                }
            }
            Output::StorePiece { digest, index, source, data } => {
                let answer = if data[0] == GOOD[0] {
                    Input::PieceStored { digest, index }
                } else {
                    Input::PieceRejected { digest, index, source, why: RejectCause::Corrupt }
                };
                if data[0] == GOOD[0] {
                    self.nodes[id].stored.entry(digest).or_default().push((self.now, index));
                    self.nodes[id].disk.get_mut(&digest).expect("it was prepared").set(index);
                }
                self.later(id, STORE_MICROS, answer);
                self.advance_readers(id, digest);
            }
            Output::FetchWeb { digest, index, .. } => self.fetch_web(id, digest, index),
            Output::Completed { digest } => {
                let now = self.now;
                self.nodes[id].completed.entry(digest).or_insert(now);
            }
            Output::Failed { digest, error } => {
                let now = self.now;
                self.nodes[id].failed.push((digest, error, now));
            }
            Output::Banned { peer, .. } => self.nodes[id].banned.push(peer),
        }
    }

    fn prepare(&mut self, id: NodeId, digest: Digest, output: &Output) {
        let count = self.blobs.get(&digest).map_or(0, |metainfo| metainfo.layout().piece_count());
        if matches!(output, Output::Prepare { .. }) {
            self.nodes[id].disk.entry(digest).or_insert_with(|| Bitfield::empty(count));
        }
        let answer = match (self.nodes[id].disk.get(&digest), self.blobs.get(&digest)) {
            (Some(have), Some(metainfo)) => {
                Input::Prepared { digest, metainfo: metainfo.clone(), have: have.clone() }
            }
            _ => Input::Absent { digest },
        };
        self.later(id, 300, answer);
    }

    /// What a node sends as a piece; nothing when it does not have it, or is stingy.
    fn read(&self, id: NodeId, digest: Digest, index: PieceIndex, len: u32) -> Option<Bytes> {
        let node = &self.nodes[id];
        let has = node.disk.get(&digest).is_some_and(|have| have.has(index));
        let bytes: &'static [u8] = if node.spec.corrupt { &BAD } else { &GOOD };
        (has && !node.spec.stingy).then(|| Bytes::from_static(&bytes[..len as usize]))
    }

    fn fetch_web(&mut self, id: NodeId, digest: Digest, index: PieceIndex) {
        if !self.tracker.web_works {
            self.later(id, WEB_MICROS, Input::WebFailed { digest, index });
            return;
        }
        let len = self.blobs[&digest].layout().piece_len(index);
        let at = self.down(id, self.now.plus_micros(WEB_MICROS), u64::from(len));
        let data = Bytes::from_static(&GOOD[..len as usize]);
        let life = self.lives[id];
        self.push(at, Event::Input(id, life, Input::WebFetched { digest, index, data }));
    }

    fn advance_readers(&mut self, id: NodeId, digest: Digest) {
        let have = self.nodes[id].disk[&digest].clone();
        let keys: Vec<_> = self.nodes[id].readers.keys().filter(|(of, _)| *of == digest).copied().collect();
        for key in keys {
            let Some((next, window)) = self.nodes[id].readers.get_mut(&key) else { continue };
            let before = *next;
            while *next < have.len() && have.has(PieceIndex(*next)) {
                *next += 1;
            }
            if *next > before {
                let pieces = *next..(*next + *window).min(have.len());
                self.later(
                    id,
                    STORE_MICROS + 1,
                    Input::Want { digest, reader: key.1, pieces, demand: false },
                );
            }
        }
    }
}
