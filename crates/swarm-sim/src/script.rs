//! What a scenario makes happen at some moment, from outside of the swarm.

use crate::node::{BlobId, NodeId};
use crate::spec::Nature;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Script {
    /// A node wants a blob. Asked again half a second after a failure, as clients do.
    Open(NodeId, BlobId),
    /// A node has a blob complete on its disk and says so.
    Seed(NodeId, BlobId),
    /// A reader at a node streams a blob, with so many pieces ahead.
    Stream(NodeId, BlobId, u32),
    /// Somebody at a node waits for some pieces: first, and how many.
    Demand(NodeId, BlobId, u32, u32),
    /// The same without wanting the rest of the blob: a lazy read.
    Lazy(NodeId, BlobId, u32, u32),
    /// A hostile node begins: it takes part like a download, but nobody waits for it.
    Meddle(NodeId, BlobId),
    /// A node's process ends; its peers see the end of the connections.
    Kill(NodeId),
    /// A node loses power: its peers see nothing.
    Vanish(NodeId),
    /// A node starts, with what is on its disk.
    Start(NodeId),
    /// A node becomes honest or hostile.
    Become(NodeId, Nature),
    /// The tracker stops or goes on answering.
    TrackerDown(bool),
    /// The first answers to these nodes have a wrong metainfo: of another blob, or of more pieces than there may be.
    Mislead(NodeId),
}
