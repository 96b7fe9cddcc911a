//! What can happen to the actor: everything that sockets, disk, tracker, web seeds and callers have to say to it.

use std::net::SocketAddr;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_store::ErrorKind;
use shoal_swarm_protocol::{AnnounceError, AnnounceReply, BlobStatus, ConnId, Message, PieceHead, Source};
use shoal_swarm_types::{Metainfo, PeerId, PieceIndex, Zone};
use tokio::sync::{oneshot, watch};

use crate::disk::Landed;
use crate::envelope::Stream;
use crate::error::{OpenError, ReadError};
use crate::follow;
use crate::view::{Storage, View};
use crate::whole::{Lead, Word};

/// A word from a task of ours.
pub(crate) enum Event {
    /// A connection's handshake is done.
    Connected(Arrival),
    /// Dialling failed.
    DialFailed { addr: SocketAddr },
    /// A message came in.
    Received { conn: ConnId, message: Message },
    /// A piece came in, and where its bytes are.
    Arrived { conn: ConnId, head: PieceHead, landed: Landed },
    /// A piece could not be read in order to be sent, for this reason.
    SendFailed { conn: ConnId, digest: Digest, index: PieceIndex, why: ErrorKind },
    /// A connection's send queue has fallen below its low-water mark.
    Drained { conn: ConnId },
    /// A connection ended by itself.
    Disconnected { conn: ConnId },
    /// A disk job is done.
    Disk(Done),
    /// The tracker answered (or did not) a batch.
    Announced(Vec<(Digest, Result<AnnounceReply, AnnounceError>)>),
    /// A web seed answered.
    Web { digest: Digest, index: PieceIndex, data: Option<Bytes> },
    /// The owner of a blob that is arriving at the cluster has said something.
    Followed { digest: Digest, word: follow::Word },
    /// A request for a whole blob has something to say.
    Whole { digest: Digest, word: Word },
}

/// A connection whose other end is known.
pub(crate) struct Arrival {
    /// The socket.
    pub(crate) stream: Stream,
    /// Who is there.
    pub(crate) peer: PeerId,
    /// Where it takes connections.
    pub(crate) addr: SocketAddr,
    /// Whether we dialled.
    pub(crate) outbound: bool,
    /// Where it stands.
    pub(crate) zone: Zone,
}

/// What the store holds of a blob.
pub(crate) enum Finding {
    /// Something: all of it, or a partial of an earlier run.
    Held(Storage),
    /// Nothing.
    Nothing,
}

/// The result of a disk job.
pub(crate) enum Done {
    /// What the store holds, for somebody who opens the blob.
    Found { digest: Digest, result: shoal_store::Result<Finding> },
    /// The partial is ready to take pieces.
    Prepared { digest: Digest, result: shoal_store::Result<Storage> },
    /// What the store holds, for a peer.
    LookedUp { digest: Digest, held: Option<Storage> },
    /// A piece was written, or not.
    Stored { digest: Digest, index: PieceIndex, source: Source, result: shoal_store::Result<()> },
    /// Content was found to have its digest, or not. `None`: it is not stored, because a download of it has begun.
    Supplied { digest: Digest, content: Bytes, result: shoal_store::Result<Option<Storage>> },
    /// The partial became a blob, or not.
    Committed { digest: Digest, result: shoal_store::Result<Storage> },
    /// A blob with a bad piece became a partial again, or not.
    Demoted { digest: Digest, result: shoal_store::Result<Storage> },
}

/// How an opened blob reaches its reader.
pub(crate) type Opened = Result<watch::Receiver<View>, OpenError>;

/// A word from a caller.
pub(crate) enum Command {
    /// Fetch a blob, or find it.
    Open { digest: Digest, lead: Option<Lead>, reply: oneshot::Sender<Opened> },
    /// A reader found that this piece does not verify.
    Heal {
        metainfo: Metainfo,
        index: PieceIndex,
        reply: oneshot::Sender<Result<watch::Receiver<View>, ReadError>>,
    },
    /// Numbers about every blob.
    Status { reply: oneshot::Sender<Vec<BlobStatus>> },
    /// Say goodbye and stop.
    Shutdown { reply: oneshot::Sender<()> },
}
