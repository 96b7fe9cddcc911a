//! How the network behaves, for all nodes alike: what a byte costs, how connections share a link, how a sender is slowed down.
//!
//! A model of TCP over two access links, not TCP itself. A connection has a window of bytes that may be under way; it grows with what
//! is acknowledged, doubling each round trip, up to what the sockets hold; and nothing is sent to a receiver whose downlink has a queue
//! of a certain length, where a real queue would overflow and the window would be cut: the sender's turn goes to others meanwhile. Connections of one node take turns on its uplink in slices, as the kernel's small queues and fair
//! queueing make them do. At the other end slices wait for the downlink in order. Not modelled: the retransmission of what was lost
//! (a share of a percent with these queues), reordering, and the cost of CPU.

use crate::calendar::Nanos;

/// Parameters of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// Bytes that a connection sends before another has its turn. A finer slice is more exact and costs more events.
    pub slice: u64,
    /// Bytes that a small message waits behind for each connection that is sending at its node: the least that the kernel lets a
    /// connection have in the device's queue at a time (TCP small queues: two segments).
    pub turn: u64,
    /// The least that it waits behind them all, in microseconds: the kernel lets each have what its rate sends in a millisecond.
    pub turn_micros: u64,
    /// Bytes on the wire for each byte of the stream: headers.
    pub inflation: f64,
    /// Bytes on the wire of a packet of its own, for a message that is not followed by others.
    pub packet: u64,
    /// Bytes of acknowledgements on the receiver's uplink for each byte on the wire.
    pub acknowledgement: f64,
    /// Bytes that a link lets through at once after a pause: the token bucket.
    pub burst: u64,
    /// A longer queue at a downlink holds its senders back, in microseconds.
    pub queue_micros: u64,
    /// Bytes under way that a new connection starts with: ten segments (RFC 6928).
    pub window_start: u64,
    /// Most bytes under way on one connection: the socket buffers.
    pub window_max: u64,
    /// The sender hears that its connection has drained when no more than this is unsent: what the driver and the socket hold.
    pub low_water: u64,
    /// And, beyond it, what the uplink carries in this time, in microseconds: what waits in the device's queue has left the socket.
    pub low_water_micros: u64,
    /// One-way latency between nodes of different zones, beyond their own, in microseconds.
    pub zone_latency_micros: u64,
}

impl Net {
    /// Links of a data centre whose limit is that of the payload, as the limiter of an agent sets it: headers are not counted. For
    /// pieces of megabytes at hundreds of megabytes a second.
    pub fn data_centre() -> Self {
        Self {
            // 1.7 ms at 300 MB/s: an eighth of the largest piece.
            slice: 512 * 1024,
            turn: 2 * 1_500,
            turn_micros: 1_000,
            inflation: 1.0,
            packet: 66,
            acknowledgement: 0.0,
            burst: 0,
            // A quarter of what a bench network has: switches in data centres hold less.
            queue_micros: 12_000,
            window_start: 10 * 1_448,
            window_max: 4 * 1024 * 1024,
            // What the driver leaves, and a buffer that a socket takes whole though it is full.
            low_water: 40 * 1024,
            low_water_micros: 500,
            zone_latency_micros: 0,
        }
    }

    /// The network namespaces of the bench: token buckets of `rate` bits per second with 50 ms of queue, Ethernet of `mtu` bytes.
    pub fn namespaces(rate: u64, mtu: u64) -> Self {
        let payload = mtu.saturating_sub(52).max(1);
        let inflation = (mtu + 14) as f64 / payload as f64;
        Self {
            slice: 4 * 1024,
            // Half a segment of large packets; with four, which the kernel's rule would allow, h4 would take three times what it takes.
            turn: (mtu / 2).max(3_000),
            inflation,
            packet: 66,
            // One acknowledgement of 66 bytes for two segments.
            acknowledgement: 66.0 / (2 * (mtu + 14)) as f64,
            burst: (rate / 8 * 4 / 1_000).max(96 * 1024),
            queue_micros: 50_000,
            // Calibrated: with 0 the model of h1 and of h3 was 12 % too fast, and its owner sent a sixth less than the real one.
            low_water_micros: 20_000,
            ..Self::data_centre()
        }
    }
}

/// One end's access link in one direction: when it is free, and how fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pipe {
    /// Nanoseconds per byte on the wire.
    pub(crate) pace: f64,
    /// When everything so far is through.
    pub(crate) free: Nanos,
    /// How far `free` may lie back when new bytes come: the token bucket.
    pub(crate) credit: Nanos,
}

impl Pipe {
    /// A link of `rate` bytes per second that is idle.
    pub(crate) fn new(rate: u64, burst: u64) -> Self {
        let pace = 1e9 / rate.max(1) as f64;
        Self { pace, free: 0, credit: (burst as f64 * pace) as Nanos }
    }

    /// Nanoseconds that some bytes take.
    pub(crate) fn takes(&self, wire: f64) -> Nanos {
        (wire * self.pace) as Nanos
    }

    /// When bytes that come at `from` at the earliest are through: they queue behind what came before.
    pub(crate) fn pass(&mut self, from: Nanos, wire: f64) -> Nanos {
        self.free = self.free.max(from.saturating_sub(self.credit)) + self.takes(wire);
        self.free
    }
}

/// How much of one connection may be under way, in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    bytes: u64,
}

impl Window {
    pub(crate) const fn new(net: &Net) -> Self {
        Self { bytes: net.window_start }
    }

    /// Bytes that may still be sent while `under_way` are.
    pub(crate) const fn room(&self, under_way: u64) -> u64 {
        self.bytes.saturating_sub(under_way)
    }

    /// Bytes were acknowledged.
    pub(crate) fn acknowledged(&mut self, bytes: u64, net: &Net) {
        self.bytes = (self.bytes + bytes).min(net.window_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_queues_and_catches_up_by_its_bucket() {
        let mut pipe = Pipe::new(1_000_000, 0);
        assert_eq!(pipe.pass(0, 1_000.0), 1_000_000);
        assert_eq!(pipe.pass(0, 1_000.0), 2_000_000);
        assert_eq!(pipe.pass(9_000_000, 1_000.0), 10_000_000);
        let mut bucket = Pipe::new(1_000_000, 500);
        assert_eq!(bucket.pass(9_000_000, 1_000.0), 9_500_000);
    }

    #[test]
    fn headers_are_those_of_ethernet() {
        assert!((Net::namespaces(20_000_000, 1_500).inflation - 1.0456).abs() < 1e-3);
        assert!((Net::namespaces(20_000_000, 9_000).inflation - 1.0073).abs() < 1e-3);
    }

    #[test]
    fn a_window_doubles_with_each_round_trip_up_to_its_end() {
        let net = Net::data_centre();
        let mut window = Window::new(&net);
        let start = window.room(0);
        window.acknowledged(start, &net);
        assert_eq!((window.room(0), window.room(start)), (2 * start, start));
        (0..1_000).for_each(|_| window.acknowledged(start, &net));
        assert_eq!(window.room(0), net.window_max);
    }
}
