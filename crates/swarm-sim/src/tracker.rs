//! A model of the tracker: it hands out random samples as the real one does, half of them complete peers as long as there are
//! enough others, with all owners; it takes time for each announce, and may be dead.

use std::collections::{BTreeMap, BTreeSet};

use shoal_swarm_types::Zone;

use crate::calendar::Nanos;
use crate::node::{BlobId, NodeId};

/// Agents in one answer, as the real tracker's.
const PEERS_MAX: usize = 50;

/// Where an agent stands in a list.
#[derive(Clone, Copy, Debug)]
struct Place {
    complete: bool,
    zone: Zone,
    position: usize,
}

/// Who takes part in one blob, by zone and by whether they have all of it.
#[derive(Clone, Debug, Default)]
struct Roster {
    lists: BTreeMap<(Zone, bool), Vec<NodeId>>,
    places: BTreeMap<NodeId, Place>,
}

impl Roster {
    fn put(&mut self, (node, zone): (NodeId, Zone), complete: bool) {
        if self.places.get(&node).is_some_and(|place| place.complete == complete) {
            return;
        }
        self.remove(node);
        let list = self.lists.entry((zone, complete)).or_default();
        list.push(node);
        self.places.insert(node, Place { complete, zone, position: list.len() - 1 });
    }

    fn remove(&mut self, node: NodeId) {
        let Some(Place { complete, zone, position }) = self.places.remove(&node) else { return };
        let Some(list) = self.lists.get_mut(&(zone, complete)) else { return };
        list.swap_remove(position);
        if let Some(moved) = list.get(position) {
            self.places.insert(*moved, Place { complete, zone, position });
        }
    }

    /// A sample: two thirds from the own zone when there are enough there, the rest from the others.
    fn draw(&self, zone: Zone, limit: usize, rng: &mut fastrand::Rng) -> Vec<NodeId> {
        let own = if zone.is_unknown() { 0 } else { limit * 2 / 3 };
        let mut drawn = self.draw_from(|of| of == zone, own, rng);
        let rest = self.draw_from(|of| of != zone || own == 0, limit - drawn.len(), rng);
        drawn.extend(rest);
        drawn
    }

    /// A sample without repetition from some zones: half of each kind, and each kind may use what the other leaves.
    fn draw_from(&self, zones: impl Fn(Zone) -> bool, limit: usize, rng: &mut fastrand::Rng) -> Vec<NodeId> {
        let of = |kind: bool| -> Vec<&Vec<NodeId>> {
            let fits = |(zone, complete): &(Zone, bool)| *complete == kind && zones(*zone);
            self.lists.iter().filter(|(key, _)| fits(key)).map(|(_, list)| list).collect()
        };
        let (complete, incomplete) = (of(true), of(false));
        let count = |lists: &[&Vec<NodeId>]| lists.iter().map(|list| list.len()).sum::<usize>();
        let half = limit / 2;
        let of_complete = count(&complete).min(limit - count(&incomplete).min(limit - half));
        let of_incomplete = count(&incomplete).min(limit - of_complete);
        let mut drawn = Vec::with_capacity(limit);
        sample(&complete, of_complete, rng, &mut drawn);
        sample(&incomplete, of_incomplete, rng, &mut drawn);
        drawn
    }
}

/// `count` different ones of all lists: Floyd's algorithm, a few steps however long they are.
fn sample(lists: &[&Vec<NodeId>], count: usize, rng: &mut fastrand::Rng, drawn: &mut Vec<NodeId>) {
    let bound: usize = lists.iter().map(|list| list.len()).sum();
    let mut seen = BTreeSet::new();
    for top in bound.saturating_sub(count)..bound {
        let candidate = rng.usize(..=top);
        let mut next = if seen.insert(candidate) { candidate } else { top };
        seen.insert(next);
        for list in lists {
            if let Some(node) = list.get(next) {
                drawn.push(*node);
                break;
            }
            next -= list.len();
        }
    }
}

/// The tracker.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// Answers nobody.
    pub down: bool,
    /// Time for one announce, in nanoseconds.
    pub service: Nanos,
    /// Announces answered.
    pub announces: u64,
    free: Nanos,
    rosters: Vec<Roster>,
    rng: fastrand::Rng,
}

/// Four cores at 20,000 announces a second each.
const SERVICE: Nanos = 12_500;

impl Tracker {
    /// A tracker that knows nobody.
    pub(crate) fn new(seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed ^ 0x7261_636b);
        Self { down: false, service: SERVICE, announces: 0, free: 0, rosters: Vec::new(), rng }
    }

    /// When an announce that comes at `now` is answered.
    pub(crate) fn serve(&mut self, now: Nanos) -> Nanos {
        self.announces += 1;
        self.free = self.free.max(now) + self.service;
        self.free
    }

    /// A node takes part, or no longer does, and asks for others.
    pub(crate) fn announce(
        &mut self,
        blob: BlobId,
        (node, zone): (NodeId, Zone),
        complete: bool,
        stopped: bool,
    ) -> Vec<NodeId> {
        if self.rosters.len() <= usize::from(blob) {
            self.rosters.resize(usize::from(blob) + 1, Roster::default());
        }
        let roster = &mut self.rosters[usize::from(blob)];
        if stopped {
            roster.remove(node);
            return Vec::new();
        }
        roster.put((node, zone), complete);
        if complete {
            return Vec::new();
        }
        let mut drawn = roster.draw(zone, PEERS_MAX + 1, &mut self.rng);
        drawn.retain(|other| *other != node);
        drawn.truncate(PEERS_MAX);
        drawn
    }

    /// When a node shall announce again, in milliseconds: as the real tracker says.
    pub(crate) fn interval_ms(&mut self, complete: bool, size: u64) -> u64 {
        let base = if complete { 60_000 } else { (3_000 + size / 1_250_000).min(15_000) };
        base * 8 / 10 + self.rng.u64(0..=base * 4 / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_both_kinds_and_nobody_twice_or_to_himself() {
        let mut tracker = Tracker::new(1);
        let at = |node| (node, Zone::UNKNOWN);
        for node in 0..200 {
            tracker.announce(0, at(node), node % 2 == 0, false);
        }
        let mut drawn = tracker.announce(0, at(7), false, false);
        assert!(drawn.len() >= PEERS_MAX - 1 && !drawn.contains(&7));
        let complete = drawn.iter().filter(|node| *node % 2 == 0).count();
        assert!((24..=26).contains(&complete), "{complete}");
        let len = drawn.len();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), len);
        for node in 0..200 {
            tracker.announce(0, at(node), false, node != 7 && node != 8);
        }
        assert_eq!(tracker.announce(0, at(7), false, false), [8]);
    }

    #[test]
    fn two_thirds_come_from_the_own_zone_if_it_has_so_many() {
        let mut tracker = Tracker::new(1);
        for node in 0..300 {
            tracker.announce(0, (node, Zone(1 + node % 3)), false, false);
        }
        let drawn = tracker.announce(0, (0, Zone(1)), false, false);
        let near = drawn.iter().filter(|node| *node % 3 == 0).count();
        assert!((32..=34).contains(&near), "{near}");
    }

    #[test]
    fn announces_wait_for_one_another() {
        let mut tracker = Tracker::new(1);
        assert_eq!(tracker.serve(1_000), 1_000 + SERVICE);
        assert_eq!(tracker.serve(1_000), 1_000 + 2 * SERVICE);
    }
}
