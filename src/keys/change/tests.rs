use super::*;
use crate::{
    Environment, KeyStore, ManualClock, MemoryKeyStore, MemoryLedger, NewKey, clock::Clock,
};

/// A manager with the key `k1`, which was just created.
async fn with_key() -> (KeyManager, MemoryKeyStore, KeyRecord) {
    let store = MemoryKeyStore::new();
    let manager =
        KeyManager::new(store.clone(), MemoryLedger::new()).with_clock(ManualClock::new());
    let new = NewKey::named("stage left").with_id(KeyId::new("k1").unwrap());
    let created = manager.create(new, &Actor::system()).await.unwrap();
    (manager, store, created.key.record)
}

fn text(manager: &KeyManager, byte: u8) -> KeyText {
    manager.text_from(&Environment::live(), &[byte; 32])
}

async fn log_length(manager: &KeyManager) -> usize {
    manager.events(0, usize::MAX).await.unwrap().len()
}

#[tokio::test]
async fn same_text_again_answers_the_same_key_and_changes_nothing() {
    let (manager, store, before) = with_key().await;
    let (id, system, hour) = (&before.id, Actor::system(), Duration::from_secs(3_600));
    let new = text(&manager, 7);
    let revision = Some(before.revision);
    let regenerate = |grace| manager.regenerate_as(id, &new, grace, revision, &system);
    let key = regenerate(Some(hour)).await.unwrap();
    let digest = manager.0.hasher.digest(new.expose().as_bytes());
    assert_eq!(key.record.digest, digest);
    assert_eq!(key.record.hint, manager.0.formats.hint(new.expose()));
    let until = manager.0.clock.now().wall.saturating_add(hour);
    let previous = PreviousDigest::new(before.digest, until);
    assert_eq!(key.record.previous, Some(previous));

    let entries = log_length(&manager).await;
    // The revision it names is gone by its own doing, so it is no conflict.
    assert_eq!(regenerate(None).await.unwrap(), key);
    assert_eq!(store.get(id).await.unwrap(), Some(key.record));
    assert_eq!(log_length(&manager).await, entries);
}

#[tokio::test]
async fn text_that_was_replaced_and_is_still_in_grace_does_not_come_back() {
    let (manager, _, before) = with_key().await;
    let (id, system, hour) = (&before.id, Actor::system(), Duration::from_secs(3_600));
    let (first, second) = (text(&manager, 1), text(&manager, 2));
    let regenerate = |text| manager.regenerate_as(id, text, Some(hour), None, &system);
    regenerate(&first).await.unwrap();
    let key = regenerate(&second).await.unwrap();
    let entries = log_length(&manager).await;
    let refused = regenerate(&first).await.unwrap_err();
    assert!(matches!(refused, ManageError::Conflict), "{refused}");
    assert_eq!(manager.read(id).await.unwrap(), key);
    assert_eq!(log_length(&manager).await, entries);
}

#[tokio::test]
async fn text_of_another_key_is_a_duplicate() {
    let (manager, _, before) = with_key().await;
    let (system, taken) = (Actor::system(), text(&manager, 1));
    let new = NewKey::named("other").with_id(KeyId::new("k2").unwrap());
    manager.import(new, &taken, &system).await.unwrap();
    let refused = manager.regenerate_as(&before.id, &taken, None, None, &system);
    let refused = refused.await.unwrap_err();
    let is_duplicate = matches!(refused, ManageError::Duplicate { field: "text" });
    assert!(is_duplicate, "{refused}");
}

#[tokio::test]
async fn key_of_another_revision_is_neither_regenerated_nor_revoked_nor_deleted() {
    let (manager, store, before) = with_key().await;
    let (id, system, new) = (&before.id, Actor::system(), text(&manager, 7));
    let entries = log_length(&manager).await;
    let other = Some(before.revision + 1);
    for refused in [
        manager
            .regenerate_as(id, &new, None, other, &system)
            .await
            .map(drop),
        manager.revoke_if(id, other, &system).await.map(drop),
        manager.delete_if(id, other, &system).await,
    ] {
        assert!(matches!(refused, Err(ManageError::Conflict)), "{refused:?}");
    }
    assert_eq!(store.get(id).await.unwrap().as_ref(), Some(&before));
    assert_eq!(log_length(&manager).await, entries);
}

#[tokio::test]
async fn revocation_is_made_once_and_asked_for_as_often_as_one_likes() {
    let (manager, _, before) = with_key().await;
    let (id, system) = (&before.id, Actor::system());
    let revision = Some(before.revision);
    let revoked = manager.revoke_if(id, revision, &system).await.unwrap();
    let again = manager.revoke_if(id, revision, &system).await.unwrap();
    assert!(revoked.record.revoked_at.is_some() && revoked.record.revision > before.revision);
    assert_eq!(again, revoked);
}

#[tokio::test]
async fn key_of_the_wanted_revision_is_deleted() {
    let (manager, store, before) = with_key().await;
    let (id, system) = (&before.id, Actor::system());
    let deleted = manager.delete_if(id, Some(before.revision), &system).await;
    deleted.unwrap();
    assert_eq!(store.get(id).await.unwrap(), None);
    let log = manager.events(0, usize::MAX).await.unwrap();
    let last = log.last().map(|event| event.kind.clone());
    let holder = Holder::from(id);
    assert_eq!(last, Some(EventKind::KeyDeleted { holder }));
    let again = manager.delete_if(id, None, &system).await;
    assert!(matches!(again, Err(ManageError::NotFound(_))));
}
