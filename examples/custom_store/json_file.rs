//! A [`KeyStore`] in one JSON file, written against the public face of the crate.
//! `tests/custom_store.rs` holds it against the conformance suite, as you would yours.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use tokio::{fs, sync::Mutex};
use tower_api_key::{
    BackendError, Changes, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, Timestamp,
};

/// A file with an array of records. Others may read it, and write it while this process does not.
pub(crate) struct JsonFile {
    path: PathBuf,
    /// Held from reading to writing.
    writer: Mutex<()>,
}

impl JsonFile {
    /// The file at `path`, which need not be there.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            writer: Mutex::new(()),
        }
    }

    async fn read(&self) -> Result<Vec<KeyRecord>, BackendError> {
        match fs::read(&self.path).await {
            Ok(text) => serde_json::from_slice(&text).map_err(BackendError::unavailable),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(BackendError::unavailable(error)),
        }
    }

    /// Lets `change` work on the records, and keeps what it made of them unless it failed.
    async fn write<T>(
        &self,
        change: impl FnOnce(&mut Vec<KeyRecord>) -> Result<T, BackendError> + Send,
    ) -> Result<T, BackendError> {
        let _writer = self.writer.lock().await;
        let mut records = self.read().await?;
        let answer = change(&mut records)?;
        let text = serde_json::to_vec_pretty(&records).map_err(BackendError::unavailable)?;
        // Whoever reads meanwhile finds the old file or the new one, never half of one.
        let new = self.path.with_extension("new");
        fs::write(&new, text)
            .await
            .map_err(BackendError::unavailable)?;
        let renamed = fs::rename(&new, &self.path).await;
        renamed.map_err(BackendError::unavailable)?;
        Ok(answer)
    }
}

#[async_trait]
impl KeyStore for JsonFile {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        let records = self.read().await?;
        Ok(records.into_iter().find(|record| has(record, digest)))
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        let records = self.read().await?;
        Ok(records.into_iter().find(|record| record.id == *id))
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.write(|records| {
            if records.iter().any(|known| known.id == record.id) {
                return Err(BackendError::DuplicateId);
            }
            check_digests(records, &record)?;
            records.push(record);
            Ok(())
        })
        .await
    }

    async fn update(&self, mut record: KeyRecord) -> Result<KeyRecord, BackendError> {
        self.write(|records| {
            let at = records.iter().position(|known| known.id == record.id);
            let at = at.ok_or(BackendError::NotFound)?;
            if records[at].revision != record.revision {
                return Err(BackendError::Conflict);
            }
            check_digests(records, &record)?;
            record.revision += 1;
            record.last_used_at = records[at].last_used_at;
            records[at] = record.clone();
            Ok(record)
        })
        .await
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.write(|records| {
            let before = records.len();
            records.retain(|record| record.id != *id);
            Ok(records.len() < before)
        })
        .await
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        let mut records = self.read().await?;
        records.retain(|record| query.matches(record));
        records.sort_by(|one, other| one.id.cmp(&other.id));
        records.truncate(query.limit);
        Ok(records)
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.write(|records| {
            for (id, at) in uses {
                if let Some(record) = records.iter_mut().find(|record| record.id == *id) {
                    record.last_used_at = record.last_used_at.max(Some(*at));
                }
            }
            Ok(())
        })
        .await
    }

    /// Others may write the file: nobody can tell of all changes.
    fn changes(&self) -> Option<&Changes> {
        None
    }
}

fn has(record: &KeyRecord, digest: &KeyDigest) -> bool {
    let previous = record.previous.as_ref();
    record.digest == *digest || previous.is_some_and(|previous| previous.digest == *digest)
}

/// No digest may be another key's.
fn check_digests(records: &[KeyRecord], new: &KeyRecord) -> Result<(), BackendError> {
    let taken = |digest| {
        records
            .iter()
            .any(|known| known.id != new.id && has(known, digest))
    };
    if taken(&new.digest) || new.previous.as_ref().is_some_and(|p| taken(&p.digest)) {
        return Err(BackendError::DuplicateDigest);
    }
    Ok(())
}
