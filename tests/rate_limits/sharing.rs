//! Quotas belong to callers: not to a cache, a thread, a layer, or the time of day.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use http::request::Builder;
use tower::Layer;
use tower_api_key::{ApiKeyLayer, CreatedKey, MemoryRateLimiter, Quota, Tiers, Timestamp};

use super::{
    HOUR, SECOND, from, guest, left, limited, limited_by, one_too_many, per_hour, per_minute,
    standard,
    support::{World, answer, faults::Faulty, get, map},
};

#[tokio::test]
async fn wall_clock_that_is_set_changes_no_quota() {
    let world = limited(standard([per_hour(3)])).await;
    let key = world.key(&[]).await;
    let me = || world.get("/me", key.text.expose());
    let start = 1_767_225_600;
    left(&me().await, "\"hour\";r=2;t=3600");
    world
        .clock
        .set_wall(Timestamp::from_unix_seconds(start - 3_600));
    left(&me().await, "\"hour\";r=1;t=3600");
    world
        .clock
        .set_wall(Timestamp::from_unix_seconds(start + 3_600));
    left(&me().await, "\"hour\";r=0;t=3600");
    one_too_many(&me().await, "standard", "hour", 3_600);
    world.clock.advance(HOUR - SECOND);
    world
        .clock
        .set_wall(Timestamp::from_unix_seconds(start + 90_000));
    one_too_many(&me().await, "standard", "hour", 1);
    world.clock.set_wall(Timestamp::from_unix_seconds(start));
    one_too_many(&me().await, "standard", "hour", 1);
    world.clock.advance(SECOND);
    left(&me().await, "\"hour\";r=2;t=3600");
}

#[tokio::test]
async fn key_that_the_layer_forgets_keeps_its_quota() {
    let limiter = MemoryRateLimiter::new(standard([per_hour(5)]));
    let settings = |builder: tower_api_key::ApiKeyLayerBuilder| {
        let builder = builder.with_rate_limiter(limiter.clone());
        builder.with_cache_capacity(1)
    };
    let faulty = Faulty::with(true, None, settings).await;
    let mut keys = Vec::new();
    for _ in 0..8 {
        keys.push(faulty.world.key(&[]).await);
    }
    for remaining in (0..5).rev() {
        for key in &keys {
            let answer = faulty.get("/me", key.text.expose()).await;
            left(&answer, &format!("\"hour\";r={remaining};t=3600"));
        }
    }
    for key in &keys {
        let refused = faulty.get("/me", key.text.expose()).await;
        one_too_many(&refused, "standard", "hour", 3_600);
    }
    assert!(
        faulty.store.asked() > 5 * 8,
        "they were forgotten each time"
    );
}

#[tokio::test]
async fn layers_that_share_a_limiter_share_its_quotas() {
    let limiter = MemoryRateLimiter::new(standard([per_hour(4)]));
    let world = limited_by(&limiter).await;
    let key = world.key(&[]).await;
    let other = ApiKeyLayer::builder(world.store.clone(), map(), world.ledger.clone())
        .with_clock(world.clock.clone())
        .with_maintenance_task(false)
        .with_rate_limiter(limiter)
        .build()
        .expect("a layer");
    let request = || get("/me").header("x-api-key", key.text.expose());
    for (one, two) in [(3, 2), (1, 0)] {
        let answers = [
            world.send(request()).await,
            answer(other.layer(world.inner.clone()), request()).await,
        ];
        for (answer, remaining) in answers.iter().zip([one, two]) {
            left(answer, &format!("\"hour\";r={remaining};t=3600"));
        }
    }
    let clone = world.layer.clone().layer(world.inner.clone());
    one_too_many(&answer(clone, request()).await, "standard", "hour", 3_600);
    let refused = answer(other.layer(world.inner.clone()), request()).await;
    one_too_many(&refused, "standard", "hour", 3_600);
}

#[tokio::test]
async fn addresses_are_counted_across_layers_too() {
    let limiter = MemoryRateLimiter::new(Tiers::default());
    let (one, two) = (limited_by(&limiter).await, limited_by(&limiter).await);
    left(&one.send(guest("192.0.2.1")).await, "\"hour\";r=99;t=3600");
    left(&two.send(guest("192.0.2.1")).await, "\"hour\";r=98;t=3600");
}

/// How many of what eight threads send at once are granted.
fn at_once(world: &World, each: usize, request: impl Fn() -> Builder + Sync) -> usize {
    let (granted, start) = (AtomicUsize::new(0), Barrier::new(8));
    let send = async || {
        for _ in 0..each {
            let answer = world.send(request()).await;
            match answer.status.as_u16() {
                200 => _ = granted.fetch_add(1, Ordering::Relaxed),
                429 => {}
                status => panic!("{status}"),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                block_on(send());
            });
        }
    });
    granted.into_inner()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// A world with a key that nobody has used yet.
fn unused(limiter: &MemoryRateLimiter) -> (World, CreatedKey) {
    block_on(async {
        let world = limited_by(limiter).await;
        let key = world.key(&[]).await;
        (world, key)
    })
}

#[test]
fn of_eight_threads_with_one_key_exactly_as_many_pass_as_the_quota_has() {
    let quotas = [per_minute(1_200), per_hour(1_000)];
    for quotas in [&quotas[1..], &quotas[..]] {
        let (world, key) = unused(&MemoryRateLimiter::new(standard(quotas.to_vec())));
        let request = || get("/me").header("x-api-key", key.text.expose());
        assert_eq!(at_once(&world, 200, request), 1_000);
        assert_eq!(world.calls(), 1_000);
    }
}

#[test]
fn of_eight_threads_at_one_address_exactly_as_many_pass_as_the_quota_has() {
    let (world, _) = unused(&MemoryRateLimiter::new(Tiers::default()));
    let request = || from("2001:db8::1", get("/realms"));
    assert_eq!(at_once(&world, 50, request), 100);
}

/// All quotas that follow each other have the same limit, and a window that holds all of it.
#[test]
fn nothing_counted_is_lost_while_tiers_change() {
    let limiter = MemoryRateLimiter::new(standard([per_hour(500)]));
    let (world, key) = unused(&limiter);
    let request = || get("/me").header("x-api-key", key.text.expose());
    let done = AtomicBool::new(false);
    let granted = thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let turns = (1..).take_while(|_| !done.load(Ordering::Relaxed));
            let set = |turn| {
                let quota = Quota::new("hour", 500, HOUR + turn * SECOND);
                limiter.set_tiers(standard(quota)).expect("set");
            };
            turns.map(set).count()
        });
        let granted = at_once(&world, 100, request);
        done.store(true, Ordering::Relaxed);
        assert!(changes.join().expect("no panic") > 2);
        granted
    });
    assert_eq!(granted, 500);
}
