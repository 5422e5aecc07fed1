//! A map whose copies share all but what changed since.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap};

/// Maps that the entries are spread over. Of a hundred thousand entries a change copies some four
/// hundred, and a copy of the whole costs as many counts as there are maps.
const SHARDS: usize = 256;

/// A map that is cheap to copy, and to change after it was copied.
#[derive(Debug, Clone)]
pub struct Shards<K, V>(Box<[Arc<FxHashMap<K, V>>]>);

// === impl Shards ===

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Arc::default()).collect())
    }
}

impl<K: Hash + Eq, V> Shards<K, V> {
    /// What is under a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0[place(key)].get(key)
    }

    /// The same with the key as it is held.
    pub fn get_key_value<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.0[place(key)].get_key_value(key)
    }

    /// Whether there is something under a key.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Everything, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().flat_map(|shard| shard.iter())
    }

    /// All keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|shard| shard.is_empty())
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// Puts something under a key, in place of what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        Arc::make_mut(&mut self.0[place(&key)]).insert(key, value)
    }

    /// Takes away what is under a key. Nothing is copied where there is nothing.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let shard = &mut self.0[place(key)];
        shard.contains_key(key).then_some(())?;
        Arc::make_mut(shard).remove(key)
    }
}

fn place<Q: Hash + ?Sized>(key: &Q) -> usize {
    // The high bits: the maps themselves go by the low ones.
    (FxBuildHasher.hash_one(key) >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut shards: Shards<u32, u32> = Shards::default();
        (0..1_000).for_each(|number| {
            shards.insert(number, number);
        });
        let before = shards.clone();

        shards.insert(7, 8);
        shards.remove(&9);

        assert_eq!((before.get(&7), before.get(&9)), (Some(&7), Some(&9)));
        assert_eq!((shards.get(&7), shards.get(&9)), (Some(&8), None));
        assert_eq!((before.len(), shards.len()), (1_000, 999));
        let shared = before.0.iter().zip(&shards.0);
        let shared = shared.filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert!(shared >= SHARDS - 2, "{shared}");
    }
}
