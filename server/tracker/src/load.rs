//! How many announces there are, in steps of a second, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of a step's count; the others are the step's second. 68 billion announces a second and eight years of seconds fit.
const COUNT_BITS: u32 = 36;

/// A counter of the present second, and the count of the one before.
#[derive(Debug, Default)]
pub(crate) struct Load {
    present: AtomicU64,
    before: AtomicU64,
}

impl Load {
    /// Counts `announces` in second number `second`, and returns how many the last whole second had.
    pub(crate) fn count(&self, second: u64, announces: u64) -> u64 {
        let present = self.present.load(Ordering::Relaxed);
        let (known, count) = (present >> COUNT_BITS, present & ((1 << COUNT_BITS) - 1));
        if second > known {
            let next = (second << COUNT_BITS) | announces;
            // Who loses the race is counted by the winner's step, or not at all: one announce in thousands.
            if self.present.compare_exchange(present, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.before.store(if second == known + 1 { count } else { 0 }, Ordering::Relaxed);
            }
        } else {
            self.present.fetch_add(announces, Ordering::Relaxed);
        }
        self.before.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_last_whole_second() {
        let load = Load::default();
        (0..500).for_each(|_| assert_eq!(load.count(3, 2), 0));
        assert_eq!(load.count(4, 1), 1_000);
        assert_eq!(load.count(4, 1), 1_000);
        assert_eq!(load.count(5, 1), 2);
        assert_eq!(load.count(9, 1), 0, "nobody came for three seconds");
    }
}
