//! What changes keys that are there.

use std::{sync::atomic::Ordering, time::Duration};

use tower_api_key::{
    CreatedKey, KeyHasher, KeyPatch, KeyStore, ManageError, Module, NewKey, Reason, Scope, Status,
    Tier,
};

use crate::support::{World, alice, bob, by, id, launcher, open};

/// A world in which `k1` holds the seat and `k2` waits for it.
async fn two_keys() -> (World, CreatedKey) {
    let world = World::new().await;
    let ask = |name| {
        NewKey::named(name)
            .with_id(id(name))
            .with_modules([launcher()])
    };
    let first = world.manager.create(ask("k1"), alice()).await.unwrap();
    world.manager.create(ask("k2"), alice()).await.unwrap();
    (world, first)
}

fn line(reserved: &[&str], waiting: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    (owned(reserved), owned(waiting))
}

#[tokio::test]
async fn update_changes_what_it_names_and_the_log_names_it() {
    let (world, first) = two_keys().await;
    let before = world.seq().await;
    let patch = KeyPatch::new()
        .with_name("one")
        .with_scopes([Scope::new("s").unwrap()])
        .with_tier(Some(Tier::new("premium").unwrap()))
        .with_owner(Some("o".into()))
        .with_allowed_addresses(["::1".parse().unwrap()])
        .with_administrator(true);
    let key = world
        .manager
        .update(&id("k1"), &patch, bob())
        .await
        .unwrap();
    assert_eq!(world.record(&id("k1")).await, Some(key.record.clone()));
    assert_eq!((key.record.name.as_str(), key.record.revision), ("one", 1));
    assert_eq!(key.record.digest, first.key.record.digest);
    assert_eq!(key.modules, first.key.modules);
    let named = "key_changed k1 name scopes tier owner allowed_addresses administrator";
    assert_eq!(world.log(before).await, by(bob(), [named]));

    world
        .manager
        .update(&id("k1"), &patch, bob())
        .await
        .unwrap();
    assert_eq!(world.log(before).await.len(), 1, "again changes nothing");
    assert_eq!(world.record(&id("k1")).await.unwrap().revision, 1);
    let renamed = world.manager.rename(&id("k1"), "uno", bob()).await.unwrap();
    assert_eq!(renamed.record.name, "uno");
}

#[tokio::test]
async fn update_of_bad_values_or_no_key_changes_nothing() {
    let (world, _) = two_keys().await;
    let before = world.seq().await;
    let refused = async |patch: KeyPatch| {
        let refused = world.manager.update(&id("k1"), &patch, bob()).await;
        refused.unwrap_err().to_string()
    };
    assert_eq!(
        refused(KeyPatch::new().with_name("")).await,
        "name is empty"
    );
    let control = KeyPatch::new().with_owner(Some("a\n".into()));
    assert_eq!(refused(control).await, "owner has a control character");
    let scopes = (0..201).map(|n| Scope::new(format!("s{n}")).unwrap());
    assert!(
        refused(KeyPatch::new().with_scopes(scopes))
            .await
            .starts_with("scopes has 201")
    );
    let ranges = (0..101).map(|n| format!("10.0.0.{n}").parse().unwrap());
    let many = KeyPatch::new().with_allowed_addresses(ranges);
    assert!(refused(many).await.starts_with("allowed_addresses has 101"));
    let nobody = world.manager.rename(&id("k9"), "a", bob()).await;
    assert!(matches!(nobody, Err(ManageError::NotFound(_))));
    assert_eq!(world.seq().await, before);
    assert_eq!(world.record(&id("k1")).await.unwrap().revision, 0);
}

#[tokio::test]
async fn update_of_an_older_revision_is_a_conflict_and_is_not_logged() {
    let (world, _) = two_keys().await;
    world.manager.rename(&id("k1"), "one", bob()).await.unwrap();
    let before = world.seq().await;
    let patch = KeyPatch::new().with_name("two").with_revision(0);
    let refused = world.manager.update(&id("k1"), &patch, bob()).await;
    assert!(matches!(refused, Err(ManageError::Conflict)));
    assert_eq!(world.seq().await, before);
    let patch = patch.with_revision(1);
    world
        .manager
        .update(&id("k1"), &patch, bob())
        .await
        .unwrap();
}

#[tokio::test]
async fn changes_made_at_the_same_time_are_both_kept() {
    let (world, _) = two_keys().await;
    let before = world.seq().await;
    world.plan.conflicts.store(15, Ordering::SeqCst);
    let key = world.manager.rename(&id("k1"), "one", bob()).await.unwrap();
    assert_eq!(
        (key.record.name.as_str(), key.record.hint.as_str()),
        ("one", "changed 1")
    );
    assert_eq!(world.log(before).await.len(), 1, "it is logged once");

    world.plan.conflicts.store(16, Ordering::SeqCst);
    let refused = world.manager.rename(&id("k1"), "two", bob()).await;
    assert!(
        matches!(refused, Err(ManageError::Conflict)),
        "it does not try for ever"
    );
    world.plan.conflicts.store(1, Ordering::SeqCst);
    let patch = KeyPatch::new().with_name("two").with_revision(32);
    assert_eq!(world.record(&id("k1")).await.unwrap().revision, 32);
    let refused = world.manager.update(&id("k1"), &patch, bob()).await;
    assert!(
        matches!(refused, Err(ManageError::Conflict)),
        "this revision or none"
    );
}

#[tokio::test]
async fn disabled_key_frees_its_seat_and_enabled_again_evicts_nobody() {
    let (world, _) = two_keys().await;
    let before = world.seq().await;
    let key = world.manager.disable(&id("k1"), bob()).await.unwrap();
    assert!(!key.record.enabled);
    let disabled = Status::ReservationFailed(Reason::KeyDisabled);
    assert_eq!(key.modules[0].status, disabled);
    assert_eq!(world.line().await, line(&["k2"], &[]));
    let key = world.manager.enable(&id("k1"), bob()).await.unwrap();
    assert!(key.record.enabled);
    assert_eq!(world.line().await, line(&["k2"], &["k1"]));
    world.manager.enable(&id("k1"), bob()).await.unwrap();
    let expected = [
        "key_disabled k1",
        "reservation_removed k1 lic key_disabled",
        "reserved k2 lic seat_freed",
        "key_enabled k1",
        "reservation_failed k1 launcher lic limit_reached",
    ];
    assert_eq!(world.log(before).await, by(bob(), expected));
}

#[tokio::test]
async fn expiry_frees_the_seat_at_the_tick_and_can_be_moved() {
    let (world, _) = two_keys().await;
    let end = world.clock_in(60);
    let key = world
        .manager
        .set_expiry(&id("k1"), Some(end), bob())
        .await
        .unwrap();
    assert_eq!(key.record.expires_at, Some(end));
    assert_eq!(world.line().await, line(&["k1"], &["k2"]));
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.manager.tick().await.unwrap().len(), 3);
    assert_eq!(world.line().await, line(&["k2"], &[]));
    world
        .manager
        .set_expiry(&id("k1"), None, bob())
        .await
        .unwrap();
    assert_eq!(world.line().await, line(&["k2"], &["k1"]));
    let past = Some(world.clock_in(-1));
    world
        .manager
        .set_expiry(&id("k2"), past, bob())
        .await
        .unwrap();
    assert_eq!(world.line().await, line(&["k1"], &[]));
    world.assert_consistent("after the changes").await;
}

#[tokio::test]
async fn key_enabled_past_its_end_never_holds_a_seat_on_the_way() {
    let (world, _) = two_keys().await;
    world.manager.disable(&id("k1"), bob()).await.unwrap();
    world.manager.delete(&id("k2"), bob()).await.unwrap();
    let before = world.seq().await;
    let past = Some(world.clock_in(-1));
    let patch = KeyPatch::new().with_enabled(true).with_expires_at(past);
    world
        .manager
        .update(&id("k1"), &patch, bob())
        .await
        .unwrap();
    let back = KeyPatch::new().with_enabled(false).with_expires_at(None);
    world.manager.update(&id("k1"), &back, bob()).await.unwrap();
    let log = world.log(before).await;
    assert!(
        log.iter().all(|(event, _)| !event.starts_with("reserved")),
        "{log:?}"
    );
}

#[tokio::test]
async fn revoked_key_is_revoked_for_good_and_the_next_in_line_is_promoted() {
    let (world, _) = two_keys().await;
    let before = world.seq().await;
    let revoked_at = world.clock_in(0);
    let key = world.manager.revoke(&id("k1"), bob()).await.unwrap();
    assert_eq!(key.record.revoked_at, Some(revoked_at));
    assert!(key.modules.is_empty());
    assert_eq!(world.line().await, line(&["k2"], &[]));
    let expected = [
        "key_revoked k1",
        "reservation_removed k1 lic key_revoked",
        "reserved k2 lic seat_freed",
    ];
    assert_eq!(world.log(before).await, by(bob(), expected));

    let before = world.seq().await;
    world.clock.advance(Duration::from_secs(9));
    let again = world.manager.revoke(&id("k1"), bob()).await.unwrap();
    assert_eq!(again, key, "again changes nothing, not even the instant");
    let (k1, bob) = (id("k1"), bob());
    let manager = &world.manager;
    for refused in [
        manager.enable(&k1, bob).await.unwrap_err(),
        manager.rename(&k1, "a", bob).await.unwrap_err(),
        manager.set_expiry(&k1, None, bob).await.unwrap_err(),
        manager.regenerate(&k1, None, bob).await.unwrap_err(),
        manager.assign(&k1, &[launcher()], bob).await.unwrap_err(),
    ] {
        assert!(
            matches!(&refused, ManageError::Revoked(id) if *id == k1),
            "{refused}"
        );
    }
    assert_eq!(world.seq().await, before);
    assert_eq!(
        world.record(&k1).await,
        Some(key.record),
        "the record stays"
    );
    let nobody = manager.revoke(&id("k9"), bob).await;
    assert!(matches!(nobody, Err(ManageError::NotFound(_))));
}

#[tokio::test]
async fn regenerated_key_keeps_its_id_its_place_and_its_seat() {
    let (world, first) = two_keys().await;
    let before = world.seq().await;
    let new = world
        .manager
        .regenerate(&id("k1"), None, bob())
        .await
        .unwrap();
    let logged = by(bob(), ["key_regenerated k1"]);
    assert_eq!(world.log(before).await, logged);
    assert_eq!(world.line().await, line(&["k1"], &["k2"]));
    assert_eq!(new.key.modules, first.key.modules);
    assert_ne!(new.key.record.hint, first.key.record.hint);
    assert_eq!(new.key.record.id, id("k1"));
    let digest = |key: &CreatedKey| KeyHasher::sha256().digest(key.text.expose().as_bytes());
    assert_eq!(
        world.store.find(&digest(&first)).await.unwrap(),
        None,
        "the old text is dead"
    );
    let found = world.store.find(&digest(&new)).await.unwrap();
    assert_eq!(found, Some(new.key.record));
}

#[tokio::test]
async fn old_text_works_in_grace_and_never_past_the_end_of_the_key() {
    let (world, first) = two_keys().await;
    let hour = Some(Duration::from_secs(3_600));
    let regenerate = async || {
        let new = world.manager.regenerate(&id("k1"), hour, bob()).await;
        new.unwrap().key.record
    };
    let second = regenerate().await;
    let previous = second.previous.clone().unwrap();
    assert_eq!(previous.digest, first.key.record.digest);
    assert_eq!(previous.until, world.clock_in(3_600));

    let third = regenerate().await;
    assert_eq!(third.previous.unwrap().digest, second.digest);
    let found = world.store.find(&first.key.record.digest).await.unwrap();
    assert_eq!(found, None, "a second one drops the text that was in grace");

    let end = world.clock_in(60);
    world
        .manager
        .set_expiry(&id("k1"), Some(end), bob())
        .await
        .unwrap();
    assert_eq!(regenerate().await.previous.unwrap().until, end);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(
        regenerate().await.previous,
        None,
        "nothing is left to grant"
    );
}

#[tokio::test]
async fn grace_is_at_most_30_days() {
    let (world, first) = two_keys().await;
    let days = |days| Some(Duration::from_secs(days * 86_400_u64));
    let longer = days(30).map(|most| most + Duration::from_nanos(1));
    let refused = world
        .manager
        .regenerate(&id("k1"), longer, bob())
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        ManageError::InvalidField { field: "grace", .. }
    ));
    let record = world.record(&id("k1")).await;
    assert_eq!(record, Some(first.key.record));
    world
        .manager
        .regenerate(&id("k1"), days(30), bob())
        .await
        .unwrap();
    let nobody = world.manager.regenerate(&id("k9"), None, bob()).await;
    assert!(matches!(nobody, Err(ManageError::NotFound(_))));
}

#[tokio::test]
async fn deleted_key_is_gone_and_the_next_in_line_is_promoted() {
    let (world, first) = two_keys().await;
    let before = world.seq().await;
    world.manager.delete(&id("k1"), bob()).await.unwrap();
    assert_eq!(
        world.store.find(&first.key.record.digest).await.unwrap(),
        None
    );
    assert_eq!(world.line().await, line(&["k2"], &[]));
    let expected = [
        "key_deleted k1",
        "reservation_removed k1 lic key_deleted",
        "reserved k2 lic seat_freed",
    ];
    assert_eq!(world.log(before).await, by(bob(), expected));
    let again = world.manager.delete(&id("k1"), bob()).await;
    assert!(matches!(again, Err(ManageError::NotFound(_))));
    world.assert_consistent("after the deletion").await;
}

#[tokio::test]
async fn assignment_answers_each_module_in_the_order_asked_for() {
    let (world, _) = two_keys().await;
    let before = world.seq().await;
    let asked = [open(), launcher()];
    let assigned = world
        .manager
        .assign(&id("k2"), &asked, bob())
        .await
        .unwrap();
    let modules: Vec<_> = assigned.iter().map(|assigned| &assigned.module).collect();
    assert_eq!(modules, [&open(), &launcher()]);
    assert_eq!(assigned[0].status, Status::NotRequired);
    let waits = Status::ReservationFailed(Reason::LimitReached);
    assert_eq!(assigned[1].status, waits, "no free seat is no error");
    let logged = by(bob(), ["module_assigned k2 open"]);
    assert_eq!(world.log(before).await, logged);
}

#[tokio::test]
async fn unassigned_module_frees_its_seat_and_again_is_no_error() {
    let (world, _) = two_keys().await;
    let before = world.seq().await;
    let modules = [launcher(), open()];
    world
        .manager
        .unassign(&id("k1"), &modules, bob())
        .await
        .unwrap();
    world
        .manager
        .unassign(&id("k1"), &modules, bob())
        .await
        .unwrap();
    let expected = [
        "module_unassigned k1 launcher",
        "reservation_removed k1 lic unassigned",
        "reserved k2 lic seat_freed",
    ];
    assert_eq!(world.log(before).await, by(bob(), expected));
    assert!(
        world
            .manager
            .read(&id("k1"))
            .await
            .unwrap()
            .modules
            .is_empty()
    );
}

#[tokio::test]
async fn modules_and_keys_that_nobody_knows_are_named() {
    let (world, _) = two_keys().await;
    let before = world.seq().await;
    let modules = [open(), Module::new("playout").unwrap()];
    for refused in [
        world
            .manager
            .assign(&id("k1"), &modules, bob())
            .await
            .unwrap_err(),
        world
            .manager
            .unassign(&id("k1"), &modules, bob())
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(&refused, ManageError::UnknownModule(m) if *m == modules[1]),
            "{refused}"
        );
    }
    for refused in [
        world
            .manager
            .assign(&id("k9"), &[open()], bob())
            .await
            .unwrap_err(),
        world
            .manager
            .unassign(&id("k9"), &[open()], bob())
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(refused, ManageError::NotFound(_)), "{refused}");
    }
    let many = vec![open(); 1_001];
    let refused = world.manager.assign(&id("k1"), &many, bob()).await;
    assert!(matches!(
        refused,
        Err(ManageError::InvalidField {
            field: "modules",
            ..
        })
    ));
    assert_eq!(world.seq().await, before);
}

#[tokio::test]
async fn module_that_only_its_key_knows_can_be_unassigned() {
    let (world, _) = two_keys().await;
    let holder = tower_api_key::Holder::from(&id("k1"));
    let modules = vec![Module::new("playout").unwrap()];
    let directly = tower_api_key::Operation::Assign {
        holder,
        modules: modules.clone(),
    };
    tower_api_key::LicenseLedger::apply(&world.ledger, directly, bob())
        .await
        .unwrap();
    world
        .manager
        .unassign(&id("k1"), &modules, bob())
        .await
        .unwrap();
    assert_eq!(
        world.manager.read(&id("k1")).await.unwrap().modules.len(),
        1
    );
}

#[tokio::test]
async fn store_that_is_read_only_says_so_and_nothing_is_logged() {
    let (world, _) = two_keys().await;
    let before = world.seq().await;
    *world.plan.read_only.lock().unwrap() = true;
    let (manager, k1, bob) = (&world.manager, id("k1"), bob());
    for refused in [
        manager.create(NewKey::named("a"), bob).await.unwrap_err(),
        manager.rename(&k1, "a", bob).await.unwrap_err(),
        manager.disable(&k1, bob).await.unwrap_err(),
        manager.regenerate(&k1, None, bob).await.unwrap_err(),
        manager.revoke(&k1, bob).await.unwrap_err(),
        manager.delete(&k1, bob).await.unwrap_err(),
    ] {
        assert!(matches!(refused, ManageError::ReadOnly), "{refused}");
    }
    assert_eq!(world.seq().await, before);
    manager.assign(&k1, &[open()], bob).await.unwrap();
    manager.unassign(&k1, &[open()], bob).await.unwrap();
}
