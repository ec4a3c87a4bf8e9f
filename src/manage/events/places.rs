//! How many streams a caller has at a time.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;

/// How many streams each caller has, by principal.
#[derive(Clone, Default)]
pub(crate) struct Places(Arc<Mutex<HashMap<Box<str>, usize>>>);

/// One stream of a caller, until it is dropped.
pub(super) struct Place {
    places: Places,
    principal: Box<str>,
}

impl Places {
    /// A place for one more stream; nothing where the caller has as many as anybody may.
    pub(super) fn take(&self, principal: &str) -> Option<Place> {
        let mut taken = self.0.lock();
        let count = taken.entry(principal.into()).or_default();
        if *count == MOST {
            return None;
        }
        *count += 1;
        Some(Place {
            places: self.clone(),
            principal: principal.into(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        let principal = std::mem::take(&mut self.principal);
        if let Entry::Occupied(mut count) = taken.entry(principal) {
            match count.get() {
                1 => drop(count.remove()),
                _ => *count.get_mut() -= 1,
            }
        }
    }
}

/// So many streams one caller may have: those of a person with many windows.
pub(super) const MOST: usize = 32;
