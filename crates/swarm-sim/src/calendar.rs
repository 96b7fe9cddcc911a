//! What happens when: a calendar queue, because a run has tens of millions of events and nearly all of them are due within
//! milliseconds.
//!
//! Time is cut into days. The events of today are in a small heap, those of the coming days in one unsorted list per day, and the rest
//! (timers of seconds) in a large heap. So an event costs two appends, and not a walk through a heap of half a million. Events of the
//! same moment come in the order in which they were planned: a run is the same each time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A moment of the simulation, in nanoseconds: microseconds, which the core counts in, are too coarse to add up the slices of a fast
/// link without drift.
pub(crate) type Nanos = u64;

/// Length of a day as a power of two of nanoseconds: 65 µs, a few events per day at small sizes and some hundreds at large ones.
const DAY_BITS: u32 = 16;

/// Days that have a list of their own: half a second, above every delay of the network.
const DAYS: usize = 1 << 13;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<T> {
    at: Nanos,
    order: u32,
    event: T,
}

/// All events to come.
#[derive(Debug)]
pub(crate) struct Calendar<T> {
    today: u64,
    hours: BinaryHeap<Reverse<Entry<T>>>,
    days: Vec<Vec<Entry<T>>>,
    /// Events in `days`.
    planned: usize,
    later: BinaryHeap<Reverse<Entry<T>>>,
    order: u32,
}

impl<T: Copy + Ord> Calendar<T> {
    /// Nothing planned; it is the first day.
    pub(crate) fn new() -> Self {
        Self {
            today: 0,
            hours: BinaryHeap::new(),
            days: std::iter::repeat_with(Vec::new).take(DAYS).collect(),
            planned: 0,
            later: BinaryHeap::new(),
            order: 0,
        }
    }

    /// Plans an event. What is already past happens next.
    pub(crate) fn push(&mut self, at: Nanos, event: T) {
        // 2^32 events later nobody remembers: by then the moments differ.
        self.order = self.order.wrapping_add(1);
        let entry = Entry { at, order: self.order, event };
        let day = at >> DAY_BITS;
        if day <= self.today {
            self.hours.push(Reverse(entry));
        } else if day < self.today + DAYS as u64 {
            self.days[place(day)].push(entry);
            self.planned += 1;
        } else {
            self.later.push(Reverse(entry));
        }
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<(Nanos, T)> {
        while self.hours.is_empty() {
            if self.planned == 0 {
                // Nothing for half a second: go on where there is something.
                self.today = self.later.peek()?.0.at >> DAY_BITS;
            } else {
                self.today += 1;
            }
            self.fetch_later();
            let entries = &mut self.days[place(self.today)];
            self.planned -= entries.len();
            self.hours.extend(entries.drain(..).map(Reverse));
        }
        self.hours.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }

    /// Moves what has come within reach from the large heap to its day.
    fn fetch_later(&mut self) {
        let reach = self.today + DAYS as u64;
        while let Some(Reverse(entry)) = self.later.peek().copied()
            && entry.at >> DAY_BITS < reach
        {
            self.later.pop();
            self.days[place(entry.at >> DAY_BITS)].push(entry);
            self.planned += 1;
        }
    }
}

fn place(day: u64) -> usize {
    // The remainder is below DAYS.
    (day % DAYS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_then_of_planning() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut calendar = Calendar::new();
        let mut want = Vec::new();
        for number in 0..5_000_u32 {
            // From the same moment over milliseconds to minutes.
            let span = 1_u64 << rng.u32(4..38);
            let at = rng.u64(0..span) / 1_000 * 1_000;
            calendar.push(at, number);
            want.push((at, number));
        }
        want.sort_unstable();
        let got: Vec<_> = std::iter::from_fn(|| calendar.pop()).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn events_planned_while_others_happen_take_their_place() {
        let mut calendar = Calendar::new();
        calendar.push(5_000_000_000, 1);
        calendar.push(10, 0);
        assert_eq!(calendar.pop(), Some((10, 0)));
        calendar.push(700_000_000, 2);
        calendar.push(20, 3);
        calendar.push(5, 4);
        let rest: Vec<_> = std::iter::from_fn(|| calendar.pop()).map(|(_, event)| event).collect();
        assert_eq!(rest, [4, 3, 2, 1]);
    }
}
