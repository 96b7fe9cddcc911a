//! Streaming readers: what they need next goes before rarest-first, within limits.
//!
//! If every reader of a fleet got everything in order, all peers would hold the same pieces and have nothing to trade (measured: two
//! to five times the time). So only a few pieces per reader go first, and, while there are peers to trade with, only on a credit that
//! background pieces earn. A peer that is alone with complete sources reads in order at full speed.
//!
//! A reader that waits for a few bytes and nothing else is not of these: its pieces are asked for at once, before those that streams come
//! by soon. They are as few as its bytes.

use std::cmp::Reverse;
use std::ops::Range;

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use crate::blob::{Blob, Want};
use crate::download::PieceState;
use crate::io::{ConnId, ReaderId, Source};
use crate::limits::WANT_AHEAD;
use crate::message::Message;
use crate::upload::Class;

/// Price of one piece out of turn, in the unit of the credit.
const WANT_PRICE: u64 = 1_000;

impl Core {
    /// A reader wants these pieces next.
    pub(super) fn want(&mut self, digest: Digest, reader: ReaderId, pieces: Range<u32>, demand: bool) {
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.readers.insert(reader, Want { pieces, demand });
            self.dirty.insert(digest);
        }
    }

    /// A reader wants nothing.
    pub(super) fn unwant(&mut self, digest: Digest, reader: ReaderId) {
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.readers.remove(&reader);
        }
    }

    /// Asks for what readers need next.
    pub(super) fn ask_wanted(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get(&digest).filter(|blob| !blob.readers.is_empty()) else { return };
        let wanted = wanted_pieces(blob);
        let trading = is_trading(blob);
        for (class, index) in wanted {
            let Some(blob) = self.blobs.get_mut(&digest) else { return };
            let on_credit = trading && class == Class::Ahead;
            if on_credit && blob.want_credit < WANT_PRICE {
                return;
            }
            if self.ask_out_of_turn(digest, index, class)
                && on_credit
                && let Some(blob) = self.blobs.get_mut(&digest)
            {
                blob.want_credit -= WANT_PRICE;
            }
        }
    }

    /// Asks for a piece out of turn, or tells whoever was asked that it is urgent now. False when there was nothing to do.
    fn ask_out_of_turn(&mut self, digest: Digest, index: PieceIndex, class: Class) -> bool {
        let Some(download) = self.blobs.get(&digest).and_then(|blob| blob.download.as_ref()) else {
            return false;
        };
        match download.state(index) {
            PieceState::Missing => {
                let conn = self.least_loaded_with(digest, index, true);
                if let Some(conn) = conn {
                    self.ask_one(digest, conn, index, class);
                }
                conn.is_some()
            }
            PieceState::Requested(asked) => {
                let conns: Vec<ConnId> = asked
                    .iter()
                    .filter_map(|request| match request.source {
                        Source::Conn(conn) => Some(conn),
                        Source::Web => None,
                    })
                    .collect();
                conns.into_iter().filter(|conn| self.hurry(*conn, digest, index, class)).count() > 0
            }
            PieceState::Storing(_) | PieceState::Present => false,
        }
    }

    /// Tells a peer for whom a piece is now. False when it knows.
    fn hurry(&mut self, conn: ConnId, digest: Digest, index: PieceIndex, class: Class) -> bool {
        let asked = self.peers.get_mut(&conn).and_then(|peer| peer.asked.get_mut(&(digest, index)));
        let Some(asked) = asked.filter(|asked| asked.class < class) else { return false };
        asked.class = class;
        self.say(conn, digest, |swarm| match class {
            Class::Demand => Message::Press { swarm, index },
            _ => Message::Hurry { swarm, index },
        });
        true
    }
}

/// Whether there are other agents that still lack pieces: with them it pays to hold different ones.
fn is_trading(blob: &Blob) -> bool {
    blob.members.values().any(|member| !member.owner && !member.pieces.is_full())
}

/// The next few pieces of every reader that are not present, the most urgent first.
pub(super) fn wanted_pieces(blob: &Blob) -> Vec<(Class, PieceIndex)> {
    let Some(download) = &blob.download else { return Vec::new() };
    let present = download.present();
    let (trading, alone) = WANT_AHEAD;
    let mut wanted = Vec::new();
    for Want { pieces, demand } in blob.readers.values() {
        let range = pieces.start..pieces.end.min(present.len());
        let missing = range.map(PieceIndex).filter(|index| !present.has(*index));
        let (class, ahead) = match demand {
            true => (Class::Demand, alone),
            false => (Class::Ahead, if is_trading(blob) { trading } else { alone }),
        };
        wanted.extend(missing.take(ahead).enumerate().map(|(nth, index)| (Reverse(class), nth, index)));
    }
    // The first of every reader, then the second of every reader, and so on.
    wanted.sort_unstable();
    wanted.into_iter().map(|(Reverse(class), _, index)| (class, index)).collect()
}
