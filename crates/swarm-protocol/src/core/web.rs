//! Web seeds: owners' HTTP ranges, used when the swarm brings nothing, and only for as long.

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use super::Core;
use super::wants::wanted_pieces;
use crate::blob::{Blob, Phase};
use crate::download::PieceState;
use crate::io::{Output, Source};
use crate::limits::OWNED_STALL_FACTOR;
use crate::pick::overlap;

impl Core {
    /// Fetches pieces from web seeds if the swarm brings nothing.
    pub(super) fn ask_web(&mut self, digest: Digest) {
        loop {
            let Some(blob) = self.blobs.get(&digest) else { return };
            if !self.needs_web(blob) || blob.web.active >= self.limits.web_requests_max {
                return;
            }
            let Some(index) = next_for_web(blob) else { return };
            let Some(blob) = self.blobs.get_mut(&digest) else { return };
            let (Some(url), Some(download)) = (blob.web.next(), blob.download.as_mut()) else { return };
            if !download.request(index, Source::Web, self.now) {
                return;
            }
            blob.web.active += 1;
            self.outputs.push_back(Output::FetchWeb { digest, index, url });
        }
    }

    /// Whether no peer has brought anything for too long, or none can after a shorter time.
    fn needs_web(&self, blob: &Blob) -> bool {
        let Some(download) = blob.download.as_ref().filter(|_| blob.phase == Phase::Ready) else {
            return false;
        };
        if !blob.is_downloading() || blob.web.is_empty() || self.now < blob.web.hold {
            return false;
        }
        let quiet_ms = self.now.micros_since(blob.peer_progress) / 1_000;
        let useful = |member: &crate::blob::Member| overlap(download.missing(), &member.pieces);
        let alone = download.requested().is_empty() && !blob.members.values().any(useful);
        let owned = blob.members.values().any(|member| member.owner && useful(member));
        let stall_ms = self.limits.stall_ms * if owned { OWNED_STALL_FACTOR } else { 1 };
        quiet_ms >= stall_ms || (quiet_ms >= self.limits.web_after_ms && alone)
    }

    /// A web seed brought a piece.
    pub(super) fn web_fetched(&mut self, digest: Digest, index: PieceIndex, data: Bytes) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        blob.web.active = blob.web.active.saturating_sub(1);
        let len = blob.download.as_ref().map(|download| download.piece_len(index));
        if len != Some(data.len() as u64) {
            self.web_gave_up(digest, index);
            return;
        }
        blob.web.succeeded();
        self.store(digest, index, Source::Web, data);
        self.ask_web(digest);
    }

    /// A web seed did not bring a piece.
    pub(super) fn web_failed(&mut self, digest: Digest, index: PieceIndex) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        blob.web.active = blob.web.active.saturating_sub(1);
        self.web_gave_up(digest, index);
    }

    fn web_gave_up(&mut self, digest: Digest, index: PieceIndex) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        blob.web.failed(self.now, &mut self.rng);
        if let Some(download) = &mut blob.download {
            download.release(index, Source::Web);
        }
        self.dirty.insert(digest);
    }
}

/// What to fetch next: what readers wait for, else any missing piece, else one that a silent peer owes.
fn next_for_web(blob: &Blob) -> Option<PieceIndex> {
    let download = blob.download.as_ref()?;
    // Nobody could tell whether one is right whose digest is not known yet.
    let known = |index: &PieceIndex| blob.metainfo.as_ref().is_none_or(|metainfo| metainfo.knows(*index));
    let free = |index: &PieceIndex| match download.state(*index) {
        _ if !known(index) => false,
        PieceState::Missing => true,
        PieceState::Requested(asked) => asked.iter().all(|request| request.source != Source::Web),
        PieceState::Storing(_) | PieceState::Present => false,
    };
    let wanted = wanted_pieces(blob).into_iter().map(|(_, index)| index).find(free);
    let missing = || download.missing().iter().next().filter(known);
    let owed = || download.requested().keys().copied().find(free);
    wanted.or_else(missing).or_else(owed)
}
