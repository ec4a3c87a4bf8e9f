//! The cases for a [`KeyStore`], one for each thing its contract promises.
//!
//! Each takes a fresh, empty store. [`key_store_conformance`](crate::key_store_conformance) runs
//! all of them.

mod changes;
mod races;
mod reads;
mod usage;
mod writes;

pub use changes::*;
pub use races::*;
pub use reads::*;
pub use usage::*;
pub use writes::*;

use crate::{
    clock::Timestamp,
    key_store::{KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, PreviousDigest},
};

/// 2026-01-01T00:00:00Z and so many seconds.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_767_225_600 + seconds)
}

pub(super) fn id(text: &str) -> KeyId {
    KeyId::new(text).expect("the suite's own ids are valid")
}

pub(super) fn digest(number: u32) -> KeyDigest {
    let mut bytes = [0xa5; 32];
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
    KeyDigest::from_bytes(bytes)
}

/// A key `k0`, `k1` … with the digest of the same number.
pub(super) fn record(number: u32) -> KeyRecord {
    let name = format!("Key {number}");
    KeyRecord::new(id(&format!("k{number}")), digest(number), name, at(0))
}

fn previous(number: u32, until: Timestamp) -> Option<PreviousDigest> {
    Some(PreviousDigest::new(digest(number), until))
}

async fn insert(store: &impl KeyStore, record: &KeyRecord) {
    let inserted = store.insert(record.clone()).await;
    inserted.expect("rule 2: insert keeps a new record");
}

async fn update(store: &impl KeyStore, record: &KeyRecord) -> KeyRecord {
    let updated = store.update(record.clone()).await;
    updated.expect("rule 3: update replaces a record whose stored revision is the one given")
}

pub(super) async fn find(store: &impl KeyStore, digest: KeyDigest) -> Option<KeyRecord> {
    let found = store.find(&digest).await;
    found.expect("rule 1: find answers")
}

pub(super) async fn get(store: &impl KeyStore, id: &KeyId) -> Option<KeyRecord> {
    store.get(id).await.expect("rule 1: get answers")
}

pub(super) async fn list(store: &impl KeyStore, query: KeyQuery) -> Vec<KeyRecord> {
    store.list(&query).await.expect("rule 5: list answers")
}

pub(super) async fn all(store: &impl KeyStore) -> Vec<KeyRecord> {
    list(store, KeyQuery::first(1_000_000)).await
}

pub(super) async fn read_in_pages(store: &impl KeyStore, limit: usize) -> Vec<KeyRecord> {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = list(store, KeyQuery::first(limit).with_after(after)).await;
        assert!(
            page.len() <= limit,
            "rule 5: list answers at most `limit` keys"
        );
        let Some(last) = page.last() else {
            return pages;
        };
        after = Some(last.id.clone());
        pages.extend(page);
    }
}

pub(super) fn digests(record: &KeyRecord) -> impl Iterator<Item = KeyDigest> {
    let previous = record.previous.as_ref().map(|previous| previous.digest);
    [record.digest].into_iter().chain(previous)
}

fn ids(records: &[KeyRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

/// Asserts that a call was refused for this reason.
macro_rules! refused {
    ($result:expr, $reason:pat, $rule:literal) => {{
        let result = $result;
        assert!(matches!(result, Err($reason)), "{}, not {result:?}", $rule);
    }};
}
pub(super) use refused;
