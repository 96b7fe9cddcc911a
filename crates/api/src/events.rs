//! What the registry tells about what happened to content: the seam behind which webhooks are.
//!
//! A change asks for the payloads of its event first and hands them to [`crate::tags::Tags`], which writes them in the change's own
//! transaction: there is no event without the change, and no change without the event, whatever crashes in between. Reads have no
//! transaction; their events are queued in batches, and those of the last moment before a crash are lost.

use bytes::Bytes;
use shoal_oci::{Descriptor, Digest, Repository, Tag};

use crate::caller::Caller;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Content was pushed, or pushed again.
    Push,
    /// Content was pulled.
    Pull,
    /// A blob became part of a second repository.
    Mount,
    /// A manifest, a tag or a blob left a repository.
    Delete,
}

impl Action {
    /// The word in an event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Mount => "mount",
            Self::Delete => "delete",
        }
    }
}

/// What it happened to.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A manifest, under its digest or under one tag.
    Manifest {
        /// Its address, media type and size; its `Content-Type` is what a client is served.
        descriptor: Descriptor,
        /// The tag that it was named with.
        tag: Option<Tag>,
        /// What it names: config, layers or manifests.
        references: Vec<Descriptor>,
    },
    /// A blob.
    Blob {
        /// Its address.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// For a mount, the repository that it was taken from.
        from: Option<Repository>,
    },
    /// Content that is gone, so that only its address is known.
    Gone(Digest),
    /// A tag that is gone; its manifest may still be there.
    GoneTag(Tag),
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub action: Action,
    /// Where.
    pub repository: Repository,
    /// To what.
    pub subject: Subject,
}

/// Takes events. Neither word waits for anybody.
pub trait Events: Send + Sync + 'static {
    /// Whether somebody wants events of this kind; when not, callers spare themselves the work of describing one.
    fn wants(&self, action: Action) -> bool;

    /// What has to be written in the transaction of the change that `event` tells of. Empty when nobody wants it.
    fn payloads(&self, event: Event, caller: &Caller) -> Vec<Bytes>;

    /// Queues the event of a read.
    fn pulled(&self, event: Event, caller: &Caller);
}

/// Nobody wants events.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl Events for NoEvents {
    fn wants(&self, _: Action) -> bool {
        false
    }

    fn payloads(&self, _: Event, _: &Caller) -> Vec<Bytes> {
        Vec::new()
    }

    fn pulled(&self, _: Event, _: &Caller) {}
}
