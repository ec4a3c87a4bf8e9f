//! Keys in memory.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, iter,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;

use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    key_store::{KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore},
    usage::{Outcome, UsageCount},
};

/// A [`KeyStore`] in memory.
///
/// A lookup costs the same whatever the number of keys. A key takes about 700 bytes.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use tower_api_key::{KeyDigest, KeyId, KeyRecord, KeyStore, MemoryKeyStore, Timestamp};
/// let store = MemoryKeyStore::new();
/// let digest = KeyDigest::from_bytes([7; 32]);
/// let created_at = Timestamp::from_unix_seconds(1_767_225_600);
/// let record = KeyRecord::new(KeyId::new("k1")?, digest, "Studio A", created_at);
/// store.insert(record.clone()).await?;
/// assert_eq!(store.find(&digest).await?, Some(record));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryKeyStore(Arc<Shared>);

#[derive(Default)]
struct Shared {
    keys: RwLock<Keys>,
    /// Locked after the keys, where both are: a count is kept only beside its key.
    usage: Mutex<Usage>,
    changes: Changes,
}

/// By hour, so that old ones go at once.
#[derive(Default)]
struct Usage(BTreeMap<Timestamp, HashMap<KeyId, BTreeMap<Outcome, u64>>>);

#[derive(Default)]
struct Keys {
    by_id: BTreeMap<KeyId, Arc<Entry>>,
    /// Current and previous digests alike: a digest is taken while any record has it.
    by_digest: HashMap<KeyDigest, Arc<Entry>>,
}

struct Entry {
    /// As last written, `last_used_at` aside.
    record: KeyRecord,
    /// Kept apart so that a batch of uses copies no record and excludes no reader: microseconds, or
    /// [`NEVER_USED`].
    last_used: AtomicI64,
}

const NEVER_USED: i64 = i64::MIN;

/// How many records are looked at under one hold of the lock.
const STRIDE: usize = 1_024;

impl MemoryKeyStore {
    /// A store without keys.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        // Every change is checked in full before its first write, so there is no half-made change
        // that a panic could have left behind.
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.0.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.0.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeyStore")
            .field("keys", &self.read().by_id.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyStore for MemoryKeyStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        let entry = self.read().by_digest.get(digest).cloned();
        Ok(entry.map(|entry| entry.record()))
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        let entry = self.read().by_id.get(id).cloned();
        Ok(entry.map(|entry| entry.record()))
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        let mut keys = self.write();
        if keys.by_id.contains_key(&record.id) {
            return Err(BackendError::DuplicateId);
        }
        keys.check_digests(&record)?;
        keys.put(record);
        drop(keys);
        self.0.changes.added();
        Ok(())
    }

    async fn update(&self, mut record: KeyRecord) -> Result<KeyRecord, BackendError> {
        let mut keys = self.write();
        let stored = match keys.by_id.get(&record.id) {
            None => return Err(BackendError::NotFound),
            Some(stored) if stored.record.revision != record.revision => {
                return Err(BackendError::Conflict);
            }
            Some(stored) => Arc::clone(stored),
        };
        keys.check_digests(&record)?;
        record.revision = record.revision.wrapping_add(1);
        record.last_used_at = stored.last_used_at();
        let brings_a_digest =
            digests(&record).any(|new| digests(&stored.record).all(|old| old != new));
        for digest in digests(&stored.record) {
            keys.by_digest.remove(&digest);
        }
        keys.put(record.clone());
        drop(keys);
        self.0.changes.changed(&record.id);
        if brings_a_digest {
            self.0.changes.added();
        }
        Ok(record)
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        let mut keys = self.write();
        let Some(entry) = keys.by_id.remove(id) else {
            return Ok(false);
        };
        for digest in digests(&entry.record) {
            keys.by_digest.remove(&digest);
        }
        for of_hour in self.usage().0.values_mut() {
            of_hour.remove(id);
        }
        drop(keys);
        self.0.changes.changed(id);
        Ok(true)
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        let mut found = Vec::new();
        let mut after = query.after.clone();
        while found.len() < query.limit {
            let stride = self.read().stride(after.as_ref(), query.descending);
            let Some(last) = stride.last() else { break };
            after = Some(last.record.id.clone());
            let wanted = query.limit - found.len();
            let matching = stride.iter().filter(|entry| query.matches(&entry.record));
            found.extend(matching.take(wanted).map(|entry| entry.record()));
            tokio::task::yield_now().await;
        }
        Ok(found)
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        for uses in uses.chunks(STRIDE) {
            let keys = self.read();
            for (id, at) in uses {
                if let Some(entry) = keys.by_id.get(id) {
                    entry
                        .last_used
                        .fetch_max(at.unix_micros(), Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        let (keys, mut usage) = (self.read(), self.usage());
        for count in counts {
            if keys.by_id.contains_key(&count.key) {
                usage.add(count);
            }
        }
        usage.0 = usage.0.split_off(&forget_before);
        Ok(())
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        Ok(self.usage().of_key(id, since))
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.0.changes)
    }
}

impl Usage {
    fn add(&mut self, count: &UsageCount) {
        let of_hour = self.0.entry(count.hour).or_default();
        let of_key = of_hour.entry(count.key.clone()).or_default();
        let sum = of_key.entry(count.outcome).or_default();
        *sum = sum.saturating_add(count.count);
    }

    fn of_key(&self, id: &KeyId, since: Timestamp) -> Vec<UsageCount> {
        let mut counts = Vec::new();
        for (hour, of_hour) in self.0.range(since..) {
            let of_key = of_hour.get(id).into_iter().flatten();
            counts.extend(
                of_key.map(|(outcome, count)| UsageCount::new(id.clone(), *hour, *outcome, *count)),
            );
        }
        counts
    }
}

impl Keys {
    /// Says `DuplicateDigest` where another record has a digest of this one.
    fn check_digests(&self, record: &KeyRecord) -> Result<(), BackendError> {
        let taken = |digest| {
            let entry: Option<&Arc<Entry>> = self.by_digest.get(&digest);
            entry.is_some_and(|entry| entry.record.id != record.id)
        };
        match digests(record).any(taken) {
            true => Err(BackendError::DuplicateDigest),
            false => Ok(()),
        }
    }

    fn put(&mut self, record: KeyRecord) {
        let entry = Arc::new(Entry::new(record));
        for digest in digests(&entry.record) {
            self.by_digest.insert(digest, Arc::clone(&entry));
        }
        self.by_id.insert(entry.record.id.clone(), entry);
    }

    fn stride(&self, after: Option<&KeyId>, descending: bool) -> Vec<Arc<Entry>> {
        let edge = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entry = |(_, entry): (&KeyId, &Arc<Entry>)| Arc::clone(entry);
        match descending {
            false => {
                let rest = self.by_id.range::<KeyId, _>((edge, Bound::Unbounded));
                rest.take(STRIDE).map(entry).collect()
            }
            true => {
                let rest = self.by_id.range::<KeyId, _>((Bound::Unbounded, edge));
                rest.rev().take(STRIDE).map(entry).collect()
            }
        }
    }
}

impl Entry {
    fn new(record: KeyRecord) -> Self {
        let last_used = record
            .last_used_at
            .map_or(NEVER_USED, Timestamp::unix_micros);
        Self {
            record,
            last_used: AtomicI64::new(last_used),
        }
    }

    fn last_used_at(&self) -> Option<Timestamp> {
        match self.last_used.load(Ordering::Relaxed) {
            NEVER_USED => None,
            micros => Some(Timestamp::from_unix_micros(micros)),
        }
    }

    fn record(&self) -> KeyRecord {
        let mut record = self.record.clone();
        record.last_used_at = self.last_used_at();
        record
    }
}

fn digests(record: &KeyRecord) -> impl Iterator<Item = KeyDigest> {
    iter::once(record.digest).chain(record.previous.as_ref().map(|previous| previous.digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> KeyRecord {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        KeyRecord::new(
            KeyId::new(format!("key-{number:07}")).unwrap(),
            KeyDigest::from_bytes(digest),
            format!("Key {number}"),
            Timestamp::from_unix_seconds(0),
        )
    }

    async fn filled(keys: u64) -> MemoryKeyStore {
        let store = MemoryKeyStore::new();
        for number in 0..keys {
            store.insert(record(number)).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn lists_and_searches_go_beyond_one_stride() {
        let store = filled(3 * STRIDE as u64 + 1).await;
        let all = store.list(&KeyQuery::first(usize::MAX)).await.unwrap();
        assert_eq!(all.len(), 3 * STRIDE + 1);
        assert!(all.is_sorted_by(|a, b| a.id < b.id));
        let search = KeyQuery::first(2).with_contains(Some("key 3072".into()));
        assert_eq!(store.list(&search).await.unwrap(), [record(3_072)]);
        let edge = KeyQuery::first(STRIDE).with_after(Some(record(STRIDE as u64 - 1).id));
        let page = store.list(&edge).await.unwrap();
        assert_eq!(page.len(), STRIDE);
        assert_eq!(page[0], record(STRIDE as u64));
        let descending = KeyQuery::first(usize::MAX).with_descending(true);
        let reversed = store.list(&descending).await.unwrap();
        assert!(all.iter().rev().eq(&reversed));
    }

    #[tokio::test]
    async fn clones_see_the_same_keys() {
        let store = filled(1).await;
        let clone = store.clone();
        clone.delete(&record(0).id).await.unwrap();
        assert_eq!(store.get(&record(0).id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn debug_says_how_many_keys_and_none_of_them() {
        let store = filled(2).await;
        assert_eq!(format!("{store:?}"), "MemoryKeyStore { keys: 2, .. }");
    }

    #[tokio::test]
    async fn panic_under_the_lock_does_not_close_the_store() {
        let store = filled(1).await;
        let clone = store.clone();
        let panicked = std::thread::spawn(move || {
            let _keys = clone.write();
            panic!("while the lock is held");
        });
        assert!(panicked.join().is_err());
        assert!(store.0.keys.is_poisoned());
        assert_eq!(
            store.find(&record(0).digest).await.unwrap(),
            Some(record(0))
        );
        store.insert(record(1)).await.unwrap();
    }
}
