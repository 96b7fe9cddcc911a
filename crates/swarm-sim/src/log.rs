//! What a run leaves behind: every event that a core saw, for a file or for comparison, and a hash over all of them.

use std::fmt;

use shoal_swarm_protocol::{Input, Message, Source};

use crate::calendar::Nanos;
use crate::node::NodeId;

/// One input of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, in nanoseconds since the start.
    pub at: u64,
    /// At which node.
    pub node: NodeId,
    /// What kind of input.
    pub what: &'static str,
    /// Connection, or 0.
    pub conn: u64,
    /// Piece, or 0.
    pub index: u32,
}

impl Record {
    pub(crate) fn of(at: Nanos, node: NodeId, input: &Input) -> Self {
        let (what, conn, index) = describe(input);
        Self { at, node, what, conn, index }
    }
}

fn describe(input: &Input) -> (&'static str, u64, u32) {
    match input {
        Input::Received { conn, message } => {
            let (what, index) = describe_message(message);
            (what, conn.0, index)
        }
        Input::PieceStored { index, .. } => ("stored", 0, index.0),
        Input::PieceRejected { index, source, .. } => {
            ("rejected", if let Source::Conn(conn) = source { conn.0 } else { 0 }, index.0)
        }
        Input::Drained { conn } => ("drained", conn.0, 0),
        Input::SendFailed { conn, index, .. } => ("send-failed", conn.0, index.0),
        Input::Connected { conn, outbound: true, .. } => ("connected-out", conn.0, 0),
        Input::Connected { conn, .. } => ("connected-in", conn.0, 0),
        Input::Disconnected { conn } => ("disconnected", conn.0, 0),
        Input::DialFailed { .. } => ("dial-failed", 0, 0),
        Input::Open { .. } => ("open", 0, 0),
        Input::Close { .. } => ("close", 0, 0),
        Input::Seed { .. } => ("seed", 0, 0),
        Input::Want { pieces, .. } => ("want", u64::from(pieces.end), pieces.start),
        Input::Unwant { .. } => ("unwant", 0, 0),
        Input::Prepared { .. } => ("prepared", 0, 0),
        Input::Absent { .. } => ("absent", 0, 0),
        Input::Announced { reply, .. } => ("announced", reply.peers.len() as u64, 0),
        Input::AnnounceFailed { .. } => ("announce-failed", 0, 0),
        Input::Tick => ("tick", 0, 0),
        _ => ("other", 0, 0),
    }
}

fn describe_message(message: &Message) -> (&'static str, u32) {
    match message {
        Message::Have { index, .. } => ("have", index.0),
        Message::Request { index, .. } => ("request", index.0),
        Message::Piece { index, .. } => ("piece", index.0),
        Message::Assign { index, .. } => ("assign", index.0),
        Message::Reject { index, .. } => ("reject", index.0),
        Message::Cancel { index, .. } => ("cancel", index.0),
        Message::Hurry { index, .. } => ("hurry", index.0),
        Message::Demand { index, .. } => ("demand", index.0),
        Message::Press { index, .. } => ("press", index.0),
        Message::RequestAny { .. } => ("request-any", 0),
        Message::RejectAny { .. } => ("reject-any", 0),
        Message::Join { .. } => ("join", 0),
        Message::Leave { .. } => ("leave", 0),
        Message::Decline { .. } => ("decline", 0),
        Message::KeepAlive => ("keep-alive", 0),
        _ => ("message", 0),
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.at, self.node, self.what, self.conn, self.index)
    }
}

/// Hash of a run (FNV-1a over words): two runs with the same hash and length went the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail {
    /// The hash.
    pub hash: u64,
    /// Number of records in it.
    pub len: u64,
}

impl Trail {
    pub(crate) const fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, len: 0 }
    }

    pub(crate) fn add(&mut self, record: &Record) {
        let kind = u64::from(record.what.as_bytes()[0]) << 8 | record.what.len() as u64;
        let more = record.conn << 32 ^ u64::from(record.index);
        for word in [record.at, u64::from(record.node), kind, more] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.len += 1;
    }
}

/// Somebody who is told of every record of a run.
pub trait Witness {
    /// This has just been handed to a core.
    fn saw(&mut self, record: &Record);
}
