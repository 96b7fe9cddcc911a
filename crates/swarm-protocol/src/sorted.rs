//! A map whose keys are numbers that grow: connections, each with what is known of it.
//!
//! A core looks its neighbours up and walks through them many times for each that comes or goes. A sorted list is walked as fast as
//! memory allows and searched in a few steps, and whoever comes last is put at its end. The price is that removing one moves those
//! behind it: some microseconds for an owner's thousands. The order of a walk is that of the keys, so a run is the same each time.

/// A sorted list of keys and, beside it, their values.
#[derive(Clone, Debug)]
pub(crate) struct SortedMap<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K: Ord + Copy, V> SortedMap<K, V> {
    /// Number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether there is an entry for a key.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.keys.binary_search(key).is_ok()
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.keys.binary_search(key).ok().map(|at| &self.values[at])
    }

    /// The value of a key.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.keys.binary_search(key).ok().map(|at| &mut self.values[at])
    }

    /// Puts a value in the place of a key; the one that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.keys.binary_search(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.values[at], value)),
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, value);
                None
            }
        }
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.keys.binary_search(key).ok()?;
        self.keys.remove(at);
        Some(self.values.remove(at))
    }

    /// The keys in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.keys.iter()
    }

    /// The values in the order of their keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter()
    }

    /// The values in the order of their keys.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut()
    }

    /// Everything in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }

    /// Everything in the order of the keys.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.keys.iter().zip(&mut self.values)
    }

    /// Takes everything out, in the order of the keys.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        self.keys.drain(..).zip(self.values.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_one_value_per_key() {
        let mut map = SortedMap::default();
        assert!(map.is_empty());
        for key in [5, 1, 9, 5] {
            map.insert(key, key * 10);
        }
        assert_eq!(map.insert(9, 91), Some(90));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&1, &10), (&5, &50), (&9, &91)]);
        assert_eq!((map.remove(&5), map.remove(&5), map.len()), (Some(50), None, 2));
        assert!(map.contains_key(&9) && map.get(&5).is_none());
        *map.get_mut(&1).unwrap() += 1;
        assert_eq!(map.values().copied().collect::<Vec<_>>(), [11, 91]);
        assert_eq!(map.drain().map(|(key, _)| key).collect::<Vec<_>>(), [1, 9]);
    }
}
