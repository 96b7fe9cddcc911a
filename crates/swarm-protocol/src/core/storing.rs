//! What becomes of the bytes of a piece: stored and told to everybody, or refused and its source blamed.

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use crate::blob::Blob;
use crate::download::{Delivery, PieceState};
use crate::io::{BanReason, CloseReason, ConnId, Output, RejectCause, Source};
use crate::limits::{REDIAL_MS, SHUN_CORRUPT_MICROS, WANT_CREDIT_MAX, WANT_EARNED_PER_1000};

/// Wait after our own disk refused a piece, doubled each time up to 64-fold, in microseconds.
const DISK_HOLD_MICROS: u64 = 100_000;

impl Core {
    /// Hands the bytes of a piece to the driver, unless they are there already; whoever else was asked is told.
    pub(super) fn store(&mut self, digest: Digest, index: PieceIndex, source: Source, data: Bytes) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        self.dirty.insert(digest);
        match blob.download.as_mut().map(|download| download.deliver(index, source)) {
            Some(Delivery::Store { others }) => {
                self.outputs.push_back(Output::StorePiece { digest, index, source, data });
                for other in others {
                    self.take_back(other, digest, index);
                }
            }
            Some(Delivery::Duplicate) => {
                blob.duplicates += 1;
                self.totals.duplicate_pieces += 1;
            }
            None => {}
        }
    }

    /// A piece was verified and written.
    pub(super) fn piece_stored(&mut self, digest: Digest, index: PieceIndex) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        let Some(download) = blob.download.as_mut() else { return };
        let PieceState::Storing(source) = download.state(index) else { return };
        download.stored(index);
        let len = download.piece_len(index);
        blob.progress = self.now;
        // What is stored is no longer on its way; otherwise it changes nothing for what may be asked for.
        if blob.disk_hold.1 > 0 || !blob.readers.is_empty() {
            self.dirty.insert(digest);
        }
        blob.disk_hold = (self.now, 0);
        blob.want_credit = (blob.want_credit + WANT_EARNED_PER_1000).min(WANT_CREDIT_MAX);
        for received in [&mut blob.received, &mut self.totals.received] {
            match source {
                Source::Web => received.web_bytes += len,
                Source::Conn(conn) if blob.members.get(&conn).is_some_and(|member| member.owner) => {
                    received.owner_bytes += len;
                }
                Source::Conn(_) => received.peer_bytes += len,
            }
        }
        if let Source::Conn(conn) = source
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            peer.corrupt = false;
        }
        self.totals.stored_pieces += 1;
        // Perhaps the beginning is over.
        self.may_send = true;
        self.spread_news(digest, index);
        if std::mem::take(&mut self.is_sated) {
            self.dirty.extend(self.blobs.keys());
        }
        if self.blobs.get(&digest).is_some_and(Blob::is_complete) {
            self.completed(digest);
        }
    }

    /// A piece is there that came another way: tells everybody.
    pub(super) fn piece_appeared(&mut self, digest: Digest, index: PieceIndex) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        if !blob.download.as_mut().is_some_and(|download| download.appeared(index)) {
            return;
        }
        (blob.used, blob.progress) = (self.now, self.now);
        self.spread_news(digest, index);
        if self.blobs.get(&digest).is_some_and(Blob::is_complete) {
            self.completed(digest);
        }
    }

    /// The blob is on its way to those who have it.
    pub(super) fn note_alive(&mut self, digest: Digest) {
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.progress = self.now;
        }
    }

    /// A piece was not written.
    pub(super) fn piece_rejected(
        &mut self,
        digest: Digest,
        index: PieceIndex,
        source: Source,
        why: RejectCause,
    ) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        if !blob.download.as_mut().is_some_and(|download| download.rejected(index)) {
            return;
        }
        self.dirty.insert(digest);
        if why == RejectCause::Disk {
            let (_, failures) = blob.disk_hold;
            blob.disk_hold = (self.now.plus_micros(DISK_HOLD_MICROS << failures.min(6)), failures + 1);
            return;
        }
        blob.corrupt += 1;
        self.totals.corrupt_pieces += 1;
        match source {
            Source::Web => blob.web.failed(self.now, &mut self.rng),
            Source::Conn(conn) => {
                // Its next copy of this piece will hardly be better.
                if let Some(member) = blob.members.get_mut(&conn) {
                    member.holds.insert(index, self.now.plus_millis(REDIAL_MS.1));
                }
                let owner = blob.members.get(&conn).is_some_and(|member| member.owner);
                // An owner may send a piece of a push unread, once: that says nothing about its others.
                if let Some(peer) = self.peers.get_mut(&conn).filter(|_| !owner) {
                    peer.corrupt = true;
                    peer.shunned = peer.shunned.max(self.now.plus_micros(SHUN_CORRUPT_MICROS));
                }
                self.blame(conn);
            }
        }
    }

    /// A peer sent a corrupt piece; bans it if that was one too many.
    fn blame(&mut self, conn: ConnId) {
        let standing = self.peers.get(&conn).map(|peer| (peer.id, peer.addr));
        let departed = || self.departed.iter().find(|(of, ..)| *of == conn).map(|(_, id, addr)| (*id, *addr));
        let Some((id, addr)) = standing.or_else(departed) else { return };
        if !self.bans.corrupt(id, addr, self.now) {
            return;
        }
        self.totals.banned_peers += 1;
        self.outputs.push_back(Output::Banned { peer: id, reason: BanReason::Corrupt });
        let banned: Vec<ConnId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.id == id || peer.addr == addr)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in banned {
            self.close_conn(conn, CloseReason::Banned);
        }
    }

    /// A piece that was present no longer verifies: fetch it again, even if nobody had the blob open.
    pub(super) fn piece_lost(&mut self, digest: Digest, index: PieceIndex) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        if blob.download.as_mut().is_some_and(|download| download.lost(index)) {
            self.open(digest);
        }
    }
}
