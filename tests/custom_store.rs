//! A store by a third party: JSON documents under their id, written against the public face only.

use std::{collections::BTreeMap, sync::Mutex};

use tower_api_key::{
    BackendError, Changes, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, Timestamp,
};

tower_api_key::key_store_conformance!(|| async { JsonStore::default() });

#[derive(Default)]
struct JsonStore {
    documents: Mutex<BTreeMap<String, String>>,
    changes: Changes,
}

impl JsonStore {
    /// Reads all records, lets `change` work on them, and writes back what it hands over.
    fn with<T>(
        &self,
        change: impl FnOnce(&[KeyRecord]) -> Result<(Vec<KeyRecord>, T), BackendError>,
    ) -> Result<T, BackendError> {
        let mut documents = self.documents.lock().expect("not poisoned");
        let records: Result<Vec<_>, _> = documents
            .values()
            .map(|text| serde_json::from_str(text))
            .collect();
        let (written, answer) = change(&records.map_err(BackendError::unavailable)?)?;
        for record in written {
            let text = serde_json::to_string(&record).map_err(BackendError::unavailable)?;
            documents.insert(record.id.to_string(), text);
        }
        Ok(answer)
    }
}

#[async_trait::async_trait]
impl KeyStore for JsonStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        self.with(|records| Ok((vec![], records.iter().find(|r| has(r, digest)).cloned())))
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.with(|records| Ok((vec![], records.iter().find(|r| r.id == *id).cloned())))
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.with(|records| {
            if records.iter().any(|r| r.id == record.id) {
                return Err(BackendError::DuplicateId);
            }
            check_digests(records, &record)?;
            Ok((vec![record], ()))
        })?;
        self.changes.added();
        Ok(())
    }

    async fn update(&self, mut record: KeyRecord) -> Result<KeyRecord, BackendError> {
        let updated = self.with(|records| {
            let stored = records.iter().find(|r| r.id == record.id);
            let stored = stored.ok_or(BackendError::NotFound)?;
            if stored.revision != record.revision {
                return Err(BackendError::Conflict);
            }
            check_digests(records, &record)?;
            record.revision += 1;
            record.last_used_at = stored.last_used_at;
            Ok((vec![record.clone()], record))
        })?;
        self.changes.changed(&updated.id);
        self.changes.added();
        Ok(updated)
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        let removed = self
            .documents
            .lock()
            .expect("not poisoned")
            .remove(id.as_str());
        self.changes.changed(id);
        Ok(removed.is_some())
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        let matching = |r: &&KeyRecord| query.matches(r);
        self.with(|records| {
            let found = records.iter().filter(matching).take(query.limit);
            Ok((vec![], found.cloned().collect()))
        })
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.with(|records| {
            let mut records = records.to_vec();
            for (id, at) in uses {
                if let Some(record) = records.iter_mut().find(|r| r.id == *id) {
                    record.last_used_at = record.last_used_at.max(Some(*at));
                }
            }
            Ok((records, ()))
        })
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }
}

fn has(record: &KeyRecord, digest: &KeyDigest) -> bool {
    record.digest == *digest
        || record
            .previous
            .as_ref()
            .is_some_and(|p| p.digest == *digest)
}

fn check_digests(records: &[KeyRecord], new: &KeyRecord) -> Result<(), BackendError> {
    let previous = new
        .previous
        .as_ref()
        .is_some_and(|p| records.iter().any(|r| r.id != new.id && has(r, &p.digest)));
    match previous
        || records
            .iter()
            .any(|r| r.id != new.id && has(r, &new.digest))
    {
        true => Err(BackendError::DuplicateDigest),
        false => Ok(()),
    }
}

/// A store that cannot be written: what its file said at the start.
mod read_only {
    use super::*;

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
            Ok(self.0.iter().find(|r| has(r, digest)).cloned())
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
            let matching = |r: &&KeyRecord| query.matches(r);
            Ok(self
                .0
                .iter()
                .filter(matching)
                .take(query.limit)
                .cloned()
                .collect())
        }

        async fn record_last_used(&self, _: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
            Err(BackendError::ReadOnly)
        }

        fn changes(&self) -> Option<&Changes> {
            None
        }
    }
}
