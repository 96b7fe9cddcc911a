//! Who meets whom: names of peers, grants, crowds, and announces that go on.

use super::*;

pub(super) fn lite(peer: u8, host: u8) -> PeerInfo {
    PeerInfo {
        id: PeerId([peer; 20]),
        addr: SocketAddr::from(([10, 0, 1, host], 16_001)),
        complete: false,
        owner: false,
        zone: Zone::UNKNOWN,
    }
}

fn dials(outputs: &[Output]) -> Vec<SocketAddr> {
    let dial = |output: &Output| if let Output::Dial { addr } = output { Some(*addr) } else { None };
    outputs.iter().filter_map(dial).collect()
}

fn told(outputs: &[Output]) -> Vec<PeerId> {
    let named = |output: &Output| match output {
        Output::Send { conn: ConnId(1), message: Message::Peers { peers, .. } } => Some(peers.clone()),
        _ => None,
    };
    outputs.iter().filter_map(named).flatten().map(|peer| peer.id).collect()
}

#[test]
fn a_peer_that_lacks_pieces_is_told_of_others_once_each() {
    let mut bench = Bench::seeding(Role::Agent);
    for peer in [7, 8] {
        bench.connect(peer.into(), peer, false);
        bench.say(peer.into(), join(Pieces::Nothing));
    }
    bench.now = bench.now.plus_millis(1_000);
    let mut heard = told(&bench.put(Input::Tick));
    heard.sort_unstable();
    assert_eq!(heard, [PeerId([7; 20]), PeerId([8; 20])]);
    bench.connect(6, 6, false);
    bench.say(6, join(Pieces::Nothing));
    assert!(told(&bench.put(Input::Tick)).is_empty(), "not before its time");
    let mut later = Vec::new();
    for _ in 0..30 {
        bench.now = bench.now.plus_millis(1_000);
        later.extend(told(&bench.put(Input::Tick)));
    }
    assert_eq!(later, [PeerId([6; 20])], "nobody is named twice");
}

#[test]
fn who_is_named_is_dialled_and_joined_also_under_a_new_name() {
    let mut bench = Bench::downloading();
    bench.say(1, join(Pieces::Nothing));
    let outputs = bench.say(1, Message::Peers { swarm: 7, peers: vec![lite(20, 20), lite(5, 5)] });
    assert_eq!(dials(&outputs), [lite(20, 20).addr], "but nobody dials himself");
    let arrival = Input::Connected {
        conn: ConnId(2),
        peer: PeerId([21; 20]),
        addr: lite(20, 20).addr,
        outbound: true,
        zone: Zone::UNKNOWN,
    };
    let outputs = bench.put(arrival);
    assert!(sends(&outputs, |message| matches!(message, Message::Join { .. })), "{outputs:?}");
}

#[test]
fn names_of_no_use_are_not_dialled_and_a_flood_of_names_ends_the_connection() {
    let mut bench = Bench::downloading();
    bench.say(1, join(Pieces::Nothing));
    let nowhere = ["0.0.0.0:1", "255.255.255.255:1", "224.0.0.1:1", "10.0.0.1:0", "[::]:1", "[ff02::1]:1"];
    let at = |addr: &str| PeerInfo { addr: addr.parse().unwrap(), ..lite(30, 30) };
    let outputs = bench.say(1, Message::Peers { swarm: 7, peers: nowhere.map(at).to_vec() });
    assert!(dials(&outputs).is_empty(), "{outputs:?}");
    let mut closed = None;
    let mut dialled = 0;
    for host in 1..=100 {
        let peers = (0..16).map(|number| lite(100 + number, host)).collect();
        let outputs = bench.say(1, Message::Peers { swarm: 7, peers });
        dialled += dials(&outputs).len();
        closed = closed.or(closes(&outputs));
    }
    assert_eq!(closed, Some(CloseReason::Violation(Violation::Peers)));
    assert!(dialled <= 10, "{dialled} dials on one peer's word");
}

#[test]
fn one_machine_cannot_take_every_slot() {
    let mut bench = Bench::new(Role::Agent);
    let connect = |bench: &mut Bench, conn: u64, host: u8| {
        let peer = PeerId([conn as u8; 20]);
        let addr = SocketAddr::from(([10, 0, 2, host], conn as u16));
        bench.put(Input::Connected { conn: ConnId(conn), peer, addr, outbound: false, zone: Zone::UNKNOWN })
    };
    let refused = (10..60).filter(|conn| closes(&connect(&mut bench, *conn, 1)) == Some(CloseReason::Full));
    assert_eq!(refused.count(), 50 - 16);
    assert_eq!(closes(&connect(&mut bench, 60, 2)), None);
}

/// Somebody on machine 1 has dialled us, or answered.
fn from_machine(bench: &mut Bench, conn: u8, outbound: bool) -> Vec<Output> {
    let addr = SocketAddr::from(([10, 0, 1, 1], 16_001 + u16::from(conn)));
    let peer = PeerId([conn; 20]);
    bench.put(Input::Connected { conn: ConnId(conn.into()), peer, addr, outbound, zone: Zone::UNKNOWN })
}

/// The one of that machine whom others name.
fn named_there(peer: u8) -> PeerInfo {
    let addr = SocketAddr::from(([10, 0, 1, 1], 16_001 + u16::from(peer)));
    PeerInfo { addr, ..lite(peer, 1) }
}

#[test]
fn a_machine_that_has_all_its_connections_is_not_dialled_without_end() {
    let mut bench = Bench::downloading();
    bench.say(1, join(Pieces::Nothing));
    (20..35).for_each(|conn| assert_eq!(closes(&from_machine(&mut bench, conn, false)), None));
    let peers = (40..50).map(named_there).collect();
    let dialled = dials(&bench.say(1, Message::Peers { swarm: 7, peers }));
    assert_eq!(dialled.len(), 1, "there is one place left: {dialled:?}");
    // Somebody else takes the place before the dial is answered.
    assert_eq!(closes(&from_machine(&mut bench, 35, false)), None);
    let conn = (dialled[0].port() - 16_001) as u8;
    let outputs = from_machine(&mut bench, conn, true);
    assert_eq!((closes(&outputs), dials(&outputs)), (Some(CloseReason::Full), Vec::new()));
    for _ in 0..50 {
        bench.now = bench.now.plus_millis(100);
        assert_eq!(dials(&bench.put(Input::Tick)), []);
    }
    let outputs = bench.put(Input::Disconnected { conn: ConnId(20) });
    assert_eq!(dials(&outputs).len(), 1, "a place is free again");
}

#[test]
fn an_address_that_answers_under_another_name_is_not_dialled_again() {
    let mut bench = Bench::downloading();
    bench.say(1, join(Pieces::Nothing));
    let outputs = bench.say(1, Message::Peers { swarm: 7, peers: vec![named_there(40)] });
    assert_eq!(dials(&outputs), [named_there(40).addr]);
    let answer = Input::Connected {
        conn: ConnId(2),
        peer: PeerId([41; 20]),
        addr: named_there(40).addr,
        outbound: true,
        zone: Zone::UNKNOWN,
    };
    let mut outputs = bench.put(answer);
    for _ in 0..20 {
        bench.now = bench.now.plus_millis(100);
        outputs.extend(bench.put(Input::Tick));
    }
    assert_eq!(dials(&outputs), []);
}

#[test]
fn who_has_no_grant_gives_pieces_and_gets_none() {
    let mut bench = Bench::seeding(Role::Agent);
    bench.put(Input::Ungranted { conn: ConnId(1), swarm: 7 });
    let request = Message::Request { swarm: 7, index: PieceIndex(3), urgent: true };
    let outputs = bench.say(1, request);
    assert!(sends(&outputs, |message| matches!(message, Message::Reject { index: PieceIndex(3), .. })));
    assert!(!outputs.iter().any(|output| matches!(output, Output::SendPiece { .. })), "{outputs:?}");
    let outputs = bench.say(1, Message::RequestAny { swarm: 7, part: Part::WHOLE });
    assert!(sends(&outputs, |message| matches!(message, Message::RejectAny { .. })));
    let mut bench = Bench::downloading();
    bench.say(1, join(Pieces::All));
    bench.put(Input::Ungranted { conn: ConnId(1), swarm: 7 });
    assert_eq!(bench.core.status(&digest()).unwrap().peers, 1, "it is asked all the same");
}

#[test]
fn a_grant_goes_out_with_every_join() {
    let mut bench = Bench::new(Role::Agent);
    bench.put(Input::Open { digest: digest() });
    let grant = Bytes::from_static(b"may have it");
    let (peers, metainfo) = (vec![lite(9, 9)], Some(metainfo()));
    let reply = AnnounceReply { metainfo, peers, grant: grant.clone(), ..AnnounceReply::default() };
    bench.put(Input::Announced { digest: digest(), reply });
    bench.put(prepared(Bitfield::empty(COUNT)));
    let outputs = bench.connect(1, 9, true);
    assert!(sends(
        &outputs,
        |message| matches!(message, Message::Join { grant: shown, .. } if *shown == grant)
    ));
}

#[test]
fn seeds_announce_for_ever_whatever_becomes_of_the_tracker() {
    let mut bench = Bench::new(Role::Agent);
    let mut waiting = bench.put(Input::Seed { digest: digest() });
    let (hour, mut announced) = (3_600_000, [0; 3]);
    let end = Time::from_millis(3 * hour);
    while bench.now < end {
        let asked = waiting.iter().any(|output| matches!(output, Output::Announce { .. }));
        let part = (bench.now.0 / 1_000 / hour) as usize;
        waiting = if asked {
            announced[part] += 1;
            let answer = if part == 1 {
                let error = shoal_swarm_protocol::AnnounceError::Unavailable;
                Input::AnnounceFailed { digest: digest(), error }
            } else {
                let reply = AnnounceReply { interval_ms: 200_000, ..AnnounceReply::default() };
                Input::Announced { digest: digest(), reply }
            };
            bench.put(answer)
        } else {
            bench.now = bench.core.next_timeout().expect("a seed has a next announce").max(bench.now);
            bench.put(Input::Tick)
        };
    }
    // 18 in an hour; while no tracker answers, one in half a minute or so, spread.
    assert!((17..=20).contains(&announced[0]), "{announced:?}");
    assert!((90..=150).contains(&announced[1]), "{announced:?}");
    assert!((17..=20).contains(&announced[2]), "{announced:?}");
}
