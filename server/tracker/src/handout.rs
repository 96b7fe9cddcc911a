//! Whom a peer is introduced to. Pure: numbers and a generator in, positions out.
//!
//! A random sample keeps the graph of peers connected whatever its size, and keeps no peer more popular than another. Half of it
//! are complete peers as long as there are enough incomplete ones: only complete peers makes seeders of a few and leaves newcomers
//! unknown to each other; only incomplete ones starves the first minutes. Complete peers are told nobody, they are found by the
//! others.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Most agents in one reply. A peer keeps fewer connections than that per blob; the rest are spares for those that do not answer.
pub const PEERS_MAX: usize = 50;

/// Positions to hand out, in the two lists of a swarm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handout {
    /// Positions among the complete peers.
    pub complete: Vec<usize>,
    /// Positions among the incomplete peers.
    pub incomplete: Vec<usize>,
}

/// Draws at most `limit` peers from `complete` and `incomplete` known ones, without repetition.
pub fn draw(complete: usize, incomplete: usize, limit: usize, rng: &mut fastrand::Rng) -> Handout {
    let half = limit / 2;
    // Each kind may use what the other leaves of its half.
    let of_complete = complete.min(limit - incomplete.min(limit - half));
    let of_incomplete = incomplete.min(limit - of_complete);
    Handout {
        complete: sample(complete, of_complete, rng),
        incomplete: sample(incomplete, of_incomplete, rng),
    }
}

/// `count` different numbers below `bound` in random order: Floyd's algorithm, O(count) whatever the bound.
fn sample(bound: usize, count: usize, rng: &mut fastrand::Rng) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let mut drawn = Vec::with_capacity(count);
    for top in bound.saturating_sub(count)..bound {
        let candidate = rng.usize(..=top);
        let next = if seen.insert(candidate) { candidate } else { top };
        seen.insert(next);
        drawn.push(next);
    }
    rng.shuffle(&mut drawn);
    drawn
}

/// Whether `peer` is of use to somebody at `requester`: a loopback address names another machine everywhere else.
pub const fn is_reachable(peer: IpAddr, requester: IpAddr) -> bool {
    !peer.is_loopback() || requester.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> fastrand::Rng {
        fastrand::Rng::with_seed(42)
    }

    #[test]
    fn mixes_both_kinds_and_fills_up_from_either() {
        for (complete, incomplete, want) in [
            (100, 100, (25, 25)),
            (100, 10, (40, 10)),
            (10, 100, (10, 40)),
            (0, 100, (0, 50)),
            (100, 0, (50, 0)),
            (3, 4, (3, 4)),
            (0, 0, (0, 0)),
        ] {
            let handout = draw(complete, incomplete, 50, &mut rng());
            assert_eq!((handout.complete.len(), handout.incomplete.len()), want, "{complete} {incomplete}");
        }
        assert_eq!(draw(5, 5, 0, &mut rng()), Handout::default());
        assert_eq!(draw(5, 5, 1, &mut rng()).incomplete.len(), 1);
    }

    #[test]
    fn never_repeats_a_peer() {
        let mut rng = rng();
        for bound in 0..80 {
            let drawn = sample(bound, bound.min(50), &mut rng);
            let distinct: BTreeSet<_> = drawn.iter().copied().collect();
            assert_eq!(distinct.len(), drawn.len());
            assert!(drawn.iter().all(|position| *position < bound));
        }
    }

    #[test]
    fn every_peer_is_handed_out_equally_often() {
        let (mut rng, mut counts) = (rng(), [0_u32; 40]);
        for _ in 0..8000 {
            for position in draw(0, 40, 10, &mut rng).incomplete {
                counts[position] += 1;
            }
        }
        // 2,000 expected for each; the standard deviation is 39.
        assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{counts:?}");
    }

    #[test]
    fn loopback_is_told_on_loopback_only() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(is_reachable(ip("127.0.0.1"), ip("127.0.0.1")));
        assert!(is_reachable(ip("::1"), ip("127.0.0.1")));
        assert!(is_reachable(ip("10.0.0.1"), ip("127.0.0.1")));
        assert!(!is_reachable(ip("127.0.0.1"), ip("10.0.0.1")));
    }
}
