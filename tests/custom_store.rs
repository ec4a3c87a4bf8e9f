//! A store by a third party: JSON documents under their id, written against the public face only.

use std::{
    collections::{BTreeMap, HashSet},
    iter,
    sync::Mutex,
};

use tower_api_key::{
    BackendError, Changes, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, Timestamp, UsageCount,
};

tower_api_key::key_store_conformance!(|| async { JsonStore::default() });

#[derive(Default)]
struct JsonStore {
    keys: Mutex<BTreeMap<String, String>>,
    /// Locked after the keys. By key, hour and outcome.
    usage: Mutex<BTreeMap<(KeyId, Timestamp, String), u64>>,
}

impl JsonStore {
    /// Lets `work` read and change the keys, and keeps them unless it fails.
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Vec<KeyRecord>) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let mut documents = self.keys.lock().expect("no caller panicked");
        let read = documents.values().map(|text| serde_json::from_str(text));
        let mut keys = read
            .collect::<Result<_, _>>()
            .map_err(BackendError::unavailable)?;
        let answer = work(&mut keys)?;
        let write = |key: &KeyRecord| Ok((key.id.to_string(), serde_json::to_string(key)?));
        let written: Result<_, serde_json::Error> = keys.iter().map(write).collect();
        *documents = written.map_err(BackendError::unavailable)?;
        Ok(answer)
    }
}

#[async_trait::async_trait]
impl KeyStore for JsonStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        let has = |key: &&KeyRecord| digests(key).any(|known| known == *digest);
        self.with(|keys| Ok(keys.iter().find(has).cloned()))
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.with(|keys| Ok(keys.iter().find(|key| key.id == *id).cloned()))
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.with(|keys| {
            if keys.iter().any(|key| key.id == record.id) {
                return Err(BackendError::DuplicateId);
            }
            check_digests(keys, &record)?;
            keys.push(record);
            Ok(())
        })
    }

    async fn update(&self, mut record: KeyRecord) -> Result<KeyRecord, BackendError> {
        self.with(|keys| {
            let place = keys.iter().position(|key| key.id == record.id);
            let place = place.ok_or(BackendError::NotFound)?;
            if keys[place].revision != record.revision {
                return Err(BackendError::Conflict);
            }
            check_digests(keys, &record)?;
            record.revision += 1;
            record.last_used_at = keys[place].last_used_at;
            keys[place] = record.clone();
            Ok(record)
        })
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.with(|keys| {
            let mut usage = self.usage.lock().expect("no caller panicked");
            usage.retain(|(key, _, _), _| key != id);
            Ok(keys.extract_if(.., |key| key.id == *id).next().is_some())
        })
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        self.with(|keys| {
            let mut records = keys.clone();
            records.retain(|key| query.matches(key));
            records.sort_by(|one, other| query.compare(&one.id, &other.id));
            records.truncate(query.limit);
            Ok(records)
        })
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.with(|keys| {
            for (id, at) in uses {
                for key in keys.iter_mut().filter(|key| key.id == *id) {
                    key.last_used_at = key.last_used_at.max(Some(*at));
                }
            }
            Ok(())
        })
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        self.with(|keys| {
            let mut usage = self.usage.lock().expect("no caller panicked");
            let known: HashSet<_> = keys.iter().map(|key| &key.id).collect();
            for count in counts.iter().filter(|count| known.contains(&count.key)) {
                let place = (count.key.clone(), count.hour, count.outcome.to_string());
                *usage.entry(place).or_default() += count.count;
            }
            usage.retain(|(_, hour, _), _| *hour >= forget_before);
            Ok(())
        })
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        let usage = self.usage.lock().expect("no caller panicked");
        let mut counts = Vec::new();
        for ((key, hour, outcome), count) in &*usage {
            if key == id && *hour >= since {
                let outcome = outcome.parse().map_err(BackendError::unavailable)?;
                counts.push(UsageCount::new(key.clone(), *hour, outcome, *count));
            }
        }
        Ok(counts)
    }

    /// It cannot tell, so layers remember what it answers for their `cache_ttl` only.
    fn changes(&self) -> Option<&Changes> {
        None
    }
}

fn digests(key: &KeyRecord) -> impl Iterator<Item = KeyDigest> {
    iter::once(key.digest).chain(key.previous.as_ref().map(|previous| previous.digest))
}

fn check_digests(keys: &[KeyRecord], new: &KeyRecord) -> Result<(), BackendError> {
    let mut taken = keys.iter().filter(|key| key.id != new.id).flat_map(digests);
    match taken.any(|taken| digests(new).any(|digest| digest == taken)) {
        true => Err(BackendError::DuplicateDigest),
        false => Ok(()),
    }
}
