//! One direction of a connection: what waits to be sent, what is under way, what the receiver will see next.

use std::collections::VecDeque;

use crate::calendar::Nanos;
use crate::net::{Net, Window};
use crate::packet::Packet;

/// Number of a side in the world. It is also the connection's number for the core at its sending end.
pub(crate) type SideId = u32;

/// A message in a send queue.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Bytes of it that are not sent yet.
    pub(crate) rest: u32,
    pub(crate) packet: Packet,
}

/// One direction of one connection.
#[derive(Debug)]
pub(crate) struct Side {
    /// The node that sends.
    pub(crate) from: u32,
    /// The node that receives.
    pub(crate) to: u32,
    /// The other direction.
    pub(crate) twin: SideId,
    /// One-way latency.
    pub(crate) latency: Nanos,
    /// What waits to be sent behind what is being sent.
    pub(crate) frames: VecDeque<Frame>,
    /// Bytes in `frames`.
    pub(crate) unsent: u64,
    /// What is on its way, and when it arrives.
    pub(crate) transit: VecDeque<(Nanos, Packet)>,
    /// Planned arrivals up to here need no further event.
    pub(crate) planned: Nanos,
    /// When bytes under way will be acknowledged.
    acknowledgements: VecDeque<(Nanos, u64)>,
    under_way: u64,
    pub(crate) window: Window,
    /// It takes turns on the uplink.
    pub(crate) in_turn: bool,
    /// A piece was queued since the core last heard that the queue is low.
    pub(crate) owes_drained: bool,
    /// When a message last went between the slices of others.
    pub(crate) spoke: Nanos,
    /// Nothing more is taken: the sending end is gone.
    pub(crate) closed: bool,
    /// Nothing more is delivered: the receiving end is gone.
    pub(crate) deaf: bool,
}

impl Side {
    pub(crate) fn new(from: u32, to: u32, twin: SideId, latency: Nanos, net: &Net) -> Self {
        Self {
            from,
            to,
            twin,
            latency,
            frames: VecDeque::new(),
            unsent: 0,
            transit: VecDeque::new(),
            planned: 0,
            acknowledgements: VecDeque::new(),
            under_way: 0,
            window: Window::new(net),
            in_turn: false,
            owes_drained: false,
            spoke: Nanos::MAX,
            closed: false,
            deaf: false,
        }
    }

    /// Bytes that may be sent now; 0 when the window is full.
    pub(crate) fn sendable(&mut self, now: Nanos, net: &Net) -> u64 {
        while let Some((at, bytes)) = self.acknowledgements.front().copied()
            && at <= now
        {
            self.acknowledgements.pop_front();
            self.under_way -= bytes;
            self.window.acknowledged(bytes, net);
        }
        let wanted = self.unsent.min(net.slice);
        let room = self.window.room(self.under_way);
        // Small remainders of a window are not worth a slice.
        if room >= wanted || room >= net.slice / 2 || self.under_way == 0 {
            wanted.min(room.max(1))
        } else {
            0
        }
    }

    /// When the next bytes will be acknowledged.
    pub(crate) fn next_acknowledgement(&self) -> Option<Nanos> {
        self.acknowledgements.front().map(|(at, _)| *at)
    }

    /// Bytes were sent that will be acknowledged at `at`.
    pub(crate) fn sent(&mut self, bytes: u64, at: Nanos) {
        let at = self.acknowledgements.back().map_or(at, |(last, _)| at.max(*last));
        self.acknowledgements.push_back((at, bytes));
        self.under_way += bytes;
    }

    /// Takes `bytes` off the send queue; the messages that end within them arrive at `at`. True when there is any.
    pub(crate) fn advance(&mut self, bytes: u64, at: Nanos) -> bool {
        self.unsent -= bytes;
        let mut left = bytes;
        let mut any = false;
        while let Some(frame) = self.frames.front_mut() {
            let part = u64::from(frame.rest).min(left);
            frame.rest -= u32::try_from(part).unwrap_or(frame.rest);
            left -= part;
            if frame.rest > 0 {
                break;
            }
            if let Some(frame) = self.frames.pop_front() {
                self.transit.push_back((at, frame.packet));
                any = true;
            }
        }
        any
    }

    /// Ends it at the sender: what is not sent stays unsent.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.unsent = 0;
        self.frames = VecDeque::new();
        self.acknowledgements = VecDeque::new();
    }
}
