//! What a core does with peers that break the protocol, and what it owes to those that keep it: input by input, without a world.

#[path = "protocol/arriving.rs"]
mod arriving;
#[path = "protocol/hostile.rs"]
mod hostile;
#[path = "protocol/overlay.rs"]
mod overlay;

use std::net::SocketAddr;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_protocol::{
    AnnounceReply, CloseReason, ConnId, Core, CoreConfig, FailReason, Input, Limits, Message, Output, Part,
    Pieces, Role, Time, Violation,
};
use shoal_swarm_types::{Bitfield, Layout, Metainfo, PeerId, PeerInfo, PieceDigest, PieceIndex, Zone};

const COUNT: u32 = 10;
const LEN: u32 = 64 * 1024;

/// A core with a clock, and everything it said since last asked.
struct Bench {
    core: Core,
    now: Time,
}

impl Bench {
    fn new(role: Role) -> Self {
        let config = CoreConfig {
            peer_id: PeerId([5; 20]),
            zone: Zone::UNKNOWN,
            role,
            seed: 1,
            limits: Limits::for_role(role),
        };
        Self { core: Core::new(config, Time(0)), now: Time(0) }
    }

    fn put(&mut self, input: Input) -> Vec<Output> {
        self.core.handle(input, self.now);
        std::iter::from_fn(|| self.core.poll()).collect()
    }

    fn say(&mut self, conn: u64, message: Message) -> Vec<Output> {
        self.put(Input::Received { conn: ConnId(conn), message })
    }

    fn connect(&mut self, conn: u64, peer: u8, outbound: bool) -> Vec<Output> {
        self.put(Input::Connected {
            conn: ConnId(conn),
            peer: PeerId([peer; 20]),
            addr: addr(peer),
            outbound,
            zone: Zone::UNKNOWN,
        })
    }

    /// Peer 9 is connected as 1, has joined with everything, and the core is downloading.
    fn downloading() -> Self {
        let mut bench = Self::new(Role::Agent);
        bench.put(Input::Open { digest: digest() });
        let peers = vec![PeerInfo {
            id: PeerId([9; 20]),
            addr: addr(9),
            complete: true,
            owner: false,
            zone: Zone::UNKNOWN,
        }];
        let reply = AnnounceReply { metainfo: Some(metainfo()), peers, ..AnnounceReply::default() };
        bench.put(Input::Announced { digest: digest(), reply });
        bench.put(prepared(Bitfield::empty(COUNT)));
        bench.connect(1, 9, true);
        bench
    }

    /// The core has everything, and peer 9, connected as 1, has nothing.
    fn seeding(role: Role) -> Self {
        let mut bench = Self::new(role);
        bench.connect(1, 9, false);
        assert!(matches!(bench.say(1, join(Pieces::Nothing))[..], [Output::Lookup { .. }]));
        assert!(sends(&bench.put(prepared(Bitfield::full(COUNT))), |message| matches!(
            message,
            Message::Join { .. }
        )));
        bench
    }
}

fn addr(peer: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, peer], 1))
}

fn digest() -> Digest {
    Digest::sha256(b"blob")
}

fn metainfo() -> Metainfo {
    let size = u64::from(COUNT * LEN);
    assert_eq!(Layout::for_size(size).piece_count(), COUNT);
    Metainfo::new(digest(), size, vec![PieceDigest([1; 32]); COUNT as usize])
        .expect("as many digests as pieces")
}

fn prepared(have: Bitfield) -> Input {
    Input::Prepared { digest: digest(), metainfo: metainfo(), have }
}

fn join(pieces: Pieces) -> Message {
    Message::Join { swarm: 7, digest: digest(), owner: false, grant: Bytes::new(), pieces }
}

fn piece(index: u32, len: u32) -> Message {
    Message::Piece { swarm: 7, index: PieceIndex(index), queue: 0, data: Bytes::from(vec![0; len as usize]) }
}

fn sends(outputs: &[Output], which: impl Fn(&Message) -> bool) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Send { message, .. } if which(message)))
}

fn closes(outputs: &[Output]) -> Option<CloseReason> {
    outputs.iter().find_map(|output| match output {
        Output::Close { reason, .. } => Some(*reason),
        _ => None,
    })
}

fn requests(outputs: &[Output]) -> Vec<PieceIndex> {
    let request = |output: &Output| match output {
        Output::Send { message: Message::Request { index, .. }, .. } => Some(*index),
        _ => None,
    };
    outputs.iter().filter_map(request).collect()
}

fn first_request(outputs: &[Output]) -> PieceIndex {
    requests(outputs)[0]
}

fn on_channel(swarm: u32, digest: Digest) -> Message {
    Message::Join { swarm, digest, owner: false, grant: Bytes::new(), pieces: Pieces::All }
}

#[test]
fn violations_close_the_connection() {
    let cases: [(Message, Violation); 9] = [
        (Message::Have { swarm: 8, index: PieceIndex(0), queue: 0 }, Violation::Channel),
        (on_channel(8, digest()), Violation::Channel),
        (on_channel(7, Digest::sha256(b"another")), Violation::Channel),
        (Message::Have { swarm: 7, index: PieceIndex(COUNT), queue: 0 }, Violation::Index),
        (Message::Request { swarm: 7, index: PieceIndex(u32::MAX), urgent: false }, Violation::Index),
        (Message::Reject { swarm: 7, index: PieceIndex(0) }, Violation::Unrequested),
        (Message::Assign { swarm: 7, index: PieceIndex(0) }, Violation::Unrequested),
        (Message::RejectAny { swarm: 7 }, Violation::Unrequested),
        (piece(3, LEN), Violation::Unrequested),
    ];
    for (message, violation) in cases {
        let mut bench = Bench::downloading();
        bench.say(1, join(Pieces::Nothing));
        assert_eq!(
            closes(&bench.say(1, message.clone())),
            Some(CloseReason::Violation(violation)),
            "{message:?}"
        );
    }
}

#[test]
fn bitfields_must_fit_the_blob_also_when_they_came_before_its_size_was_known() {
    let wrong = || join(Pieces::Some(Bytes::from_static(&[0xff; 3])));
    let mut bench = Bench::downloading();
    assert_eq!(closes(&bench.say(1, wrong())), Some(CloseReason::Violation(Violation::Bitfield)));
    let mut bench = Bench::new(Role::Agent);
    bench.connect(1, 9, false);
    bench.say(1, wrong());
    let outputs = bench.put(prepared(Bitfield::full(COUNT)));
    assert_eq!(closes(&outputs), Some(CloseReason::Violation(Violation::Bitfield)));
}

#[test]
fn a_piece_of_the_wrong_length_is_a_violation_and_is_asked_of_another() {
    let mut bench = Bench::downloading();
    let index = first_request(&bench.say(1, join(Pieces::All)));
    let outputs = bench.say(1, piece(index.0, LEN - 1));
    assert_eq!(closes(&outputs), Some(CloseReason::Violation(Violation::PieceLen)));
    bench.connect(2, 8, false);
    bench.say(2, join(Pieces::All));
    assert_eq!(bench.core.status(&digest()).unwrap().peers, 1);
}

#[test]
fn requests_and_channels_are_bounded() {
    let mut bench = Bench::seeding(Role::Agent);
    let closed = (0..1_000).find_map(|n| {
        let index = PieceIndex(n % COUNT);
        closes(&bench.say(1, Message::Request { swarm: 7, index, urgent: false }))
    });
    assert_eq!(closed, Some(CloseReason::Violation(Violation::Requests)));
    let mut bench = Bench::seeding(Role::Owner);
    let closed =
        (0..1_000).find_map(|_| closes(&bench.say(1, Message::RequestAny { swarm: 7, part: Part::WHOLE })));
    assert_eq!(closed, Some(CloseReason::Violation(Violation::Requests)));
    let mut bench = Bench::new(Role::Agent);
    bench.connect(1, 9, false);
    let closed = (0..5_000_u32).find_map(|swarm| {
        let digest = Digest::sha256(&swarm.to_be_bytes());
        closes(&bench.say(
            1,
            Message::Join { swarm, digest, owner: false, grant: Bytes::new(), pieces: Pieces::Nothing },
        ))
    });
    assert_eq!(closed, Some(CloseReason::Violation(Violation::Channels)));
}

#[test]
fn an_owner_assigns_distinct_pieces_and_says_so_first() {
    let mut bench = Bench::seeding(Role::Owner);
    let mut assigned = Vec::new();
    for _ in 0..COUNT {
        let outputs = bench.say(1, Message::RequestAny { swarm: 7, part: Part::WHOLE });
        for output in &outputs {
            if let Output::Send { message: Message::Assign { index, .. }, .. } = output {
                assigned.push(*index);
            }
            if let Output::SendPiece { conn, swarm, index, len, .. } = output {
                assert!(assigned.contains(index));
                assert_eq!((*conn, *swarm, *len), (ConnId(1), 0, LEN));
            }
        }
        let mut outputs = bench.put(Input::Drained { conn: ConnId(1) });
        for index in assigned.clone() {
            outputs.extend(bench.say(1, Message::Arrived { swarm: 7, index }));
        }
        assert!(!outputs.iter().any(|output| matches!(output, Output::Close { .. })));
    }
    assigned.sort_unstable();
    assigned.dedup();
    assert_eq!(assigned.len(), COUNT as usize);
    let outputs = bench.say(1, Message::RequestAny { swarm: 7, part: Part::WHOLE });
    assert!(sends(&outputs, |message| matches!(message, Message::RejectAny { .. })));
}

#[test]
fn an_owner_hears_of_what_came_from_others() {
    let mut bench = Bench::downloading();
    bench.connect(2, 8, false);
    let owner =
        Message::Join { swarm: 7, digest: digest(), owner: true, grant: Bytes::new(), pieces: Pieces::All };
    bench.say(2, owner);
    let index = first_request(&bench.say(1, join(Pieces::All)));
    bench.say(1, piece(index.0, LEN));
    let mut outputs = bench.put(Input::PieceStored { digest: digest(), index });
    bench.now = bench.now.plus_millis(1_000);
    outputs.extend(bench.put(Input::Tick));
    let told = |output: &Output| match output {
        Output::Send { conn: ConnId(2), message: Message::Have { index: told, .. } } => *told == index,
        Output::Send { conn: ConnId(2), message: Message::Haves { indices, .. } } => indices.contains(&index),
        _ => false,
    };
    assert!(outputs.iter().any(told), "it would give it to us again: {outputs:?}");
}

#[test]
fn a_cancelled_piece_is_rejected_or_arrives_and_both_are_fine() {
    let mut bench = Bench::seeding(Role::Agent);
    for index in 0..7 {
        bench.say(1, Message::Request { swarm: 7, index: PieceIndex(index), urgent: false });
    }
    // Six are being sent, the seventh waits.
    let late = bench.say(1, Message::Cancel { swarm: 7, index: PieceIndex(0) });
    assert!(late.is_empty());
    let queued = bench.say(1, Message::Cancel { swarm: 7, index: PieceIndex(6) });
    assert!(sends(&queued, |message| matches!(message, Message::Reject { index: PieceIndex(6), .. })));
}

#[test]
fn a_piece_that_cannot_be_sent_is_rejected_and_only_what_went_out_is_counted() {
    let mut bench = Bench::seeding(Role::Agent);
    for index in 0..2 {
        let outputs = bench.say(1, Message::Request { swarm: 7, index: PieceIndex(index), urgent: false });
        assert!(matches!(outputs[..], [Output::SendPiece { len: LEN, .. }]));
    }
    let failed = |index| Input::SendFailed { conn: ConnId(1), digest: digest(), index: PieceIndex(index) };
    let outputs = bench.put(failed(0));
    assert!(sends(&outputs, |message| matches!(message, Message::Reject { index: PieceIndex(0), .. })));
    assert!(bench.put(failed(0)).is_empty(), "a second word about the same piece");
    assert_eq!(bench.core.totals().sent_to_peers_bytes, 0);
    bench.put(Input::Drained { conn: ConnId(1) });
    bench.put(Input::Drained { conn: ConnId(1) });
    assert_eq!(bench.core.totals().sent_to_peers_bytes, u64::from(LEN));
    assert!(bench.put(failed(1)).is_empty());
}

#[test]
fn a_piece_that_fails_after_the_peer_has_left_and_come_back_is_not_spoken_of() {
    let mut bench = Bench::seeding(Role::Agent);
    bench.say(1, Message::Request { swarm: 7, index: PieceIndex(0), urgent: false });
    bench.say(1, Message::Leave { swarm: 7 });
    let (pieces, grant) = (Pieces::Nothing, Bytes::new());
    let again = Message::Join { swarm: 8, digest: digest(), owner: false, pieces, grant };
    bench.say(1, again);
    let outputs = bench.put(Input::SendFailed { conn: ConnId(1), digest: digest(), index: PieceIndex(0) });
    assert!(!sends(&outputs, |message| matches!(message, Message::Reject { .. })));
}

#[test]
fn what_comes_after_we_left_is_ignored() {
    let mut bench = Bench::downloading();
    let index = first_request(&bench.say(1, join(Pieces::All)));
    let outputs = bench.put(Input::Close { digest: digest() });
    assert!(sends(&outputs, |message| matches!(message, Message::Leave { .. })));
    assert!(bench.say(1, piece(index.0, LEN)).is_empty());
    assert!(bench.say(1, Message::Leave { swarm: 7 }).is_empty());
    assert_eq!(bench.core.status(&digest()), None);
}

#[test]
fn a_digest_that_the_store_lacks_is_declined() {
    let mut bench = Bench::new(Role::Owner);
    bench.connect(1, 9, false);
    bench.say(1, join(Pieces::Nothing));
    let outputs = bench.put(Input::Absent { digest: digest() });
    assert!(sends(&outputs, |message| *message == Message::Decline { swarm: 7 }));
    assert!(bench.say(1, Message::Leave { swarm: 7 }).is_empty());
    assert!(matches!(bench.say(1, join(Pieces::Nothing))[..], [Output::Lookup { .. }]));
}

#[test]
fn of_two_connections_to_one_peer_both_ends_keep_the_same() {
    // We are 5. Towards 9 ours is kept, towards 2 theirs.
    for (peer, first_outbound, kept) in [(9, true, 1), (9, false, 2), (2, true, 2), (2, false, 1)] {
        let mut bench = Bench::new(Role::Agent);
        bench.connect(1, peer, first_outbound);
        let outputs = bench.connect(2, peer, !first_outbound);
        let closed = outputs.iter().find_map(|output| match output {
            Output::Close { conn, reason: CloseReason::Duplicate } => Some(conn.0),
            _ => None,
        });
        assert_eq!(closed, Some(3 - kept), "{peer} {first_outbound}");
        assert_eq!(bench.core.totals().connections, 1);
    }
}

#[test]
fn a_connection_to_ourselves_is_closed_and_not_tried_again() {
    let mut bench = Bench::new(Role::Agent);
    assert_eq!(closes(&bench.connect(1, 5, true)), Some(CloseReason::Myself));
    assert_eq!(bench.core.totals().connections, 0);
}

#[test]
fn a_store_without_room_fails_the_download() {
    let mut bench = Bench::new(Role::Agent);
    bench.put(Input::Open { digest: digest() });
    let reply = AnnounceReply { metainfo: Some(metainfo()), ..AnnounceReply::default() };
    assert!(matches!(bench.put(Input::Announced { digest: digest(), reply })[..], [Output::Prepare { .. }]));
    let outputs = bench.put(Input::Absent { digest: digest() });
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Failed { error: FailReason::Unavailable, .. }))
    );
}

#[test]
fn disk_errors_of_ours_ban_nobody() {
    let mut bench = Bench::downloading();
    let mut asked = requests(&bench.say(1, join(Pieces::All)));
    for _ in 0..5 {
        let index = asked.remove(0);
        let stored = bench.say(1, piece(index.0, LEN));
        assert!(stored.iter().any(|output| matches!(output, Output::StorePiece { .. })));
        asked.extend(requests(&stored));
        let source = shoal_swarm_protocol::Source::Conn(ConnId(1));
        let why = shoal_swarm_protocol::RejectCause::Disk;
        let rejected = bench.put(Input::PieceRejected { digest: digest(), index, source, why });
        assert!(closes(&rejected).is_none() && requests(&rejected).is_empty());
        bench.now = bench.now.plus_millis(900);
        asked.extend(requests(&bench.put(Input::Tick)));
    }
    assert_eq!(bench.core.totals().banned_peers, 0);
}

#[test]
fn an_empty_blob_is_complete_at_once() {
    let mut bench = Bench::new(Role::Agent);
    bench.put(Input::Open { digest: digest() });
    let metainfo = Metainfo::new(digest(), 0, Vec::new()).unwrap();
    let reply = AnnounceReply { metainfo: Some(metainfo.clone()), ..AnnounceReply::default() };
    bench.put(Input::Announced { digest: digest(), reply });
    let outputs = bench.put(Input::Prepared { digest: digest(), metainfo, have: Bitfield::empty(0) });
    assert!(outputs.iter().any(|output| matches!(output, Output::Completed { .. })));
}

/// Any message about small numbers, so that many are nearly right.
fn any_message(kind: u8, swarm: u32, index: u32, flag: bool) -> Message {
    let index = PieceIndex(index);
    match kind {
        0 => Message::Join {
            swarm,
            digest: digest(),
            owner: flag,
            grant: Bytes::new(),
            pieces: if flag { Pieces::All } else { Pieces::Nothing },
        },
        1 => Message::Leave { swarm },
        2 => Message::Decline { swarm },
        3 => Message::Have { swarm, index, queue: index.0 * LEN },
        4 => Message::Request { swarm, index, urgent: flag },
        5 => Message::RequestAny { swarm, part: Part::WHOLE },
        6 => Message::Assign { swarm, index },
        7 => Message::RejectAny { swarm },
        8 => Message::Hurry { swarm, index },
        9 => Message::Piece { swarm, index, queue: 0, data: Bytes::from(vec![0; LEN as usize]) },
        10 => Message::Reject { swarm, index },
        12 => Message::Demand { swarm, index },
        13 => Message::Press { swarm, index },
        11 if flag => Message::Peers { swarm, peers: vec![overlay::lite(index.0 as u8, swarm as u8)] },
        _ => Message::Cancel { swarm, index },
    }
}

/// What the driver may answer to an output, in good or bad faith of the disk.
fn answer(output: &Output, good: bool) -> Option<Input> {
    use shoal_swarm_protocol::RejectCause::Corrupt;
    Some(match output {
        Output::Lookup { digest } if !good => Input::Absent { digest: *digest },
        Output::Lookup { .. } => prepared(Bitfield::full(COUNT)),
        Output::SendPiece { conn, .. } if good => Input::Drained { conn: *conn },
        Output::SendPiece { conn, digest, index, .. } => {
            Input::SendFailed { conn: *conn, digest: *digest, index: *index }
        }
        Output::StorePiece { digest, index, .. } if good => {
            Input::PieceStored { digest: *digest, index: *index }
        }
        Output::StorePiece { digest, index, source, .. } => {
            Input::PieceRejected { digest: *digest, index: *index, source: *source, why: Corrupt }
        }
        _ => return None,
    })
}

proptest::proptest! {
    #[test]
    fn no_sequence_of_messages_brings_a_core_down(
        kind in 0..3_u8,
        steps in proptest::collection::vec((0..16_u8, 1..4_u64, 6..9_u32, 0..11_u32, proptest::bool::ANY), 0..200),
    ) {
        let mut bench = match kind {
            0 => Bench::downloading(),
            1 => Bench::seeding(Role::Owner),
            _ => Bench::seeding(Role::Agent),
        };
        let mut pending = Vec::new();
        let mut next_conn = 100;
        let mut conns = [1, 2, 3];
        for (step, conn, swarm, index, flag) in steps {
            let at = (conn - 1) as usize;
            bench.now = bench.now.plus_millis(u64::from(index) * 20);
            let outputs = match step {
                0..=11 => bench.say(conns[at], any_message(step, swarm, index, flag)),
                12 => bench.put(Input::Disconnected { conn: ConnId(conns[at]) }),
                13 => {
                    next_conn += 1;
                    conns[at] = next_conn;
                    bench.connect(next_conn, conn as u8 + 7, flag)
                }
                14 if flag => bench.put(Input::PieceLost { digest: digest(), index: PieceIndex(index) }),
                14 => bench.put(Input::Open { digest: digest() }),
                _ if pending.is_empty() => bench.put(Input::Tick),
                _ => bench.put(pending.remove(0)),
            };
            pending.extend(outputs.iter().filter_map(|output| answer(output, flag)));
        }
    }
}

#[test]
fn a_new_grant_is_shown_to_those_whose_swarm_was_joined_with_the_old_one() {
    let mut bench = Bench::downloading();
    let announced = |grant: &'static [u8]| {
        let reply = AnnounceReply { grant: Bytes::from_static(grant), ..AnnounceReply::default() };
        Input::Announced { digest: digest(), reply }
    };
    let shown = |outputs: &[Output]| {
        sends(outputs, |message| matches!(message, Message::Join { grant, .. } if !grant.is_empty()))
    };
    assert!(shown(&bench.put(announced(b"first"))));
    assert!(!shown(&bench.put(announced(b"first"))), "nothing new");
    assert!(!shown(&bench.put(announced(b""))));
    assert!(shown(&bench.put(announced(b"second"))));
}
