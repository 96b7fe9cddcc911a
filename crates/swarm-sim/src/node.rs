//! A node in a world: its core, its two links, its disk, and what is counted about it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use shoal_swarm_protocol::{Core, FailReason, ReaderId};
use shoal_swarm_types::{Bitfield, PeerId, Zone};

use crate::calendar::Nanos;
use crate::net::{Net, Pipe};
use crate::side::SideId;
use crate::spec::Spec;
use crate::villain::Flooder;

/// Number of a node in its world.
pub type NodeId = u32;

/// Number of a blob in its world.
pub type BlobId = u16;

/// Where the first node of a machine takes connections.
const PORT: u16 = 16_001;

/// Who decides at a node.
#[derive(Debug)]
pub(crate) enum Mind {
    /// Nobody: it is off.
    Off,
    /// The core of production.
    Core(Box<Core>),
    /// A peer that only wants to be a burden.
    Flooder(Box<Flooder>),
}

/// A slice of one connection on the uplink.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) side: SideId,
    pub(crate) bytes: u64,
}

/// What a node has of one blob, and when.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    /// Pieces on its disk.
    pub(crate) pieces: Option<Bitfield>,
    /// When it began to want the blob.
    pub opened: Option<Nanos>,
    /// When it had all of it.
    pub completed: Option<Nanos>,
    /// When it had the first piece.
    pub first_piece: Option<Nanos>,
    /// When it had piece 0, which a reader needs first.
    pub first_byte: Option<Nanos>,
}

/// Somebody at a node who waits for pieces.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) blob: BlobId,
    pub(crate) id: ReaderId,
    /// What it wants now.
    pub(crate) wants: Range<u32>,
    /// Pieces that a streaming reader wants ahead; 0 for one that only wants `wants`.
    pub(crate) window: u32,
    pub(crate) since: Nanos,
}

/// What was counted about a node.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Bytes of pieces sent.
    pub sent_bytes: u64,
    /// Bytes of messages sent that are no pieces, and of the heads of pieces.
    pub control_bytes: u64,
    /// Bytes of pieces received from other zones.
    pub cross_zone_bytes: u64,
    /// Pieces received.
    pub pieces: u64,
    /// Pieces received with wrong bytes.
    pub bad_pieces: u64,
    /// Announces sent.
    pub announces: u64,
    /// Peers banned.
    pub banned: Vec<NodeId>,
    /// Downloads that failed, and when.
    pub failed: Vec<(BlobId, FailReason, Nanos)>,
    /// Blobs said to be complete that were not.
    pub wrong: u64,
    /// Most connections at a time.
    pub connections_max: u32,
    /// Most bytes that waited in its send queues at a time.
    pub unsent_max: u64,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    pub(crate) spec: Spec,
    pub(crate) mind: Mind,
    /// How often it was started or stopped: what was planned for an earlier life does not happen.
    pub(crate) life: u16,
    pub(crate) peer_id: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// Small messages that have overtaken slices, in bytes on the wire: the next slice takes so much longer.
    pub(crate) debt: f64,
    /// Connections with something to send, in turn.
    pub(crate) turns: VecDeque<SideId>,
    pub(crate) sending: Option<Sending>,
    /// When the uplink is looked at again, because all windows are full.
    pub(crate) poll: Nanos,
    pub(crate) disk_free: Nanos,
    pub(crate) accept_free: Nanos,
    pub(crate) wake: Nanos,
    pub(crate) sides: Vec<SideId>,
    pub(crate) connections: u32,
    pub(crate) unsent: u64,
    pub(crate) readers: Vec<Reader>,
    /// One per blob of the world.
    pub(crate) holdings: Vec<Holding>,
    pub(crate) counts: Counts,
}

impl Node {
    /// A node that is off.
    pub(crate) fn new(id: NodeId, spec: Spec, net: &Net) -> Self {
        let machine = spec.on.unwrap_or(id);
        let [_, a, b, c] = machine.to_be_bytes();
        let port = PORT.saturating_add(u16::try_from(id.abs_diff(machine)).unwrap_or(u16::MAX));
        Self {
            up: Pipe::new(spec.up, net.burst),
            down: Pipe::new(spec.down, net.burst),
            spec,
            mind: Mind::Off,
            life: 0,
            peer_id: PeerId([0; 20]),
            addr: SocketAddr::from(([10, a, b, c], port)),
            debt: 0.0,
            turns: VecDeque::new(),
            sending: None,
            poll: Nanos::MAX,
            disk_free: 0,
            accept_free: 0,
            wake: Nanos::MAX,
            sides: Vec::new(),
            connections: 0,
            unsent: 0,
            readers: Vec::new(),
            holdings: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The node at an address.
    pub(crate) fn at(addr: &SocketAddr) -> Option<NodeId> {
        let SocketAddr::V4(addr) = addr else { return None };
        let [_, a, b, c] = addr.ip().octets();
        Some(u32::from_be_bytes([0, a, b, c]) + u32::from(addr.port().checked_sub(PORT)?))
    }

    /// How long a small message waits for its place on the uplink: one turn of everybody who is sending.
    pub(crate) fn turn_wait(&self, net: &Net) -> Nanos {
        let busy = self.turns.len() + usize::from(self.sending.is_some());
        if busy == 0 {
            0
        } else {
            self.up.takes((busy as u64 * net.turn) as f64).max(net.turn_micros * 1_000)
        }
    }

    /// Bytes of one connection below which it counts as drained.
    pub(crate) fn low_water(&self, net: &Net) -> u64 {
        net.low_water + net.low_water_micros * self.spec.up / 1_000_000
    }

    /// Where it says that it stands.
    pub(crate) fn told_zone(&self) -> Zone {
        if self.spec.tells_zone { self.spec.zone } else { Zone::UNKNOWN }
    }

    /// What it is.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What was counted about it.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What it has of a blob.
    pub fn holding(&self, blob: BlobId) -> Option<&Holding> {
        self.holdings.get(usize::from(blob))
    }
}
