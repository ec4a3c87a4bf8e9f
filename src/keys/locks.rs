//! One change of a key after the other, within a process.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use crate::{changes::Changes, key_store::KeyId};

/// Shared by all managers of a layer, and by the clones of a manager.
#[derive(Clone)]
pub(crate) struct KeyLocks(Arc<[Mutex<()>]>);

impl KeyLocks {
    pub(crate) fn new() -> Self {
        Self((0..LOCKS).map(|_| Mutex::new(())).collect())
    }

    /// Waits until nobody else changes this key, nor another one with the same lock.
    pub(super) async fn lock(&self, key: &KeyId) -> MutexGuard<'_, ()> {
        let slot = Changes::slot(key.as_str()).index();
        self.0[slot % LOCKS].lock().await
    }
}

const LOCKS: usize = 64;
