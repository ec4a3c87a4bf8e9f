//! The cases for a [`KeyStore`] that cannot be written: rule 9, and rules 1 and 5 on what it holds.
//!
//! Each takes a store that holds at least one key.

use super::key_store::{all, digest, digests, find, get, id, list, read_in_pages, record, refused};
use crate::{
    clock::Timestamp,
    error::BackendError::ReadOnly,
    key_store::{KeyQuery, KeyStore},
    usage::{Outcome, UsageCount},
};

/// Rules 9 and 7: every writing call says `ReadOnly`, whatever it is asked, and changes nothing.
pub async fn every_write_is_refused(store: impl KeyStore) {
    let before = all(&store).await;
    let stored = before
        .first()
        .expect("the suite needs a store with at least one key")
        .clone();
    let used = [(stored.id.clone(), Timestamp::MAX)];
    refused!(
        store.insert(record(1)).await,
        ReadOnly,
        "rule 9: insert says ReadOnly"
    );
    refused!(
        store.insert(stored.clone()).await,
        ReadOnly,
        "rule 9: insert says ReadOnly"
    );
    refused!(
        store.update(stored.clone()).await,
        ReadOnly,
        "rule 9: update says ReadOnly"
    );
    refused!(
        store.update(record(1)).await,
        ReadOnly,
        "rule 9: update says ReadOnly"
    );
    refused!(
        store.delete(&stored.id).await,
        ReadOnly,
        "rule 9: delete says ReadOnly"
    );
    refused!(
        store.delete(&id("no-such-key")).await,
        ReadOnly,
        "rule 9: delete says ReadOnly"
    );
    let recorded = store.record_last_used(&used).await;
    refused!(recorded, ReadOnly, "rule 9: record_last_used says ReadOnly");
    let recorded = store.record_last_used(&[]).await;
    refused!(
        recorded,
        ReadOnly,
        "rule 9: record_last_used says ReadOnly, to an empty batch too"
    );
    let count = UsageCount::new(stored.id.clone(), Timestamp::MIN, Outcome::Granted, 1);
    let counted = store.record_usage(&[count], Timestamp::MIN).await;
    refused!(counted, ReadOnly, "rule 9: record_usage says ReadOnly");
    let counted = store.record_usage(&[], Timestamp::MIN).await;
    refused!(
        counted,
        ReadOnly,
        "rule 9: record_usage says ReadOnly, to an empty batch too"
    );
    let usage = store.usage(&id("no-such-key"), Timestamp::MIN).await;
    assert_eq!(
        usage.expect("rule 11: usage answers"),
        [],
        "rule 11: nothing where there is none"
    );
    assert_eq!(
        all(&store).await,
        before,
        "rule 7: a call that returns an error changed nothing"
    );
    assert_eq!(
        find(&store, digest(1)).await,
        None,
        "rule 7: a refused insert keeps nothing"
    );
}

/// Rules 1 and 5: whatever is listed, in order of the id's bytes, is found by id and digests.
pub async fn all_that_is_listed_is_found(store: impl KeyStore) {
    let listed = all(&store).await;
    assert!(
        !listed.is_empty(),
        "the suite needs a store with at least one key"
    );
    let ordered = listed.is_sorted_by(|a, b| a.id < b.id);
    assert!(ordered, "rule 5: list answers in order of the id's bytes");
    for record in &listed {
        for digest in digests(record) {
            let rule = "rule 1: find answers the record that has the digest asked for";
            assert_eq!(find(&store, digest).await.as_ref(), Some(record), "{rule}");
        }
        let rule = "rule 1: get answers the record with this id";
        assert_eq!(
            get(&store, &record.id).await.as_ref(),
            Some(record),
            "{rule}"
        );
    }
    assert_eq!(
        find(&store, digest(1)).await,
        None,
        "rule 1: nothing where there is none"
    );
    assert_eq!(
        get(&store, &id("no-such-key")).await,
        None,
        "rule 1: nothing where there is none"
    );
}

/// Rule 5: pages hold each key once.
pub async fn pages_of_what_is_there_hold_each_key_once(store: impl KeyStore) {
    let pages = read_in_pages(&store, 1).await;
    assert_eq!(
        pages,
        all(&store).await,
        "rule 5: pages hold each key once, in order"
    );
    let none = list(&store, KeyQuery::first(0)).await;
    assert!(none.is_empty(), "rule 5: a limit of 0 answers nothing");
}
