//! Bytes on the links: who sends next, when a message arrives, how connections begin and end.

use shoal_swarm_protocol::{ConnId, Input, Message, codec};
use shoal_swarm_types::PieceIndex;

use super::{Deed, Event, World};
use crate::calendar::Nanos;
use crate::node::{BlobId, Mind, NodeId, Sending};
use crate::packet::Packet;
use crate::side::{Frame, Side, SideId};
use crate::spec::Nature;

/// What a handshake costs at the end that is called, where they come one after the other: a task, a keyed hash, two messages.
const ACCEPT_NANOS: Nanos = 50_000;

impl World {
    /// Queues a message of a core on one of its connections.
    pub(super) fn send(&mut self, id: SideId, message: Message) {
        self.scratch.clear();
        codec::encode(&message, &mut self.scratch);
        let len = self.scratch.len() as u32;
        let Some(side) = self.sides.get(id as usize).filter(|side| !side.closed) else { return };
        self.nodes[side.from as usize].counts.control_bytes += u64::from(len);
        self.send_packet(id, Packet::of(message), len);
    }

    /// Queues a piece.
    pub(super) fn send_piece(&mut self, id: SideId, blob: BlobId, [swarm, index, len, queue]: [u32; 4]) {
        let Some(side) = self.sides.get_mut(id as usize).filter(|side| !side.closed) else { return };
        let node = &mut self.nodes[side.from as usize];
        let bad = match node.spec.nature {
            Nature::Stalling => return,
            Nature::Corrupt => true,
            _ => false,
        };
        side.owes_drained = true;
        let head = PIECE_HEAD_LEN;
        (node.counts.sent_bytes, node.counts.control_bytes) =
            (node.counts.sent_bytes + u64::from(len), node.counts.control_bytes + u64::from(head));
        let blob_of = &mut self.blobs[usize::from(blob)];
        if blob_of.owners.contains(&side.from) {
            blob_of.leaves(PieceIndex(index), self.now);
        }
        self.enqueue(id, Packet::Piece { bad, blob, swarm, index, queue }, len + head);
    }

    /// A message that finds its connection idle goes between the slices of others; else it waits behind what was queued before.
    fn send_packet(&mut self, id: SideId, packet: Packet, len: u32) {
        let side = &self.sides[id as usize];
        if side.unsent > 0 {
            self.enqueue(id, packet, len);
            return;
        }
        let (from, to, now) = (side.from as usize, side.to as usize, self.now);
        let follows = side.planned > now && side.spoke == now;
        let wire = f64::from(len) + if follows { 0.0 } else { self.net.packet as f64 };
        self.nodes[from].debt += wire;
        let there = now + self.nodes[from].turn_wait(&self.net) + side.latency;
        let at = self.nodes[to].down.pass(there, wire).max(there);
        let side = &mut self.sides[id as usize];
        side.spoke = now;
        let at = if follows { side.planned } else { at.max(side.planned) };
        side.transit.push_back((at, packet));
        self.plan_delivery(id, at);
    }

    fn enqueue(&mut self, id: SideId, packet: Packet, len: u32) {
        let side = &mut self.sides[id as usize];
        let from = side.from;
        side.frames.push_back(Frame { rest: len, packet });
        side.unsent += u64::from(len);
        let node = &mut self.nodes[from as usize];
        node.unsent += u64::from(len);
        node.counts.unsent_max = node.counts.unsent_max.max(node.unsent);
        if !std::mem::replace(&mut side.in_turn, true) {
            node.turns.push_back(id);
        }
        self.start_slice(from);
    }

    fn plan_delivery(&mut self, id: SideId, at: Nanos) {
        let side = &mut self.sides[id as usize];
        if at > side.planned || side.planned <= self.now {
            side.planned = at;
            self.calendar.push(at, Event::Deliver(id));
        }
    }

    /// Puts the next slice on an idle uplink.
    fn start_slice(&mut self, id: NodeId) {
        if self.nodes[id as usize].sending.is_some() {
            return;
        }
        let mut earliest = Nanos::MAX;
        for _ in 0..self.nodes[id as usize].turns.len() {
            let Some(turn) = self.nodes[id as usize].turns.pop_front() else { break };
            let side = &mut self.sides[turn as usize];
            if side.closed || side.unsent == 0 {
                side.in_turn = false;
                continue;
            }
            let full = self.now + self.net.queue_micros * 1_000 + side.latency;
            let queued = self.nodes[side.to as usize].down.free;
            let bytes = if queued > full { 0 } else { side.sendable(self.now, &self.net) };
            let node = &mut self.nodes[id as usize];
            if bytes > 0 {
                let wire = bytes as f64 * self.net.inflation + std::mem::take(&mut node.debt);
                let at = node.up.pass(self.now, wire).max(self.now);
                node.sending = Some(Sending { side: turn, bytes });
                self.calendar.push(at, Event::Slice { node: id, life: node.life });
                return;
            }
            let opens = if queued > full {
                self.now + queued - full
            } else {
                side.next_acknowledgement().unwrap_or(Nanos::MAX)
            };
            earliest = earliest.min(opens);
            node.turns.push_back(turn);
        }
        let node = &mut self.nodes[id as usize];
        if earliest < node.poll {
            node.poll = earliest;
            self.calendar.push(earliest, Event::Poll { node: id, life: node.life });
        }
    }

    pub(super) fn poll_uplink(&mut self, id: NodeId) {
        self.nodes[id as usize].poll = Nanos::MAX;
        self.start_slice(id);
    }

    /// The slice on an uplink is through: passes it on to the other's downlink.
    pub(super) fn finish_slice(&mut self, id: NodeId) {
        let Some(Sending { side: turn, bytes }) = self.nodes[id as usize].sending.take() else { return };
        let side = &mut self.sides[turn as usize];
        if side.closed {
            side.in_turn = false;
            return self.start_slice(id);
        }
        self.nodes[id as usize].unsent -= bytes;
        let wire = bytes as f64 * self.net.inflation;
        let receiver = &mut self.nodes[side.to as usize];
        // The last byte is there after the latency; the first was earlier, so a free downlink adds nothing.
        let last = self.now + side.latency;
        let first = last.saturating_sub(receiver.down.takes(wire));
        let at = receiver.down.pass(first, wire).max(last).max(side.planned);
        receiver.debt += wire * self.net.acknowledgement;
        let back = at + side.latency + receiver.turn_wait(&self.net);
        side.sent(bytes, back);
        if side.advance(bytes, at) {
            self.plan_delivery(turn, at);
        }
        let side = &mut self.sides[turn as usize];
        side.in_turn = side.unsent > 0;
        if side.in_turn {
            self.nodes[id as usize].turns.push_back(turn);
        }
        let low_water = self.nodes[id as usize].low_water(&self.net);
        let side = &mut self.sides[turn as usize];
        let drained = side.owes_drained && side.unsent <= low_water;
        side.owes_drained &= !drained;
        self.start_slice(id);
        if drained {
            self.input(id, Input::Drained { conn: ConnId(u64::from(turn)) });
        }
    }

    /// Hands what has arrived on a side to its receiver.
    pub(super) fn deliver(&mut self, id: SideId) {
        while let Some((at, _)) = self.sides[id as usize].transit.front()
            && *at <= self.now
        {
            let side = &mut self.sides[id as usize];
            let (Some((_, packet)), to, twin) = (side.transit.pop_front(), side.to, side.twin) else {
                return;
            };
            if side.deaf {
                side.transit.clear();
                return;
            }
            if matches!(packet, Packet::Fin) {
                side.deaf = true;
                self.end(twin);
                self.input(to, Input::Disconnected { conn: ConnId(u64::from(twin)) });
                return;
            }
            self.hand_over(id, to, twin, packet);
        }
    }

    fn hand_over(&mut self, id: SideId, to: NodeId, twin: SideId, packet: Packet) {
        if let Packet::Piece { bad, blob, index, .. } = &packet {
            let from = self.sides[id as usize].from as usize;
            let crosses = self.nodes[from].spec.zone != self.nodes[to as usize].spec.zone;
            let layout = self.blobs[usize::from(*blob)].metainfo.layout();
            let counts = &mut self.nodes[to as usize].counts;
            counts.pieces += 1;
            counts.bad_pieces += u64::from(*bad);
            counts.cross_zone_bytes += u64::from(crosses) * u64::from(layout.piece_len(PieceIndex(*index)));
        }
        let (blobs, bytes) = (&self.blobs, &self.bad);
        let data =
            |blob: BlobId, index, bad: bool| blobs[usize::from(blob)].bytes(index, bad.then_some(bytes));
        if let Some(message) = packet.open(data) {
            self.input(to, Input::Received { conn: ConnId(u64::from(twin)), message });
        }
    }

    /// A node closes a connection: what it has queued still goes out, except pieces.
    pub(super) fn hang_up(&mut self, id: SideId) {
        let Some(side) = self.sides.get_mut(id as usize).filter(|side| !side.closed) else { return };
        let is_sending = self.nodes[side.from as usize].sending.is_some_and(|sending| sending.side == id);
        let before = side.unsent;
        let mut first = is_sending;
        side.frames.retain(|frame| {
            let keep = std::mem::take(&mut first) || !matches!(frame.packet, Packet::Piece { .. });
            if !keep {
                side.unsent -= u64::from(frame.rest);
            }
            keep
        });
        let from = side.from;
        self.nodes[from as usize].unsent -= before - side.unsent;
        self.send_packet(id, Packet::Fin, 1);
        self.forget_side(from, id);
    }

    /// A connection is no more at the sending end of a side.
    fn end(&mut self, id: SideId) {
        let side = &mut self.sides[id as usize];
        if !side.closed {
            let (from, unsent) = (side.from, side.unsent);
            side.close();
            self.nodes[from as usize].unsent -= unsent;
            self.forget_side(from, id);
        }
        self.sides[id as usize].deaf = true;
    }

    fn forget_side(&mut self, node: NodeId, id: SideId) {
        let node = &mut self.nodes[node as usize];
        if let Some(at) = node.sides.iter().position(|side| *side == id) {
            node.sides.swap_remove(at);
            node.connections -= 1;
        }
    }

    /// Ends all connections of a node at once. Its peers hear of it, or not.
    pub(super) fn cut_off(&mut self, id: NodeId, audible: bool) {
        for side in std::mem::take(&mut self.nodes[id as usize].sides) {
            self.end(side);
            let (twin, latency) = (self.sides[side as usize].twin, self.sides[side as usize].latency);
            self.sides[twin as usize].deaf = true;
            self.sides[side as usize].deaf = false;
            if audible {
                let at = (self.now + latency).max(self.sides[side as usize].planned);
                self.sides[side as usize].transit.push_back((at, Packet::Fin));
                self.plan_delivery(side, at);
            }
        }
        self.nodes[id as usize].connections = 0;
    }

    /// One-way latency between two nodes.
    pub(super) fn latency(&self, one: NodeId, other: NodeId) -> Nanos {
        let (one, other) = (&self.nodes[one as usize].spec, &self.nodes[other as usize].spec);
        let between = if one.zone == other.zone { 0 } else { self.net.zone_latency_micros };
        (one.latency_micros + other.latency_micros + between) * 1_000
    }

    /// A dial reaches its target, which answers if it is on.
    pub(super) fn reach(&mut self, from: NodeId, target: NodeId) {
        let latency = self.latency(from, target);
        let addr = self.nodes[target as usize].addr;
        if matches!(self.nodes[target as usize].mind, Mind::Off) {
            self.later(self.now + latency, from, Deed::Input(Box::new(Input::DialFailed { addr })));
            return;
        }
        let (ours, theirs) = (self.sides.len() as SideId, self.sides.len() as SideId + 1);
        self.sides.push(Side::new(from, target, theirs, latency, &self.net));
        self.sides.push(Side::new(target, from, ours, latency, &self.net));
        for (node, side) in [(from, ours), (target, theirs)] {
            let node = &mut self.nodes[node as usize];
            node.sides.push(side);
            node.connections += 1;
            node.counts.connections_max = node.counts.connections_max.max(node.connections);
        }
        let accept = &mut self.nodes[target as usize].accept_free;
        *accept = (*accept).max(self.now) + ACCEPT_NANOS;
        let at = *accept;
        self.later(at, target, Deed::Reached { side: theirs });
        self.later(at + latency, from, Deed::Reached { side: ours });
    }

    /// A connection stands, at one of its ends.
    pub(super) fn reached(&mut self, node: NodeId, id: SideId) {
        let side = &self.sides[id as usize];
        if side.closed {
            return;
        }
        let other = &self.nodes[side.to as usize];
        let (conn, outbound) = (ConnId(u64::from(id)), id.is_multiple_of(2));
        let (peer, addr, zone) = (other.peer_id, other.addr, other.told_zone());
        let input = Input::Connected { conn, peer, addr, outbound, zone };
        self.input(node, input);
    }
}

/// Bytes of a piece's message before its bytes.
const PIECE_HEAD_LEN: u32 = 17;
