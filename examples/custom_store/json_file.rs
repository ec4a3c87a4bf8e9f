//! A [`KeyStore`] in one JSON file, written against the public face of the crate.
//! `tests/custom_store.rs` holds it against the conformance suite, as you would yours.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::{fs, sync::Mutex};
use tower_api_key::{
    BackendError, Changes, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, Timestamp, UsageCount,
};

/// What is kept of a key: its record, and how often it was used.
#[derive(Deserialize, Serialize)]
struct Entry {
    #[serde(flatten)]
    record: KeyRecord,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    usage: Vec<UsageCount>,
}

/// A file with an array of keys. Others may read it, and write it while this process does not.
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

    async fn read(&self) -> Result<Vec<Entry>, BackendError> {
        match fs::read(&self.path).await {
            Ok(text) => serde_json::from_slice(&text).map_err(BackendError::unavailable),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(BackendError::unavailable(error)),
        }
    }

    /// The first key that `is` says yes to.
    async fn first(
        &self,
        is: impl Fn(&KeyRecord) -> bool + Send,
    ) -> Result<Option<Entry>, BackendError> {
        let entries = self.read().await?;
        Ok(entries.into_iter().find(|entry| is(&entry.record)))
    }

    /// Lets `change` work on the keys, and keeps what it made of them unless it failed.
    async fn write<T>(
        &self,
        change: impl FnOnce(&mut Vec<Entry>) -> Result<T, BackendError> + Send,
    ) -> Result<T, BackendError> {
        let _writer = self.writer.lock().await;
        let mut entries = self.read().await?;
        let answer = change(&mut entries)?;
        let text = serde_json::to_vec_pretty(&entries).map_err(BackendError::unavailable)?;
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
        let found = self.first(|record| has(record, digest)).await?;
        Ok(found.map(|entry| entry.record))
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        let found = self.first(|record| record.id == *id).await?;
        Ok(found.map(|entry| entry.record))
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.write(|entries| {
            if entries.iter().any(|known| known.record.id == record.id) {
                return Err(BackendError::DuplicateId);
            }
            check_digests(entries, &record)?;
            entries.push(Entry {
                record,
                usage: Vec::new(),
            });
            Ok(())
        })
        .await
    }

    async fn update(&self, mut record: KeyRecord) -> Result<KeyRecord, BackendError> {
        self.write(|entries| {
            let at = entries
                .iter()
                .position(|known| known.record.id == record.id);
            let at = at.ok_or(BackendError::NotFound)?;
            if entries[at].record.revision != record.revision {
                return Err(BackendError::Conflict);
            }
            check_digests(entries, &record)?;
            record.revision += 1;
            record.last_used_at = entries[at].record.last_used_at;
            entries[at].record = record.clone();
            Ok(record)
        })
        .await
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.write(|entries| {
            let before = entries.len();
            entries.retain(|entry| entry.record.id != *id);
            Ok(entries.len() < before)
        })
        .await
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        let entries = self.read().await?;
        let records = entries.into_iter().map(|entry| entry.record);
        let mut records: Vec<_> = records.filter(|record| query.matches(record)).collect();
        records.sort_by(|one, other| query.compare(&one.id, &other.id));
        records.truncate(query.limit);
        Ok(records)
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.write(|entries| {
            for (id, at) in uses {
                if let Some(Entry { record, .. }) = with_id(entries, id) {
                    record.last_used_at = record.last_used_at.max(Some(*at));
                }
            }
            Ok(())
        })
        .await
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        self.write(|entries| {
            for count in counts {
                let Some(Entry { usage, .. }) = with_id(entries, &count.key) else {
                    continue;
                };
                let place = |count: &UsageCount| (count.hour, count.outcome);
                match usage.iter_mut().find(|known| place(known) == place(count)) {
                    Some(known) => known.count += count.count,
                    None => usage.push(count.clone()),
                }
            }
            for Entry { usage, .. } in entries {
                usage.retain(|count| count.hour >= forget_before);
            }
            Ok(())
        })
        .await
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        let found = self.first(|record| record.id == *id).await?;
        let mut usage = found.map_or_else(Vec::new, |entry| entry.usage);
        usage.retain(|count| count.hour >= since);
        usage.sort_by_key(|count| (count.hour, count.outcome));
        Ok(usage)
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

fn with_id<'e>(entries: &'e mut [Entry], id: &KeyId) -> Option<&'e mut Entry> {
    entries.iter_mut().find(|entry| entry.record.id == *id)
}

/// No digest may be another key's.
fn check_digests(entries: &[Entry], new: &KeyRecord) -> Result<(), BackendError> {
    let taken = |digest| {
        entries
            .iter()
            .any(|Entry { record, .. }| record.id != new.id && has(record, digest))
    };
    if taken(&new.digest) || new.previous.as_ref().is_some_and(|p| taken(&p.digest)) {
        return Err(BackendError::DuplicateDigest);
    }
    Ok(())
}
