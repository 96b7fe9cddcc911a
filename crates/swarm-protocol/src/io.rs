//! The door between the core and its driver: everything that can happen ([`Input`]) and everything the core can ask for
//! ([`Output`]). It is one enum each way, so that a log of inputs replays a run and the simulator and the tokio driver cannot drift
//! apart. Bytes of pieces pass through as `Bytes`: the core never copies or looks into them.

use std::net::SocketAddr;
use std::ops::{Add, Range};
use std::time::Duration;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, Metainfo, PeerId, PeerInfo, PieceIndex, Zone};

use crate::message::Message;

/// A moment, in microseconds since the driver started. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// Later than any moment that will come.
    pub const NEVER: Self = Self(u64::MAX);

    /// This many milliseconds after the start.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Microseconds from `earlier` to `self`; zero when `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment plus some microseconds.
    pub const fn plus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This moment plus some milliseconds.
    pub const fn plus_millis(self, ms: u64) -> Self {
        self.plus_micros(ms.saturating_mul(1_000))
    }

    /// From this moment until `later`; zero when that has passed.
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_micros(later.micros_since(self))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.plus_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

/// A connection to a peer. The driver gives the numbers and never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// A reader that streams a blob. The driver gives the numbers and never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderId(pub u64);

/// What this process is in the swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A node's agent: downloads, then serves what it has, and announces itself.
    Agent,
    /// An origin that owns blobs: holds them complete, is known to the tracker through the ring (so it does not announce what it
    /// seeds), and decides which agent gets which piece first.
    Owner,
}

/// Where a piece came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A peer.
    Conn(ConnId),
    /// An owner's HTTP range.
    Web,
}

/// Why the store did not take a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectCause {
    /// The bytes are not the piece: the source is to blame.
    Corrupt,
    /// Our disk failed: nobody else is to blame.
    Disk,
}

/// The tracker's answer about one blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnounceReply {
    /// Size and piece digests, if they were asked for.
    pub metainfo: Option<Metainfo>,
    /// Who else takes part, owners among them.
    pub peers: Vec<PeerInfo>,
    /// Owners' HTTP addresses of the blob, for ranges.
    pub web_seeds: Vec<String>,
    /// The whole blob, if it is small: for the driver, which takes it out before the core sees the answer.
    pub content: Option<Bytes>,
    /// When to announce again, in milliseconds. Zero leaves the choice to the core.
    pub interval_ms: u64,
    /// Proof that we may have the blob, for other peers; empty for none. Goes out with every [`Message::Join`].
    pub grant: Bytes,
    /// How far the tracker's list of peers has come. Told it with the next announce, it names only those who came since; 0 when it
    /// does not count.
    pub version: u64,
}

/// Why an announce brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AnnounceError {
    /// The tracker answered that no owner has the blob.
    #[error("no owner has the blob; push it first, or check the digest")]
    NotFound,
    /// No tracker answered.
    #[error("no tracker answered; check the tracker addresses and the network")]
    Unavailable,
}

/// What an announce tells the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnnounceEvent {
    /// We begin to take part.
    Started,
    /// We still take part.
    Periodic,
    /// We have just got the last piece.
    Completed,
    /// We no longer take part.
    Stopped,
}

/// Why a download cannot go on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FailReason {
    /// The tracker knows no owner, and nobody else has it.
    #[error("nobody has the blob; push it first, or check the digest")]
    NotFound,
    /// No tracker, peer or owner could be reached.
    #[error("no tracker, owner or peer could be reached; check the network and the tracker addresses")]
    Unavailable,
    /// There were sources, but for too long none of them delivered a piece.
    #[error("no source delivered anything for too long; check the owners and the network")]
    Stalled,
}

/// Why the core closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// The peer is this process.
    #[error("connected to ourselves")]
    Myself,
    /// There is another connection to the same peer.
    #[error("another connection to the same peer is kept")]
    Duplicate,
    /// The peer is banned.
    #[error("the peer is banned")]
    Banned,
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(Violation),
    /// All slots are taken by connections that are more useful.
    #[error("no free connection slot")]
    Full,
    /// The slot was needed for a newcomer.
    #[error("replaced by a newer connection")]
    Replaced,
    /// Neither side has needed the other for some time.
    #[error("idle")]
    Idle,
    /// Nothing, not even a keep-alive, has come for some time.
    #[error("silent")]
    Silent,
}

/// What a peer did against the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// A piece that was not asked for.
    #[error("a piece that was not asked for")]
    Unrequested,
    /// An index beyond the last piece.
    #[error("piece index out of range")]
    Index,
    /// A bitfield whose length is not that of the blob.
    #[error("bitfield of the wrong length")]
    Bitfield,
    /// A piece of the wrong length.
    #[error("piece of the wrong length")]
    PieceLen,
    /// A channel number that was not opened, or opened twice.
    #[error("unknown or doubled channel number")]
    Channel,
    /// More channels than one connection may have.
    #[error("too many channels")]
    Channels,
    /// Names of peers more often than agreed.
    #[error("names of peers more often than agreed")]
    Peers,
    /// More requests waiting than one connection may have.
    #[error("too many requests")]
    Requests,
    /// More words of no use than come about by chance.
    #[error("too many words of no use")]
    Noise,
}

/// Why a peer was banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BanReason {
    /// It sent pieces that do not match their digests.
    #[error("sent corrupt pieces")]
    Corrupt,
    /// It broke the protocol again shortly after it had done so.
    #[error("broke the protocol again and again")]
    Violation,
}

/// What happened: the driver's words to the core.
#[derive(Clone, Debug)]
pub enum Input {
    /// Take part in a blob's swarm and fetch all of it, until [`Input::Close`].
    Open {
        /// The blob.
        digest: Digest,
    },
    /// Nobody here wants the blob any more. An unfinished download stops; what is complete may still be served.
    Close {
        /// The blob.
        digest: Digest,
    },
    /// The store holds the blob complete: announce it and serve it. Its metainfo is asked for only when a peer needs it.
    Seed {
        /// The blob.
        digest: Digest,
    },
    /// A reader needs these pieces next, in order. Replaces what this reader wanted before.
    Want {
        /// The blob.
        digest: Digest,
        /// Who reads.
        reader: ReaderId,
        /// Piece indices; the first is the most urgent.
        pieces: Range<u32>,
        /// Whether the reader waits for these and nothing else: they go before what streams come by soon.
        demand: bool,
    },
    /// A reader is gone, or wants nothing for now.
    Unwant {
        /// The blob.
        digest: Digest,
        /// Who reads.
        reader: ReaderId,
    },
    /// Answer to [`Output::Prepare`] and [`Output::Lookup`]: the store is ready and has these pieces.
    Prepared {
        /// The blob.
        digest: Digest,
        /// Its size and piece digests.
        metainfo: Metainfo,
        /// The pieces that are present.
        have: Bitfield,
    },
    /// Answer to [`Output::Lookup`]: the store does not have it. Also to [`Output::Prepare`], when the store cannot hold it; and
    /// unasked, when the store has evicted a blob: it is no longer served or announced.
    Absent {
        /// The blob.
        digest: Digest,
    },
    /// A piece is present that nobody was asked for: somebody else in this process takes the blob in. Its metainfo knows it.
    PieceAppeared {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
    },
    /// Whoever takes the blob in is alive and gets bytes, though no piece has come: a download of it does not fail for now.
    Alive {
        /// The blob.
        digest: Digest,
    },
    /// Answer to [`Output::Announce`].
    Announced {
        /// The blob.
        digest: Digest,
        /// What the tracker said.
        reply: AnnounceReply,
    },
    /// Answer to [`Output::Announce`]: it failed.
    AnnounceFailed {
        /// The blob.
        digest: Digest,
        /// Why.
        error: AnnounceError,
    },
    /// A connection stands and handshakes were exchanged.
    Connected {
        /// Its number.
        conn: ConnId,
        /// Who is at the other end.
        peer: PeerId,
        /// Where that peer takes connections: the dialled address; for an incoming one, its IP with the port of its handshake.
        addr: SocketAddr,
        /// Whether we dialled.
        outbound: bool,
        /// Where the peer stands, as it says.
        zone: Zone,
    },
    /// The grant of a [`Message::Join`] that was just handed in does not hold: the peer may take part, but gets no pieces.
    Ungranted {
        /// On which connection.
        conn: ConnId,
        /// The peer's channel number.
        swarm: u32,
    },
    /// [`Output::Dial`] did not lead to a connection (refused, timed out, or the handshake failed).
    DialFailed {
        /// The dialled address.
        addr: SocketAddr,
    },
    /// A connection ended, whoever ended it (also after [`Output::Close`], where it is optional).
    Disconnected {
        /// Its number.
        conn: ConnId,
    },
    /// A message came in.
    Received {
        /// On which connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// A [`Message::Piece`] came in whose bytes the driver keeps: it has them at hand, or on the way to the disk, when the core answers
    /// with [`Output::StorePiece`], which then has no bytes. In its turn among the messages of the connection.
    PieceArrived {
        /// On which connection.
        conn: ConnId,
        /// The sender's channel number.
        swarm: u32,
        /// The piece.
        index: PieceIndex,
        /// Bytes still waiting in the sender's upload queue.
        queue: u32,
        /// How many bytes came.
        len: u32,
    },
    /// The send queue of a connection has fallen below its low-water mark: every piece handed over by [`Output::SendPiece`] is on its
    /// way. Must follow each of them sooner or later, unless it failed; one may stand for several.
    Drained {
        /// Which connection.
        conn: ConnId,
    },
    /// Answer to [`Output::SendPiece`]: the piece cannot be read or does not verify, and no byte of it has left.
    SendFailed {
        /// On which connection it should have gone out.
        conn: ConnId,
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
    },
    /// Answer to [`Output::StorePiece`]: verified and written.
    PieceStored {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
    },
    /// Answer to [`Output::StorePiece`]: not written.
    PieceRejected {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
        /// Who delivered it.
        source: Source,
        /// Whose fault it is.
        why: RejectCause,
    },
    /// A piece that was present no longer verifies: fetch it again. Opens the blob, if it was only seeded; `Completed` follows anew.
    /// Ignored for a blob that is not in memory: [`Input::Open`] it.
    PieceLost {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
    },
    /// Answer to [`Output::FetchWeb`]: the bytes of the piece, not verified yet.
    WebFetched {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
        /// Its bytes.
        data: Bytes,
    },
    /// Answer to [`Output::FetchWeb`]: it failed.
    WebFailed {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
    },
    /// The moment that [`crate::Core::next_timeout`] named has passed.
    Tick,
}

/// What to do: the core's words to the driver.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell the tracker. Answer with [`Input::Announced`] or [`Input::AnnounceFailed`] (for `Stopped` no answer is needed).
    Announce {
        /// The blob.
        digest: Digest,
        /// What happened.
        event: AnnounceEvent,
        /// Whether we have every piece.
        complete: bool,
        /// Whether the answer must contain the metainfo.
        need_metainfo: bool,
        /// The version of the tracker's list that we know; 0 for none.
        known: u64,
        /// How many further peers are of use to us.
        peers_wanted: u8,
    },
    /// Make or reopen the partial file; answer [`Input::Prepared`] or [`Input::Absent`].
    Prepare {
        /// The blob.
        digest: Digest,
        /// Its size and piece digests.
        metainfo: Metainfo,
    },
    /// A peer asks for a blob that is not in memory; answer [`Input::Prepared`] or [`Input::Absent`].
    Lookup {
        /// The blob.
        digest: Digest,
    },
    /// Connect and exchange handshakes; answer [`Input::Connected`] with this address or [`Input::DialFailed`].
    Dial {
        /// Where.
        addr: SocketAddr,
    },
    /// Queue a message on a connection, in order.
    Send {
        /// Which connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// Send what is queued, then close the connection.
    Close {
        /// Which connection.
        conn: ConnId,
        /// Why, for the log.
        reason: CloseReason,
    },
    /// Send a piece that the store has, verified, as [`Message::Piece`] in its turn among the messages of the connection; answer
    /// [`Input::Drained`] when it has gone out, or [`Input::SendFailed`]. The bytes never pass through the core: the driver may let
    /// the kernel copy them from the file to the socket.
    SendPiece {
        /// On which connection.
        conn: ConnId,
        /// Our channel number.
        swarm: u32,
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
        /// Its length in bytes.
        len: u32,
        /// Bytes still waiting in our upload queue, for everybody: our load.
        queue: u32,
        /// Whether a reader waits for it and nothing else: it goes before pieces handed over earlier for which nobody does, and one of these that is being
        /// sent pauses.
        urgent: bool,
    },
    /// Verify and write a piece; answer [`Input::PieceStored`] or [`Input::PieceRejected`].
    StorePiece {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
        /// Who delivered it.
        source: Source,
        /// Its bytes; none when it came by [`Input::PieceArrived`].
        data: Bytes,
    },
    /// Fetch a piece as an HTTP range; answer [`Input::WebFetched`] or [`Input::WebFailed`].
    FetchWeb {
        /// The blob.
        digest: Digest,
        /// The piece.
        index: PieceIndex,
        /// The web seed.
        url: String,
    },
    /// Every piece is stored: commit the blob.
    Completed {
        /// The blob.
        digest: Digest,
    },
    /// Nobody can provide the blob now; its readers get the error, and the core has forgotten the download.
    Failed {
        /// The blob.
        digest: Digest,
        /// Why.
        error: FailReason,
    },
    /// A peer was banned (for logs and counters; its connections are closed by [`Output::Close`]).
    Banned {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: BanReason,
    },
}
