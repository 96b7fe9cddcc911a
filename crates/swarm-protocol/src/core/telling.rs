//! Telling neighbours what we have got: at once where it matters, else together with something else.
//!
//! Every small message by itself costs a packet here and an acknowledgement there; told one by one to all neighbours, pieces of 64 KiB
//! cost three percent of both links. A piece that hardly anybody has is told at once, because its copies multiply; the others
//! travel with the next message to the same neighbour, or after a short while. A neighbour that has a piece is not told.

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use crate::blob::Blob;
use crate::io::{ConnId, Time};
use crate::limits::{NEWS_MICROS, NEWS_OWNER_MICROS, RARE_COPIES};
use crate::message::{HAVES_MAX, Message};
use crate::timers::Timer;

impl Core {
    /// A piece is stored: plans who is told when.
    pub(super) fn spread_news(&mut self, digest: Digest, index: PieceIndex) {
        self.tell_those_to_come(digest, index);
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        if blob.news.is_empty() {
            blob.owners_told = self.now;
        }
        blob.news.push(index);
        let elsewhere = (blob.copies(index) as usize).saturating_sub(blob.owner_count());
        if elsewhere <= RARE_COPIES || blob.is_complete() {
            self.tell_all(digest);
        } else {
            self.timers.set_earlier(Timer::Tell(digest), self.now.plus_micros(NEWS_MICROS));
        }
    }

    /// Those who have heard our Join and not answered yet are no members, and have no place in the news.
    fn tell_those_to_come(&mut self, digest: Digest, index: PieceIndex) {
        let queue = self.load(&digest);
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        let (peers, members) = (&self.peers, &blob.members);
        blob.to_come.retain(|conn| {
            let peer = peers.get(conn).filter(|_| !members.contains_key(conn));
            let have =
                peer.and_then(|peer| peer.say(*conn, &digest, |swarm| Message::Have { swarm, index, queue }));
            let is_told = have.is_some();
            self.outputs.extend(have);
            is_told
        });
    }

    /// The time has come to tell what was held back.
    pub(super) fn tell_all(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        let owners_due = blob.owners_told.plus_micros(NEWS_OWNER_MICROS);
        let with_owners = blob.is_complete() || owners_due <= self.now;
        if with_owners {
            blob.owners_told = self.now;
        }
        let told = blob.members.iter().filter(|(_, member)| with_owners || !member.owner);
        let told: Vec<ConnId> = told.map(|(conn, _)| *conn).collect();
        for conn in told {
            self.tell(conn, digest);
        }
        let next = if with_owners || !has_owner(self.blobs.get(&digest)) { Time::NEVER } else { owners_due };
        self.timers.set(Timer::Tell(digest), next);
    }

    /// Tells those to whom something else is sent just now.
    pub(super) fn tell_along(&mut self) {
        while let Some((conn, digest)) = self.spoken.pop() {
            self.tell(conn, digest);
        }
    }

    /// Tells one neighbour what it has not been told.
    fn tell(&mut self, conn: ConnId, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        let Some(member) = blob.members.get_mut(&conn) else { return };
        let from = std::mem::replace(&mut member.news_told, blob.news.len());
        let fresh = blob.news.get(from..).unwrap_or_default().iter().copied();
        // An owner has every piece, and chooses by what others have.
        let fresh: Vec<PieceIndex> =
            fresh.filter(|index| member.owner || !member.pieces.has(*index)).collect();
        if fresh.is_empty() {
            return;
        }
        let queue = self.load(&digest);
        let Some(peer) = self.peers.get(&conn) else { return };
        for indices in fresh.chunks(HAVES_MAX) {
            self.outputs.extend(peer.say(conn, &digest, |swarm| match indices {
                [index] => Message::Have { swarm, index: *index, queue },
                _ => Message::Haves { swarm, indices: indices.to_vec(), queue },
            }));
        }
    }
}

/// Owners that lack pieces are told like everybody; those that have all need news only to weigh copies.
fn has_owner(blob: Option<&Blob>) -> bool {
    blob.is_some_and(|blob| {
        blob.members.values().any(|member| member.owner && member.news_told < blob.news.len())
    })
}
