//! Several quotas of one tier: a request is counted by all of them, or by none.

use std::time::Duration;

use tower_api_key::{CreatedKey, MemoryRateLimiter, Quota};

use super::{
    SECOND, header, left, limited, limited_by, one_too_many, per_hour, per_minute, rate_headers,
    standard,
    support::{Answer, World},
};

fn burst(limit: u64) -> Quota {
    Quota::new("burst", limit, SECOND).expect("a quota")
}

async fn me(world: &World, key: &CreatedKey) -> Answer {
    world.get("/me", key.text.expose()).await
}

#[tokio::test]
async fn each_quota_is_named_in_the_order_of_the_tier() {
    let quotas = [burst(3), per_hour(5), per_minute(4)];
    let world = limited(standard(quotas)).await;
    let key = world.key(&[]).await;
    let answer = me(&world, &key).await;
    assert_eq!(
        rate_headers(&answer),
        [
            "ratelimit-policy: \"burst\";q=3;w=1, \"hour\";q=5;w=3600, \"minute\";q=4;w=60",
            "ratelimit: \"burst\";r=2;t=1, \"hour\";r=4;t=3600, \"minute\";r=3;t=60",
        ]
    );
}

#[tokio::test]
async fn what_one_quota_refuses_no_other_counts() {
    let world = limited(standard([burst(3), per_hour(5)])).await;
    let key = world.key(&[]).await;
    for _ in 0..3 {
        me(&world, &key).await.granted();
    }
    // The burst refuses: of the hour two are left, however often.
    for _ in 0..4 {
        let refused = me(&world, &key).await;
        one_too_many(&refused, "standard", "burst", 1);
        assert_eq!(
            header(&refused, "ratelimit"),
            Some("\"burst\";r=0;t=1, \"hour\";r=2;t=3600")
        );
        assert_eq!(
            header(&refused, "ratelimit-policy"),
            Some("\"burst\";q=3;w=1, \"hour\";q=5;w=3600")
        );
    }
    world.clock.advance(SECOND);
    left(
        &me(&world, &key).await,
        "\"burst\";r=2;t=1, \"hour\";r=1;t=3599",
    );
    left(
        &me(&world, &key).await,
        "\"burst\";r=1;t=1, \"hour\";r=0;t=3599",
    );
    // The hour refuses: of the burst one is left, however often.
    for _ in 0..4 {
        let refused = me(&world, &key).await;
        one_too_many(&refused, "standard", "hour", 3_599);
        assert_eq!(
            header(&refused, "ratelimit"),
            Some("\"burst\";r=1;t=1, \"hour\";r=0;t=3599")
        );
    }
}

#[tokio::test]
async fn of_two_that_are_used_up_the_one_that_takes_longest_is_named() {
    for quotas in [[burst(2), per_hour(2)], [per_hour(2), burst(2)]] {
        let world = limited(standard(quotas)).await;
        let key = world.key(&[]).await;
        for _ in 0..2 {
            me(&world, &key).await.granted();
        }
        one_too_many(&me(&world, &key).await, "standard", "hour", 3_600);
        // With one second to go for either, the hour is the first to have room again.
        world.clock.advance(Duration::from_millis(3_599_500));
        one_too_many(&me(&world, &key).await, "standard", "hour", 1);
    }
}

#[tokio::test]
async fn older_clients_are_told_of_the_quota_of_which_least_is_left() {
    let limiter = MemoryRateLimiter::new(standard([burst(3), per_hour(4)]));
    let world = World::with(|builder| {
        let builder = builder.with_rate_limiter(limiter);
        builder.with_x_rate_limit_headers(true)
    });
    let world = world.await;
    let key = world.key(&[]).await;
    let x = |answer: &Answer| {
        let names = ["limit", "remaining", "reset"];
        names.map(|name| {
            let value = header(answer, &format!("x-ratelimit-{name}"));
            value.expect("a value").to_owned()
        })
    };
    for remaining in ["2", "1"] {
        let answer = me(&world, &key).await;
        assert_eq!(x(&answer), ["3", remaining, "1767225601"]);
    }
    world.clock.advance(SECOND);
    let answer = me(&world, &key).await;
    assert_eq!(x(&answer), ["4", "1", "1767229200"]);
}

#[tokio::test]
async fn route_that_costs_more_than_one_quota_takes_that_one_whole() {
    let world = super::costing(standard([burst(3), per_hour(10)])).await;
    let key = world.key(&[]).await;
    let five = || world.get("/5", key.text.expose());
    left(&five().await, "\"burst\";r=0;t=1, \"hour\";r=5;t=3600");
    one_too_many(&five().await, "standard", "burst", 1);
    world.clock.advance(SECOND);
    left(&five().await, "\"burst\";r=0;t=1, \"hour\";r=0;t=3599");
    world.clock.advance(SECOND);
    one_too_many(&five().await, "standard", "hour", 3_598);
}

#[tokio::test]
async fn quota_added_while_the_service_runs_begins_empty_beside_the_others() {
    let limiter = MemoryRateLimiter::new(standard([per_hour(5)]));
    let world = limited_by(&limiter).await;
    let key = world.key(&[]).await;
    for _ in 0..2 {
        me(&world, &key).await.granted();
    }
    let both = [per_minute(2), per_hour(5)];
    limiter.set_tiers(standard(both)).expect("set");
    left(
        &me(&world, &key).await,
        "\"minute\";r=1;t=60, \"hour\";r=2;t=3600",
    );
    // The other way round.
    let both = [per_hour(5), per_minute(2)];
    limiter.set_tiers(standard(both)).expect("set");
    left(
        &me(&world, &key).await,
        "\"hour\";r=1;t=3600, \"minute\";r=0;t=60",
    );
    limiter.set_tiers(standard([per_hour(5)])).expect("set");
    left(&me(&world, &key).await, "\"hour\";r=0;t=3600");
}
