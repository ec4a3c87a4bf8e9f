//! What reconciling repairs, and whom it leaves alone.

use tower_api_key::{Holder, KeyDigest, KeyStore, LicenseLedger, Operation};

use crate::{
    faults::{new, world},
    interrupted::Fault,
    support::{World, alice, bob, by, id, launcher, open},
};

/// A world in which `k1` was deleted, `k2` disabled, `k3` enabled, `k4` given an end and `k5`
/// revoked, each without its second half.
async fn broken() -> World {
    let world = world().await;
    world
        .other
        .create(new("k5").with_modules([open()]), alice())
        .await
        .unwrap();
    assert!(world.store.delete(&id("k1")).await.unwrap());
    for record in world.keys().await {
        let mut changed = record;
        match changed.id.as_str() {
            "k2" => changed.enabled = false,
            "k3" => changed.enabled = true,
            "k4" => changed.expires_at = Some(world.clock_in(60)),
            _ => changed.revoked_at = Some(world.clock_in(0)),
        }
        world.store.update(changed).await.unwrap();
    }
    world
}

#[tokio::test]
async fn reconcile_tells_what_it_repaired_and_who_asked_for_it() {
    let world = broken().await;
    let user = Operation::Assign {
        holder: Holder::new("https://issuer|user").unwrap(),
        modules: vec![open()],
    };
    world.ledger.apply(user, alice()).await.unwrap();
    let before = world.seq().await;
    let report = world.manager.reconcile(bob()).await.unwrap();
    assert_eq!((report.keys, report.holders), (4, 6));
    assert_eq!(report.freed, [id("k1")]);
    assert_eq!(report.told, ["k2", "k3", "k4", "k5"].map(id));
    assert!(report.revoked.is_empty());
    let expected = [
        "key_deleted k1",
        "reservation_removed k1 lic key_deleted",
        "reserved k2 lic seat_freed",
        "key_disabled k2",
        "reservation_removed k2 lic key_disabled",
        "key_enabled k3",
        "reserved k3 lic enabled",
        "key_changed k4 expires_at",
        "key_revoked k5",
    ];
    assert_eq!(world.log(before).await, by(bob(), expected));
    let holders = world.ledger.holders(None, 99).await.unwrap();
    assert_eq!(
        holders[0].holder.as_str(),
        "https://issuer|user",
        "users are left alone"
    );
    assert!(world.manager.reconcile(bob()).await.unwrap().is_clean());
}

#[tokio::test]
async fn reconcile_reads_page_by_page() {
    let world = world().await;
    for n in 0..1_100 {
        let ask = new(&format!("p{n}"));
        world.other.create(ask, alice()).await.unwrap();
    }
    for name in ["p0", "p499", "p999"] {
        assert!(world.store.delete(&id(name)).await.unwrap());
    }
    let report = world.manager.reconcile(bob()).await.unwrap();
    assert_eq!((report.keys, report.holders), (1_101, 1_104));
    assert_eq!(report.freed, ["p0", "p499", "p999"].map(id));
}

#[tokio::test]
async fn reconcile_cut_short_is_finished_by_the_next() {
    for fault in [Fault::Before, Fault::After, Fault::Outage] {
        for at in 1.. {
            let world = broken().await;
            world.plan.fail(at, fault);
            let cut = world.manager.reconcile(bob()).await;
            if !world.plan.lift() {
                break;
            }
            assert!(cut.is_err());
            world.manager.reconcile(bob()).await.unwrap();
            world
                .assert_consistent(&format!("{fault:?} at step {at}"))
                .await;
        }
    }
}

#[tokio::test]
async fn reconcile_harms_nobody_who_creates_or_deletes_at_the_same_time() {
    for at in 1.. {
        let world = broken().await;
        // The user makes the store's second page be read before the ledger's: what is created in
        // between seems to have been deleted.
        let user = Operation::Assign {
            holder: Holder::new("u|1").unwrap(),
            modules: vec![open()],
        };
        world.ledger.apply(user, alice()).await.unwrap();
        let other = world.clone();
        world.plan.interrupt(at, async move {
            for name in ["k0", "z0"] {
                let ask = new(name).with_modules([open()]);
                let ask = ask.with_expires_at(other.clock_in(60));
                other.other.create(ask, alice()).await.unwrap();
            }
            other.other.delete(&id("k4"), alice()).await.unwrap();
            other.other.enable(&id("k2"), alice()).await.unwrap();
        });
        world.manager.reconcile(bob()).await.unwrap();
        if !world.plan.lift() {
            break;
        }
        for name in ["k0", "z0"] {
            let key = world.other.read(&id(name)).await.unwrap();
            assert_eq!(key.modules.len(), 1, "{name} at step {at}");
        }
        world.assert_consistent(&format!("at step {at}")).await;
        let [key_created] = by(alice(), ["key_created k0"]);
        let mut log = world.log(0).await.into_iter();
        assert!(log.any(|entry| entry == key_created));
    }
}

#[tokio::test]
async fn key_that_the_ledger_holds_revoked_is_revoked_in_the_store() {
    let world = world().await;
    let holder = Holder::from(&id("k1"));
    let revoke = Operation::RevokeKey { holder };
    world.ledger.apply(revoke, alice()).await.unwrap();
    let report = world.manager.reconcile(bob()).await.unwrap();
    assert_eq!(report.revoked, [id("k1")]);
    assert!(world.record(&id("k1")).await.unwrap().revoked_at.is_some());
    assert!(world.manager.reconcile(bob()).await.unwrap().is_clean());
}

#[tokio::test]
async fn new_key_with_the_id_of_a_revoked_one_is_not_revoked_with_it() {
    for at in 1.. {
        let world = world().await;
        world.other.revoke(&id("k1"), alice()).await.unwrap();
        assert!(world.store.delete(&id("k1")).await.unwrap());
        let other = world.other.clone();
        world.plan.interrupt(at, async move {
            other.create(new("k1"), alice()).await.unwrap();
        });
        world.manager.reconcile(bob()).await.unwrap();
        if !world.plan.lift() {
            break;
        }
        let record = world.record(&id("k1")).await.unwrap();
        assert_eq!(record.revoked_at, None, "at step {at}");
        assert!(world.other.reconcile(alice()).await.unwrap().is_clean());
    }
}

#[tokio::test]
async fn keys_that_the_ledger_does_not_know_are_left_alone() {
    let world = world().await;
    let mut record = world.record(&id("k1")).await.unwrap();
    record.id = id("k9");
    record.digest = KeyDigest::from_bytes([9; 32]);
    record.enabled = false;
    world.store.insert(record).await.unwrap();
    let before = world.seq().await;
    assert!(world.manager.reconcile(bob()).await.unwrap().is_clean());
    assert_eq!(world.seq().await, before);
    // It gets no seat when it is assigned a module, though nobody has told the ledger before.
    world.other.delete(&id("k1"), alice()).await.unwrap();
    world.other.delete(&id("k2"), alice()).await.unwrap();
    world
        .manager
        .assign(&id("k9"), &[launcher()], bob())
        .await
        .unwrap();
    assert_eq!(world.line().await, (vec![], vec![]));
}
