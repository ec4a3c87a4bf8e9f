//! Tiers that change while the service runs: what was counted goes on.

use std::time::Duration;

use tower_api_key::{Algorithm, CountBy, MemoryRateLimiter, NewKey, Quota};

use super::{
    ALGORITHMS, HOUR, SECOND, burst, key_of, left, limited_by, one_too_many, per_hour, standard,
    tier,
    tiers::{counted_by, exactly, me, three_an_hour},
};

#[tokio::test]
async fn quota_is_raised_and_lowered_with_what_was_counted() {
    let limiter = MemoryRateLimiter::new(three_an_hour());
    let world = limited_by(&limiter).await;
    let key = world.key(&[]).await;
    exactly(burst(|| me(&world, &key)).await, 3, "standard");
    world.clock.advance(600 * SECOND);
    limiter.set_tiers(standard([per_hour(5)])).expect("set");
    assert_eq!(limiter.tiers(), standard([per_hour(5)]));
    left(&me(&world, &key).await, "\"hour\";r=1;t=3000");
    left(&me(&world, &key).await, "\"hour\";r=0;t=3000");
    one_too_many(&me(&world, &key).await, "standard", "hour", 3_000);
    // Of five within the hour two are allowed: one more when four are past.
    limiter.set_tiers(standard([per_hour(2)])).expect("set");
    one_too_many(&me(&world, &key).await, "standard", "hour", 3_600);
    world.clock.advance(3_000 * SECOND);
    one_too_many(&me(&world, &key).await, "standard", "hour", 600);
    world.clock.advance(600 * SECOND);
    exactly(burst(|| me(&world, &key)).await, 2, "standard");
}

#[tokio::test]
async fn quota_that_was_lowered_for_a_while_finds_all_it_had_counted() {
    let limiter = MemoryRateLimiter::new(standard([per_hour(200)]));
    let world = limited_by(&limiter).await;
    let key = world.key(&[]).await;
    exactly(burst(|| me(&world, &key)).await, 200, "standard");
    limiter.set_tiers(standard([per_hour(10)])).expect("set");
    one_too_many(&me(&world, &key).await, "standard", "hour", 3_600);
    limiter.set_tiers(standard([per_hour(202)])).expect("set");
    left(&me(&world, &key).await, "\"hour\";r=1;t=3600");
}

#[tokio::test]
async fn longer_window_counts_what_the_shorter_one_has_counted() {
    let minute = |seconds| {
        let window = Duration::from_secs(seconds);
        standard([Quota::new("burst", 3, window).expect("a quota")])
    };
    let limiter = MemoryRateLimiter::new(minute(60));
    let world = limited_by(&limiter).await;
    let key = world.key(&[]).await;
    burst(|| me(&world, &key)).await;
    world.clock.advance(10 * SECOND);
    limiter.set_tiers(minute(600)).expect("set");
    one_too_many(&me(&world, &key).await, "standard", "burst", 590);
    limiter.set_tiers(minute(10)).expect("set");
    left(&me(&world, &key).await, "\"burst\";r=2;t=10");
}

#[tokio::test]
async fn quota_of_another_name_begins_anew() {
    let limiter = MemoryRateLimiter::new(three_an_hour());
    let world = limited_by(&limiter).await;
    let key = world.key(&[]).await;
    burst(|| me(&world, &key)).await;
    let renamed = Quota::new("60-minutes", 3, HOUR).expect("a quota");
    limiter.set_tiers(standard([renamed])).expect("set");
    left(&me(&world, &key).await, "\"60-minutes\";r=2;t=3600");
}

#[tokio::test]
async fn tier_that_is_taken_away_leaves_the_default_one_and_comes_back_as_it_was() {
    let gold = three_an_hour().with_tier(tier("gold"), [per_hour(5)]);
    let gold = gold.expect("tiers");
    let limiter = MemoryRateLimiter::new(gold.clone());
    let world = limited_by(&limiter).await;
    let key = key_of(&world, "gold").await;
    exactly(burst(|| me(&world, &key)).await, 5, "gold");
    limiter.set_tiers(three_an_hour()).expect("set");
    exactly(burst(|| me(&world, &key)).await, 3, "standard");
    limiter.set_tiers(gold).expect("set");
    one_too_many(&me(&world, &key).await, "gold", "hour", 3_600);
}

#[tokio::test]
async fn keys_come_to_be_counted_by_owner_while_the_service_runs() {
    let limiter = MemoryRateLimiter::new(three_an_hour());
    let world = limited_by(&limiter).await;
    let owned = || world.create(NewKey::named("owned").with_owner("ann"));
    let (one, two) = (owned().await, owned().await);
    for key in [&one, &two] {
        exactly(burst(|| me(&world, key)).await, 3, "standard");
    }
    limiter.set_tiers(counted_by(CountBy::Owner)).expect("set");
    left(&me(&world, &one).await, "\"hour\";r=2;t=3600");
    left(&me(&world, &two).await, "\"hour\";r=1;t=3600");
    limiter
        .set_tiers(counted_by(CountBy::Address))
        .expect("set");
    left(&me(&world, &one).await, "\"hour\";r=2;t=3600");
    limiter.set_tiers(three_an_hour()).expect("set");
    one_too_many(&me(&world, &one).await, "standard", "hour", 3_600);
}

#[tokio::test]
async fn another_algorithm_goes_on_with_what_was_counted() {
    let by = |algorithm| standard([per_hour(4).with_algorithm(algorithm)]);
    for before in ALGORITHMS {
        for after in ALGORITHMS {
            let limiter = MemoryRateLimiter::new(by(before));
            let world = limited_by(&limiter).await;
            let key = world.key(&[]).await;
            for _ in 0..3 {
                me(&world, &key).await.granted();
            }
            limiter.set_tiers(by(after)).expect("set");
            let answer = me(&world, &key).await;
            let fresh = match after {
                // A bucket gets one back each quarter of an hour.
                Algorithm::Gcra => 900,
                _ => 3_600,
            };
            left(&answer, &format!("\"hour\";r=0;t={fresh}"));
            one_too_many(&me(&world, &key).await, "standard", "hour", fresh);
        }
    }
}
