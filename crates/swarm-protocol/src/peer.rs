//! What one connection is: who is at the other end, which swarms are shared over it, and what it owes us.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use shoal_oci::Digest;
use shoal_swarm_types::{PeerId, PieceIndex, Zone};

use crate::io::{ConnId, Output, Time};
use crate::limits::SHUN_MICROS_MAX;
use crate::message::Message;
use crate::noise::Noise;
use crate::upload::Class;
use crate::window::Window;

/// A piece that the peer owes us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// When it was asked for, or the owner chose it.
    pub(crate) at: Time,
    /// When it, or anything, was asked for.
    pub(crate) since: Time,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// For whom it is, as far as the peer knows.
    pub(crate) class: Class,
    /// Last words to come: two when our request and the owner's assignment of the same piece crossed.
    pub(crate) answers: u32,
    /// We no longer count on it; the peer was told, and its last word is still to come.
    pub(crate) given_up: bool,
}

/// Bytes that each neighbour may owe us beyond the least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// While it has little else to do: all together fill our link.
    pub(crate) idle: u64,
    /// However busy it is: we have few neighbours.
    pub(crate) always: u64,
}

impl Share {
    /// As much as one neighbour may owe at all, while it has little else to do.
    pub(crate) const MOST: Self = Self { idle: u64::MAX, always: 0 };
}

/// A channel that the peer opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    /// The blob that it stands for.
    pub(crate) digest: Digest,
    /// We have left, and the peer may not know yet: whatever comes is ignored.
    pub(crate) void: bool,
    /// The peer may have pieces of the blob.
    pub(crate) granted: bool,
    /// Lists of peers that came on it.
    pub(crate) named: u32,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Who.
    pub(crate) id: PeerId,
    /// Where it takes connections.
    pub(crate) addr: SocketAddr,
    /// Whether we dialled.
    pub(crate) outbound: bool,
    /// Where it stands.
    pub(crate) zone: Zone,
    /// When the connection was made.
    pub(crate) since: Time,
    /// When anything last came.
    pub(crate) heard: Time,
    /// When a piece last went either way.
    pub(crate) used: Time,
    /// When the peer last made progress on what it owes us.
    pub(crate) progress: Time,
    /// When the next keep-alive is due.
    pub(crate) keep_alive: Time,
    /// When it is next told of others.
    pub(crate) exchange: Time,
    /// Channels that we opened.
    pub(crate) ours: BTreeMap<Digest, u32>,
    /// Channels that the peer opened.
    pub(crate) theirs: BTreeMap<u32, Channel>,
    /// Pieces that it owes us.
    pub(crate) asked: BTreeMap<(Digest, PieceIndex), Asked>,
    /// Bytes of the pieces in `asked` that we count on.
    pub(crate) asked_bytes: u64,
    /// Number of the pieces in `asked` that we do not count on.
    pub(crate) given_up: u32,
    /// Its `RequestAny` that wait here.
    pub(crate) credits: u32,
    /// The load that it last told us, in bytes.
    pub(crate) queue: u64,
    /// How much to ask of it.
    pub(crate) window: Window,
    /// What it said that is of no use.
    pub(crate) noise: Noise,
    /// The last piece that it sent and that we have looked at was corrupt.
    pub(crate) corrupt: bool,
    /// It is asked for nothing before this.
    pub(crate) shunned: Time,
    /// How often in a row it kept us waiting.
    kept_waiting: u32,
    next_channel: u32,
}

impl Peer {
    /// A connection that was just made.
    pub(crate) const fn new(
        id: PeerId,
        addr: SocketAddr,
        outbound: bool,
        zone: Zone,
        now: Time,
        keep_alive: Time,
        window: Window,
    ) -> Self {
        Self {
            id,
            addr,
            outbound,
            zone,
            since: now,
            heard: now,
            used: now,
            progress: now,
            keep_alive,
            exchange: Time::NEVER,
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
            asked: BTreeMap::new(),
            asked_bytes: 0,
            given_up: 0,
            credits: 0,
            queue: 0,
            window,
            noise: Noise::new(now),
            corrupt: false,
            shunned: now,
            kept_waiting: 0,
            next_channel: 0,
        }
    }

    /// Opens our channel for a blob.
    pub(crate) fn open_channel(&mut self, digest: Digest) -> u32 {
        let channel = self.next_channel;
        self.next_channel += 1;
        self.ours.insert(digest, channel);
        channel
    }

    /// Makes what comes on the peer's channel for a blob meaningless, until the peer closes it.
    pub(crate) fn void_channel(&mut self, digest: &Digest) {
        for channel in self.theirs.values_mut().filter(|channel| channel.digest == *digest) {
            channel.void = true;
        }
    }

    /// Whether the peer has a live channel for a blob.
    pub(crate) fn has_joined(&self, digest: &Digest) -> bool {
        self.theirs.values().any(|channel| !channel.void && channel.digest == *digest)
    }

    /// Notes that the peer owes us a piece, or owes it twice. `total` counts what all peers owe.
    pub(crate) fn owe(&mut self, digest: Digest, index: PieceIndex, asked: Asked, total: &mut u64) {
        if let Some(standing) = self.asked.get_mut(&(digest, index)) {
            standing.answers += 1;
            return;
        }
        if self.asked_bytes == 0 {
            self.progress = asked.at;
        }
        if asked.given_up {
            self.given_up += 1;
        } else {
            self.asked_bytes += asked.len;
            *total += asked.len;
        }
        self.asked.insert((digest, index), asked);
    }

    /// The peer has said a last word on a piece. In the result, `answers` is the number of those still to come.
    pub(crate) fn settle(&mut self, digest: Digest, index: PieceIndex, total: &mut u64) -> Option<Asked> {
        let standing = self.asked.get_mut(&(digest, index))?;
        standing.answers -= 1;
        if standing.answers > 0 {
            return Some(*standing);
        }
        let asked = self.asked.remove(&(digest, index))?;
        if asked.given_up {
            self.given_up -= 1;
        } else {
            self.asked_bytes -= asked.len;
            *total -= asked.len;
        }
        Some(asked)
    }

    /// We count on a piece no longer. False when we did not.
    pub(crate) fn give_up(&mut self, digest: Digest, index: PieceIndex, total: &mut u64) -> bool {
        match self.asked.get_mut(&(digest, index)) {
            Some(asked) if !asked.given_up => {
                asked.given_up = true;
                self.given_up += 1;
                self.asked_bytes -= asked.len;
                *total -= asked.len;
                true
            }
            _ => false,
        }
    }

    /// Forgets what the peer owes us of one blob, and returns those pieces that we counted on.
    pub(crate) fn void_asked(&mut self, digest: &Digest, total: &mut u64) -> Vec<PieceIndex> {
        let mut counted = Vec::new();
        self.asked.retain(|(of, index), asked| {
            if of != digest {
                return true;
            }
            if asked.given_up {
                self.given_up -= 1;
            } else {
                self.asked_bytes -= asked.len;
                *total -= asked.len;
                counted.push(*index);
            }
            false
        });
        counted
    }

    /// Whether the peer may be asked for a further piece of `len`, `more` bytes having been asked for that are not in
    /// [`Self::asked_bytes`].
    pub(crate) fn has_room(&self, more: u64, len: u64, share: Share) -> bool {
        let in_flight = self.asked_bytes + more;
        let idle = if self.queue < in_flight + len { share.idle } else { 0 };
        self.window.has_room(in_flight, len, idle.max(share.always))
    }

    /// Whether the peer is slow and still has to answer for pieces that we gave up: then it is not asked for more.
    pub(crate) fn has_unanswered_slowly(&self) -> bool {
        self.window.is_slow() && self.given_up > 0
    }

    /// The pieces of a blob that we gave up, and for which it still has to answer.
    pub(crate) fn given_up_of(&self, digest: Digest) -> impl Iterator<Item = PieceIndex> {
        let asked = self.asked.iter().take(if self.given_up > 0 { usize::MAX } else { 0 });
        let given_up = asked.filter(move |((of, _), asked)| asked.given_up && *of == digest);
        given_up.map(|((_, index), _)| *index)
    }

    /// It kept us waiting for too long, since the oldest request.
    pub(crate) fn timed_out(&mut self, usual: Option<u64>, now: Time) {
        let waited = self.window.patience_micros(self.asked_bytes, usual);
        let hold = waited.saturating_mul(1 << self.kept_waiting.min(10)).min(SHUN_MICROS_MAX);
        self.shunned = self.shunned.max(now.plus_micros(hold));
        self.kept_waiting += 1;
        self.window.timed_out();
    }

    /// A piece came, after so long.
    pub(crate) fn delivered(&mut self, micros: u64) {
        self.kept_waiting = 0;
        self.window.delivered(micros);
        self.noise.piece();
    }

    /// Whether it does not give what it owes: then it is served when nobody else wants anything.
    pub(crate) const fn is_burden(&self) -> bool {
        self.corrupt || self.window.is_slow()
    }

    /// When to lose patience with what the peer owes us, if so long is `usual` with all others.
    pub(crate) fn patience_ends(&self, usual: Option<u64>) -> Time {
        let oldest = self.asked.values().filter(|asked| !asked.given_up).map(|asked| asked.at).min();
        oldest.map_or(Time::NEVER, |oldest| {
            oldest.max(self.progress).plus_micros(self.window.patience_micros(self.asked_bytes, usual))
        })
    }

    /// A message about a blob on our channel, if we have one.
    pub(crate) fn say(
        &self,
        conn: ConnId,
        digest: &Digest,
        message: impl FnOnce(u32) -> Message,
    ) -> Option<Output> {
        self.ours.get(digest).map(|channel| Output::Send { conn, message: message(*channel) })
    }
}
