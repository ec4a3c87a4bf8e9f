//! What makes and shows keys.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tower_api_key::{
    Actor, Environment, KeyDigest, KeyFormat, KeyFormats, KeyHasher, KeyId, KeyManager, KeyQuery,
    KeyStore, KeyText, ManageError, MemoryKeyStore, MemoryLedger, NewKey, Reason, Scope, Status,
    Tier, Unlicensed,
};

use crate::{
    interrupted::Fault,
    support::{World, alice, bob, by, id, launcher, lic, open},
};

fn hex_text() -> KeyText {
    KeyText::new("rk_live_0123456789abcdef0123456789abcdef")
}

fn new(name: &str) -> NewKey {
    NewKey::named(name).with_id(id(name))
}

#[tokio::test]
async fn created_key_is_found_by_its_text_and_has_what_was_asked_for() {
    let world = World::new().await;
    let end = world.clock_in(3_600);
    let ask = NewKey::named("stage left")
        .with_environment(Environment::test())
        .with_modules([open(), launcher()])
        .with_scopes([Scope::new("read:realms").unwrap()])
        .with_tier(Tier::new("premium").unwrap())
        .with_owner("studio 2")
        .with_expires_at(end)
        .with_allowed_addresses(["10.0.0.0/8".parse().unwrap()])
        .with_administrator(true);
    let created = world.manager.create(ask, alice()).await.unwrap();

    let digest = KeyHasher::sha256().digest(created.text.expose().as_bytes());
    let record = world.store.find(&digest).await.unwrap().unwrap();
    assert_eq!(record, created.key.record);
    assert_eq!(record.name, "stage left");
    assert_eq!(record.environment, Environment::test());
    assert_eq!(record.created_at, world.clock_in(0));
    assert_eq!(record.expires_at, Some(end));
    assert_eq!(record.owner.as_deref(), Some("studio 2"));
    assert_eq!(record.tier.unwrap().as_str(), "premium");
    assert_eq!(
        (record.scopes.len(), record.allowed_addresses.len()),
        (1, 1)
    );
    assert!(record.enabled && record.administrator && record.modules.is_empty());
    let last_four = &created.text.expose()[created.text.expose().len() - 4..];
    assert_eq!(record.hint, format!("rk_test_…{last_four}"));

    let modules = &created.key.modules;
    assert_eq!(
        (&modules[0].module, &modules[1].module),
        (&launcher(), &open())
    );
    assert_eq!(
        (&modules[0].license, &modules[1].license),
        (&Some(lic()), &None)
    );
    assert_eq!(modules[0].status, Status::Reserved);
    assert_eq!(modules[1].status, Status::NotRequired);
    assert_eq!(world.manager.read(&record.id).await.unwrap(), created.key);
}

#[tokio::test]
async fn creation_is_logged_with_its_actor_before_what_it_hands_out() {
    let world = World::new().await;
    let before = world.seq().await;
    let ask = new("k1")
        .with_expires_at(world.clock_in(60))
        .with_modules([launcher()]);
    world.manager.create(ask, alice()).await.unwrap();
    let expected = [
        "key_created k1",
        "key_changed k1 expires_at",
        "module_assigned k1 launcher",
        "reserved k1 lic assigned",
    ];
    assert_eq!(world.log(before).await, by(alice(), expected));
}

#[tokio::test]
async fn key_that_finds_no_seat_is_created_and_waits() {
    let world = World::new().await;
    let ask = |name| new(name).with_modules([launcher()]);
    world.manager.create(ask("k1"), alice()).await.unwrap();
    let second = world.manager.create(ask("k2"), alice()).await.unwrap();
    let limit = Status::ReservationFailed(Reason::LimitReached);
    assert_eq!(second.key.modules[0].status, limit);
    assert_eq!(world.line().await, (vec!["k1".into()], vec!["k2".into()]));
}

#[tokio::test]
async fn ids_that_are_made_up_sort_by_the_time_of_creation() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let created = world.manager.create(NewKey::named("a"), alice()).await;
        ids.push(created.unwrap().key.record.id);
        world.clock.advance(Duration::from_millis(1));
    }
    assert!(
        ids.is_sorted() && ids.iter().all(|id| id.as_str().len() == 26),
        "{ids:?}"
    );
    let listed = world.manager.list(&KeyQuery::first(100)).await.unwrap();
    assert!(listed.iter().map(|key| &key.record.id).eq(&ids));
}

#[tokio::test]
async fn refused_creation_changes_nothing() {
    let world = World::new().await;
    world.manager.create(new("k1"), alice()).await.unwrap();
    let before = world.seq().await;
    let unknown: tower_api_key::Module = "playout".parse().unwrap();

    let refused = world.manager.create(
        new("k2").with_modules([launcher(), unknown.clone()]),
        alice(),
    );
    let refused = refused.await.unwrap_err();
    assert!(matches!(&refused, ManageError::UnknownModule(module) if *module == unknown));
    assert_eq!(
        refused.to_string(),
        "the ledger does not know the module playout"
    );

    let refused = world.manager.create(new("k1"), alice()).await.unwrap_err();
    assert!(
        matches!(refused, ManageError::Duplicate { field: "id" }),
        "{refused}"
    );

    let past = new("k2").with_expires_at(world.clock_in(0));
    let refused = world.manager.create(past, alice()).await.unwrap_err();
    assert!(matches!(
        refused,
        ManageError::InvalidField {
            field: "expires_at",
            ..
        }
    ));

    assert_eq!(world.keys().await.len(), 1);
    assert_eq!(world.seq().await, before);
}

#[tokio::test]
async fn text_of_ones_own_is_imported_under_its_digest() {
    let world = World::new().await;
    let key = world
        .manager
        .import(new("k1").with_modules([launcher()]), &hex_text(), alice())
        .await
        .unwrap();
    let digest = KeyHasher::sha256().digest(hex_text().expose().as_bytes());
    assert_eq!(key.record.digest, digest);
    assert_eq!(key.record.hint, "rk_live_…cdef");
    assert_eq!(key.modules[0].status, Status::Reserved);
}

#[tokio::test]
async fn text_that_no_request_could_use_is_not_imported() {
    let world = World::new().await;
    let field_of = async |manager: &KeyManager, text: &str| {
        let text = KeyText::new(text);
        let error = manager.import(new("k1"), &text, alice()).await.unwrap_err();
        assert!(!error.to_string().contains(text.expose()) || text.expose().is_empty());
        match error {
            ManageError::InvalidField { field, .. } => field,
            other => panic!("{other}"),
        }
    };
    for text in ["", "rk_live_broken", "another system's", &"x".repeat(513)] {
        assert_eq!(field_of(&world.manager, text).await, "text");
    }
    let other = "rk_test_0123456789abcdef0123456789abcdef";
    assert_eq!(field_of(&world.manager, other).await, "environment");

    let formats = KeyFormats::new(KeyFormat::checked("acme").unwrap()).with_opaque(true);
    let opaque = world.manager.clone().with_formats(formats);
    assert_eq!(field_of(&opaque, "acme_live_broken").await, "text");
    let foreign = KeyText::new("another system's key");
    let key = opaque.import(new("k1"), &foreign, alice()).await.unwrap();
    assert_eq!(key.record.hint, "…", "its last four are not all visible");
}

#[tokio::test]
async fn digest_of_another_system_is_imported_with_its_hint() {
    let world = World::new().await;
    // SHA-256 of "abc", FIPS 180-4.
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let digest: KeyDigest = sha.parse().unwrap();
    let key = world
        .manager
        .import_digest(new("k1"), digest, "acme_…abc", alice());
    let key = key.await.unwrap();
    assert_eq!(key.record.hint, "acme_…abc");
    let found = world.store.find(&KeyHasher::sha256().digest(b"abc")).await;
    assert_eq!(found.unwrap(), Some(key.record));

    for hint in ["x".repeat(65), "a\u{1b}".into()] {
        let digest = KeyDigest::from_bytes([9; 32]);
        let refused = world
            .manager
            .import_digest(new("k2"), digest, hint, alice())
            .await;
        assert!(matches!(
            refused,
            Err(ManageError::InvalidField { field: "hint", .. })
        ));
    }
}

#[tokio::test]
async fn text_that_another_key_has_is_refused_by_name() {
    let world = World::new().await;
    world
        .manager
        .import(new("k1"), &hex_text(), alice())
        .await
        .unwrap();
    let refused = world.manager.import(new("k2"), &hex_text(), alice()).await;
    assert!(matches!(
        refused,
        Err(ManageError::Duplicate { field: "text" })
    ));
    let renamed = NewKey::named("other").with_id(id("k1"));
    let refused = world.manager.import(renamed, &hex_text(), alice()).await;
    assert!(
        matches!(refused, Err(ManageError::Duplicate { .. })),
        "other settings"
    );
    assert_eq!(world.keys().await.len(), 1);
}

#[tokio::test]
async fn import_again_answers_the_same_key_and_logs_nothing() {
    let world = World::new().await;
    let ask = || new("k1").with_modules([launcher()]);
    let first = world
        .manager
        .import(ask(), &hex_text(), alice())
        .await
        .unwrap();
    let before = world.seq().await;
    world.clock.advance(Duration::from_secs(60));
    let again = world
        .manager
        .import(ask(), &hex_text(), bob())
        .await
        .unwrap();
    assert_eq!((again, world.seq().await), (first, before));
}

#[tokio::test]
async fn list_answers_by_page_and_by_name_with_the_standing_of_each() {
    let world = World::new().await;
    for name in ["a1", "a2", "b1"] {
        let ask = new(name).with_modules([launcher(), open()]);
        world.manager.create(ask, alice()).await.unwrap();
    }
    let list = async |query: KeyQuery| {
        let keys = world.manager.list(&query).await.unwrap();
        keys.into_iter()
            .map(|key| (key.record.name, key.modules[0].status))
            .collect::<Vec<_>>()
    };
    let waits = Status::ReservationFailed(Reason::LimitReached);
    let first = list(KeyQuery::first(2)).await;
    assert_eq!(
        first,
        [("a1".into(), Status::Reserved), ("a2".into(), waits)]
    );
    let next = list(KeyQuery::first(2).with_after(Some(id("a2")))).await;
    assert_eq!(next, [("b1".into(), waits)]);
    let found = list(KeyQuery::first(9).with_contains(Some("B".into()))).await;
    assert_eq!(found, [("b1".into(), waits)]);
}

#[tokio::test]
async fn page_of_keys_is_one_question_to_the_ledger() {
    let world = World::new().await;
    for number in 10..50 {
        let ask = new(&format!("k{number}")).with_modules([open()]);
        world.manager.create(ask, alice()).await.unwrap();
    }
    for (after, keys) in [("k0", 25), ("k34", 15)] {
        world.plan.asked();
        let query = KeyQuery::first(25).with_after(Some(id(after)));
        let page = world.manager.list(&query).await.unwrap();
        assert_eq!(page.len(), keys);
        assert!(page.iter().all(|key| key.modules.len() == 1), "{page:?}");
        assert_eq!(world.plan.asked(), ["standings_of"]);
    }
    let beyond = KeyQuery::first(25).with_after(Some(id("k49")));
    assert_eq!(world.manager.list(&beyond).await.unwrap(), []);
    assert!(world.plan.asked().is_empty(), "no key, no question");

    world.plan.fail(2, Fault::Before);
    let refused = world.manager.list(&KeyQuery::first(25)).await.unwrap_err();
    assert!(
        matches!(refused, ManageError::LedgerUnavailable(_)),
        "{refused}"
    );
    assert_eq!(world.plan.asked(), ["standings_of"], "and no second one");
}

#[tokio::test]
async fn whether_modules_are_known_is_a_small_question() {
    let world = World::new().await;
    let (manager, k1) = (&world.manager, id("k1"));
    let ask = new("k1").with_modules([launcher()]);
    manager.create(ask, alice()).await.unwrap();
    manager.assign(&k1, &[open()], alice()).await.unwrap();
    manager.unassign(&k1, &[open()], alice()).await.unwrap();
    manager.unassign(&k1, &[open()], alice()).await.unwrap();
    let asked = world.plan.asked();
    let times = |question| asked.iter().filter(|asked| **asked == question).count();
    // Not for what was assigned, which the first unassigning has read of the key itself.
    assert_eq!(times("first_unknown"), 3, "{asked:?}");
    assert_eq!(times("overview"), 0, "{asked:?}");
}

/// A page that just ended where the answers do would hide a key from whoever wants to revoke it.
#[tokio::test]
async fn key_that_the_ledger_says_nothing_of_is_not_left_out() {
    let world = World::new().await;
    for name in ["k1", "k2"] {
        world.manager.create(new(name), alice()).await.unwrap();
    }
    world.plan.forgets_one.store(true, Ordering::SeqCst);
    let refused = world.manager.list(&KeyQuery::first(9)).await.unwrap_err();
    let ManageError::LedgerUnavailable(cause) = refused else {
        panic!("{refused}");
    };
    let cause = cause.to_string();
    assert_eq!(cause, "the ledger was asked of 2 holders and answered of 1");
}

#[tokio::test]
async fn statuses_change_at_the_very_instant_of_an_expiry() {
    let world = World::new().await;
    let license = tower_api_key::License::new(lic(), tower_api_key::Seats::Limited(1))
        .with_valid_until(Some(world.clock_in(60)));
    world.manager.set_license(license, alice()).await.unwrap();
    world
        .manager
        .create(new("k1").with_modules([launcher()]), alice())
        .await
        .unwrap();
    let status = async || world.manager.read(&id("k1")).await.unwrap().modules[0].status;
    world.clock.advance(Duration::from_secs(59));
    assert_eq!(status().await, Status::Reserved);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(status().await, Status::Expired(Reason::ValidUntil));
}

#[tokio::test]
async fn unknown_key_is_not_found() {
    let world = World::new().await;
    let refused = world.manager.read(&id("k9")).await.unwrap_err();
    assert!(matches!(&refused, ManageError::NotFound(unknown) if *unknown == id("k9")));
    assert_eq!(refused.to_string(), "no key has the id k9");
}

#[tokio::test]
async fn texts_and_peppers_are_never_in_a_debug_form() {
    let world = World::new().await;
    let hasher = KeyHasher::hmac_sha256("pepper pepper pepper pepper pepper").unwrap();
    let manager = world.manager.clone().with_hasher(hasher);
    let created = manager
        .create(new("k1").with_modules([launcher()]), alice())
        .await
        .unwrap();
    let new_text = manager
        .regenerate(&id("k1"), Some(Duration::from_secs(60)), alice())
        .await;
    let new_text = new_text.unwrap();
    let listed = manager.list(&KeyQuery::first(9)).await.unwrap();
    let duplicate = manager
        .import(new("k2"), &new_text.text, alice())
        .await
        .unwrap_err();
    let log = manager.events(0, usize::MAX).await.unwrap();
    let shown = format!(
        "{manager:?} {created:?} {new_text:#?} {listed:?} {duplicate:?} {duplicate} {log:?}"
    );
    for text in [&created.text, &new_text.text] {
        let body = &text.expose()["rk_live_".len()..text.expose().len() - 4];
        assert!(!shown.contains(body), "{shown}");
    }
    assert!(!shown.contains("pepper pepper"), "{shown}");
    let whole = new_text.key.record.digest.to_string();
    assert!(!shown.contains(&whole), "{shown}");
}

#[tokio::test]
async fn new_key_inherits_nothing_of_a_deleted_one_with_its_id() {
    let world = World::new().await;
    world
        .manager
        .create(new("k1").with_modules([launcher()]), alice())
        .await
        .unwrap();
    // A deletion that was cut short: gone from the store, not from the ledger.
    assert!(world.store.delete(&id("k1")).await.unwrap());
    let created = world.manager.create(new("k1"), bob()).await.unwrap();
    assert!(created.key.modules.is_empty());
    assert_eq!(world.line().await, (vec![], vec![]));
    world.assert_consistent("after the creation").await;

    world.manager.revoke(&id("k1"), alice()).await.unwrap();
    assert!(world.store.delete(&id("k1")).await.unwrap());
    let ask = new("k1").with_modules([launcher()]);
    let created = world.manager.create(ask, bob()).await.unwrap();
    assert_eq!(
        created.key.modules[0].status,
        Status::Reserved,
        "revoked was the old one"
    );
}

#[tokio::test]
async fn keys_are_managed_without_licenses_too() {
    let manager = KeyManager::new(Arc::new(MemoryKeyStore::new()), Arc::new(Unlicensed::new()));
    manager.create(new("k1"), alice()).await.unwrap();
    manager.disable(&id("k1"), alice()).await.unwrap();
    manager.regenerate(&id("k1"), None, alice()).await.unwrap();
    manager.revoke(&id("k1"), alice()).await.unwrap();
    assert!(manager.reconcile(alice()).await.unwrap().is_clean());
    manager.delete(&id("k1"), alice()).await.unwrap();
}

#[tokio::test]
async fn page_shows_the_modules_that_each_record_carries() {
    let store = MemoryKeyStore::new();
    let manager = KeyManager::new(Arc::new(store.clone()), Arc::new(Unlicensed::new()));
    for (name, modules) in [
        ("k1", vec![launcher()]),
        ("k2", vec![]),
        ("k3", vec![open()]),
    ] {
        let key = manager.create(new(name), alice()).await.unwrap().key;
        let mut record = key.record;
        record.modules = modules;
        store.update(record).await.unwrap();
    }
    let page = manager.list(&KeyQuery::first(9)).await.unwrap();
    let modules = page.iter().map(|key| {
        let modules = key.modules.iter().map(|assigned| &assigned.module);
        modules.cloned().collect::<Vec<_>>()
    });
    assert!(
        modules.eq([vec![launcher()], vec![], vec![open()]]),
        "{page:?}"
    );
}

#[tokio::test]
async fn calls_can_be_spawned() {
    let manager = KeyManager::new(
        Arc::new(MemoryKeyStore::new()),
        Arc::new(MemoryLedger::new()),
    );
    let task = tokio::spawn(async move {
        let key = manager.create(NewKey::named("a"), &Actor::system()).await?;
        let id: KeyId = key.key.record.id;
        manager.list(&KeyQuery::first(9)).await?;
        manager.rename(&id, "b", &Actor::system()).await?;
        manager.regenerate(&id, None, &Actor::system()).await?;
        manager.reconcile(&Actor::system()).await?;
        manager.delete(&id, &Actor::system()).await
    });
    task.await.unwrap().unwrap();
}
