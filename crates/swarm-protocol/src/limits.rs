//! Every number of the protocol, each with its reason.
//!
//! [`Limits`] holds the few that a deployment or a test may change; the constants are part of how the protocol works.

use crate::io::Role;

/// The numbers that a deployment may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all. One connection carries every blob shared with a peer, so this is a number of neighbours.
    pub connections_max: u32,
    /// Slots that our own dials never take, so that late joiners get in.
    pub incoming_reserve: u32,
    /// Slots that incoming connections never take, so that we can reach owners.
    pub outgoing_reserve: u32,
    /// Neighbours that a download looks for; it stops dialling there, but accepts more.
    pub neighbours_wanted: u32,
    /// Dials under way at once.
    pub dials_max: u32,
    /// Pieces handed to connections and not yet drained, over all of them.
    pub uploads_max: u32,
    /// No piece from any peer for this long: ask the web seeds. Longer while an owner is connected, see `OWNED_STALL_FACTOR`.
    pub stall_ms: u64,
    /// No useful connection this long after the start: ask the web seeds.
    pub web_after_ms: u64,
    /// Pieces being fetched from web seeds at once, per blob.
    pub web_requests_max: u32,
    /// No piece from anywhere for this long: the download fails.
    pub fail_ms: u64,
    /// How long a banned peer stays out.
    pub ban_ms: u64,
    /// A seeding blob that nobody has asked for this long leaves memory.
    pub release_ms: u64,
    /// A connection that neither side has needed for this long is closed.
    pub idle_ms: u64,
    /// Bytes in flight that a neighbour is given at first. Changed for measurements only, like all below.
    pub window_start_bytes: u64,
    /// The most bytes in flight per neighbour.
    pub window_max_bytes: u64,
    /// Whether owners are asked for anything, so that they hand out distinct pieces; false: they are asked like any neighbour.
    pub distinct: bool,
    /// Whether the least loaded neighbour is asked; false: a random one.
    pub least_loaded: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Three times what the swarm needs to stay well mixed, at a few KiB each.
            connections_max: 96,
            incoming_reserve: 32,
            outgoing_reserve: 32,
            // As many again dial us, so the degree is about twice this; but hardly anybody dials the last to come. On real links 10 left such
            // agents now and then among themselves (1.35 of the bound where half were done at 1.17); simulated with 64 agents, 16 ends 3
            // percent later than 10.
            neighbours_wanted: 12,
            // Enough to fill the neighbourhood in two rounds, without a burst of SYNs.
            dials_max: 8,
            // Store-and-forward wants few uploads at a time (sharing the uplink among all requesters is 3 times slower), but enough that
            // some receiver's downlink is free. Measured on shaped links with 16 agents: 2, 3, 4 and 6 end within one percent of one
            // another, and with 64 slow agents more than 4 overrun the queues of the links.
            uploads_max: 4,
            // Longer than any healthy gap between pieces, short against a reader's patience.
            stall_ms: 2_000,
            // A dial and a handshake in one data centre take a few milliseconds.
            web_after_ms: 500,
            // Owners' HTTP is the last resort of many agents at once.
            web_requests_max: 4,
            // Clients give up, or go to the next host, after about a minute.
            fail_ms: 30_000,
            // Long enough that a broken disk or memory does no more harm, short enough to heal by itself after a repair.
            ban_ms: 600_000,
            // Layers of one image are asked for within seconds of one another, by a fleet within a minute.
            release_ms: 60_000,
            // As above: the next layer mostly wants the same neighbours.
            idle_ms: 60_000,
            // One of the smallest pieces. It grows with the first answer if the neighbour runs dry. Simulated with 64 agents and 128
            // pieces: 1.39 of the bound, with two pieces 1.53.
            window_start_bytes: 64 * 1024,
            // More only lengthens the tail, because what waits at one cannot be asked of another.
            window_max_bytes: 1024 * 1024,
            distinct: true,
            least_loaded: true,
        }
    }
}

impl Limits {
    /// Limits that suit a role.
    pub fn for_role(role: Role) -> Self {
        match role {
            Role::Agent => Self::default(),
            // An owner meets every agent that starts at the same time. It dials only while it mends a damaged blob, which agents that
            // have the whole of it help with: as many as a download looks for, with room for some that do not answer.
            Role::Owner => Self {
                connections_max: 4_096,
                incoming_reserve: 4_096 - OWNER_DIALS,
                outgoing_reserve: OWNER_DIALS,
                ..Self::default()
            },
        }
    }
}

/// Slots in which an owner dials, and which incoming connections leave free: without any it could never mend what is damaged.
const OWNER_DIALS: u32 = 16;

/// Pieces of a blob of 1 TiB at 4 MiB each: the most that a blob may have here.
pub(crate) const PIECES_MAX: u32 = 262_144;

/// Bytes of the longest bitfield.
pub(crate) const BITFIELD_LEN_MAX: usize = PIECES_MAX as usize / 8;

/// Swarms on one connection. Beyond what a node pulls at once; bounds what a peer can make us keep or look up.
pub(crate) const CHANNELS_MAX: usize = 1_024;

/// Requests of one kind that one connection may have waiting here. The largest window holds 16 of the smallest pieces; the
/// rest is room for readers and the endgame.
pub(crate) const REQUESTS_MAX: usize = 128;

/// Bytes asked for or being stored, over all neighbours and blobs: what this process may have to hold in memory.
pub(crate) const IN_FLIGHT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Pieces that an owner has assigned ahead of sending them. A piece is assigned as late as possible, when its turn is near, so that
/// the choice fits what the requester lacks by then, but early enough that it can say no in time.
pub(crate) const ASSIGN_AHEAD: usize = 4;

/// A blob is at its beginning while an agent has fewer pieces of it.
pub(crate) const BEGINNING_PIECES: u64 = 4;

/// For an owner it is while it has sent, or heard of, fewer copies of pieces than this.
pub(crate) const BEGINNING_COPIES: u64 = 64;

/// Uploads at a time while every blob is at its beginning: who gets one of the first pieces soon can pass it on soon, and pieces that share
/// the uplink all come late. Measured with 16 agents: it takes one percent off the whole. One at a time does not fill the uplink.
pub(crate) const BEGINNING_UPLOADS: u32 = 2;

/// Pieces of one blob that an agent has asked for at a time. Everybody waits in lines of others, and who waits in more lines gets more: without
/// this bound those with fewest neighbours (11 of up to 28) came last, at 1.3 of the bound where half were done at 1.15. Simulated with 64
/// agents: 1.24 of the bound, and 1.33 without.
pub(crate) const ASKED_PIECES: u64 = 16;

/// With fewer neighbours than this everybody has few, and longer lines would only keep pieces from multiplying.
pub(crate) const FEW_NEIGHBOURS: u64 = 8;

/// Pieces handed to one connection and not drained: one on the wire, one right behind it.
pub(crate) const UPLOADS_PER_CONN: u32 = 2;

/// Connections that may hold an upload slot without draining it, beyond the slots in use: bounds the bytes held for slow receivers.
pub(crate) const UPLOADS_STUCK_MAX: u32 = 16;

/// How long a common piece may go untold, in microseconds: a few pieces' time at the rates where the packets count.
pub(crate) const NEWS_MICROS: u64 = 80_000;

/// How long an owner may go untold: it needs the news only to weigh copies of what has left it.
pub(crate) const NEWS_OWNER_MICROS: u64 = 400_000;

/// A piece that no more neighbours than this have is told at once.
pub(crate) const RARE_COPIES: usize = 1;

/// Urgent pieces sent in a row while others wait; then one of the others has its turn, so that readers cannot starve the background.
pub(crate) const URGENT_RUN_MAX: u32 = 4;

/// Bytes on the way may take this much longer than the path is long, in microseconds, before they count as load.
pub(crate) const UPLOAD_AHEAD_MICROS: u64 = 15_000;

/// With an owner connected that has what is missing, web seeds are asked so many times later: they are the same machines, and whoever waits for
/// them in the swarm only waits for others to be served first. With 64 agents at 10 Mbit/s some wait for 3 s; what they fetched
/// out of turn slowed all others down.
pub(crate) const OWNED_STALL_FACTOR: u64 = 3;

/// Pieces that an owner may owe us: while one is on its way the next is chosen, so that its uplink does not wait for our answer. It
/// chooses late, so nothing is lost by asking early.
pub(crate) const OWNER_PIECES: u64 = 2;

/// A piece that has left the process and was not confirmed for so long will not be: its receiver speaks no more of it.
pub(crate) const ARRIVAL_MICROS_MAX: u64 = 20_000_000;

/// Requests of one blob among which the one for the rarest piece is sent first.
pub(crate) const RARITY_LOOK_AHEAD: usize = 31;

/// No request is overtaken by rarer ones for longer than this.
pub(crate) const OVERTAKEN_MICROS_MAX: u64 = 500_000;

/// A piece that has not arrived within this many times the usual has a slow receiver, and others are served beside it.
pub(crate) const UPLOAD_PATIENCE_FACTOR: u64 = 4;

/// Bounds of that patience: scheduling noise below, a reader's patience above.
pub(crate) const UPLOAD_PATIENCE_MICROS: (u64, u64) = (20_000, 2_000_000);

/// A neighbour with no more pieces than this waiting to be sent is at ease: it will serve a request before long, and the owners need not.
/// Measured with an owner four times as fast as its 16 agents: with 4 it sent 2.0 copies (1.136 of the bound), with 12 1.2 (1.10).
pub(crate) const NEIGHBOUR_EASE_PIECES: u64 = 12;

/// Missing pieces below which the endgame begins. Larger ones bought nothing.
pub(crate) const ENDGAME_PIECES: usize = 3;

/// How many may be asked for the same piece in the endgame.
pub(crate) const ENDGAME_SOURCES: usize = 3;

/// Pieces of one reader's window that go before rarest-first: while there are peers to trade with, and when there are none.
/// Simulated with 12 agents that all read: 1 takes 1.14 of the bound, 4 takes 1.67, and neither reads sooner.
pub(crate) const WANT_AHEAD: (usize, usize) = (1, 4);

/// Pieces that may go before rarest-first on credit. Every piece stored earns [`WANT_EARNED_PER_1000`]; so streaming readers take at
/// most about that share of the swarm, and the rest keeps the pieces mixed.
pub(crate) const WANT_CREDIT_MAX: u64 = 2_000;

/// Credit per stored piece, in thousandths of a piece.
pub(crate) const WANT_EARNED_PER_1000: u64 = 100;

/// An owner that has something else to send gives a piece that it gave to somebody this lately to no other reader that waits for it: the
/// reader is better served by that somebody, and the owner's uplink is for what nobody has. Longer than a piece takes over a few hops.
pub(crate) const OWNER_DEMAND_MICROS: u64 = 1_500_000;

/// A piece that a receiver has from an owner, and nobody from it after this many times the usual, counts against the receiver.
pub(crate) const SPREAD_PATIENCE_FACTOR: u64 = 4;

/// Bounds of that patience: owners hear of pieces only now and then, and nothing is usual before the first was passed on.
pub(crate) const SPREAD_PATIENCE_MICROS: (u64, u64) = (1_500_000, 5_000_000);

/// How long a piece counts against whoever kept it, after it had to be given to somebody else.
pub(crate) const SPREAD_DEBT_MICROS: u64 = 30_000_000;

/// Words of no use that one connection may say at once, and per second after that. Simulated fleets of honest agents stay below a tenth of
/// it; a flood is over within a second.
pub(crate) const NOISE_BURST: u64 = 512;
pub(crate) const NOISE_PER_SECOND: u64 = 32;

/// Pieces given lately that an owner remembers before it looks for those to forget.
pub(crate) const GIVEN_MAX: usize = 4_096;

/// How long a neighbour is not asked again for a piece that it rejected.
pub(crate) const REJECT_HOLD_MICROS: u64 = 200_000;

/// How long a peer that declined a blob is not asked again about it.
pub(crate) const DECLINE_HOLD_MS: u64 = 3_000;

/// Patience with a neighbour whose latency is not known yet: base, plus the time for its bytes at [`PATIENCE_RATE`].
pub(crate) const PATIENCE_START_MICROS: u64 = 4_000_000;

/// Patience with a neighbour whose latency is not known yet is at most this many times what is usual with all others.
pub(crate) const PATIENCE_USUAL_FACTOR: u64 = 4;

/// A neighbour that kept us waiting is not asked again for as long as we waited, twice as long each time, up to this.
pub(crate) const SHUN_MICROS_MAX: u64 = 60_000_000;

/// A neighbour that sent a corrupt piece is asked for nothing for so long, if it was the first: the next is its last.
pub(crate) const SHUN_CORRUPT_MICROS: u64 = 5_000_000;

/// 256 KiB/s: a slow neighbour, in bytes per second.
pub(crate) const PATIENCE_RATE: u64 = 256 * 1024;

/// Bounds of the patience with a neighbour that has been measured.
pub(crate) const PATIENCE_MICROS: (u64, u64) = (1_000_000, 30_000_000);

/// Corrupt pieces before a peer is banned. The first may be a disk that has just gone bad, and the peer will find out itself.
pub(crate) const CORRUPT_MAX: u32 = 2;

/// A peer that broke the protocol, and does so again within this time, stays out as long. The first time may be a race that nobody
/// has thought of.
pub(crate) const VIOLATION_MS: u64 = 60_000;

/// Banned peers and counters remembered; beyond it the oldest go.
pub(crate) const BANS_MAX: usize = 4_096;

/// A keep-alive is sent this often, so that a dead path is noticed by either end.
pub(crate) const KEEP_ALIVE_MS: u64 = 30_000;

/// A peer that has sent nothing for three keep-alives is gone.
pub(crate) const SILENCE_MS: u64 = 95_000;

/// A connection this young is never replaced, or two newcomers would chase one another.
pub(crate) const TENURE_MS: u64 = 5_000;

/// Back-off after a failed dial or a lost connection: first, and at most. Short, because nobody is banned for being full or away.
pub(crate) const REDIAL_MS: (u64, u64) = (500, 15_000);

/// Addresses remembered per blob. Trackers hand out at most 50 at a time.
pub(crate) const CANDIDATES_MAX: usize = 200;

/// A download with more pieces than this has something to trade.
pub(crate) const TRADE_PIECES: u32 = 16;

/// A download with no more pieces than this has hardly begun.
pub(crate) const CROWD_PIECES: u32 = 2;

/// A download to which neighbours owe fewer pieces than this fetches anything from any zone: its link would rest. Simulated with ten zones
/// of 20 agents: with 3 the slowest took 26 % longer than without zones, with 10 nobody did, and three times as many copies crossed.
pub(crate) const ZONE_PIECES: u64 = 10;

/// A download that has got no piece for so long fetches anything from any zone, in microseconds: many pieces' time at the rates of links
/// between zones.
pub(crate) const ZONE_PATIENCE_MICROS: u64 = 100_000;

/// Peers that a download asks a tracker for: the neighbours that it looks for, and as many again that may not answer.
pub(crate) const PEERS_WANTED: u8 = 50;

/// How long after a peer has joined it is told of others; most pulls have found enough, or are over, by then.
pub(crate) const EXCHANGE_FIRST_MICROS: u64 = 1_000_000;

/// Time between two lists of peers on one connection.
pub(crate) const EXCHANGE_MICROS: u64 = 10_000_000;

/// Lists of peers on one channel that may come beyond one for each period.
pub(crate) const NAMED_BURST: u32 = 8;

/// Peers remembered as named to somebody: four messages, more than anybody needs.
pub(crate) const TOLD_MAX: usize = 64;

/// Connections with one IP address: the agents on one machine, and not all slots for one stranger. Loopback has no bound.
pub(crate) const CONNECTIONS_PER_HOST_MAX: usize = 16;

/// Back-off after a failed announce: first, and at most.
pub(crate) const ANNOUNCE_RETRY_MS: (u64, u64) = (500, 30_000);

/// When a tracker whose answer is of no use is asked again, the first time.
pub(crate) const ANNOUNCE_AGAIN_MS: u64 = 50;

/// Interval of announces when the tracker names none.
pub(crate) const ANNOUNCE_INTERVAL_MS: u64 = 30_000;

/// Bounds of what a tracker may name.
pub(crate) const ANNOUNCE_INTERVAL_BOUNDS_MS: (u64, u64) = (1_000, 3_600_000);

/// When a download with too few neighbours asks again; twice as long each time. A neighbour that answers is there within milliseconds.
pub(crate) const ANNOUNCE_LONELY_MS: u64 = 2_000;

/// How long it may take until the tracker hears that a blob is complete. It hands the peer out all the same, among the others.
pub(crate) const COMPLETED_HOLD_MS: u64 = 60_000;

/// An announce goes along with another one when no more than this part of its interval is left.
pub(crate) const TOGETHER_ONE_IN: u64 = 4;

/// One in so many answers is asked for whole. At 50 s each it is eight minutes until a change of owners is known everywhere; a grant
/// has to hold for longer than that.
pub(crate) const ANSWERS_PER_WHOLE: u32 = 10;

/// A download with fewer useful neighbours than this is lonely.
pub(crate) const LONELY_NEIGHBOURS: usize = 4;

/// Back-off after a failed web fetch: first, and at most.
pub(crate) const WEB_RETRY_MS: (u64, u64) = (500, 8_000);

/// Web seeds remembered per blob: the replicas of a blob are few.
pub(crate) const WEB_SEEDS_MAX: usize = 16;
