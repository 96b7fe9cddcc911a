//! The invariant, by example and by random walks.

use proptest::prelude::{any, proptest};
use proptest::{collection, prop_assert, prop_assert_eq};

use super::*;
use crate::io::ConnId;

const A: Source = Source::Conn(ConnId(1));
const B: Source = Source::Conn(ConnId(2));
const P: PieceIndex = PieceIndex(3);

fn download() -> Download {
    let layout = Layout::for_size(10 * 64 * 1024 - 1);
    Download::new(layout, Bitfield::empty(layout.piece_count()))
}

#[test]
fn a_piece_goes_from_missing_to_present() {
    let mut download = download();
    assert_eq!(download.state(P), PieceState::Missing);
    assert!(download.request(P, A, Time(1)) && !download.request(P, A, Time(2)));
    assert_eq!(download.state(P), PieceState::Requested(&[Request { source: A, at: Time(1) }]));
    assert_eq!(download.deliver(P, A), Delivery::Store { others: vec![] });
    assert_eq!(download.state(P), PieceState::Storing(A));
    assert_eq!(download.deliver(P, B), Delivery::Duplicate);
    assert!(download.stored(P) && !download.stored(P));
    assert_eq!(download.state(P), PieceState::Present);
    assert!(!download.request(P, B, Time(3)) && !download.release(P, A) && !download.rejected(P));
    assert!(download.lost(P) && !download.lost(P));
    assert_eq!(download.state(P), PieceState::Missing);
}

#[test]
fn several_may_be_asked_and_the_first_wins() {
    let mut download = download();
    assert!(download.request(P, A, Time(1)) && download.request(P, B, Time(2)));
    assert!(!download.release(P, A));
    assert!(download.request(P, A, Time(3)));
    assert_eq!(download.deliver(P, A), Delivery::Store { others: vec![B] });
    assert!(!download.release(P, B));
    assert!(download.rejected(P));
    assert_eq!(download.state(P), PieceState::Missing);
}

#[test]
fn bytes_of_a_request_that_was_given_up_are_welcome_while_the_piece_is_missing() {
    let mut download = download();
    assert!(download.request(P, A, Time(1)) && download.release(P, A));
    assert_eq!(download.deliver(P, A), Delivery::Store { others: vec![] });
}

#[test]
fn nothing_happens_beyond_the_end() {
    let mut download = download();
    let beyond = PieceIndex(10);
    assert!(!download.request(beyond, A, Time(1)) && !download.lost(beyond) && !download.stored(beyond));
    assert_eq!(download.deliver(beyond, A), Delivery::Duplicate);
}

proptest! {
    #[test]
    fn each_piece_is_in_exactly_one_state(steps in collection::vec((0..6_u8, 0..11_u32, any::<bool>()), 0..300)) {
        let mut download = download();
        for (step, index, other) in steps {
            let (index, source) = (PieceIndex(index), if other { A } else { B });
            match step {
                0 => { download.request(index, source, Time(0)); }
                1 => { download.release(index, source); }
                2 => { download.deliver(index, source); }
                3 => { download.stored(index); }
                4 => { download.rejected(index); }
                _ => { download.lost(index); }
            }
            let mut missing = 0;
            for index in (0..10).map(PieceIndex) {
                let places = [
                    download.missing.has(index),
                    download.requested.contains_key(&index),
                    download.storing.contains_key(&index),
                    download.present.has(index),
                ];
                prop_assert_eq!(places.iter().filter(|place| **place).count(), 1);
                missing += u32::from(places[0]);
            }
            prop_assert_eq!(missing, download.missing.count());
            prop_assert!(download.requested.values().all(|requests| !requests.is_empty()));
        }
    }
}
