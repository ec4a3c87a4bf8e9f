//! What is promised when a backend fails, is slow, or changes behind our back.

mod support;

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use support::{
    Answer, World, admin,
    faults::{Fault, Faulty},
    map,
};
use tower_api_key::{ApiKeyLayer, Changes, Clock, KeyStore, ManualClock};

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn unavailable(answer: &Answer, code: &str) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), code);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(answer.seen.is_none());
    assert!(answer.challenges().is_empty(), "an outage is no 401");
}

/// Drives a request until the backend has been `reached`, which does not let its answer go yet.
async fn held_up<F: Future + Unpin>(request: &mut F, reached: impl Fn() -> bool) {
    while !reached() {
        assert!(futures_util::poll!(&mut *request).is_pending());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_warm_key_asks_nobody() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    for _ in 0..5 {
        faulty.get("/engines", key.text.expose()).await.granted();
    }
    assert_eq!(faulty.asked(), (1, 1));
    faulty.get("/me", key.text.expose()).await.granted();
    assert_eq!(faulty.asked(), (1, 1));
}

#[tokio::test]
async fn a_route_without_modules_does_not_ask_the_ledger() {
    let faulty = Faulty::new().await;
    faulty.ledger.set(Fault::Down);
    let key = faulty.world.key(&["launcher"]).await;
    faulty.get("/me", key.text.expose()).await.granted();
    assert_eq!(faulty.asked(), (1, 0));
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once() {
    let faulty = Faulty::new().await;
    let unknown = World::new().await.key(&[]).await;
    for _ in 0..3 {
        assert_eq!(
            faulty.get("/me", unknown.text.expose()).await.code(),
            "invalid_key"
        );
    }
    assert_eq!(faulty.asked(), (1, 0));
    assert_eq!(
        faulty.get("/me", "rk_live_mistyped").await.code(),
        "invalid_key"
    );
    assert_eq!(
        faulty.asked(),
        (1, 0),
        "a malformed key is refused before any store is asked"
    );
}

#[tokio::test]
async fn a_key_imported_after_it_was_refused_works_at_once() {
    let faulty = Faulty::new().await;
    let elsewhere = World::new().await.key(&[]).await;
    assert_eq!(
        faulty.get("/me", elsewhere.text.expose()).await.code(),
        "invalid_key"
    );
    let new = tower_api_key::NewKey::named("moved");
    faulty
        .world
        .manager
        .import(new, &elsewhere.text, &admin())
        .await
        .expect("imported");
    faulty.get("/me", elsewhere.text.expose()).await.granted();
}

#[tokio::test]
async fn a_change_made_on_the_store_itself_is_in_force_when_it_returns() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.get("/engines", key.text.expose()).await.granted();
    let id = &key.key.record.id;
    let mut record = faulty
        .world
        .store
        .get(id)
        .await
        .expect("up")
        .expect("there");
    record.enabled = false;
    faulty.world.store.update(record).await.expect("updated");
    assert_eq!(
        faulty.get("/engines", key.text.expose()).await.code(),
        "disabled_key"
    );
    faulty.world.store.delete(id).await.expect("deleted");
    assert_eq!(
        faulty.get("/engines", key.text.expose()).await.code(),
        "invalid_key"
    );
}

#[tokio::test]
async fn store_down_means_503_for_who_is_not_known() {
    let faulty = Faulty::new().await;
    let (known, unknown) = (
        faulty.world.key(&["launcher"]).await,
        faulty.world.key(&[]).await,
    );
    faulty.get("/engines", known.text.expose()).await.granted();
    faulty.store.set(Fault::Down);
    unavailable(
        &faulty.get("/me", unknown.text.expose()).await,
        "store_unavailable",
    );
    faulty.get("/engines", known.text.expose()).await.granted();
    faulty.store.set(Fault::None);
    faulty.get("/me", unknown.text.expose()).await.granted();
}

#[tokio::test]
async fn ledger_down_means_503_and_never_403() {
    let faulty = Faulty::new().await;
    let (known, unknown) = (
        faulty.world.key(&["launcher"]).await,
        faulty.world.key(&["free"]).await,
    );
    faulty.get("/engines", known.text.expose()).await.granted();
    faulty.ledger.set(Fault::Down);
    unavailable(
        &faulty.get("/engines", unknown.text.expose()).await,
        "ledger_unavailable",
    );
    faulty.get("/engines", known.text.expose()).await.granted();
    faulty.ledger.set(Fault::None);
    assert_eq!(
        faulty.get("/engines", unknown.text.expose()).await.code(),
        "module_access_missing"
    );
}

#[tokio::test]
async fn who_lost_his_rights_is_not_served_from_memory_in_an_outage() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.get("/engines", key.text.expose()).await.granted();
    faulty.store.set(Fault::Down);
    faulty
        .world
        .manager
        .revoke(&key.key.record.id, &admin())
        .await
        .expect("revoked");
    unavailable(
        &faulty.get("/engines", key.text.expose()).await,
        "store_unavailable",
    );
}

#[tokio::test]
async fn out_of_touch_for_longer_than_max_staleness_is_503() {
    let clock = ManualClock::new();
    let changes = Changes::out_of_touch();
    changes.heard(clock.now().monotonic);
    let faulty = Faulty::with(true, Some(changes), |b| b.with_max_staleness(30 * SECOND)).await;
    let changes = faulty.changes.as_ref().expect("given");
    let key = faulty.world.key(&["launcher"]).await;
    faulty.get("/engines", key.text.expose()).await.granted();
    faulty.store.set(Fault::Down);
    faulty.ledger.set(Fault::Down);
    faulty.world.clock.advance(30 * SECOND);
    faulty.get("/engines", key.text.expose()).await.granted();
    faulty.world.clock.advance(Duration::from_micros(1));
    unavailable(
        &faulty.get("/engines", key.text.expose()).await,
        "store_unavailable",
    );
    // A store that can be asked is believed, whether or not it tells of changes by itself.
    faulty.store.set(Fault::None);
    unavailable(
        &faulty.get("/engines", key.text.expose()).await,
        "ledger_unavailable",
    );
    faulty.ledger.set(Fault::None);
    faulty.get("/engines", key.text.expose()).await.granted();
    changes.heard(faulty.world.clock.now().monotonic);
    let before = faulty.asked();
    faulty.get("/engines", key.text.expose()).await.granted();
    assert_eq!(faulty.asked(), before, "in touch again, memory is enough");
}

#[tokio::test]
async fn a_step_of_the_wall_clock_changes_no_staleness() {
    let changes = Changes::out_of_touch();
    changes.heard(Duration::ZERO);
    let faulty = Faulty::with(true, Some(changes), |builder| builder).await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.get("/engines", key.text.expose()).await.granted();
    let wall = faulty.world.clock.now().wall;
    faulty
        .world
        .clock
        .set_wall(wall.saturating_add(3_600 * SECOND));
    faulty.store.set(Fault::Down);
    faulty.get("/engines", key.text.expose()).await.granted();
}

#[tokio::test]
async fn a_store_that_tells_nothing_is_asked_again_after_the_ttl() {
    let faulty = Faulty::with(false, None, |builder| builder.with_cache_ttl(5 * SECOND)).await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.get("/engines", key.text.expose()).await.granted();
    faulty
        .world
        .clock
        .advance(5 * SECOND - Duration::from_micros(1));
    faulty.get("/engines", key.text.expose()).await.granted();
    assert_eq!(faulty.asked(), (1, 1));
    faulty.world.clock.advance(Duration::from_micros(1));
    faulty.get("/engines", key.text.expose()).await.granted();
    assert_eq!(faulty.asked(), (2, 1), "what the ledger said is still good");
    let unknown = World::new().await.key(&[]).await;
    for (advance, asked) in [(0, 3), (4, 3), (1, 4)] {
        faulty.world.clock.advance(advance * SECOND);
        assert_eq!(
            faulty.get("/me", unknown.text.expose()).await.code(),
            "invalid_key"
        );
        assert_eq!(faulty.store.asked(), asked);
    }
}

#[tokio::test]
async fn with_a_ttl_of_zero_every_request_asks() {
    let faulty = Faulty::with(false, None, |builder| {
        builder.with_cache_ttl(Duration::ZERO)
    })
    .await;
    let key = faulty.world.key(&["launcher"]).await;
    for asked in 1..4 {
        faulty.get("/engines", key.text.expose()).await.granted();
        assert_eq!(faulty.store.asked(), asked);
    }
}

#[tokio::test]
async fn what_a_silent_store_said_outlives_its_outage_until_max_staleness() {
    let faulty = Faulty::with(false, None, |builder| builder.with_cache_ttl(5 * SECOND)).await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.get("/engines", key.text.expose()).await.granted();
    faulty.store.set(Fault::Down);
    faulty.world.clock.advance(10 * SECOND);
    faulty.get("/engines", key.text.expose()).await.granted();
    let asked = faulty.store.asked();
    faulty.get("/engines", key.text.expose()).await.granted();
    assert_eq!(
        faulty.store.asked(),
        asked,
        "not every request of an outage asks"
    );
    faulty.world.clock.advance(20 * SECOND);
    faulty.get("/engines", key.text.expose()).await.granted();
    faulty.world.clock.advance(2 * SECOND);
    unavailable(
        &faulty.get("/engines", key.text.expose()).await,
        "store_unavailable",
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_means_503_after_the_time_limit() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&[]).await;
    faulty.store.set(Fault::Hangs);
    let start = tokio::time::Instant::now();
    unavailable(
        &faulty.get("/me", key.text.expose()).await,
        "store_unavailable",
    );
    assert_eq!(start.elapsed().as_millis(), 250);
    faulty.store.set(Fault::None);
    faulty.get("/me", key.text.expose()).await.granted();
}

#[tokio::test(start_paused = true)]
async fn look_ups_that_hang_do_not_hold_up_those_that_are_remembered() {
    let faulty = Faulty::with(true, None, |builder| builder.with_lookups_at_once(2)).await;
    let warm = faulty.world.key(&["launcher"]).await;
    faulty.get("/engines", warm.text.expose()).await.granted();
    let mut cold = Vec::new();
    for _ in 0..5 {
        cold.push(faulty.world.key(&[]).await);
    }
    faulty.store.set(Fault::Hangs);
    let waiting = cold.iter().map(|key| faulty.get("/me", key.text.expose()));
    let meanwhile = async {
        while faulty.store.asked() < 1 + 2 {
            tokio::task::yield_now().await;
        }
        faulty.get("/engines", warm.text.expose()).await.granted();
        assert_eq!(
            faulty.store.asked(),
            1 + 2,
            "the others wait for their turn"
        );
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(waiting), meanwhile);
    assert!(answers.iter().all(|answer| answer.status == 503));
}

#[tokio::test]
async fn a_store_that_panics_means_503_and_nothing_stays_stuck() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.store.set(Fault::Panics);
    for _ in 0..2 {
        unavailable(
            &faulty.get("/engines", key.text.expose()).await,
            "store_unavailable",
        );
    }
    faulty.store.set(Fault::None);
    faulty.ledger.set(Fault::Panics);
    unavailable(
        &faulty.get("/engines", key.text.expose()).await,
        "ledger_unavailable",
    );
    faulty.ledger.set(Fault::None);
    faulty.get("/engines", key.text.expose()).await.granted();
}

#[tokio::test]
async fn many_requests_for_one_cold_key_make_one_look_up() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.store.set(Fault::Late);
    let requests = (0..20).map(|_| faulty.get("/engines", key.text.expose()));
    let open = async {
        while faulty.store.asked() == 0 {
            tokio::task::yield_now().await;
        }
        faulty.store.open();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(requests), open);
    for answer in &answers {
        answer.granted();
    }
    assert_eq!(faulty.asked(), (1, 1));
}

#[tokio::test]
async fn a_dropped_request_cancels_nobody() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.store.set(Fault::Late);
    let mut first = Box::pin(faulty.get("/engines", key.text.expose()));
    held_up(&mut first, || faulty.store.asked() > 0).await;
    let mut second = Box::pin(faulty.get("/engines", key.text.expose()));
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(first);
    faulty.store.open();
    second.await.granted();
    assert_eq!(faulty.asked(), (1, 1));
    // Where nobody is left to wait, what was read is kept all the same.
    let other = faulty.world.key(&[]).await;
    let mut alone = Box::pin(faulty.get("/me", other.text.expose()));
    held_up(&mut alone, || faulty.store.asked() > 1).await;
    drop(alone);
    faulty.store.open();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    faulty.get("/me", other.text.expose()).await.granted();
    assert_eq!(faulty.store.asked(), 2);
}

#[tokio::test]
async fn a_read_that_began_before_a_revocation_grants_nothing_after_it() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.store.set(Fault::Late);
    // The look-up has read the key, and is held up on its way back.
    let mut early = Box::pin(faulty.get("/engines", key.text.expose()));
    held_up(&mut early, || faulty.store.asked() > 0).await;
    faulty
        .world
        .manager
        .revoke(&key.key.record.id, &admin())
        .await
        .expect("revoked");
    // A request that comes after the revocation does not join that look-up.
    faulty.store.set(Fault::None);
    assert_eq!(
        faulty.get("/engines", key.text.expose()).await.code(),
        "revoked_key"
    );
    faulty.store.open();
    early.await;
    // Nor is what the late look-up read used by anybody.
    assert_eq!(
        faulty.get("/engines", key.text.expose()).await.code(),
        "revoked_key"
    );
}

#[tokio::test]
async fn a_reading_of_the_ledger_that_began_before_an_eviction_grants_nothing_after_it() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    faulty.ledger.set(Fault::Late);
    let mut early = Box::pin(faulty.get("/engines", key.text.expose()));
    held_up(&mut early, || faulty.ledger.asked() > 0).await;
    let id = &key.key.record.id;
    let modules = [support::module("launcher")];
    faulty
        .world
        .manager
        .unassign(id, &modules, &admin())
        .await
        .expect("unassigned");
    faulty.ledger.set(Fault::None);
    assert_eq!(
        faulty.get("/engines", key.text.expose()).await.code(),
        "module_access_missing"
    );
    faulty.ledger.open();
    early.await;
    assert_eq!(
        faulty.get("/engines", key.text.expose()).await.code(),
        "module_access_missing"
    );
}

#[tokio::test]
async fn last_used_is_seen_at_once_and_written_once_a_minute() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&["launcher"]).await;
    let id = &key.key.record.id;
    let manager = faulty.layer.manager();
    assert_eq!(
        manager.read(id).await.expect("there").record.last_used_at,
        None
    );
    faulty.layer.maintain().await.expect("maintained");
    faulty.world.clock.advance(10 * SECOND);
    for _ in 0..5 {
        faulty.get("/engines", key.text.expose()).await.granted();
        faulty.world.clock.advance(SECOND);
        faulty.layer.maintain().await.expect("maintained");
    }
    let seen = manager.read(id).await.expect("there").record.last_used_at;
    assert_eq!(
        seen.map(|at| at.to_string()),
        Some("2026-01-01T00:00:14Z".into())
    );
    assert_eq!(
        faulty.store.written(),
        0,
        "within its minute nothing is written"
    );
    faulty.world.clock.advance(60 * SECOND);
    faulty.layer.maintain().await.expect("maintained");
    assert_eq!(faulty.store.written(), 1);
    let stored = faulty
        .world
        .store
        .get(id)
        .await
        .expect("up")
        .expect("there");
    assert_eq!(stored.last_used_at, seen);
    faulty.layer.flush().await.expect("flushed");
    assert_eq!(faulty.store.written(), 1, "nothing is written twice");
}

#[tokio::test]
async fn a_refused_request_of_a_working_key_counts_as_a_use() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&[]).await;
    assert_eq!(faulty.get("/engines", key.text.expose()).await.status, 403);
    let id = &key.key.record.id;
    assert!(
        faulty
            .layer
            .manager()
            .read(id)
            .await
            .expect("there")
            .record
            .last_used_at
            .is_some()
    );
    let disabled = faulty.world.key(&[]).await;
    faulty
        .world
        .manager
        .disable(&disabled.key.record.id, &admin())
        .await
        .expect("disabled");
    assert_eq!(
        faulty.get("/engines", disabled.text.expose()).await.status,
        401
    );
    let read = faulty
        .layer
        .manager()
        .read(&disabled.key.record.id)
        .await
        .expect("there");
    assert!(
        read.record.last_used_at.is_none(),
        "who is not authenticated uses nothing"
    );
}

#[tokio::test]
async fn last_used_is_flushed_at_shutdown_and_waits_out_an_outage() {
    let faulty = Faulty::new().await;
    let (a, b) = (faulty.world.key(&[]).await, faulty.world.key(&[]).await);
    faulty.get("/me", a.text.expose()).await.granted();
    faulty.get("/me", b.text.expose()).await.granted();
    faulty.store.set(Fault::Down);
    faulty.layer.flush().await.expect_err("down");
    faulty.store.set(Fault::None);
    faulty.get("/me", a.text.expose()).await.granted();
    faulty.layer.flush().await.expect("flushed");
    assert_eq!(faulty.store.written(), 2);
}

#[tokio::test]
async fn a_read_only_store_is_not_asked_to_write_for_ever() {
    let faulty = Faulty::new().await;
    let key = faulty.world.key(&[]).await;
    faulty.store.set_read_only(true);
    faulty.get("/me", key.text.expose()).await.granted();
    faulty
        .layer
        .flush()
        .await
        .expect("a read-only store is no outage");
    faulty.store.set_read_only(false);
    faulty.layer.flush().await.expect("flushed");
    assert_eq!(faulty.store.written(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_layers_own_task_ticks_the_ledger_and_ends_with_it() {
    let world = World::new().await;
    let layer = ApiKeyLayer::builder(world.store.clone(), map(), world.ledger.clone())
        .with_clock(world.clock.clone())
        .build()
        .expect("a layer");
    let expiry = world.clock.now().wall.saturating_add(10 * SECOND);
    let lino = [support::module("lino")];
    let new = tower_api_key::NewKey::named("short").with_modules(lino.clone());
    world.create(new.with_expires_at(expiry)).await;
    let next = world.key(&["lino"]).await;
    world.clock.advance(10 * SECOND);
    tokio::time::sleep(SECOND + SECOND / 10).await;
    let read = world
        .manager
        .read(&next.key.record.id)
        .await
        .expect("there");
    assert_eq!(
        read.modules[0].status,
        tower_api_key::Status::Reserved,
        "promoted by the tick"
    );
    let clock = Arc::downgrade(&(world.clock.clone() as Arc<dyn Clock>));
    let before = clock.strong_count();
    drop(layer);
    tokio::time::sleep(2 * SECOND).await;
    assert!(clock.strong_count() < before, "the task holds nothing");
}
