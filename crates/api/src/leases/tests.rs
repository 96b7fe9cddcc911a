//! Who waits for whom, and what is remembered for how long.

use std::collections::HashSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;

fn digest(index: usize) -> Digest {
    Digest::sha256(index.to_string().as_bytes())
}

fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The lease of a future that need not wait.
fn now(leases: &Leases, digest: &Digest) -> Lease {
    match poll(pin!(leases.hold(digest))) {
        Poll::Ready(lease) => lease,
        Poll::Pending => panic!("nobody has claimed it"),
    }
}

#[test]
fn many_hold_and_nobody_claims_until_the_last_lets_go() {
    let leases = Leases::new();
    let (first, second, other) =
        (now(&leases, &digest(1)), now(&leases, &digest(1)), now(&leases, &digest(2)));
    assert_eq!(first.digest(), &digest(1));
    assert!(leases.claim(&digest(1)).is_none());
    drop(first);
    assert!(leases.claim(&digest(1)).is_none());
    drop(second);
    let claim = leases.claim(&digest(1)).unwrap();
    assert_eq!(claim.digest(), &digest(1));
    assert!(leases.claim(&digest(1)).is_none(), "one claim at a time");
    assert!(leases.claim(&digest(2)).is_none());
    drop((claim, other));
    assert!(leases.held.is_idle(), "what nobody uses takes no room");
}

#[test]
fn a_claim_makes_others_wait_and_they_come_before_the_next_claim() {
    let (leases, one) = (Leases::new(), digest(1));
    let claim = leases.claim(&one).unwrap();
    let mut waiting = pin!(leases.hold(&one));
    let mut later = pin!(leases.hold(&one));
    assert!(poll(waiting.as_mut()).is_pending() && poll(later.as_mut()).is_pending());
    let elsewhere = now(&leases, &digest(2));
    drop(claim);
    assert!(leases.claim(&digest(1)).is_none(), "somebody waits");
    let Poll::Ready(lease) = poll(waiting.as_mut()) else { panic!("the claim has ended") };
    assert!(leases.claim(&digest(1)).is_none());
    let Poll::Ready(second) = poll(later.as_mut()) else { panic!("the claim has ended") };
    drop((lease, second, elsewhere));
    assert!(leases.claim(&digest(1)).is_some());
}

#[test]
fn giving_up_the_wait_gives_up_the_place() {
    let (leases, one) = (Leases::new(), digest(1));
    let claim = leases.claim(&one).unwrap();
    {
        let mut waiting = Box::pin(leases.hold(&one));
        assert!(poll(waiting.as_mut()).is_pending());
    }
    drop(claim);
    assert!(leases.held.is_idle());
    // The same when the claim has ended before.
    let claim = leases.claim(&digest(1)).unwrap();
    let mut waiting = Box::pin(leases.hold(&one));
    assert!(poll(waiting.as_mut()).is_pending());
    drop(claim);
    assert!(leases.claim(&digest(1)).is_none());
    drop(waiting);
    assert!(leases.held.is_idle());
    assert!(leases.claim(&digest(1)).is_some());
}

#[test]
fn a_future_that_is_never_polled_is_no_lease() {
    let (leases, one) = (Leases::new(), digest(1));
    let idle = leases.hold(&one);
    assert!(leases.claim(&digest(1)).is_some());
    drop(idle);
}

/// Every order of steps of two holders and a collector, over one digest: a holder never holds while there is a claim.
#[test]
fn in_every_interleaving_leases_and_claims_exclude_each_other() {
    // Each actor takes its steps in order; a number says whose turn it is.
    const TURNS: usize = 9;
    for order in 0..3_usize.pow(TURNS as u32) {
        let leases = Leases::new();
        let of_interest = digest(1);
        let mut waits: [Option<Pin<Box<dyn Future<Output = Lease> + '_>>>; 2] = [None, None];
        let mut holds: [Option<Lease>; 2] = [None, None];
        let mut claim: Option<Claim> = None;
        let mut rest = order;
        for _ in 0..TURNS {
            let actor = rest % 3;
            rest /= 3;
            if actor == 2 {
                let someone = holds.iter().any(Option::is_some);
                claim = match claim.take() {
                    Some(_) => None,
                    None => leases.claim(&of_interest),
                };
                assert!(claim.is_none() || !someone, "claimed what is held, order {order}");
            } else if holds[actor].take().is_none() {
                let wait = waits[actor].get_or_insert_with(|| Box::pin(leases.hold(&of_interest)));
                if let Poll::Ready(lease) = poll(wait.as_mut()) {
                    assert!(claim.is_none(), "held what is claimed, order {order}");
                    holds[actor] = Some(lease);
                    waits[actor] = None;
                } else {
                    assert!(claim.is_some(), "waited for nobody, order {order}");
                }
            }
        }
        drop((waits, holds, claim));
        assert!(leases.held.is_idle(), "order {order}");
    }
}

const DIGESTS: usize = 3;

/// What is in use, as the users themselves see it.
#[derive(Default)]
struct World {
    users: [AtomicUsize; DIGESTS],
    collecting: [AtomicBool; DIGESTS],
}

async fn push(leases: Leases, world: &World, first: usize, rounds: usize) {
    for round in first..first + rounds {
        let index = round % DIGESTS;
        let lease = leases.hold(&digest(index)).await;
        world.users[index].fetch_add(1, Ordering::SeqCst);
        assert!(!world.collecting[index].load(Ordering::SeqCst));
        tokio::task::yield_now().await;
        world.users[index].fetch_sub(1, Ordering::SeqCst);
        drop(lease);
    }
}

/// Gives how many claims were granted.
async fn collect(leases: Leases, world: &World, rounds: usize) -> usize {
    let mut claims = 0;
    for round in 0..rounds {
        let index = round % DIGESTS;
        let Some(claim) = leases.claim(&digest(index)) else { continue };
        claims += 1;
        world.collecting[index].store(true, Ordering::SeqCst);
        assert_eq!(world.users[index].load(Ordering::SeqCst), 0);
        tokio::task::yield_now().await;
        world.collecting[index].store(false, Ordering::SeqCst);
        drop(claim);
    }
    claims
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_nothing_is_removed_while_it_is_used_and_nobody_waits_for_ever() {
    const ROUNDS: usize = 500;
    let leases = Leases::new();
    let world: &'static World = Box::leak(Box::default());
    let pushes: Vec<_> =
        (0..8).map(|first| tokio::spawn(push(leases.clone(), world, first, ROUNDS))).collect();
    let collector = tokio::spawn(collect(leases.clone(), world, 10 * ROUNDS));
    for push in pushes {
        push.await.unwrap();
    }
    collector.await.unwrap();
    assert!(collect(leases.clone(), world, DIGESTS).await == DIGESTS, "free again");
    assert!(leases.held.is_idle());
}

#[test]
fn what_was_touched_outlives_one_rotation_and_not_two() {
    let leases = Leases::new();
    leases.rotate();
    let (a, b) = (name("a"), name("b"));
    leases.touch(&a, &digest(1));
    assert!(leases.touched(&a, &digest(1)));
    assert!(!leases.touched(&b, &digest(1)) && !leases.touched(&a, &digest(2)));
    leases.rotate();
    assert!(leases.touched(&a, &digest(1)));
    leases.touch(&a, &digest(2));
    leases.rotate();
    assert!(!leases.touched(&a, &digest(1)));
    assert!(leases.touched(&a, &digest(2)));
    leases.touch(&a, &digest(2));
    leases.rotate();
    assert!(leases.touched(&a, &digest(2)), "touching again renews it");
    leases.rotate();
    assert!(!leases.touched(&a, &digest(2)));
}

#[test]
fn after_a_start_everything_counts_as_touched_until_the_first_rotation() {
    let leases = Leases::new();
    assert!(leases.touched(&name("a"), &digest(1)));
    leases.rotate();
    assert!(!leases.touched(&name("a"), &digest(1)));
}

#[test]
fn more_than_can_be_remembered_counts_as_everything() {
    const LEN_MAX: usize = 640;
    let touched = Touched::bounded(LEN_MAX);
    touched.rotate();
    let a = name("a");
    for index in 0..10 * LEN_MAX {
        touched.touch(&a, &digest(index));
    }
    let unseen =
        |touched: &Touched| (20_000..20_100).filter(|index| touched.contains(&a, &digest(*index))).count();
    assert_eq!(unseen(&touched), 100);
    assert!((0..10 * LEN_MAX).all(|index| touched.contains(&a, &digest(index))), "nothing is forgotten");
    touched.rotate();
    assert_eq!(unseen(&touched), 100);
    touched.rotate();
    assert_eq!(unseen(&touched), 0);
}

#[test]
fn touching_what_is_remembered_needs_no_room() {
    let touched = Touched::bounded(64);
    touched.rotate();
    let a = name("a");
    touched.touch(&a, &digest(1));
    for _ in 0..1000 {
        touched.touch(&a, &digest(1));
    }
    let others = (2..1000).filter(|index| touched.contains(&a, &digest(*index))).count();
    assert_eq!(others, 0);
}

/// Whatever is interleaved with a rotation: what was touched before it is there after it.
#[test]
fn nothing_is_lost_to_a_rotation_that_happens_meanwhile() {
    const COUNT: usize = 2000;
    let leases = Leases::new();
    leases.rotate();
    let (a, touched_so_far) = (name("a"), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for index in 0..COUNT {
                leases.touch(&a, &digest(index));
                touched_so_far.store(index + 1, Ordering::SeqCst);
            }
        });
        while touched_so_far.load(Ordering::SeqCst) < COUNT / 2 {
            std::hint::spin_loop();
        }
        leases.rotate();
    });
    let lost: HashSet<usize> = (0..COUNT).filter(|index| !leases.touched(&a, &digest(*index))).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn a_vouch_before_the_claims_question_is_seen_and_one_after_it_waits() {
    let leases = Leases::new();
    leases.rotate();
    leases.rotate();
    let (repository, digest): (Repository, _) = ("a".parse().unwrap(), Digest::sha256(b"x"));
    assert!(leases.try_vouch(&repository, &digest));
    let claim = leases.claim(&digest).unwrap();
    assert!(leases.touched(&repository, &digest), "the collector sees it and keeps the digest");
    assert!(!leases.try_vouch(&repository, &digest), "who comes now has to look again after the claim");
    let mut waiting = Box::pin(leases.vouch(&repository, &digest));
    let asked = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
    assert!(asked.await);
    drop(claim);
    waiting.await;
    assert!(leases.try_vouch(&repository, &digest));
}
