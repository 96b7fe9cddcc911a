//! A world in virtual time: real cores, and modelled links, disks and tracker between them.
//!
//! The world is a driver in the sense of the protocol's driving law, for all nodes at once: it hands inputs to a core, does what its
//! outputs say, and wakes it when it asked to be woken. Nothing in it reads a clock or a device, and every random choice comes from
//! the seed; so the same world run twice is the same run.

mod drive;
mod play;
mod wire;

use bytes::{Bytes, BytesMut};
use shoal_oci::Digest;
use shoal_swarm_protocol::{Core, CoreConfig, Input, RejectCause, Source, Time};
use shoal_swarm_types::{Bitfield, Metainfo, PeerId, PieceIndex};

use crate::blob::{Blob, bad_bytes};
use crate::calendar::{Calendar, Nanos};
use crate::log::{Trail, Witness};
use crate::net::Net;
use crate::node::{BlobId, Holding, Mind, Node, NodeId};
use crate::script::Script;
use crate::side::{Side, SideId};
use crate::spec::{Nature, Spec};
use crate::tracker::Tracker;
use crate::villain::Flooder;

/// What is planned. Small, because tens of millions of it pass through the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The slice on a node's uplink is through.
    Slice { node: NodeId, life: u16 },
    /// A window of a node's connections may have opened.
    Poll { node: NodeId, life: u16 },
    /// Messages arrive on a side.
    Deliver(SideId),
    /// A core asked to be woken.
    Wake { node: NodeId, life: u16 },
    /// A flooding peer goes on.
    Beat { node: NodeId, life: u16 },
    /// See [`World::later`].
    Later(u32),
    /// See [`World::at`].
    Script(u32),
}

/// What happens at a node after a delay, and in which life of it.
#[derive(Debug)]
struct Later {
    node: NodeId,
    life: u16,
    what: Deed,
}

/// What can happen after a delay.
#[derive(Debug)]
enum Deed {
    /// A core gets an input.
    Input(Box<Input>),
    /// A piece has been verified and written, or not.
    Stored { blob: BlobId, index: PieceIndex, source: Source, why: Option<RejectCause> },
    /// A dial has reached its target.
    Reach { target: NodeId },
    /// The target has answered.
    Reached { side: SideId },
}

/// The world.
pub struct World {
    /// How the network behaves.
    pub net: Net,
    /// The tracker.
    pub tracker: Tracker,
    now: Nanos,
    seed: u64,
    nodes: Vec<Node>,
    blobs: Vec<Blob>,
    sides: Vec<Side>,
    calendar: Calendar<Event>,
    laters: Vec<Option<Later>>,
    laters_free: Vec<u32>,
    scripts: Vec<Script>,
    readers: u64,
    demands: Vec<Demand>,
    /// Nodes that want a blob and do not have it yet.
    wanting: u64,
    /// Nodes whose next answer from the tracker has a wrong metainfo.
    misled: Vec<NodeId>,
    bad: Bytes,
    wrong_metainfo: Option<Metainfo>,
    scratch: BytesMut,
    trail: Trail,
    witness: Option<Box<dyn Witness>>,
}

/// A wait for some pieces that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Who waited.
    pub node: NodeId,
    /// Number of pieces.
    pub pieces: u32,
    /// How long, in seconds.
    pub seconds: f64,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, net: Net) -> Self {
        Self {
            net,
            tracker: Tracker::new(seed),
            now: 0,
            seed,
            nodes: Vec::new(),
            blobs: Vec::new(),
            sides: Vec::new(),
            calendar: Calendar::new(),
            laters: Vec::new(),
            laters_free: Vec::new(),
            scripts: Vec::new(),
            readers: 0,
            demands: Vec::new(),
            wanting: 0,
            misled: Vec::new(),
            bad: bad_bytes(),
            wrong_metainfo: None,
            scratch: BytesMut::with_capacity(1_024),
            trail: Trail::new(),
            witness: None,
        }
    }

    /// Tells somebody of every record from now on.
    pub fn witnessed_by(&mut self, witness: Box<dyn Witness>) {
        self.witness = Some(witness);
    }

    /// Tells nobody any more; gives back who was told.
    pub fn unwitnessed(&mut self) -> Option<Box<dyn Witness>> {
        self.witness.take()
    }

    /// Adds a node and starts it.
    pub fn add(&mut self, spec: Spec) -> NodeId {
        let id = self.nodes.len() as NodeId;
        let mut node = Node::new(id, spec, &self.net);
        node.holdings.resize_with(self.blobs.len(), Holding::default);
        self.nodes.push(node);
        self.start(id);
        id
    }

    /// Adds a blob that `owners` hold complete. `None` when there are too many blobs, or it has too many pieces.
    pub fn add_blob(&mut self, name: &str, size: u64, owners: &[NodeId]) -> Option<BlobId> {
        let id = BlobId::try_from(self.blobs.len()).ok()?;
        let blob = Blob::new(name, size, owners.to_vec())?;
        for node in &mut self.nodes {
            node.holdings.push(Holding::default());
        }
        for owner in owners {
            self.nodes[*owner as usize].holdings[usize::from(id)].pieces = Some(Bitfield::full(blob.count()));
        }
        self.blobs.push(blob);
        Some(id)
    }

    /// Plans something, in seconds since the start.
    pub fn at(&mut self, seconds: f64, script: Script) {
        if let Script::Open(node, blob) = script {
            let holding = &mut self.nodes[node as usize].holdings[usize::from(blob)];
            if holding.opened.is_none() {
                holding.opened = Some((seconds * 1e9) as Nanos);
                self.wanting += 1;
            }
        }
        self.scripts.push(script);
        self.calendar.push((seconds * 1e9) as Nanos, Event::Script(self.scripts.len() as u32 - 1));
    }

    /// Runs until every node has the blobs that it wants, or `limit` seconds have passed. Whether they have.
    pub fn run(&mut self, limit: f64) -> bool {
        let limit = (limit * 1e9) as Nanos;
        while self.wanting > 0 && self.step(limit) {}
        self.wanting == 0
    }

    /// Runs for so many seconds, whatever happens.
    pub fn run_for(&mut self, seconds: f64) {
        let limit = self.now + (seconds * 1e9) as Nanos;
        while self.step(limit) {}
        self.now = self.now.max(limit);
    }

    /// Runs until a condition holds, looked at every `every` seconds, or `limit` seconds have passed.
    pub fn run_until(&mut self, limit: f64, every: f64, until: impl Fn(&Self) -> bool) -> bool {
        while !until(self) {
            if self.seconds() >= limit {
                return false;
            }
            self.run_for(every);
        }
        true
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.now as f64 / 1e9
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A blob.
    pub fn blob(&self, id: BlobId) -> &Blob {
        &self.blobs[usize::from(id)]
    }

    /// The core of a node, if it is on and honest in its words.
    pub fn core(&self, id: NodeId) -> Option<&Core> {
        match &self.nodes[id as usize].mind {
            Mind::Core(core) => Some(core),
            Mind::Off | Mind::Flooder(_) => None,
        }
    }

    /// Waits that have ended.
    pub fn demands(&self) -> &[Demand] {
        &self.demands
    }

    /// Hash of everything that the cores have seen.
    pub fn trail(&self) -> Trail {
        self.trail
    }

    /// Does the next thing, unless it is later than `limit`. False when nothing was done.
    fn step(&mut self, limit: Nanos) -> bool {
        let Some((at, event)) = self.calendar.pop() else { return false };
        if at > limit {
            self.calendar.push(at, event);
            return false;
        }
        self.now = self.now.max(at);
        match event {
            Event::Slice { node, life } if self.is_alive(node, life) => self.finish_slice(node),
            Event::Poll { node, life } if self.is_alive(node, life) => self.poll_uplink(node),
            Event::Deliver(side) => self.deliver(side),
            Event::Wake { node, life } if self.is_alive(node, life) => self.wake(node),
            Event::Beat { node, life } if self.is_alive(node, life) => self.beat(node),
            Event::Later(slot) => self.act(slot),
            Event::Script(number) => self.play(number),
            _ => {}
        }
        true
    }

    fn is_alive(&self, node: NodeId, life: u16) -> bool {
        self.nodes[node as usize].life == life
    }

    /// Plans a deed at a node.
    fn later(&mut self, at: Nanos, node: NodeId, what: Deed) {
        let later = Some(Later { node, life: self.nodes[node as usize].life, what });
        let slot = match self.laters_free.pop() {
            Some(slot) => {
                self.laters[slot as usize] = later;
                slot
            }
            None => {
                self.laters.push(later);
                self.laters.len() as u32 - 1
            }
        };
        self.calendar.push(at, Event::Later(slot));
    }

    fn act(&mut self, slot: u32) {
        let Some(Later { node, life, what }) = self.laters[slot as usize].take() else { return };
        self.laters_free.push(slot);
        if !self.is_alive(node, life) {
            return;
        }
        match what {
            Deed::Input(input) => self.input(node, *input),
            Deed::Stored { blob, index, source, why } => self.stored(node, blob, index, source, why),
            Deed::Reach { target } => self.reach(node, target),
            Deed::Reached { side } => self.reached(node, side),
        }
    }

    /// Starts a node, with what is on its disk.
    fn start(&mut self, id: NodeId) {
        let now = self.time();
        let node = &mut self.nodes[id as usize];
        node.life += 1;
        // Identities in an order that has nothing to do with the order of the nodes.
        let mixed = (u64::from(id) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(node.life);
        let mut raw = [0; 20];
        raw[..8].copy_from_slice(&mixed.to_be_bytes());
        raw[8..12].copy_from_slice(&id.to_be_bytes());
        node.peer_id = PeerId(raw);
        (node.sending, node.poll, node.wake) = (None, Nanos::MAX, Nanos::MAX);
        node.turns.clear();
        node.readers.clear();
        let seed = self.seed ^ mixed;
        if node.spec.nature == Nature::Flooding {
            node.mind = Mind::Flooder(Box::new(Flooder::new(seed)));
            let life = node.life;
            self.calendar.push(self.now, Event::Beat { node: id, life });
            return;
        }
        let config = CoreConfig {
            peer_id: node.peer_id,
            zone: node.told_zone(),
            role: node.spec.role,
            seed,
            limits: node.spec.limits.clone(),
        };
        node.mind = Mind::Core(Box::new(Core::new(config, now)));
    }

    /// The present moment as the cores count it.
    const fn time(&self) -> Time {
        Time(self.now / 1_000)
    }

    fn find_blob(&self, digest: &Digest) -> Option<BlobId> {
        let at = self.blobs.iter().position(|blob| blob.digest == *digest)?;
        BlobId::try_from(at).ok()
    }
}
