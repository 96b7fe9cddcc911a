//! How often logging in failed lately, by address and by name, so that guessing is slow.
//!
//! A sliding window over two counted halves: exact enough, and one small number for each key. Price: who can use many addresses is
//! only slowed by the limit on the name, and a name under attack is closed for its owner too, unless a password of hers was verified
//! a moment ago (that is looked up before this is asked).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::memo::{Fingerprint, Fingerprints};

/// Keys remembered in each half: 32,768 of 40 bytes are a few megabytes at most. Beyond, the older half is forgotten early.
const KEYS_MAX: usize = 32_768;

/// How many failures are borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimits {
    /// From one address (IPv6: from one /64 network) within the window.
    pub per_address: u32,
    /// For one name within the window.
    pub per_name: u32,
    /// The window.
    pub window: Duration,
}

impl Default for FailureLimits {
    fn default() -> Self {
        // A script with an old password tries a few times a minute; guessing needs millions of tries. One address may be a whole
        // company behind NAT, and one name may be a CI account on many machines, so neither is strict.
        Self { per_address: 30, per_name: 60, window: Duration::from_secs(60) }
    }
}

/// The counts.
pub(crate) struct Failures {
    limits: FailureLimits,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Number of the window that `current` counts.
    window: u64,
    current: HashMap<Fingerprint, u32>,
    previous: HashMap<Fingerprint, u32>,
}

impl Failures {
    pub(crate) fn new(limits: FailureLimits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    /// How long to wait before the next try, if too many have failed.
    pub(crate) fn wait(
        &self,
        keys: &Fingerprints,
        address: IpAddr,
        name: Option<&str>,
        now: SystemTime,
    ) -> Option<Duration> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (window, into) = self.turn(&mut counts, now);
        let left = window.saturating_sub(into);
        let weight = left.as_secs_f64() / window.as_secs_f64();
        let over = |key: &Fingerprint, max: u32| {
            let before = counts.previous.get(key).copied().unwrap_or(0);
            let current = counts.current.get(key).copied().unwrap_or(0);
            f64::from(current) + f64::from(before) * weight >= f64::from(max)
        };
        let closed = over(&address_key(keys, address), self.limits.per_address)
            || name.is_some_and(|name| over(&name_key(keys, name), self.limits.per_name));
        closed.then(|| left.max(Duration::from_secs(1)))
    }

    /// Counts one failure.
    pub(crate) fn note(&self, keys: &Fingerprints, address: IpAddr, name: Option<&str>, now: SystemTime) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut counts, now);
        let named = name.map(|name| name_key(keys, name));
        for key in std::iter::once(address_key(keys, address)).chain(named) {
            if counts.current.len() >= KEYS_MAX && !counts.current.contains_key(&key) {
                counts.previous = std::mem::take(&mut counts.current);
            }
            let count = counts.current.entry(key).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Turns the halves when their time is over; the window, and how far into it `now` is.
    fn turn(&self, counts: &mut Counts, now: SystemTime) -> (Duration, Duration) {
        let window = self.limits.window.max(Duration::from_secs(1));
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = since.as_secs() / window.as_secs();
        if number != counts.window {
            let next = number == counts.window.wrapping_add(1);
            let last = std::mem::take(&mut counts.current);
            counts.previous = if next { last } else { HashMap::new() };
            counts.window = number;
        }
        (window, since.saturating_sub(Duration::from_secs(number * window.as_secs())))
    }
}

fn address_key(keys: &Fingerprints, address: IpAddr) -> Fingerprint {
    match address.to_canonical() {
        IpAddr::V4(v4) => keys.of(&[b"address", &v4.octets()]),
        // Who has one IPv6 address usually has the whole /64.
        IpAddr::V6(v6) => keys.of(&[b"address", &v6.octets()[..8]]),
    }
}

fn name_key(keys: &Fingerprints, name: &str) -> Fingerprint {
    keys.of(&[b"name", name.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn setup(per_address: u32, per_name: u32) -> (Failures, Fingerprints) {
        let window = Duration::from_secs(60);
        (Failures::new(FailureLimits { per_address, per_name, window }), Fingerprints::new(&[1; 32]))
    }

    #[test]
    fn an_address_is_closed_and_opens_again() {
        let (failures, keys) = setup(3, 100);
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..3 {
            assert_eq!(failures.wait(&keys, here, Some("a"), at(6010)), None);
            failures.note(&keys, here, Some("a"), at(6010));
        }
        assert_eq!(failures.wait(&keys, here, Some("a"), at(6010)), Some(Duration::from_secs(50)));
        assert_eq!(failures.wait(&keys, there, Some("a"), at(6010)), None);
        assert!(failures.wait(&keys, here, None, at(6060)).is_some());
        assert_eq!(failures.wait(&keys, here, None, at(6100)), None);
        assert_eq!(failures.wait(&keys, here, None, at(9000)), None);
    }

    #[test]
    fn a_name_is_closed_wherever_it_is_tried_from() {
        let (failures, keys) = setup(100, 4);
        for number in 0..4 {
            failures.note(&keys, IpAddr::from([10, 0, 0, number]), Some("root"), at(60));
        }
        assert!(failures.wait(&keys, IpAddr::from([10, 9, 9, 9]), Some("root"), at(60)).is_some());
        assert!(failures.wait(&keys, IpAddr::from([10, 9, 9, 9]), Some("other"), at(60)).is_none());
    }

    #[test]
    fn one_network_of_ipv6_counts_as_one_and_mapped_addresses_as_ipv4() {
        let (failures, keys) = setup(1, 100);
        failures.note(&keys, "2001:db8::1".parse().unwrap(), None, at(60));
        assert!(failures.wait(&keys, "2001:db8::ffff".parse().unwrap(), None, at(60)).is_some());
        assert!(failures.wait(&keys, "2001:db8:0:1::1".parse().unwrap(), None, at(60)).is_none());
        failures.note(&keys, "::ffff:192.0.2.1".parse().unwrap(), None, at(60));
        assert!(failures.wait(&keys, "192.0.2.1".parse().unwrap(), None, at(60)).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let (failures, keys) = setup(1, 1);
        for number in 0..(3 * KEYS_MAX as u32) {
            failures.note(&keys, IpAddr::from(number.to_be_bytes()), None, at(60));
        }
        let counts = failures.counts.lock().unwrap();
        assert!(counts.current.len() + counts.previous.len() <= 2 * KEYS_MAX);
    }
}
