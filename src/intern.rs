//! One copy of what many keys share.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// A set of shared values: equal ones are kept once, unused ones are dropped in time.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    known: Mutex<Known<T>>,
}

#[derive(Debug)]
struct Known<T> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: Eq + Hash> Interner<T> {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::new(Known {
                values: HashSet::new(),
                sweep_at: SWEEP_FROM,
            }),
        }
    }

    /// The shared copy of `value`.
    pub(crate) fn share(&self, value: T) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.values.get(&value) {
            return Arc::clone(shared);
        }
        if known.values.len() >= known.sweep_at {
            known.values.retain(|value| Arc::strong_count(value) > 1);
            known.values.shrink_to_fit();
            // Twice of what is in use: a sweep is paid for by as many new values.
            known.sweep_at = (known.values.len() * 2).max(SWEEP_FROM);
        }
        let shared = Arc::new(value);
        known.values.insert(Arc::clone(&shared));
        shared
    }
}

const SWEEP_FROM: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let interner = Interner::new();
        assert!(Arc::ptr_eq(
            &interner.share("a".to_owned()),
            &interner.share("a".to_owned())
        ));
        assert!(!Arc::ptr_eq(
            &interner.share("a".to_owned()),
            &interner.share("b".to_owned())
        ));
    }

    #[test]
    fn unused_values_are_dropped() {
        let interner = Interner::new();
        let kept = interner.share(usize::MAX);
        for value in 0..10_000 {
            drop(interner.share(value));
        }
        let known = interner.known.lock().expect("not poisoned");
        assert!(
            known.values.len() <= 2 * SWEEP_FROM,
            "{}",
            known.values.len()
        );
        assert!(known.values.contains(&kept));
    }
}
