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
        // A key can stand here twice, where it was read again in the meantime.
        waiting.sort_by(|a, b| a.principal().cmp(b.principal()));
        while !waiting.is_empty() {
            let batch = take_keys(&mut waiting, BATCH);
            let mut uses: Vec<(KeyId, Timestamp)> = Vec::with_capacity(batch.len());
            for pass in &batch {
                // Begun before the time is read: a use that comes in between is queued again.
                pass.begin_writing();
                let Some((id, at)) = KeyId::new(pass.principal()).ok().zip(pass.last_used()) else {
                    continue;
                };
                match uses.last_mut() {
                    Some((last, last_at)) if *last == id => *last_at = at.max(*last_at),
                    _ => uses.push((id, at)),
                }
            }
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

/// The last of `waiting`, which is in order: about `most`, and never only a part of one key's.
fn take_keys(waiting: &mut Vec<Arc<Pass>>, most: usize) -> Vec<Arc<Pass>> {
    let mut from = waiting.len().saturating_sub(most);
    while from > 0 && waiting[from - 1].principal() == waiting[from].principal() {
        from -= 1;
    }
    waiting.split_off(from)
}

const BATCH: usize = 1_000;
