//! Whom a peer is introduced to. Pure: numbers and a generator in, positions out.
//!
//! A random sample keeps the graph of peers connected whatever its size. Three things bend it:
//! - *Zones.* Three quarters come from the requester's own zone as long as it has so many, and a quarter from outside as long as there is
//!   anybody: bytes within a zone are cheap, and a zone without a way out would wait for ever for what it lacks. Neither side is short while
//!   the other has peers to spare.
//! - *Kinds.* Half are complete as long as there are enough incomplete ones: only complete peers makes seeders of a few and leaves
//!   newcomers unknown to each other; only incomplete ones starves the first minutes.
//! - *Turns.* Of two that could be named, the one goes that was named less often so far. Early peers would otherwise be known to everybody who
//!   comes later (the first of 10,000 about a hundred times as often as the last), and their slots would be taken when they are needed.
//!
//! Complete peers are told nobody, they are found by the others.

use std::net::IpAddr;

/// Most agents in one reply. A peer keeps fewer connections than that per blob; the rest are spares for those that do not answer.
pub const PEERS_MAX: usize = 50;

/// One in so many comes from another zone.
const FOREIGN_ONE_IN: usize = 4;

/// How many peers there are of each kind, or are drawn of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Peers that have every piece.
    pub complete: usize,
    /// Peers that lack some.
    pub incomplete: usize,
}

impl Kinds {
    /// Both kinds together.
    pub const fn total(self) -> usize {
        self.complete + self.incomplete
    }
}

/// How many of each kind go into an answer of at most `limit` peers, of those in the requester's zone and of the others.
pub fn shares(own: Kinds, foreign: Kinds, limit: usize) -> (Kinds, Kinds) {
    // Of an answer of one, that one is from the own zone.
    let reserved = if limit > 1 { limit.div_ceil(FOREIGN_ONE_IN) } else { 0 };
    let of_own = own.total().min(limit - foreign.total().min(reserved));
    (mix(own, of_own), mix(foreign, limit - of_own))
}

/// Half of each kind; each may use what the other leaves of its half.
fn mix(there: Kinds, limit: usize) -> Kinds {
    let half = limit / 2;
    let complete = there.complete.min(limit - there.incomplete.min(limit - half));
    Kinds { complete, incomplete: there.incomplete.min(limit - complete) }
}

/// `count` different numbers below `bound` in random order, preferring those with the fewest `turns`.
pub fn draw(bound: usize, count: usize, turns: impl Fn(usize) -> u16, rng: &mut fastrand::Rng) -> Vec<usize> {
    let mut drawn = sample(bound, bound.min(count * 2), rng);
    let spare = drawn.split_off(count.min(drawn.len()));
    // Pair by pair rather than the least of all: those would be the newest, each newcomer would know only those right before it, and the
    // graph would be a long chain.
    for (one, other) in drawn.iter_mut().zip(spare) {
        if turns(other) < turns(*one) {
            *one = other;
        }
    }
    drawn
}

/// `count` different numbers below `bound` in random order: Floyd's algorithm, whose cost does not depend on the bound.
fn sample(bound: usize, count: usize, rng: &mut fastrand::Rng) -> Vec<usize> {
    let mut drawn = Vec::with_capacity(count);
    for top in bound.saturating_sub(count)..bound {
        let candidate = rng.usize(..=top);
        // A hundred numbers in a row are searched faster than any set of them.
        drawn.push(if drawn.contains(&candidate) { top } else { candidate });
    }
    rng.shuffle(&mut drawn);
    drawn
}

/// Whether `peer` is of use to somebody at `requester`: a loopback address names another machine everywhere else.
pub const fn is_reachable(peer: IpAddr, requester: IpAddr) -> bool {
    !peer.is_loopback() || requester.is_loopback()
}

#[cfg(test)]
mod tests;
