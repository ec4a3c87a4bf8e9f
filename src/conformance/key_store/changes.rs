//! What is told of changes: rule 8. A store that cannot tell passes.

use std::sync::Arc;

use super::*;
use crate::conformance::remember_beside;

/// Rule 8: update and delete tell the id before they return.
pub async fn update_and_delete_are_told(store: impl KeyStore) {
    let Some(changes) = store.changes().cloned() else {
        return;
    };
    // The other key keeps what is told late of one call from passing for what the next one tells.
    insert(&store, &record(1)).await;
    insert(&store, &record(2)).await;
    let before = changes.stamp();
    update(&store, &record(1)).await;
    let rule = "rule 8: changes is told `changed` with the id before update returns";
    assert!(!changes.is_current("k1", before), "{rule}");
    update(&store, &record(2)).await;
    let before = changes.stamp();
    delete(&store, &record(1).id).await;
    let rule = "rule 8: changes is told `changed` with the id before delete returns";
    assert!(!changes.is_current("k1", before), "{rule}");
}

/// Rule 8: what can be found from now on is told before insert and update return.
pub async fn new_digests_are_told(store: impl KeyStore) {
    let Some(changes) = store.changes().cloned() else {
        return;
    };
    let before = changes.stamp();
    insert(&store, &record(1)).await;
    let rule = "rule 8: changes is told `added` before insert returns";
    assert!(!changes.absence_is_current(before), "{rule}");
    let rule = "rule 8: changes is told `added` before an update with a new digest returns";
    let before = changes.stamp();
    let mut regenerated = record(1);
    (regenerated.previous, regenerated.digest) = (previous(1, at(60)), digest(2));
    let mut regenerated = update(&store, &regenerated).await;
    assert!(!changes.absence_is_current(before), "{rule}");
    let before = changes.stamp();
    regenerated.previous = previous(3, at(60));
    update(&store, &regenerated).await;
    assert!(
        !changes.absence_is_current(before),
        "{rule}, as previous one too"
    );
}

/// Rules 7 and 8: what is remembered under a current stamp is never older than an answered change.
///
/// It fails where changes are told before they can be read, after the answer, or not at all.
pub async fn current_stamp_means_current_record(store: impl KeyStore) {
    let Some(changes) = store.changes().cloned() else {
        return;
    };
    insert(&store, &record(1)).await;
    let store = Arc::new(store);
    let change = |store: Arc<_>| async move {
        let current = get(&*store, &record(1).id).await;
        update(&*store, &current.expect("rule 1: the record is there")).await;
    };
    let telling = changes.clone();
    let remember = move |store: Arc<_>| {
        let changes = telling.clone();
        async move { (changes.stamp(), get(&*store, &record(1).id).await) }
    };
    let check = |(stamp, remembered): (_, Option<KeyRecord>), answered| {
        let revision = remembered.expect("rule 1: the record is there").revision;
        let rule = "rule 8: a change is in force, and told, before the call returns";
        assert!(
            !changes.is_current("k1", stamp) || revision >= answered,
            "{rule}"
        );
    };
    remember_beside(&store, 200, change, remember, check).await;
}
