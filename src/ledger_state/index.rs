//! An ordered map of which the unit tests can tell how many entries were looked at.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, btree_map::Range},
    ops::Bound,
};

/// A [`BTreeMap`] for what grows with the number of holders.
///
/// It offers what takes O(log n), and iteration, of which the tests count every step: a scan cannot
/// hide.
#[derive(Debug, Clone)]
pub(super) struct Index<K, V>(BTreeMap<K, V>);

impl<K: Ord, V> Index<K, V> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        count_visit();
        self.0.get(key)
    }

    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        count_visit();
        self.0.get_mut(key)
    }

    pub(super) fn get_or_insert(&mut self, key: &K) -> &mut V
    where
        K: Clone,
        V: Default,
    {
        count_visit();
        self.0.entry(key.clone()).or_default()
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        count_visit();
        self.0.insert(key, value);
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        count_visit();
        self.0.remove(key)
    }

    pub(super) fn first(&self) -> Option<(&K, &V)> {
        count_visit();
        self.0.first_key_value()
    }

    pub(super) fn pop_first(&mut self) -> Option<(K, V)> {
        count_visit();
        self.0.pop_first()
    }

    pub(super) fn pop_last(&mut self) -> Option<(K, V)> {
        count_visit();
        self.0.pop_last()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.range(Bound::Unbounded)
    }

    /// The entries from `start` on.
    pub(super) fn range(&self, start: Bound<&K>) -> impl Iterator<Item = (&K, &V)> {
        let range: Range<'_, K, V> = self.0.range((start, Bound::Unbounded));
        range.inspect(|_| count_visit())
    }
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

#[cfg(not(test))]
fn count_visit() {}

#[cfg(test)]
use visits::count_visit;

#[cfg(test)]
pub(super) mod visits {
    use std::cell::Cell;

    thread_local! {
        static VISITS: Cell<u64> = const { Cell::new(0) };
    }

    pub(in crate::ledger_state) fn count_visit() {
        VISITS.set(VISITS.get() + 1);
    }

    /// How many entries of all indexes this thread looked at in `work`.
    pub(in crate::ledger_state) fn visits_in(work: impl FnOnce()) -> u64 {
        let before = VISITS.get();
        work();
        VISITS.get() - before
    }
}
