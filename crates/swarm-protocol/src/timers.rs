//! Deadlines: at most one per purpose, so that setting one anew replaces it and nothing ever needs cancelling by hand.

use std::collections::{BTreeMap, BTreeSet};

use shoal_oci::Digest;

use crate::io::{ConnId, Time};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The next announce of a blob.
    Announce(Digest),
    /// The next look at a blob: stalled, held back, or to be released.
    Blob(Digest),
    /// The next look at a connection: slow, silent or idle.
    Conn(ConnId),
    /// The next dial whose back-off ends.
    Dial,
    /// An upload slot that may be stuck.
    Upload,
    /// Pieces of a blob that neighbours were not told of.
    Tell(Digest),
}

/// All deadlines of a core.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Time, Timer)>,
    of: BTreeMap<Timer, Time>,
}

impl Timers {
    /// Sets a deadline, replacing the former one of the same purpose.
    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        self.clear(timer);
        if at < Time::NEVER {
            self.due.insert((at, timer));
            self.of.insert(timer, at);
        }
    }

    /// Sets a deadline unless an earlier one of the same purpose stands.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Time) {
        if self.of.get(&timer).is_none_or(|standing| at < *standing) {
            self.set(timer, at);
        }
    }

    /// Removes a deadline.
    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.of.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    /// Takes one deadline that has passed.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Timer> {
        let &(at, timer) = self.due.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_deadline_per_purpose() {
        let mut timers = Timers::default();
        timers.set(Timer::Dial, Time(5));
        timers.set(Timer::Dial, Time(9));
        timers.set_earlier(Timer::Dial, Time(12));
        timers.set(Timer::Upload, Time(7));
        assert_eq!(timers.next(), Some(Time(7)));
        assert_eq!(timers.pop(Time(6)), None);
        assert_eq!(timers.pop(Time(9)), Some(Timer::Upload));
        assert_eq!(timers.pop(Time(9)), Some(Timer::Dial));
        timers.set(Timer::Dial, Time::NEVER);
        assert_eq!(timers.next(), None);
    }
}
