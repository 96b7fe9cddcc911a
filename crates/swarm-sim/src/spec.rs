//! What a node is: its link, its disk, its place, and whether it is honest.

use shoal_swarm_protocol::{Limits, Role};
use shoal_swarm_types::Zone;

/// How a node deals with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nature {
    /// Does what the protocol says.
    #[default]
    Honest,
    /// Sends wrong bytes.
    Corrupt,
    /// Takes requests and never sends a byte of a piece.
    Stalling,
    /// Says that it has every piece, and has none.
    Lying,
    /// Speaks no protocol to any purpose: joins, claims, asks and cancels as fast as its link allows.
    Flooding,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Agent or owner.
    pub role: Role,
    /// Bytes per second on the uplink.
    pub up: u64,
    /// Bytes per second on the downlink.
    pub down: u64,
    /// Latency of the access link, one way, in microseconds.
    pub latency_micros: u64,
    /// Bytes per second that are verified and written.
    pub disk: u64,
    /// Where it stands.
    pub zone: Zone,
    /// Whether its core knows where it stands, and tells.
    pub tells_zone: bool,
    /// On whose machine it runs, if not on its own: it has that node's address, and another port.
    pub on: Option<u32>,
    /// Honest or not.
    pub nature: Nature,
    /// Limits of its core.
    pub limits: Limits,
}

/// Verifying and writing on one core: BLAKE3 and a write to the page cache took 0.82 to 1 CPU-second per GB.
const DISK_RATE: u64 = 1_000_000_000;

/// Latency of an access link: half of a round trip of 0.3 ms between two racks, and a margin.
const LATENCY_MICROS: u64 = 100;

impl Spec {
    /// An honest node with the same rate both ways, in bytes per second.
    pub fn new(role: Role, rate: u64) -> Self {
        Self {
            role,
            up: rate,
            down: rate,
            latency_micros: LATENCY_MICROS,
            disk: DISK_RATE,
            zone: Zone::UNKNOWN,
            tells_zone: true,
            on: None,
            nature: Nature::Honest,
            limits: Limits::for_role(role),
        }
    }

    /// The same with another nature.
    pub fn nature(self, nature: Nature) -> Self {
        Self { nature, ..self }
    }

    /// The same in a zone.
    pub fn zone(self, zone: u32) -> Self {
        Self { zone: Zone(zone), ..self }
    }
}
