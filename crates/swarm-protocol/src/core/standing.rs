//! How a peer stands with us by what it does: who is served first, who last, and who talks too much.
//!
//! No peer has to give in order to get, and nobody is refused what is free. But an uplink is for those who pass on what they get, as long as
//! there are any: a peer that keeps what an owner gave it, or does not give what it owes, waits until nobody else wants anything.

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use super::receiving::Verdict;
use crate::io::{ConnId, Violation};
use crate::spread::Owed;
use crate::upload::Class;

impl Core {
    /// In which class a request of a peer is served. Who does not give what he owes has no claim to be served out of turn.
    pub(super) fn class_for(&self, conn: ConnId, class: Class) -> Class {
        let burden = self.peers.get(&conn).is_some_and(|peer| peer.is_burden());
        if burden { Class::Spare } else { class }
    }

    /// A peer said something that is of no use.
    pub(super) fn heard_in_vain(&mut self, conn: ConnId) -> Verdict {
        let now = self.now;
        let too_much = self.peers.get_mut(&conn).is_some_and(|peer| peer.noise.word(now));
        if too_much { Err(Violation::Noise) } else { Ok(()) }
    }

    /// A reader of a peer has begun to wait for a piece.
    pub(super) fn hurried(
        &mut self,
        conn: ConnId,
        digest: Digest,
        index: PieceIndex,
        class: Class,
    ) -> Verdict {
        if self.class_for(conn, class) == class {
            self.uploads.hurry(conn, digest, index, class, self.now);
            self.may_send = true;
        }
        self.heard_in_vain(conn)
    }

    /// A piece that we sent is with its receiver.
    pub(super) fn has_arrived(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.noise.piece();
        }
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.spread.look(self.now);
            blob.spread.arrived(conn, index, self.now);
        }
    }

    /// The place among those who wait for anything of the one to serve next: of the first who can take a piece, the one with the fewest
    /// pieces that nobody has from it. So the first pieces of a blob go to as many as there are, each of whom can pass on another, and
    /// who keeps what he gets is served when nobody else wants anything.
    pub(super) fn next_to_serve(&mut self) -> Option<usize> {
        self.put_back_keepers();
        let next = |alone| {
            let mut best = None;
            let able =
                self.credits.iter().enumerate().filter(|(_, (conn, _))| self.uploads.has_room(*conn, alone));
            for (at, (conn, digest)) in able.take(SERVE_LOOK) {
                let owed = self.blobs.get(digest).map_or(Owed::default(), |blob| blob.spread.owed(*conn));
                if best.is_none_or(|(least, _)| owed < least) {
                    best = Some((owed, at));
                }
                if owed == Owed::default() {
                    break;
                }
            }
            best.map(|(_, at)| at)
        };
        next(false).or_else(|| next(self.uploads.queued() == 0))
    }

    /// Whoever is first in line and keeps what he gets goes to its end, so that the others are found at its beginning.
    fn put_back_keepers(&mut self) {
        for _ in 0..self.credits.len().min(SERVE_LOOK) {
            let Some((conn, digest)) = self.credits.front().copied() else { return };
            let late = self.blobs.get(&digest).map_or(0, |blob| blob.spread.owed(conn).late);
            if late == 0 {
                return;
            }
            self.credits.rotate_left(1);
        }
    }
}

/// Among so many of those who wait an owner looks for the one to serve next: more than it serves at a time, and a bounded time for fleets of
/// thousands.
const SERVE_LOOK: usize = 64;
