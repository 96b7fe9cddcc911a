//! A blob that is still arriving at its owner.

use super::*;

#[test]
fn an_owner_tells_of_a_piece_that_came_another_way_and_gives_it() {
    let mut bench = Bench::new(Role::Owner);
    bench.connect(1, 9, false);
    assert!(matches!(bench.say(1, join(Pieces::Nothing))[..], [Output::Lookup { .. }]));
    assert!(
        bench.put(Input::PieceAppeared { digest: digest(), index: PieceIndex(0) }).is_empty(),
        "too early"
    );
    let joined = bench.put(prepared(Bitfield::empty(COUNT)));
    assert!(sends(&joined, |message| matches!(message, Message::Join { owner: true, .. })));
    assert!(!joined.iter().any(|output| matches!(output, Output::Announce { .. } | Output::Dial { .. })));
    let refused = bench.say(1, Message::Request { swarm: 7, index: PieceIndex(3), urgent: false });
    assert!(sends(&refused, |message| matches!(message, Message::Reject { index: PieceIndex(3), .. })));
    let told = bench.put(Input::PieceAppeared { digest: digest(), index: PieceIndex(3) });
    assert!(sends(&told, |message| matches!(message, Message::Have { index: PieceIndex(3), .. })));
    let again = bench.put(Input::PieceAppeared { digest: digest(), index: PieceIndex(3) });
    assert!(again.is_empty(), "it is told once");
    let given = bench.say(1, Message::RequestAny { swarm: 7, part: Part::WHOLE });
    assert!(sends(&given, |message| matches!(message, Message::Assign { index: PieceIndex(3), .. })));
    assert!(given.iter().any(|output| matches!(output, Output::SendPiece { index: PieceIndex(3), .. })));
    // Nothing is left of it.
    let gone = bench.put(Input::Absent { digest: digest() });
    assert!(sends(&gone, |message| matches!(message, Message::Leave { .. })));
}

#[test]
fn an_agent_asks_an_owner_for_anything_as_soon_as_it_has_something() {
    let mut bench = Bench::downloading();
    let join = Message::Join {
        swarm: 7,
        digest: digest(),
        owner: true,
        grant: Bytes::new(),
        pieces: Pieces::Nothing,
    };
    let asks = |outputs: &[Output]| sends(outputs, |message| matches!(message, Message::RequestAny { .. }));
    assert!(!asks(&bench.say(1, join)), "it has nothing");
    assert!(asks(&bench.say(1, Message::Have { swarm: 7, index: PieceIndex(0), queue: 0 })));
}

#[test]
fn a_web_seed_is_not_asked_for_what_nobody_could_verify() {
    let mut bench = Bench::new(Role::Agent);
    bench.put(Input::Open { digest: digest() });
    let growing = Metainfo::growing(digest(), u64::from(COUNT * LEN));
    let reply = AnnounceReply {
        metainfo: Some(growing.clone()),
        web_seeds: vec!["http://owner/".to_owned()],
        ..AnnounceReply::default()
    };
    bench.put(Input::Announced { digest: digest(), reply });
    let have = Bitfield::empty(COUNT);
    bench.put(Input::Prepared { digest: digest(), metainfo: growing.clone(), have });
    let fetched = |bench: &mut Bench, millis| {
        bench.now = bench.now.plus_millis(millis);
        let outputs = bench.put(Input::Tick);
        outputs.iter().any(|output| matches!(output, Output::FetchWeb { index: PieceIndex(0), .. }))
    };
    assert!(!fetched(&mut bench, 3_000));
    growing.learn(0, &[PieceDigest([1; 32])]).expect("the first digest");
    assert!(fetched(&mut bench, 200));
    // Signs of life keep the download.
    for _ in 0..10 {
        bench.put(Input::Alive { digest: digest() });
        bench.now = bench.now.plus_millis(10_000);
        let outputs = bench.put(Input::Tick);
        assert!(!outputs.iter().any(|output| matches!(output, Output::Failed { .. })));
    }
    bench.now = bench.now.plus_millis(31_000);
    let outputs = bench.put(Input::Tick);
    assert!(outputs.iter().any(|output| matches!(output, Output::Failed { .. })));
}
