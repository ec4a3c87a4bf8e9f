//! When keys were last used: noted on the request, written behind it.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    clock::Timestamp,
    error::BackendError,
    key_store::{KeyId, KeyStore},
    observe,
    pass::{Pass, State},
};

/// The keys used since the last writing, each once.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    unwritten: Mutex<Vec<Arc<Pass>>>,
}

impl Uses {
    /// Notes an authenticated request. The first one since the last writing queues the key; the
    /// others only move its time.
    pub(crate) fn note(&self, pass: &Arc<Pass>, now: Timestamp) {
        if pass.used(now) && pass.state() != State::Token {
            self.lock().push(Arc::clone(pass));
        }
    }

    /// Writes what was noted, each key once, in batches. What could not be written waits for the
    /// next time; a read-only store is asked once and its uses are dropped.
    pub(crate) async fn write(&self, store: &dyn KeyStore) -> Result<(), BackendError> {
        let mut waiting = mem::take(&mut *self.lock());
        while !waiting.is_empty() {
            let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
            let uses: Vec<(KeyId, Timestamp)> = batch
                .iter()
                .filter_map(|pass| {
                    // Begun before the time is read: a use that comes in between is queued again.
                    pass.begin_writing();
                    Some((KeyId::new(pass.principal()).ok()?, pass.last_used()?))
                })
                .collect();
            match store.record_last_used(&uses).await {
                Ok(()) => observe::last_used_written(uses.len()),
                Err(BackendError::ReadOnly) => return Err(BackendError::ReadOnly),
                Err(error) => {
                    let mut unwritten = self.lock();
                    for pass in batch.into_iter().chain(waiting) {
                        // Not queued again by a request in the meantime.
                        if pass.requeue() {
                            unwritten.push(pass);
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pass>>> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

const BATCH: usize = 1_000;
