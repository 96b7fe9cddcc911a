//! What was verified a moment ago: a bounded memory that forgets by itself, addressed by a keyed hash.
//!
//! The key is random for each process, so neither passwords nor anything that could be compared with a dump of them is kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::hmac;

/// Address of an entry.
pub(crate) type Fingerprint = [u8; 32];

/// Makes fingerprints.
pub(crate) struct Fingerprints(hmac::Key);

impl Fingerprints {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The fingerprint of these parts; which bytes are in which part matters.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }
}

/// Values until a time, in two generations: when the younger is full it becomes the older, and the older is forgotten.
pub(crate) struct Memo<V> {
    generations: Mutex<Generations<V>>,
    generation_max: usize,
}

struct Generations<V> {
    young: HashMap<Fingerprint, (V, SystemTime)>,
    old: HashMap<Fingerprint, (V, SystemTime)>,
}

impl<V: Clone> Memo<V> {
    /// A memory of at most `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: Mutex::new(generations), generation_max: capacity.div_ceil(2).max(1) }
    }

    /// The value, if it is still good at `now`.
    pub(crate) fn get(&self, at: &Fingerprint, now: SystemTime) -> Option<V> {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, until) = generations.young.get(at).or_else(|| generations.old.get(at))?;
        (now < *until).then(|| value.clone())
    }

    /// Remembers a value until `until`.
    pub(crate) fn put(&self, at: Fingerprint, value: V, until: SystemTime) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= self.generation_max && !generations.young.contains_key(&at) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(at, (value, until));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.clear();
        generations.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_forgets_in_time_and_by_number() {
        let memo = Memo::new(8);
        let names = Fingerprints::new(&[7; 32]);
        let start = SystemTime::UNIX_EPOCH;
        let until = start + Duration::from_secs(10);
        let first = names.of(&[b"0"]);
        memo.put(first, 0, until);
        assert_eq!(memo.get(&first, start), Some(0));
        assert_eq!(memo.get(&first, until), None);
        for number in 1..100_u32 {
            memo.put(names.of(&[&number.to_le_bytes()]), number, until);
        }
        assert_eq!(memo.get(&first, start), None);
        let kept = memo.generations.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 8);
    }

    #[test]
    fn parts_do_not_run_together() {
        let names = Fingerprints::new(&[7; 32]);
        assert_ne!(names.of(&[b"ab", b"c"]), names.of(&[b"a", b"bc"]));
        assert_ne!(names.of(&[b"ab"]), Fingerprints::new(&[8; 32]).of(&[b"ab"]));
    }
}
