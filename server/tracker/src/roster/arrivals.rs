//! Who came last: what a peer is told that knows all who came before.

use std::collections::VecDeque;

use crate::address::Host;

/// Arrivals remembered per blob; who missed more gets a new sample. Five answers' worth, 6 KiB.
const REMEMBERED_MAX: usize = 256;

/// The least that is remembered, however few peers there are.
const REMEMBERED_MIN: usize = 8;

/// The latest arrivals in order.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    latest: VecDeque<(u32, (Host, u16))>,
    /// The number of the last one that was forgotten; those after it are all here.
    forgotten: u32,
}

impl Arrivals {
    /// Notes an arrival in a swarm that has `peers` now: a small swarm's list is small too.
    pub(super) fn note(&mut self, number: u32, key: (Host, u16), peers: usize) {
        if self.latest.is_empty() && self.forgotten == 0 {
            // Whoever knows a version from before this swarm was forgotten and begun again has missed nobody of it.
            self.forgotten = number.saturating_sub(1);
        }
        self.latest.push_back((number, key));
        while self.latest.len() > peers.clamp(REMEMBERED_MIN, REMEMBERED_MAX) {
            self.forgotten = self.latest.pop_front().map_or(self.forgotten, |(number, _)| number);
        }
    }

    /// Those that came after `since`; `None` when some of them are no longer known.
    pub(super) fn after(&self, since: u32) -> Option<Vec<(Host, u16)>> {
        if since < self.forgotten {
            return None;
        }
        let from = self.latest.partition_point(|(number, _)| *number <= since);
        Some(self.latest.range(from..).map(|(_, key)| *key).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(found: Option<Vec<(Host, u16)>>) -> Option<Vec<u16>> {
        found.map(|keys| keys.into_iter().map(|(_, port)| port).collect())
    }

    #[test]
    fn tells_all_that_came_since_or_that_it_cannot() {
        let mut arrivals = Arrivals::default();
        (101..=104).for_each(|number| arrivals.note(number, ([0; 16], number as u16), 4));
        assert_eq!(ports(arrivals.after(102)), Some(vec![103, 104]));
        assert_eq!(ports(arrivals.after(104)), Some(vec![]));
        assert_eq!(ports(arrivals.after(100)), Some(vec![101, 102, 103, 104]));
        assert_eq!(ports(arrivals.after(99)), None, "there was another swarm then");
        (105..=1_000).for_each(|number| arrivals.note(number, ([0; 16], number as u16), 4));
        assert_eq!(ports(arrivals.after(104)), None);
        assert_eq!(arrivals.after(992).map(|keys| keys.len()), Some(8));
    }
}
