//! A store that cannot tell of changes, with those that are made through this layer.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    key_store::{KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore},
    usage::UsageCount,
};

/// Notes what is changed through it, so that it is in force here before its caller is answered.
pub(crate) struct NotedStore {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) changes: Changes,
}

#[async_trait]
impl KeyStore for NotedStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        self.store.find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.store.get(id).await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        let _note = Note::new(&self.changes, &record.id);
        self.store.insert(record).await
    }

    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError> {
        let _note = Note::new(&self.changes, &record.id);
        self.store.update(record).await
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        let _note = Note::new(&self.changes, id);
        self.store.delete(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        self.store.list(query).await
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.store.record_last_used(uses).await
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        self.store.record_usage(counts, forget_before).await
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        self.store.usage(id, since).await
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }
}

/// Notes a change when the call is over, however it ends: one that failed, or whose caller went
/// away, may have taken place all the same.
struct Note<'a> {
    changes: &'a Changes,
    id: KeyId,
}

impl<'a> Note<'a> {
    fn new(changes: &'a Changes, id: &KeyId) -> Self {
        Self {
            changes,
            id: id.clone(),
        }
    }
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        self.changes.changed(&self.id);
        self.changes.added();
    }
}
