//! Whom to call, and when again. An address is remembered while it is being dialled or backed off from; failures make the wait longer,
//! a connection forgets them. Nothing here keeps an address out for good, except our own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fastrand::Rng;

use crate::announce::jitter;
use crate::io::Time;
use crate::limits::REDIAL_MS;

/// Addresses that are being dialled, or not yet again.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    pending: BTreeSet<SocketAddr>,
    backoff: BTreeMap<SocketAddr, Backoff>,
    ourselves: BTreeSet<SocketAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Backoff {
    failures: u32,
    until: Time,
}

impl Dials {
    /// Number of dials under way.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Number of dials under way to the machine of an address.
    pub(crate) fn pending_at(&self, addr: &SocketAddr) -> usize {
        self.pending.iter().filter(|pending| pending.ip() == addr.ip()).count()
    }

    /// Whether an address is being dialled.
    pub(crate) fn is_pending(&self, addr: &SocketAddr) -> bool {
        self.pending.contains(addr)
    }

    /// Whether an address may be dialled now.
    pub(crate) fn is_free(&self, addr: &SocketAddr, now: Time) -> bool {
        !self.pending.contains(addr) && !self.ourselves.contains(addr) && now >= self.free_at(addr)
    }

    /// When an address may be dialled again.
    pub(crate) fn free_at(&self, addr: &SocketAddr) -> Time {
        self.backoff.get(addr).map_or(Time(0), |backoff| backoff.until)
    }

    /// Whether an address is our own.
    pub(crate) fn is_ourselves(&self, addr: &SocketAddr) -> bool {
        self.ourselves.contains(addr)
    }

    /// A dial begins.
    pub(crate) fn begin(&mut self, addr: SocketAddr) {
        self.pending.insert(addr);
    }

    /// A dial led to a connection.
    pub(crate) fn succeeded(&mut self, addr: &SocketAddr) {
        self.pending.remove(addr);
    }

    /// A dial led to ourselves.
    pub(crate) fn found_ourselves(&mut self, addr: SocketAddr) {
        self.pending.remove(&addr);
        self.ourselves.insert(addr);
    }

    /// A dial failed, or the connection it led to was closed: wait, longer each time.
    pub(crate) fn back_off(&mut self, addr: SocketAddr, now: Time, rng: &mut Rng) {
        self.pending.remove(&addr);
        let (first, most) = REDIAL_MS;
        let backoff = self.backoff.entry(addr).or_insert(Backoff { failures: 0, until: now });
        let wait = first.saturating_mul(1 << backoff.failures.min(10)).min(most);
        backoff.failures += 1;
        backoff.until = now.plus_millis(jitter(wait, rng));
    }

    /// A connection was useful: its address starts afresh.
    pub(crate) fn forgive(&mut self, addr: &SocketAddr) {
        self.backoff.remove(addr);
    }

    /// Forgets what has not mattered for a long time.
    pub(crate) fn prune(&mut self, now: Time) {
        self.backoff.retain(|_, backoff| now < backoff.until.plus_millis(REDIAL_MS.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_after_each_failure_and_forgives() {
        let mut rng = Rng::with_seed(1);
        let mut dials = Dials::default();
        let addr = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(dials.is_free(&addr, Time(0)));
        dials.begin(addr);
        assert!(!dials.is_free(&addr, Time(0)) && dials.pending() == 1);
        dials.back_off(addr, Time(0), &mut rng);
        let first = dials.free_at(&addr);
        assert!(first <= Time::from_millis(625) && dials.is_free(&addr, first));
        (0..20).for_each(|_| dials.back_off(addr, Time(0), &mut rng));
        let last = dials.free_at(&addr);
        assert!(last > first && last <= Time::from_millis(REDIAL_MS.1 * 5 / 4));
        dials.prune(last);
        assert_eq!(dials.free_at(&addr), last);
        dials.forgive(&addr);
        assert!(dials.is_free(&addr, Time(0)));
        dials.found_ourselves(addr);
        assert!(!dials.is_free(&addr, Time::NEVER));
    }
}
