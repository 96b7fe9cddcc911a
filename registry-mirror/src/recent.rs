//! What was noted lately, and no more of it than fits: a map that forgets.
//!
//! Two halves: new notes go into the younger, and when that is full the older is dropped. So the newest are always known, what is asked
//! for stays, and nothing has to be ordered. The price: at most half of the bound is forgotten at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bounded map of notes. Clones share it.
pub(crate) struct Recent<K, V>(Arc<Mutex<Halves<K, V>>>);

struct Halves<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// Remembers at most `max` notes, and at least the newest half of that.
    pub(crate) fn new(max: usize) -> Self {
        let half = (max / 2).max(1);
        Self(Arc::new(Mutex::new(Halves { young: HashMap::new(), old: HashMap::new(), half })))
    }

    /// Notes `value` in place of what was noted for `key`.
    pub(crate) fn note(&self, key: K, value: V) {
        self.lock().put(key, value);
    }

    /// What was noted last for `key`.
    pub(crate) fn of(&self, key: &K) -> Option<V> {
        let mut halves = self.lock();
        if let Some(value) = halves.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = halves.old.remove_entry(key)?;
        halves.put(key, value.clone());
        Some(value)
    }

    fn lock(&self) -> MutexGuard<'_, Halves<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Halves<K, V> {
    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

impl<K, V> Clone for Recent<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_win_and_the_oldest_are_forgotten() {
        let recent = Recent::new(10);
        recent.note(0, 'a');
        recent.note(0, 'b');
        assert_eq!(recent.of(&0), Some('b'));
        (1..8).for_each(|key| recent.note(key, 'x'));
        assert_eq!(recent.of(&0), Some('b'), "asking keeps it");
        (8..100).for_each(|key| recent.note(key, 'x'));
        assert_eq!(recent.of(&0), None);
        assert!((95..100).all(|key| recent.of(&key) == Some('x')));
        let halves = recent.lock();
        assert!(halves.young.len() + halves.old.len() <= 10);
    }

    #[test]
    fn an_old_note_never_comes_back_over_a_newer_one() {
        let recent = Recent::new(2);
        recent.note(1, 'a');
        recent.note(2, 'x');
        recent.note(1, 'b');
        assert_eq!(recent.of(&1), Some('b'));
        assert_eq!(recent.of(&2), Some('x'));
        assert_ne!(recent.of(&1), Some('a'));
    }
}
