//! What the core asks for, handed to whoever does it.

use shoal_oci::Digest;
use shoal_swarm_protocol::{CloseReason, ConnId, FailReason, Input, Output, PieceHead, Source};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Actor;
use crate::announce::AnnounceItem;
use crate::conn::{Outgoing, Parcel};
use crate::disk::{Job, Landed};
use crate::error::{OpenError, ReadError};

impl Actor {
    pub(super) fn apply(&mut self, output: Output) {
        match output {
            Output::Announce { digest, event, complete, need_metainfo, known, peers_wanted } => {
                let need_metainfo =
                    need_metainfo && self.blobs.layout(&digest).is_none() || self.is_unfollowed(&digest);
                let item = AnnounceItem { digest, event, complete, need_metainfo, known, peers_wanted };
                self.announces.add(item, Instant::now());
            }
            Output::Prepare { metainfo, .. } => self.disk.submit(Job::Prepare { metainfo }),
            Output::Lookup { digest } => self.disk.submit(Job::Lookup { digest }),
            Output::Dial { addr } => self.dialer.dial(addr),
            Output::Send { conn, message } => self.send(conn, Outgoing::Message(message)),
            Output::Close { conn, reason } => self.close(conn, reason),
            Output::SendPiece { conn, swarm, digest, index, len, queue, urgent } => {
                let head = PieceHead { swarm, index, queue, len };
                self.send(conn, Outgoing::Piece(Parcel { digest, head, urgent }));
            }
            Output::StorePiece { digest, index, source, data } => {
                let landed = match source {
                    Source::Conn(_) => self.in_hand.take().unwrap_or(Landed::Nowhere),
                    Source::Web => Landed::Whole(data),
                };
                self.disk.submit(Job::Store { digest, index, source, landed });
            }
            Output::FetchWeb { digest, index, url } => {
                self.web.fetch(digest, index, self.blobs.metainfo(&digest), url);
            }
            Output::Completed { digest } => {
                self.wholes.call_off(&digest);
                self.disk.submit(Job::Commit { digest });
            }
            Output::Failed { digest, error } => self.fail(digest, error),
            Output::Banned { peer, reason } => warn!(%peer, %reason, "banned a peer"),
        }
    }

    fn send(&mut self, conn: ConnId, outgoing: Outgoing) {
        if !self.conns.send(conn, outgoing) {
            debug!(conn = conn.0, "a peer reads too slowly; disconnected it");
            self.inbox.push_back(Input::Disconnected { conn });
        }
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        debug!(conn = conn.0, %reason, "closing a peer connection");
        self.conns.close(conn);
    }

    fn fail(&mut self, digest: Digest, error: FailReason) {
        info!(%digest, %error, "a download failed");
        let (opening, reading) = match error {
            FailReason::NotFound => (OpenError::NotFound, ReadError::Unavailable),
            FailReason::Unavailable => (OpenError::Unavailable, ReadError::Unavailable),
            FailReason::Stalled => (OpenError::Unavailable, ReadError::Stalled),
        };
        self.give_up(&digest, &opening, &reading);
    }
}
