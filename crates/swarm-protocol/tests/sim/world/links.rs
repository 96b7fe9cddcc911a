//! Connections over links with a rate each way: what is sent goes out in turns and waits before the downlink of its receiver.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::BytesMut;
use shoal_swarm_protocol::{ConnId, Input, Message, Time, encode_head};
use shoal_swarm_types::Zone;

use super::{ACK, Event, Item, LOW_WATER, NodeId, PACKET, QUEUE_MICROS, SLICE, Side, World};

impl World {
    pub(super) fn connect(&mut self, from: NodeId, life: u32, to: SocketAddr) {
        if self.lives[from] != life {
            return;
        }
        let target = self.by_addr.get(&to).copied().filter(|target| self.nodes[*target].core.is_some());
        let Some(target) = target else {
            self.input(from, Input::DialFailed { addr: to });
            return;
        };
        let (ours, theirs) = (ConnId(self.next_conn), ConnId(self.next_conn + 1));
        self.next_conn += 2;
        for (node, conn, other, other_conn) in [(from, ours, target, theirs), (target, theirs, from, ours)] {
            let side = Side {
                other,
                other_conn,
                queue: VecDeque::new(),
                queued: 0,
                owes_drained: false,
                in_ring: false,
            };
            self.sides.insert((node, conn), side);
        }
        let (peer, addr) = (self.nodes[from].peer_id, self.nodes[from].addr);
        self.input(
            target,
            Input::Connected { conn: theirs, peer, addr, outbound: false, zone: Zone::UNKNOWN },
        );
        let peer = self.nodes[target].peer_id;
        self.input(
            from,
            Input::Connected { conn: ours, peer, addr: to, outbound: true, zone: Zone::UNKNOWN },
        );
    }

    pub(super) fn send(&mut self, id: NodeId, conn: ConnId, message: Message) {
        let mut head = BytesMut::new();
        let payload = encode_head(&message, &mut head).map_or(0, |data| data.len() as u64);
        if let Message::Piece { .. } = message {
            self.nodes[id].sent_bytes += payload;
        }
        self.enqueue(id, conn, Item::Message(message), head.len() as u64 + payload);
    }

    pub(super) fn enqueue(&mut self, id: NodeId, conn: ConnId, item: Item, len: u64) {
        let Some(side) = self.sides.get_mut(&(id, conn)) else { return };
        side.queued += len;
        side.owes_drained |= matches!(item, Item::Message(Message::Piece { .. }));
        side.queue.push_back((item, len));
        if !std::mem::replace(&mut side.in_ring, true) {
            self.nodes[id].ring.push_back(conn);
        }
        self.send_slice(id);
    }

    pub(super) fn send_slice(&mut self, id: NodeId) {
        if self.nodes[id].sending {
            return;
        }
        let Some(conn) = self.next_in_ring(id) else { return };
        let Some(side) = self.sides.get_mut(&(id, conn)) else { return self.send_slice(id) };
        side.in_ring = false;
        let slice = side.queued.min(SLICE);
        let node = &mut self.nodes[id];
        let bytes = on_wire(slice) + std::mem::take(&mut node.acks);
        let micros = bytes * 1_000_000 / node.spec.up;
        node.sending = true;
        node.busy_micros.0 += micros;
        let (at, life) = (self.now.plus_micros(micros), self.lives[id]);
        self.push(at, Event::Slice(id, life, conn, slice));
    }

    /// The next connection whose turn it is and whose receiver has room in its queue. Without any, tries again when one has.
    fn next_in_ring(&mut self, id: NodeId) -> Option<ConnId> {
        let mut free_at = Time::NEVER;
        for _ in 0..self.nodes[id].ring.len() {
            let conn = self.nodes[id].ring.pop_front()?;
            let Some(other) = self.sides.get(&(id, conn)).map(|side| side.other) else { continue };
            let backlog = self.nodes[other].down_free.micros_since(self.now);
            if backlog < QUEUE_MICROS {
                return Some(conn);
            }
            free_at = free_at.min(self.now.plus_micros(backlog - QUEUE_MICROS + 1));
            self.nodes[id].ring.push_back(conn);
        }
        if free_at < Time::NEVER && !std::mem::replace(&mut self.nodes[id].held_up, true) {
            let life = self.lives[id];
            self.push(free_at, Event::Retry(id, life));
        }
        None
    }

    /// A slice is through the uplink: passes it through the other's downlink, and begins the next one.
    pub(super) fn slice_sent(&mut self, id: NodeId, conn: ConnId, sent: u64) {
        self.nodes[id].sending = false;
        let Some(side) = self.sides.get_mut(&(id, conn)) else { return self.send_slice(id) };
        let (other, other_conn) = (side.other, side.other_conn);
        side.queued -= sent;
        let mut left = sent;
        let mut done = Vec::new();
        while let Some((_, len)) = side.queue.front_mut().filter(|(_, len)| *len <= left || left > 0) {
            let part = (*len).min(left);
            *len -= part;
            left -= part;
            if *len > 0 {
                break;
            }
            done.extend(side.queue.pop_front());
        }
        if side.queued > 0 {
            side.in_ring = true;
            self.nodes[id].ring.push_back(conn);
        }
        let drained = side.owes_drained && side.queued <= LOW_WATER;
        if drained {
            side.owes_drained = false;
        }
        let arrival = self.now.plus_micros(self.nodes[id].spec.latency_micros);
        let at = self.down(other, arrival, sent);
        for (item, _) in done {
            self.deliver(id, other, other_conn, conn, item, at);
        }
        self.send_slice(id);
        if drained {
            self.input(id, Input::Drained { conn });
        }
    }

    pub(super) fn deliver(
        &mut self,
        id: NodeId,
        other: NodeId,
        other_conn: ConnId,
        conn: ConnId,
        item: Item,
        at: Time,
    ) {
        let life = self.lives[other];
        match item {
            Item::Message(message) => {
                if let Message::Piece { index, .. } = &message {
                    let now = self.now;
                    let node = &mut self.nodes[id];
                    node.sent_by_then.0 += 1;
                    node.first_sent.entry(*index).or_insert_with(|| {
                        node.busy_micros.1 = node.busy_micros.0;
                        node.sent_by_then.1 = node.sent_by_then.0;
                        now
                    });
                }
                self.push(at, Event::Input(other, life, Input::Received { conn: other_conn, message }));
            }
            Item::Fin => {
                self.sides.remove(&(id, conn));
                self.push(at, Event::Fin(other, life, other_conn));
            }
        }
    }

    /// When bytes that reach a node's downlink at `arrival` are through it.
    pub(super) fn down(&mut self, id: NodeId, arrival: Time, bytes: u64) -> Time {
        let node = &mut self.nodes[id];
        node.acks += bytes / (2 * PACKET.1) * ACK;
        let micros = on_wire(bytes) * 1_000_000 / node.spec.down;
        node.down_free = arrival.max(node.down_free).plus_micros(micros);
        node.down_free
    }
}

/// Bytes on the wire for some payload.
fn on_wire(payload: u64) -> u64 {
    payload + payload.div_ceil(PACKET.1) * (PACKET.0 - PACKET.1)
}
