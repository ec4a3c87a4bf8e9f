//! Quotas in a Redis server: shared by processes, through the layer, and while the server is away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

#[path = "../support/redis.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[path = "../support/watch.rs"]
mod watch;

mod layer;
mod opening;
mod outages;
mod sharing;

use std::time::Duration;

use tower_api_key::{
    Allowance, Check, Clock, ConnectRedis, Quota, RateLimiter, RedisRateLimiter, Subject,
    SystemClock, Tier, Tiers,
};

/// The tier of keys that say nothing, with one quota of a day.
fn daily(limit: u64) -> Tiers {
    let day = Quota::per_day(limit).unwrap();
    Tiers::default().with_tier(tier("standard"), [day]).unwrap()
}

fn tier(name: &str) -> Tier {
    Tier::new(name).unwrap()
}

/// The shared server. A machine that is busy is no outage, except where a test is about that.
fn connect(prefix: &str, tiers: Tiers) -> ConnectRedis {
    RedisRateLimiter::connect(server::address(), tiers)
        .with_prefix(prefix)
        .with_timeout(Duration::from_secs(20))
}

/// Counts a request now.
async fn count(limiter: &impl RateLimiter, caller: Subject<'_>) -> Allowance {
    match limiter.check(caller, SystemClock::new().now()) {
        Check::Done(allowance) => allowance,
        Check::Later(answer) => answer.await.unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn is_admitted(limiter: &impl RateLimiter, caller: Subject<'_>) -> bool {
    matches!(count(limiter, caller).await, Allowance::Admitted(_))
}

/// How many requests remain by the only quota.
async fn remaining(limiter: &impl RateLimiter, caller: Subject<'_>) -> u32 {
    let usage = match count(limiter, caller).await {
        Allowance::Admitted(usage) => usage,
        Allowance::Refused(refusal) => refusal.usage,
        other => panic!("{other:?}"),
    };
    usage.tightest().unwrap().remaining()
}

/// Asks again and again whether something has come about; a minute is for ever.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        let mut soon = tokio::time::interval(Duration::from_millis(5));
        while !condition().await {
            soon.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}, at last");
}
