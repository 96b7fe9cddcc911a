//! What becomes of content that came in one go: verified and stored off this task, then told to readers and to the core.

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_protocol::{AnnounceReply, Input};
use shoal_swarm_types::PieceIndex;
use tracing::{debug, warn};

use super::Actor;
use super::growing::is_growing;
use crate::disk::Job;
use crate::view::{Origin, Storage};
use crate::whole::Word;

impl Actor {
    /// The tracker answered. While the content of a small blob may come any moment, the core does not hear of it.
    pub(super) fn on_reply(&mut self, digest: Digest, mut reply: AnnounceReply) {
        let content = reply.content.take();
        self.note_arriving(digest, &reply);
        if !self.blobs.is_opening(&digest) {
            return self.feed(Input::Announced { digest, reply });
        }
        if let Some(content) = content {
            self.wholes.arrived_in(digest, reply);
            self.disk.submit(Job::Supply { digest, content });
        } else if !is_growing(&reply) && self.wholes.ask_owner(digest, &reply) {
            self.wholes.hold(digest, reply);
        } else {
            self.feed(Input::Announced { digest, reply });
        }
    }

    /// An owner sent a whole blob, or does not.
    pub(super) fn on_whole(&mut self, digest: Digest, word: Word) {
        let released = match word {
            Word::Came(content) if self.blobs.contains(&digest) => {
                return self.disk.submit(Job::Supply { digest, content });
            }
            Word::Late => self.wholes.release(&digest),
            Word::Slow => self.wholes.give_up(&digest),
            Word::Came(_) | Word::Failed => self.wholes.end(&digest).0,
        };
        self.resume(digest, released);
    }

    /// Content was compared with its digest, and stored unless the swarm has begun to download it.
    pub(super) fn on_supplied(
        &mut self,
        digest: Digest,
        content: &Bytes,
        result: shoal_store::Result<Option<Storage>>,
    ) {
        let (held, source) = self.wholes.end(&digest);
        match result {
            Ok(Some(storage)) if self.blobs.is_opening(&digest) => {
                debug!(%digest, size = content.len(), ?source, "a small blob came in one go");
                self.gauges.arrived(source, content.len());
                self.ready_from(digest, storage, Origin::Whole);
            }
            Ok(_) => self.fill(digest, content),
            // Its source is a tracker or an owner, so it is worth a line; the swarm goes on with sources of its own.
            Err(error) => warn!(%digest, %error, "content that came in one go cannot be used"),
        }
        self.resume(digest, held);
    }

    /// Gives the pieces that a download still lacks.
    fn fill(&mut self, digest: Digest, content: &Bytes) {
        let Some(view) = self.blobs.watch(&digest) else { return };
        let (layout, missing) = {
            let view = view.borrow();
            let missing: Vec<PieceIndex> = view.have.iter_missing().collect();
            (*view.storage.metainfo().layout(), missing)
        };
        if layout.size != content.len() as u64 {
            return;
        }
        for index in missing {
            let range = layout.piece_range(index);
            // Both ends are within the content, whose length is a usize.
            let data = content.slice(range.start as usize..range.end as usize);
            self.feed(Input::WebFetched { digest, index, data });
        }
    }

    /// Gives the core the tracker's answer that was held back.
    fn resume(&mut self, digest: Digest, reply: Option<AnnounceReply>) {
        if let Some(reply) = reply {
            self.feed(Input::Announced { digest, reply });
        }
    }
}
