//! A store that cannot be written, by a third party: what its file said at the start.

use tower_api_key::{
    BackendError, Changes, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, Timestamp, UsageCount,
};

tower_api_key::key_store_conformance!(read_only, || async {
    let file = r#"[
        {"id": "a", "digest": "0101010101010101010101010101010101010101010101010101010101010101",
         "hint": "", "name": "Studio A", "environment": "live", "enabled": true,
         "created_at": "2026-01-01T00:00:00Z"},
        {"id": "b", "digest": "0202020202020202020202020202020202020202020202020202020202020202",
         "hint": "", "name": "Studio B", "environment": "test", "enabled": false,
         "created_at": "2026-01-01T00:00:00Z", "modules": ["launcher"],
         "previous": {"digest": "0303030303030303030303030303030303030303030303030303030303030303",
                      "until": "2026-02-01T00:00:00Z"}}
    ]"#;
    FixedStore(serde_json::from_str(file).unwrap())
});

struct FixedStore(Vec<KeyRecord>);

#[async_trait::async_trait]
impl KeyStore for FixedStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        Ok(self
            .0
            .iter()
            .find(|r| r.digest == *digest || r.previous.iter().any(|p| p.digest == *digest))
            .cloned())
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        Ok(self.0.iter().find(|r| r.id == *id).cloned())
    }

    async fn insert(&self, _: KeyRecord) -> Result<(), BackendError> {
        Err(BackendError::ReadOnly)
    }

    async fn update(&self, _: KeyRecord) -> Result<KeyRecord, BackendError> {
        Err(BackendError::ReadOnly)
    }

    async fn delete(&self, _: &KeyId) -> Result<bool, BackendError> {
        Err(BackendError::ReadOnly)
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        let mut records = self.0.clone();
        records.retain(|record| query.matches(record));
        records.sort_by(|one, other| query.compare(&one.id, &other.id));
        records.truncate(query.limit);
        Ok(records)
    }

    async fn record_last_used(&self, _: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        Err(BackendError::ReadOnly)
    }

    async fn record_usage(&self, _: &[UsageCount], _: Timestamp) -> Result<(), BackendError> {
        Err(BackendError::ReadOnly)
    }

    async fn usage(&self, _: &KeyId, _: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        Ok(Vec::new())
    }

    fn changes(&self) -> Option<&Changes> {
        None
    }
}
