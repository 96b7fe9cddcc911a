//! Every number that bounds this room, with its reason.
//!
//! The protocol's own limits (requests in flight, peers per blob, retries) live with the core in `shoal-swarm-protocol`; here are
//! only those of sockets, memory, disk and waiting. What an operator or a test may turn is in [`Times`] and [`Bounds`]; the rest
//! are constants.

use std::time::Duration;

/// Events that wait for the actor. Each is small (payloads are bounded by [`Bounds::inbound_bytes_max`]); at a microsecond or
/// so per event this is about a millisecond of work, enough to ride out one scheduling delay.
pub(crate) const EVENTS_MAX: usize = 1024;

/// Events taken off the channel in one go: amortises the wake-up, and still looks at commands and timers often.
pub(crate) const EVENTS_BATCH: usize = 64;

/// Commands (open, seed, heal, status) that wait for the actor; callers beyond it wait in `await`.
pub(crate) const COMMANDS_MAX: usize = 1024;

/// Connections taken in that have not yet said who they are. A handshake is one round trip, so honest peers need a handful;
/// silent ones are cut off after [`Times::handshake`], and beyond this count newcomers are dropped at once.
pub(crate) const HANDSHAKES_MAX: usize = 256;

/// Of these, how many from one address: one silent machine must not use up the room of all others.
pub(crate) const HANDSHAKES_PER_ADDRESS_MAX: usize = 64;

/// Connections beyond the protocol's own limit: the core chooses which to keep, and turns the others away politely, so it has to
/// see a few more than it keeps.
pub(crate) const CONNECTIONS_SPARE: usize = 64;

/// Outgoing connection attempts at once; the core asks for few at a time, this bounds what a faulty tracker could cause.
pub(crate) const DIALS_MAX: usize = 64;

/// How long the listener rests after `accept` failed (usually: no file descriptors left), so that it does not spin.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a piece that are received, hashed and written at a time. Longer ones save little: a system call and a hand-over to another
/// thread for each cost some 20 µs, moving the bytes through the processor 100. They must fit into the second-level cache.
pub(crate) const SEGMENT_LEN: usize = 256 * 1024;

/// Channels of a peer of which the reading side knows the blob: as many as the core allows on a connection, which ends one that has
/// more.
pub(crate) const CHANNELS_KNOWN_MAX: usize = 1024;

/// Read buffer of a connection for everything but piece payloads: control messages are a few dozen bytes, so one read takes in
/// hundreds of them, and at most this much of a piece is copied once more.
pub(crate) const READ_BUFFER_LEN: usize = 8 * 1024;

/// Bytes that the kernel holds for a connection without having sent them (`TCP_NOTSENT_LOWAT`), at least: the socket takes more when half of
/// them are left. Pieces in the sockets of many connections would all be sent at the same time and all be late, where the core cannot
/// see or reorder them, so this is less than the smallest piece; a tenth of a millisecond at 1 Gbit/s is enough to follow up in.
pub(crate) const SOCKET_UNSENT_BYTES: u32 = 32 * 1024;

/// Bytes of a piece that a plain socket is given at once, after it was asked whether it wants more: at least, for the smallest pieces, and
/// at most. With the above, what the kernel may hold unsent. Twice as many bytes are half as many wake-ups, of which each costs both
/// ends about as much as copying 20 KiB.
pub(crate) const SEND_PORTION_BYTES: (usize, usize) = (16 * 1024, 512 * 1024);

/// Bytes of a file that are looked for in memory at once before they are sent, and brought there if need be: half a millisecond of a
/// fast disk, and a few probes for many portions.
pub(crate) const SEND_WARM_BYTES: u64 = 512 * 1024;

/// Bytes of a piece that are read at once where an envelope is around the connection: four of TLS's records of 16 KiB.
pub(crate) const SEND_BLOCK_LEN: usize = 64 * 1024;

/// Bytes that a connection sends before other tasks of the thread have their turn: less than a millisecond.
pub(crate) const SEND_BURST_BYTES: usize = 1024 * 1024;

/// Send queue of one connection below which the core is told that it has drained: with what the socket holds, this bridges the
/// time in which the next piece is read, and is little against the smallest piece.
pub(crate) const SEND_LOW_BYTES: usize = 8 * 1024;

/// Messages and pieces in the send queue of one connection beyond which the peer is cut off: it reads less than it asks for. A piece
/// counts as one, since its bytes stay on the disk until its turn; the core grants a few of them at a time, so nearly all are words
/// about pieces: one for each of the 4,096 that a peer's neighbours may get while it is silent for a moment, and as many again. About
/// 1 MiB of memory.
pub(crate) const SEND_QUEUE_MAX: usize = 8192;

/// Urgent pieces that a connection sends in a row while others wait; then one of the others, or its next part, has its turn, so that
/// readers cannot starve the background.
pub(crate) const URGENT_IN_A_ROW_MAX: usize = 8;

/// Bytes of a piece after which an urgent one may overtake it: when nobody has waited for any lately, and when somebody has. 4 ms and 1 ms at
/// 1 Gbit/s. Each part costs both ends a few microseconds, so most pieces of the background go in one or a few.
pub(crate) const PART_BYTES: (u32, u32) = (512 * 1024, 128 * 1024);

/// How long after an urgent piece was sent the next one is reckoned with.
pub(crate) const URGENT_MEMORY: Duration = Duration::from_secs(1);

/// How long a connection holds back before each part of a piece while others send what readers wait for: 1.2 MiB at 1 Gbit/s, which is more
/// than most such pieces. With the smallest parts 100 Mbit/s are left to it whatever the others do.
pub(crate) const GIVE_WAY_MAX: Duration = Duration::from_millis(10);

/// How long a piece in parts may take in all, in times of [`Times::frame`]: it may pause for others.
pub(crate) const PARTS_PATIENCE: u32 = 2;

/// Messages are gathered up to this many bytes before they are written: hundreds of them.
pub(crate) const WRITE_HEADS_LEN: usize = 8 * 1024;

/// Disk jobs that wait. Writes are bounded by [`Bounds::inbound_bytes_max`] and are never refused; beyond this count reads for
/// peers are answered "not now" instead of queueing behind a disk that is too slow for them.
pub(crate) const DISK_QUEUE_MAX: usize = 4096;

/// How often the room looks after itself: closes unused files, forgets evicted blobs, counts for the metrics.
pub(crate) const SWEEP: Duration = Duration::from_secs(2);

/// How long an unused file handle of a complete blob stays open: long enough to serve a burst of requests with one open, short
/// enough that eviction (which passes over blobs in use) is not held up.
pub(crate) const HANDLE_IDLE: Duration = Duration::from_secs(10);

/// Announcements in one call: keeps the request under 64 KiB.
pub(crate) const ANNOUNCE_BATCH_MAX: usize = 256;

/// Announce calls in flight. The tracker answers in a millisecond or two; when it does not, more calls do not help.
pub(crate) const ANNOUNCES_MAX: usize = 4;

/// Web seed fetches in flight: they are the fallback, and the owner behind them serves everybody.
pub(crate) const WEB_FETCHES_MAX: usize = 8;

/// How often a reader asks for the same piece again after the disk gave back wrong bytes. A second failure on freshly written
/// bytes means the disk or the memory is broken, and no further try will help.
pub(crate) const HEALS_MAX: u32 = 3;

/// How far ahead of itself a reader asks for pieces in order: about what a 1 Gbit/s client drains in 30 ms. More would turn the
/// whole swarm sequential, and everybody would hold the same pieces.
pub(crate) const WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes that a reader asks for at once and nothing else, at most, for it to go before all that streams and arrives in the background. Reads
/// of files of a lazily mounted image are a tenth of it; at 1 Gbit/s it holds up the others for 30 ms.
pub(crate) const DEMAND_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The window in pieces, at least: as many as the core lets go before rarest-first for a reader that waits.
pub(crate) const WINDOW_PIECES_MIN: u32 = 4;

/// How long things may take. All are upper bounds on waiting; none delays anything that is ready.
#[derive(Clone, Debug)]
pub struct Times {
    /// From accepting (or connecting) to a complete handshake.
    pub handshake: Duration,
    /// From dialling to a connected socket.
    pub dial: Duration,
    /// For one write to make any progress before the peer is cut off.
    pub write_stall: Duration,
    /// Between the first and the last byte of one message; a whole piece must arrive in this time.
    pub frame: Duration,
    /// How long announcements wait for others to share their call.
    pub announce_window: Duration,
    /// For one announce call.
    pub announce: Duration,
    /// For one range from a web seed.
    pub web: Duration,
    /// From `open` to the blob's metainfo. The core usually knows earlier that nobody has it.
    pub open: Duration,
    /// For a reader between two signs of progress of its blob. The core usually gives up earlier.
    pub stall: Duration,
    /// For the last announcement at shutdown.
    pub goodbye: Duration,
    /// For disk work under way at shutdown.
    pub disk_drain: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            // One round trip, with room for a lost SYN-ACK or segment (retransmission after 1 s and 2 s).
            handshake: Duration::from_secs(5),
            dial: Duration::from_secs(5),
            // A peer whose receive window stays shut this long is gone or stuck.
            write_stall: Duration::from_secs(30),
            // 4 MiB in a minute is 560 kbit/s: a peer slower than that on one piece helps nobody.
            frame: Duration::from_secs(60),
            // The layers of one image are opened within a few milliseconds of each other.
            announce_window: Duration::from_millis(5),
            announce: Duration::from_secs(5),
            // 4 MiB from a busy owner.
            web: Duration::from_secs(30),
            // containerd gives up on a silent response header after 30 s or more; answer before it does.
            open: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            goodbye: Duration::from_millis(1500),
            disk_drain: Duration::from_secs(10),
        }
    }
}

/// How much memory and how many threads the room may use.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes of pieces that were received and are not on disk yet. When it is used up, sockets are not read.
    pub inbound_bytes_max: usize,
    /// Blocking threads that read, write and hash at once.
    pub disk_workers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // A segment for each connection that an agent may have (160), so that senders who stop half way keep nobody else from being
            // read, and some for what waits for the disk. In practice it is a tenth of that.
            inbound_bytes_max: 48 * 1024 * 1024,
            // Hashing runs at more than 1 GB/s per core, so a few threads outrun any network card we know; more would only
            // take cores from the containers of the node.
            disk_workers: 4,
        }
    }
}
