//! When keys were last used: noted on the request, written behind it.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    key_store::{KeyId, KeyStore},
    observe,
    pass::{Pass, State},
};

/// The keys used since they were last written, each once.
///
/// A key takes its shard's lock on its first use after a writing only; the others move its time.
#[derive(Debug)]
pub(crate) struct Uses {
    shards: [Mutex<HashSet<OfKey>>; SHARDS],
    /// One writing at a time: who flushes waits for the one under way.
    writing: tokio::sync::Mutex<()>,
}

/// A pass that stands for its key, whatever else was read of it since.
#[derive(Debug)]
struct OfKey(Pass);

impl Uses {
    pub(crate) fn new() -> Self {
        Self {
            shards: Default::default(),
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// Notes an authenticated request.
    pub(crate) fn note(&self, pass: &Pass, now: Timestamp) {
        if pass.used(now) && pass.state() != State::Token {
            self.queue(pass.clone());
        }
    }

    /// When a key was last used, as far as that waits to be written.
    pub(crate) fn last_used(&self, key: &KeyId) -> Option<Timestamp> {
        let shard = self.shard(Changes::slot(key.as_str()).index());
        shard
            .get(key.as_str())
            .and_then(|OfKey(pass)| pass.last_used())
    }

    fn queue(&self, pass: Pass) {
        let mut shard = self.shard(pass.slot().index());
        if let Some(OfKey(other)) = shard.take(&OfKey(pass.clone()))
            && !other.is(&pass)
        {
            // What was read of the key before, or its other text: it goes on by itself.
            pass.raise_last_used(&other);
            other.begin_writing();
        }
        shard.insert(OfKey(pass));
    }

    /// Writes what was noted until now, in batches. What could not be written, also because this
    /// future was dropped, waits for the next time; what a read-only store cannot keep is dropped.
    pub(crate) async fn write(&self, store: &dyn KeyStore) -> Result<(), BackendError> {
        let _writing = self.writing.lock().await;
        for shard in 0..SHARDS {
            // Keys that are used meanwhile come back: those that are there now are enough.
            let mut left = self.shard(shard).len();
            while left > 0 {
                let mut batch = Batch {
                    uses: self,
                    passes: self.take(shard, left.min(BATCH)),
                };
                left = left.saturating_sub(batch.passes.len().max(1));
                let written: Vec<(KeyId, Timestamp)> = batch
                    .passes
                    .iter()
                    .filter_map(|pass| {
                        // Before the time is read: a use in between is queued again.
                        pass.begin_writing();
                        Some((KeyId::new(pass.principal()).ok()?, pass.last_used()?))
                    })
                    .collect();
                match store.record_last_used(&written).await {
                    Err(error @ BackendError::ReadOnly) => {
                        batch.passes.clear();
                        self.forget();
                        return Err(error);
                    }
                    answer => answer?,
                }
                batch.passes.clear();
                observe::last_used_written(written.len());
            }
            // A shard that has held a million keys need not go on taking their room.
            self.shard(shard).shrink_to_fit();
        }
        Ok(())
    }

    fn take(&self, shard: usize, most: usize) -> Vec<Pass> {
        let mut shard = self.shard(shard);
        let all = shard.extract_if(|_| true);
        all.take(most).map(|OfKey(pass)| pass).collect()
    }

    fn forget(&self) {
        for shard in 0..SHARDS {
            for OfKey(pass) in self.shard(shard).drain() {
                pass.begin_writing();
            }
        }
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, HashSet<OfKey>> {
        self.shards[index % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on their way to the store: back into the queue unless they arrive.
struct Batch<'u> {
    uses: &'u Uses,
    passes: Vec<Pass>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for pass in self.passes.drain(..) {
            // Not where a request has queued it meanwhile.
            if pass.requeue() {
                self.uses.queue(pass);
            }
        }
    }
}

impl PartialEq for OfKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.principal() == other.0.principal()
    }
}

impl Eq for OfKey {}

impl Borrow<str> for OfKey {
    fn borrow(&self) -> &str {
        self.0.principal()
    }
}

impl Hash for OfKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.principal().hash(state);
    }
}

const SHARDS: usize = 16;
const BATCH: usize = 1_000;
