//! How a peer stands with us by what it does: who is served first, who last, and who talks too much.
//!
//! No peer has to give in order to get, and nobody is refused what is free. But an uplink is for those who pass on what they get, as long as
//! there are any: a peer that keeps what an owner gave it, or does not give what it owes, waits until nobody else wants anything.

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use super::receiving::Verdict;
use crate::io::{ConnId, Role, Violation};
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
        }
        self.heard_in_vain(conn)
    }

    /// A piece that we sent is with its receiver.
    pub(super) fn has_arrived(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.noise.piece();
        }
        if self.role == Role::Owner
            && let Some(blob) = self.blobs.get_mut(&digest)
        {
            let count = blob.piece_count();
            blob.spread.look(self.now);
            blob.spread.arrived(conn, index, count, self.now);
        }
    }

    /// The place among those who wait for anything of the one to serve next: the first who can take a piece and owes no proof that it
    /// passes pieces on, else the one that owes least.
    pub(super) fn next_to_serve(&self) -> Option<usize> {
        let next = |alone| {
            let mut best = None;
            for (at, (conn, digest)) in self.credits.iter().enumerate() {
                if !self.uploads.has_room(*conn, alone) {
                    continue;
                }
                let owed = self.blobs.get(digest).map_or(0, |blob| blob.spread.owed(*conn));
                if best.is_none_or(|(least, _)| owed < least) {
                    best = Some((owed, at));
                }
                if owed == 0 {
                    break;
                }
            }
            best.map(|(_, at)| at)
        };
        next(false).or_else(|| next(self.uploads.queued() == 0))
    }
}
