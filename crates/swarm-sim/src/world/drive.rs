//! Driving the cores: inputs in, outputs out.

use shoal_swarm_protocol::{
    AnnounceError, AnnounceEvent, AnnounceReply, FailReason, Input, Output, RejectCause, Source, Time,
};
use shoal_swarm_types::{Bitfield, PeerInfo, PieceIndex};

use super::{Deed, Event, World};
use crate::blob::is_good;
use crate::calendar::Nanos;
use crate::log::Record;
use crate::node::{BlobId, Mind, Node, NodeId};
use crate::script::Script;
use crate::side::SideId;
use crate::spec::Nature;

/// Opening files, and what else precedes the first byte.
const PREPARE_NANOS: Nanos = 300_000;
/// Handing a piece to the disk and back, beyond the time for its bytes.
const STORE_NANOS: Nanos = 100_000;
/// A web seed's answer, beyond the time for its bytes.
const WEB_NANOS: Nanos = 5_000_000;
/// A question to the tracker, there and back.
const TRACKER_NANOS: Nanos = 1_000_000;
/// A client whose pull failed asks again after this.
const RETRY_SECONDS: f64 = 0.5;
/// A flooding peer has a turn this often: 1,200 messages a second to each of its victims. What they cost is CPU, which is not modelled, so
/// more of them would show nothing more.
const BEAT_NANOS: Nanos = 20_000_000;
/// It stops talking to a peer that does not listen.
const FLOOD_UNSENT_MAX: u64 = 64 * 1024;
/// Peers that it plagues at a time.
const FLOOD_PEERS: usize = 40;

impl World {
    /// Hands an input to the mind of a node and does what follows.
    pub(super) fn input(&mut self, id: NodeId, input: Input) {
        let mut core = match std::mem::replace(&mut self.nodes[id as usize].mind, Mind::Off) {
            Mind::Core(core) => core,
            other => {
                self.nodes[id as usize].mind = other;
                self.plague(id, &input);
                return;
            }
        };
        let record = Record::of(self.now, id, &input);
        self.trail.add(&record);
        if let Some(witness) = &mut self.witness {
            witness.saw(&record);
        }
        core.handle(input, self.time());
        while let Some(output) = core.poll() {
            self.output(id, output);
        }
        let next = core.next_timeout().map_or(Nanos::MAX, |at| at.0.saturating_mul(1_000));
        let node = &mut self.nodes[id as usize];
        node.mind = Mind::Core(core);
        if next < node.wake {
            node.wake = next;
            self.calendar.push(next.max(self.now), Event::Wake { node: id, life: node.life });
        }
    }

    /// A core asked to be woken about now.
    pub(super) fn wake(&mut self, id: NodeId) {
        let node = &mut self.nodes[id as usize];
        if node.wake > self.now {
            return;
        }
        node.wake = Nanos::MAX;
        let Mind::Core(core) = &node.mind else { return };
        let next = core.next_timeout().unwrap_or(Time::NEVER);
        if next.0 <= self.now / 1_000 {
            self.input(id, Input::Tick);
        } else if next < Time::NEVER {
            node.wake = next.0 * 1_000;
            self.calendar.push(node.wake, Event::Wake { node: id, life: node.life });
        }
    }

    fn output(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Announce { digest, event, complete, need_metainfo, .. } => {
                if let Some(blob) = self.find_blob(&digest) {
                    self.announce(id, blob, event, complete, need_metainfo);
                }
            }
            Output::Prepare { digest, .. } => self.prepare(id, digest, true),
            Output::Lookup { digest } => self.prepare(id, digest, false),
            Output::Dial { addr } => {
                if let Some(target) = Node::at(&addr).filter(|target| (*target as usize) < self.nodes.len()) {
                    // Two round trips: TCP's handshake and our own.
                    let at = self.now + 3 * self.latency(id, target);
                    self.later(at, id, Deed::Reach { target });
                }
            }
            Output::Send { conn, message } => self.send(conn.0 as SideId, message),
            Output::Close { conn, .. } => self.hang_up(conn.0 as SideId),
            Output::SendPiece { conn, swarm, digest, index, len, queue, .. } => {
                let blob = self.find_blob(&digest);
                let has = blob.filter(|blob| self.can_send(id, *blob, index));
                match has {
                    Some(blob) => self.send_piece(conn.0 as SideId, blob, [swarm, index.0, len, queue]),
                    None => self.later(
                        self.now,
                        id,
                        Deed::Input(Box::new(Input::SendFailed { conn, digest, index })),
                    ),
                }
            }
            Output::StorePiece { digest, index, source, data } => {
                if let Some(blob) = self.find_blob(&digest) {
                    let why = (!is_good(&data)).then_some(RejectCause::Corrupt);
                    let node = &mut self.nodes[id as usize];
                    let takes = data.len() as u64 * 1_000_000_000 / node.spec.disk.max(1);
                    node.disk_free = node.disk_free.max(self.now) + takes;
                    let at = node.disk_free + STORE_NANOS;
                    self.later(at, id, Deed::Stored { blob, index, source, why });
                }
            }
            Output::FetchWeb { digest, index, .. } => self.fetch_web(id, digest, index),
            Output::Completed { digest } => self.completed(id, digest),
            Output::Failed { digest, error } => self.failed(id, digest, error),
            Output::Banned { peer, .. } => {
                let [.., a, b, c, d, _, _, _, _, _, _, _, _] = peer.0;
                self.nodes[id as usize].counts.banned.push(u32::from_be_bytes([a, b, c, d]));
            }
        }
    }

    /// Whether a node has a piece that it is to send. A liar has not.
    fn can_send(&self, id: NodeId, blob: BlobId, index: PieceIndex) -> bool {
        let node = &self.nodes[id as usize];
        let pieces = node.holdings[usize::from(blob)].pieces.as_ref();
        node.spec.nature != Nature::Lying && pieces.is_some_and(|pieces| pieces.has(index))
    }

    fn announce(&mut self, id: NodeId, blob: BlobId, event: AnnounceEvent, complete: bool, need: bool) {
        self.nodes[id as usize].counts.announces += 1;
        let of = &self.blobs[usize::from(blob)];
        let (digest, size, owners) = (of.digest, of.size(), of.owners.clone());
        if self.tracker.down {
            let error = AnnounceError::Unavailable;
            let at = self.now + TRACKER_NANOS;
            self.later(at, id, Deed::Input(Box::new(Input::AnnounceFailed { digest, error })));
            return;
        }
        let stopped = event == AnnounceEvent::Stopped;
        let zone = self.nodes[id as usize].told_zone();
        let drawn = self.tracker.announce(blob, (id, zone), complete, stopped);
        if stopped {
            return;
        }
        let mut peers: Vec<PeerInfo> = drawn.into_iter().map(|node| self.info(node, blob)).collect();
        if !complete {
            peers.extend(owners.into_iter().map(|node| self.info(node, blob)));
        }
        let mut at = self.tracker.serve(self.now) + TRACKER_NANOS;
        let mut metainfo = need.then(|| self.blobs[usize::from(blob)].metainfo.clone());
        if let Some(told) = &mut metainfo {
            let len = 128 + 32 * u64::from(told.layout().piece_count());
            at = self.nodes[id as usize].down.pass(at, len as f64).max(at);
            if let Some(place) = self.misled.iter().position(|misled| *misled == id) {
                self.misled.swap_remove(place);
                if let Some(wrong) = &self.wrong_metainfo {
                    *told = wrong.clone();
                }
            }
        }
        let interval_ms = self.tracker.interval_ms(complete, size);
        let reply = AnnounceReply { metainfo, peers, interval_ms, ..AnnounceReply::default() };
        self.later(at, id, Deed::Input(Box::new(Input::Announced { digest, reply })));
    }

    /// What the tracker says of a node.
    fn info(&self, node: NodeId, blob: BlobId) -> PeerInfo {
        let owner = self.blobs[usize::from(blob)].owners.contains(&node);
        let of = &self.nodes[node as usize];
        let complete = of.holdings[usize::from(blob)].completed.is_some();
        PeerInfo { id: of.peer_id, addr: of.addr, complete: complete || owner, owner, zone: of.told_zone() }
    }

    /// The store of a node makes room for a blob, or looks whether it has it.
    fn prepare(&mut self, id: NodeId, digest: shoal_oci::Digest, make: bool) {
        let at = self.now + PREPARE_NANOS;
        let absent = Deed::Input(Box::new(Input::Absent { digest }));
        let Some(blob) = self.find_blob(&digest) else { return self.later(at, id, absent) };
        let of = &self.blobs[usize::from(blob)];
        let (count, metainfo) = (of.count(), of.metainfo.clone());
        let node = &mut self.nodes[id as usize];
        if node.spec.nature == Nature::Lying {
            node.holdings[usize::from(blob)].pieces = Some(Bitfield::full(count));
        }
        let pieces = &mut node.holdings[usize::from(blob)].pieces;
        if make {
            pieces.get_or_insert_with(|| Bitfield::empty(count));
        }
        let answer = pieces
            .clone()
            .map_or(absent, |have| Deed::Input(Box::new(Input::Prepared { digest, metainfo, have })));
        self.later(at, id, answer);
    }

    fn fetch_web(&mut self, id: NodeId, digest: shoal_oci::Digest, index: PieceIndex) {
        self.later(self.now + WEB_NANOS, id, Deed::Input(Box::new(Input::WebFailed { digest, index })));
    }

    /// A piece has been verified and written, or not.
    pub(super) fn stored(
        &mut self,
        id: NodeId,
        blob: BlobId,
        index: PieceIndex,
        source: Source,
        why: Option<RejectCause>,
    ) {
        let digest = self.blobs[usize::from(blob)].digest;
        if let Some(why) = why {
            self.input(id, Input::PieceRejected { digest, index, source, why });
            return;
        }
        let holding = &mut self.nodes[id as usize].holdings[usize::from(blob)];
        if let Some(pieces) = &mut holding.pieces {
            pieces.set(index);
        }
        holding.first_piece.get_or_insert(self.now);
        if index.0 == 0 {
            holding.first_byte.get_or_insert(self.now);
        }
        self.input(id, Input::PieceStored { digest, index });
        self.advance_readers(id, blob);
    }

    fn completed(&mut self, id: NodeId, digest: shoal_oci::Digest) {
        let Some(blob) = self.find_blob(&digest) else { return };
        let node = &mut self.nodes[id as usize];
        let holding = &mut node.holdings[usize::from(blob)];
        let whole = holding.pieces.as_ref().is_some_and(Bitfield::is_full);
        node.counts.wrong += u64::from(!whole);
        if holding.completed.is_none() {
            holding.completed = Some(self.now);
            self.wanting -= u64::from(holding.opened.is_some());
        }
    }

    fn failed(&mut self, id: NodeId, digest: shoal_oci::Digest, error: FailReason) {
        let Some(blob) = self.find_blob(&digest) else { return };
        self.nodes[id as usize].counts.failed.push((blob, error, self.now));
        self.at(self.seconds() + RETRY_SECONDS, Script::Open(id, blob));
    }

    /// A flooding peer greets whoever connects.
    fn plague(&mut self, id: NodeId, input: &Input) {
        let Input::Connected { conn, .. } = input else { return };
        if let Mind::Flooder(_) = &self.nodes[id as usize].mind {
            for message in crate::villain::Flooder::greeting(&self.known_blobs()) {
                self.send(conn.0 as SideId, message);
            }
        }
    }

    /// A flooding peer has a turn: it dials whom it can, and talks.
    pub(super) fn beat(&mut self, id: NodeId) {
        let blobs = self.known_blobs();
        if self.nodes[id as usize].sides.len() < FLOOD_PEERS {
            for blob in 0..self.blobs.len() as BlobId {
                let zone = self.nodes[id as usize].told_zone();
                let drawn = self.tracker.announce(blob, (id, zone), false, false);
                if let Some(target) = drawn.first().copied() {
                    let at = self.now + 3 * self.latency(id, target);
                    self.later(at, id, Deed::Reach { target });
                }
            }
        }
        for side in self.nodes[id as usize].sides.clone() {
            let node = &mut self.nodes[id as usize];
            let Mind::Flooder(flooder) = &mut node.mind else { return };
            if self.sides[side as usize].unsent < FLOOD_UNSENT_MAX {
                for message in flooder.burst(&blobs) {
                    self.send(side, message);
                }
            }
        }
        let life = self.nodes[id as usize].life;
        self.calendar.push(self.now + BEAT_NANOS, Event::Beat { node: id, life });
    }

    fn known_blobs(&self) -> Vec<(shoal_oci::Digest, u32)> {
        self.blobs.iter().map(|blob| (blob.digest, blob.count())).collect()
    }
}
