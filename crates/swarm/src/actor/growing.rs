//! Blobs that arrive at the cluster, on both sides: at an agent, which follows what the owner learns of one; and at the owner, where
//! somebody else in this process takes one in.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use shoal_oci::Digest;
use shoal_swarm_protocol::{AnnounceError, AnnounceReply, Input};
use shoal_swarm_types::{Metainfo, PieceIndex};
use tracing::{info, warn};

use super::Actor;
use crate::disk::Job;
use crate::error::{OpenError, ReadError};
use crate::follow::Word;
use crate::view::Storage;

/// Whether the tracker told of a blob that is still arriving.
pub(super) fn is_growing(reply: &AnnounceReply) -> bool {
    reply.metainfo.as_ref().is_some_and(|metainfo| !metainfo.is_whole())
}

impl Actor {
    /// The tracker answered: if the blob is arriving there, or was when this process heard of it, its owners are followed.
    pub(super) fn note_arriving(&mut self, digest: Digest, reply: &AnnounceReply) {
        let held = self.growing(&digest);
        if held.is_none() && !is_growing(reply) {
            return;
        }
        self.followers.note(digest, &reply.web_seeds);
        let Some(held) = held else { return };
        if reply.metainfo.as_ref().is_some_and(|metainfo| held.absorb(metainfo).is_err()) {
            warn!(%digest, "the cluster fetches other bytes than before");
            return self.refuse(digest);
        }
        self.followers.follow(&held);
    }

    /// Whether a blob is here of which the cluster told some digests, and nobody asks it for the others.
    pub(super) fn is_unfollowed(&self, digest: &Digest) -> bool {
        self.growing(digest).is_some() && !self.followers.knows(digest)
    }

    /// What is known of a blob that is readable here and still arriving at the cluster.
    fn growing(&self, digest: &Digest) -> Option<Metainfo> {
        self.blobs.metainfo(digest).filter(|metainfo| !metainfo.is_whole())
    }

    /// The owner has said something.
    pub(super) fn on_followed(&mut self, digest: Digest, word: Word) {
        match word {
            Word::Alive => self.feed(Input::Alive { digest }),
            // The last piece is to be had from now on.
            Word::Whole => self.feed(Input::Alive { digest }),
            Word::Refuted => self.refuse(digest),
            Word::Gone => self.lose_source(digest),
        }
    }

    /// No tracker knows an owner. For a blob that was arriving that means that its source is gone; of others there may still be copies.
    pub(super) fn note_unknown(&mut self, digest: Digest, error: AnnounceError) {
        if error == AnnounceError::NotFound && self.is_unfollowed(&digest) {
            self.lose_source(digest);
        }
    }

    /// The blob is another one than its digest says: whoever reads it is cut off, and nothing of it is kept.
    fn refuse(&mut self, digest: Digest) {
        if self.growing(&digest).is_none() {
            return;
        }
        let storage = self.disk.handles().get(&digest);
        warn!(%digest, "a blob that was arriving at the cluster is wrong; dropped what had come of it");
        self.give_up(&digest, &OpenError::NotFound, &ReadError::Refuted);
        self.followers.release(&digest);
        if let Some(Storage::Partial(partial)) = storage {
            self.disk.submit(Job::Discard { partial });
        }
        self.disown(digest);
    }

    /// The cluster does not get the rest of a blob. What has come is kept for another attempt.
    fn lose_source(&mut self, digest: Digest) {
        if self.growing(&digest).is_some() {
            info!(%digest, "a blob no longer arrives at the cluster");
            self.give_up(&digest, &OpenError::NotFound, &ReadError::Unavailable);
            self.disown(digest);
        }
    }

    /// A download ends without success: of a blob that was arriving, what has come is kept for a while.
    pub(super) fn keep_arrived(&mut self, digest: &Digest) {
        self.followers.end(digest);
        if let Some(storage @ Storage::Partial(_)) = self.disk.handles().get(digest)
            && !storage.metainfo().is_whole()
        {
            self.followers.keep(*digest, storage);
        }
    }

    /// Whether somebody else in this process takes a blob in, or has what came of it.
    pub(super) fn is_taken_in(&self, digest: &Digest) -> bool {
        matches!(self.disk.handles().get(digest), Some(Storage::Partial(_)))
    }

    /// Word from whoever takes blobs in.
    pub(super) fn on_grown(&mut self, grown: BTreeMap<Digest, Range<u32>>, dropped: BTreeSet<Digest>) {
        for digest in dropped {
            self.feed(Input::Absent { digest });
        }
        for (digest, pieces) in grown {
            for index in pieces.map(PieceIndex) {
                self.feed(Input::PieceAppeared { digest, index });
            }
        }
    }
}
