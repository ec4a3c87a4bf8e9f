//! A store whose writing of uses is watched, held up, or broken.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tower_api_key::{
    BackendError, Changes, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, MemoryKeyStore,
    Timestamp, UsageCount,
};

/// What happens to a writing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Writing {
    #[default]
    Works,
    /// It waits until `Writes::open` lets it go on.
    Waits,
    /// The next one panics.
    PanicsOnce,
    /// The next one never ends.
    HangsOnce,
    ReadOnly,
    Fails,
}

/// What was written, in which batches, and a switch, shared by test and store.
#[derive(Clone)]
pub struct Writes(Arc<Inner>);

struct Inner {
    /// Of last-used times.
    writing: Mutex<Writing>,
    batches: Mutex<Vec<Vec<(KeyId, Timestamp)>>>,
    /// Of usage.
    counting: Mutex<Writing>,
    counts: Mutex<Vec<(Vec<UsageCount>, Timestamp)>>,
    gate: Semaphore,
}

impl Writes {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            writing: Mutex::default(),
            batches: Mutex::default(),
            counting: Mutex::default(),
            counts: Mutex::default(),
            gate: Semaphore::new(0),
        }))
    }

    pub fn set(&self, writing: Writing) {
        *self.writing() = writing;
    }

    /// The same for writings of usage.
    pub fn set_counting(&self, writing: Writing) {
        *self.0.counting.lock().expect("nobody panics with it") = writing;
    }

    /// What was counted since this was asked last, in which batches, each with the instant before which
    /// all was to be forgotten.
    pub fn take_counts(&self) -> Vec<(Vec<UsageCount>, Timestamp)> {
        mem::take(&mut self.0.counts.lock().expect("nobody panics with it"))
    }

    /// Lets all that wait go on.
    pub fn open(&self) {
        self.set(Writing::Works);
        self.set_counting(Writing::Works);
        self.0.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// What was written since this was asked last.
    pub fn take(&self) -> Vec<Vec<(KeyId, Timestamp)>> {
        mem::take(&mut self.0.batches.lock().expect("nobody panics with it"))
    }

    /// The same, the batches put together.
    pub fn take_all(&self) -> Vec<(KeyId, Timestamp)> {
        self.take().concat()
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.0.writing.lock().expect("nobody panics with it")
    }

    async fn turn(&self, writing: &Mutex<Writing>) -> Result<(), BackendError> {
        let next = {
            let mut writing = writing.lock().expect("nobody panics with it");
            let next = *writing;
            if matches!(next, Writing::PanicsOnce | Writing::HangsOnce) {
                *writing = Writing::Works;
            }
            next
        };
        match next {
            Writing::Works => {}
            Writing::Waits => {
                let turn = self.0.gate.acquire().await;
                turn.expect("never closed").forget();
            }
            Writing::PanicsOnce => panic!("a store that panics, on purpose"),
            Writing::HangsOnce => std::future::pending::<()>().await,
            Writing::ReadOnly => return Err(BackendError::ReadOnly),
            Writing::Fails => return Err(BackendError::unavailable("an outage, on purpose")),
        }
        Ok(())
    }
}

/// A store that is watched while it writes, and tells of changes or does not.
pub struct WatchedStore {
    pub store: MemoryKeyStore,
    pub writes: Writes,
    pub tells: bool,
}

#[async_trait]
impl KeyStore for WatchedStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        self.store.find(digest).await
    }
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.store.get(id).await
    }
    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.store.insert(record).await
    }
    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError> {
        self.store.update(record).await
    }
    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.store.delete(id).await
    }
    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        self.store.list(query).await
    }
    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.writes.turn(&self.writes.0.writing).await?;
        self.store.record_last_used(uses).await?;
        let mut batches = self.writes.0.batches.lock().expect("nobody panics with it");
        batches.push(uses.to_vec());
        Ok(())
    }
    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        self.writes.turn(&self.writes.0.counting).await?;
        self.store.record_usage(counts, forget_before).await?;
        let mut batches = self.writes.0.counts.lock().expect("nobody panics with it");
        batches.push((counts.to_vec(), forget_before));
        Ok(())
    }
    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        self.store.usage(id, since).await
    }
    fn changes(&self) -> Option<&Changes> {
        self.store.changes().filter(|_| self.tells)
    }
}
