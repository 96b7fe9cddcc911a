//! What one peer of bad will can cost, input by input.

use super::*;

/// Pieces that the core hands to a connection in answer to something.
fn sent_to(outputs: &[Output], to: u64) -> Vec<u32> {
    let sent = |output: &Output| match output {
        Output::SendPiece { conn, index, .. } if conn.0 == to => Some(index.0),
        _ => None,
    };
    outputs.iter().filter_map(sent).collect()
}

fn any_of(part: Part) -> Message {
    Message::RequestAny { swarm: 7, part }
}

/// An owner with so many further peers that have nothing, connected as 2, 3 and so on.
fn owner_with(further: u8) -> Bench {
    let mut bench = Bench::seeding(Role::Owner);
    for nth in 0..further {
        let conn = u64::from(nth) + 2;
        bench.connect(conn, 20 + nth, false);
        bench.say(conn, join(Pieces::Nothing));
    }
    bench
}

/// A peer asks for anything and takes it.
fn takes(bench: &mut Bench, conn: u64, part: Part) -> u32 {
    let outputs = bench.say(conn, any_of(part));
    let index = sent_to(&outputs, conn)[0];
    bench.put(Input::Drained { conn: ConnId(conn) });
    bench.say(conn, Message::Arrived { swarm: 7, index: PieceIndex(index) });
    bench.say(conn, Message::Have { swarm: 7, index: PieceIndex(index), queue: 0 });
    index
}

#[test]
fn an_owner_believes_most_about_its_part_and_not_one() {
    let part = |number| Part::new(number, 5).unwrap();
    let mut bench = owner_with(4);
    assert_eq!(takes(&mut bench, 2, part(2)), 2);
    // Somebody says that there are very many owners, as if each had the whole.
    takes(&mut bench, 1, Part::new(0, 60_000).unwrap());
    assert_eq!(takes(&mut bench, 3, part(2)), 7);
    let distance = |index: u32| (index % 5 + 5 - 2) % 5;
    let next = takes(&mut bench, 4, part(2));
    assert!(distance(next) <= 1, "its own part has left it, the next owner's comes then: {next}");
}

#[test]
fn an_owner_serves_those_first_who_pass_on_what_it_gave() {
    let mut bench = owner_with(7);
    takes(&mut bench, 1, Part::WHOLE);
    let passed_on = takes(&mut bench, 2, Part::WHOLE);
    bench.say(3, Message::Have { swarm: 7, index: PieceIndex(passed_on), queue: 0 });
    bench.now = bench.now.plus_millis(10_000);
    takes(&mut bench, 3, Part::WHOLE);
    // One takes both slots of a beginning, two more are next.
    for conn in 3..6 {
        (0..2).for_each(|_| assert_eq!(assigned(&bench.say(conn, any_of(Part::WHOLE))), [conn]));
    }
    for conn in [1, 2] {
        assert!(assigned(&bench.say(conn, any_of(Part::WHOLE))).is_empty());
    }
    let mut served = Vec::new();
    for conn in 3..4 {
        served.extend(assigned(&bench.put(Input::Drained { conn: ConnId(conn) })));
    }
    assert_eq!(served, [2, 1], "the first in line has kept what it got");
}

/// To whom pieces were assigned, in order.
fn assigned(outputs: &[Output]) -> Vec<u64> {
    let to = |output: &Output| match output {
        Output::Send { conn, message: Message::Assign { .. } } => Some(conn.0),
        _ => None,
    };
    outputs.iter().filter_map(to).collect()
}

#[test]
fn who_talks_in_vain_without_end_is_thrown_out_and_then_kept_out() {
    let mut bench = Bench::seeding(Role::Agent);
    let flood = |bench: &mut Bench, conn: u64| {
        (0..2_000).find_map(|nth| {
            let index = PieceIndex(nth % COUNT);
            let message = match nth % 3 {
                0 => Message::Have { swarm: 7, index: PieceIndex(0), queue: 0 },
                1 => Message::Cancel { swarm: 7, index },
                _ => Message::Hurry { swarm: 7, index },
            };
            closes(&bench.say(conn, message))
        })
    };
    let thrown_out = Some(CloseReason::Violation(Violation::Noise));
    assert_eq!(flood(&mut bench, 1), thrown_out);
    assert_eq!(closes(&bench.connect(2, 9, false)), None, "once may be by chance");
    bench.say(2, join(Pieces::Nothing));
    assert_eq!(flood(&mut bench, 2), thrown_out);
    assert_eq!(closes(&bench.connect(3, 9, false)), Some(CloseReason::Banned));
    bench.now = bench.now.plus_millis(120_000);
    assert_eq!(closes(&bench.connect(4, 9, false)), None);
}

#[test]
fn who_keeps_us_waiting_is_left_alone_for_a_while_and_served_last() {
    let mut bench = Bench::downloading();
    let asked = requests(&bench.say(1, join(Pieces::All)));
    assert_eq!(asked.len(), 1);
    bench.now = bench.now.plus_millis(6_000);
    let late = bench.put(Input::Tick);
    assert!(sends(&late, |message| matches!(message, Message::Cancel { .. })));
    let answer = bench.say(1, Message::Reject { swarm: 7, index: asked[0] });
    assert!(requests(&answer).is_empty(), "not at once, to wait as long again");
    // Two pieces are here by now; it asks for one, and so does somebody else after it.
    bench.connect(2, 8, false);
    let mut asked = requests(&bench.say(2, join(Pieces::All)));
    let index = asked.remove(0);
    bench.say(2, piece(index.0, LEN));
    bench.put(Input::PieceStored { digest: digest(), index });
    for other in 3..6 {
        bench.connect(other, 30 + other as u8, false);
        bench.say(other, join(Pieces::Nothing));
        let taken = sent_to(&bench.say(other, Message::Request { swarm: 7, index, urgent: false }), other);
        assert_eq!(taken.is_empty(), other == 5, "two at a time, at the beginning");
    }
    bench.say(1, Message::Request { swarm: 7, index, urgent: true });
    let next = bench.put(Input::Drained { conn: ConnId(3) });
    assert_eq!((sent_to(&next, 5), sent_to(&next, 1)), (vec![index.0], vec![]));
    let last = bench.put(Input::Drained { conn: ConnId(4) });
    assert_eq!(sent_to(&last, 1), [index.0], "what nobody else wants is refused to nobody");
}

#[test]
fn an_answer_without_the_metainfo_is_asked_for_again_at_once() {
    let mut bench = Bench::new(Role::Agent);
    bench.put(Input::Open { digest: digest() });
    let wrong = Metainfo::of(Digest::sha256(b"another"), &[0; 10]);
    let reply = AnnounceReply { metainfo: Some(wrong), interval_ms: 60_000, ..AnnounceReply::default() };
    bench.put(Input::Announced { digest: digest(), reply });
    bench.now = bench.now.plus_millis(100);
    let outputs = bench.put(Input::Tick);
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Announce { need_metainfo: true, .. })),
        "{outputs:?}"
    );
}

#[test]
fn who_sends_a_corrupt_piece_is_left_alone_for_a_while_but_for_an_owner() {
    use shoal_swarm_protocol::{RejectCause::Corrupt, Source};
    for owner in [false, true] {
        let mut bench = Bench::downloading();
        let all =
            Message::Join { swarm: 7, digest: digest(), owner, grant: Bytes::new(), pieces: Pieces::All };
        let outputs = bench.say(1, all);
        let index = if owner { PieceIndex(3) } else { first_request(&outputs) };
        if owner {
            bench.say(1, Message::Assign { swarm: 7, index });
        }
        let next = requests(&bench.say(1, piece(index.0, LEN)));
        let source = Source::Conn(ConnId(1));
        let outputs = bench.put(Input::PieceRejected { digest: digest(), index, source, why: Corrupt });
        let asks =
            |message: &Message| matches!(message, Message::Request { .. } | Message::RequestAny { .. });
        assert!(closes(&outputs).is_none());
        next.iter().for_each(|index| drop(bench.say(1, Message::Reject { swarm: 7, index: *index })));
        bench.now = bench.now.plus_millis(1_000);
        let asked = |bench: &mut Bench| sends(&bench.put(Input::Tick), asks);
        if owner {
            let reader = shoal_swarm_protocol::ReaderId(1);
            let want = Input::Want { digest: digest(), reader, pieces: 5..6, demand: true };
            assert!(sends(&bench.put(want), |message| matches!(message, Message::Demand { .. })));
        } else {
            assert!(!asked(&mut bench));
            bench.now = bench.now.plus_millis(5_000);
            assert!(asked(&mut bench), "its next is judged anew");
        }
    }
}
