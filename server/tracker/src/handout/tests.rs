//! Shares, fairness, and the shape of the graph that comes of it.

use std::collections::BTreeSet;

use super::*;

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(42)
}

fn kinds((complete, incomplete): (usize, usize)) -> Kinds {
    Kinds { complete, incomplete }
}

#[test]
fn mixes_both_kinds_and_fills_up_from_either() {
    for (there, want) in [
        ((100, 100), (25, 25)),
        ((100, 10), (40, 10)),
        ((10, 100), (10, 40)),
        ((0, 100), (0, 50)),
        ((100, 0), (50, 0)),
        ((3, 4), (3, 4)),
        ((0, 0), (0, 0)),
    ] {
        let (own, foreign) = shares(kinds(there), Kinds::default(), 50);
        assert_eq!((own, foreign), (kinds(want), Kinds::default()), "{there:?}");
    }
    assert_eq!(shares(kinds((5, 5)), kinds((5, 5)), 0), Default::default());
    assert_eq!(shares(kinds((5, 5)), kinds((5, 5)), 1), (kinds((0, 1)), Kinds::default()));
}

#[test]
fn two_thirds_are_near_some_are_far_and_nobody_starves() {
    for own in [0, 1, 5, 20, 37, 38, 50, 1000] {
        for foreign in [0, 1, 5, 12, 13, 50, 1000] {
            for limit in [2, 3, 10, 50] {
                let (near, far) = shares(kinds((own / 2, own - own / 2)), kinds((foreign, 0)), limit);
                let (near, far) = (near.total(), far.total());
                assert_eq!(near + far, limit.min(own + foreign), "an answer is as full as it can be");
                assert!(far > 0 || foreign == 0, "a way out: {own} {foreign} {limit}");
                assert!(near > 0 || own == 0, "a way in: {own} {foreign} {limit}");
                if own >= limit && limit > 3 {
                    assert!(near * 3 >= limit * 2, "{near} of {limit} are near");
                }
            }
        }
    }
}

#[test]
fn never_repeats_a_peer() {
    let mut rng = rng();
    for bound in 0..80 {
        for count in [0, 1, 10, 50] {
            let drawn = draw(bound, count, |_| 0, &mut rng);
            let distinct: BTreeSet<_> = drawn.iter().copied().collect();
            assert_eq!((distinct.len(), drawn.len()), (count.min(bound), count.min(bound)));
            assert!(drawn.iter().all(|position| *position < bound));
        }
    }
}

#[test]
fn every_peer_is_handed_out_equally_often() {
    let (mut rng, mut turns) = (rng(), [0_u16; 40]);
    for _ in 0..8000 {
        for position in draw(40, 10, |position| turns[position], &mut rng) {
            turns[position] += 1;
        }
    }
    assert!(turns.iter().all(|count| (1990..2010).contains(count)), "{turns:?}");
}

/// Peers come one after the other, and each dials the first ten that it is told.
fn grown(count: usize, turns_count: bool) -> Vec<Vec<usize>> {
    let (mut rng, mut turns) = (rng(), vec![0_u16; count]);
    let mut graph = vec![Vec::new(); count];
    for newcomer in 1..count {
        let told = draw(newcomer, 50, |position| if turns_count { turns[position] } else { 0 }, &mut rng);
        for (place, position) in told.into_iter().enumerate() {
            turns[position] += 1;
            if place < 10 {
                graph[newcomer].push(position);
                graph[position].push(newcomer);
            }
        }
    }
    graph
}

fn eccentricity(graph: &[Vec<usize>], from: usize) -> usize {
    let (mut seen, mut ring, mut steps) = (vec![false; graph.len()], vec![from], 0);
    seen[from] = true;
    loop {
        let mut next = Vec::new();
        for neighbour in ring.iter().flat_map(|peer| &graph[*peer]) {
            if !std::mem::replace(&mut seen[*neighbour], true) {
                next.push(*neighbour);
            }
        }
        if next.is_empty() {
            assert!(seen.iter().all(|one| *one), "the graph is in one piece");
            return steps;
        }
        (ring, steps) = (next, steps + 1);
    }
}

#[test]
fn a_swarm_that_grows_peer_by_peer_stays_shallow_and_even() {
    let graph = grown(5_000, true);
    let largest = graph.iter().map(Vec::len).max().unwrap();
    let blind = grown(5_000, false).iter().map(Vec::len).max().unwrap();
    // The mean is 20.
    assert!(largest <= 50, "the busiest of all has {largest} neighbours");
    assert!(blind > 70, "without turns it had {blind}");
    for from in [0, 2_500, 4_999] {
        let depth = eccentricity(&graph, from);
        assert!(depth <= 5, "{depth} steps from {from} to the farthest; a random graph has 4");
    }
}
