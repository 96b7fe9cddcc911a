//! Order, slots, slow receivers.

use super::*;

fn job(conn: u64, index: u32) -> Job {
    Job { conn: ConnId(conn), digest: Digest::sha256(b"x"), index: PieceIndex(index), len: 10 }
}

/// The next piece to go out.
fn start(uploads: &mut Uploads, now: Time) -> Option<Job> {
    uploads.start(now, false, |_| 0).map(|(job, _)| job)
}

#[test]
fn serves_in_order_with_readers_first_and_few_at_a_time() {
    let mut uploads = Uploads::new(2);
    for conn in 1..=3 {
        uploads.push(job(conn, 0), Class::Background, Time(0));
    }
    uploads.push(job(4, 9), Class::Demand, Time(0));
    assert_eq!(uploads.load_bytes(), 40);
    assert_eq!(uploads.start(Time(0), false, |_| 0), Some((job(4, 9), true)));
    assert_eq!(uploads.start(Time(0), false, |_| 0), Some((job(1, 0), false)));
    assert_eq!(start(&mut uploads, Time(0)), Some(job(2, 0)), "readers have slots of their own");
    assert_eq!(start(&mut uploads, Time(0)), None);
    assert_eq!(uploads.drained(ConnId(1)), [job(1, 0)]);
    assert!(uploads.drained(ConnId(1)).is_empty(), "it is counted once");
    uploads.arrived(ConnId(1), job(1, 0).digest, PieceIndex(0), Time(5));
    assert_eq!(start(&mut uploads, Time(5)), Some(job(3, 0)));
    assert_eq!(uploads.load_bytes(), 30);
}

#[test]
fn a_reader_is_served_on_a_connection_that_has_its_share() {
    let mut uploads = Uploads::new(2);
    (0..4).for_each(|index| uploads.push(job(1, index), Class::Background, Time(0)));
    (10..14).for_each(|index| uploads.push(job(1, index), Class::Demand, Time(0)));
    let started: Vec<_> = std::iter::from_fn(|| uploads.start(Time(0), false, |_| 0)).collect();
    let urgent = |index| (job(1, index), true);
    assert_eq!(started, [urgent(10), urgent(11), (job(1, 0), false), (job(1, 1), false)]);
}

#[test]
fn what_is_demanded_goes_before_what_readers_come_by() {
    let mut uploads = Uploads::new(9);
    let digest = job(1, 0).digest;
    uploads.push(job(1, 0), Class::Background, Time(0));
    uploads.push(job(2, 0), Class::Ahead, Time(0));
    uploads.push(job(3, 0), Class::Background, Time(0));
    uploads.hurry(ConnId(3), digest, PieceIndex(0), Class::Demand, Time(0));
    uploads.hurry(ConnId(3), digest, PieceIndex(0), Class::Ahead, Time(0));
    let started: Vec<_> = std::iter::from_fn(|| uploads.start(Time(0), false, |_| 0)).collect();
    assert_eq!(started, [(job(3, 0), true), (job(2, 0), false), (job(1, 0), false)]);
}

#[test]
fn a_connection_takes_two_while_others_wait() {
    let mut uploads = Uploads::new(4);
    (0..3).for_each(|index| uploads.push(job(1, index), Class::Background, Time(0)));
    uploads.push(job(2, 7), Class::Background, Time(0));
    let started: Vec<_> = std::iter::from_fn(|| start(&mut uploads, Time(0))).collect();
    assert_eq!(started, [job(1, 0), job(1, 1), job(2, 7), job(1, 2)]);
    assert_eq!((uploads.queued(), uploads.queued_for(ConnId(1))), (0, 0));
}

#[test]
fn a_slow_receiver_does_not_hold_up_the_others() {
    let mut uploads = Uploads::new(1);
    uploads.push(job(1, 0), Class::Background, Time(0));
    uploads.push(job(2, 0), Class::Background, Time(0));
    uploads.start(Time(0), false, |_| 0).unwrap();
    assert_eq!(start(&mut uploads, Time(0)), None);
    let stuck = uploads.next_stuck(Time(0)).unwrap();
    assert_eq!(start(&mut uploads, stuck), Some(job(2, 0)));
    assert_eq!(uploads.next_stuck(stuck), None);
}

#[test]
fn cancelled_and_forgotten_pieces_are_not_sent() {
    let mut uploads = Uploads::new(4);
    (0..2).for_each(|index| uploads.push(job(1, index), Class::Background, Time(0)));
    uploads.push(job(2, 5), Class::Background, Time(0));
    uploads.hurry(ConnId(2), job(2, 5).digest, PieceIndex(5), Class::Ahead, Time(0));
    assert!(uploads.cancel(ConnId(1), job(1, 0).digest, PieceIndex(0)));
    assert!(!uploads.cancel(ConnId(1), job(1, 0).digest, PieceIndex(0)));
    assert_eq!(start(&mut uploads, Time(0)), Some(job(2, 5)));
    assert_eq!(start(&mut uploads, Time(0)), Some(job(1, 1)));
    uploads.forget(ConnId(1), Some(job(1, 1).digest));
    assert!(uploads.is_busy(ConnId(1)), "it is on its way");
    assert!(!uploads.failed(ConnId(1), job(1, 1).digest, PieceIndex(1)), "nobody waits for it");
    assert!(!uploads.is_busy(ConnId(1)) && uploads.is_busy(ConnId(2)));
    assert!(uploads.failed(ConnId(2), job(2, 5).digest, PieceIndex(5)));
    assert!(!uploads.failed(ConnId(2), job(2, 5).digest, PieceIndex(5)));
    assert_eq!(uploads.load_bytes(), 0);
}
