//! The cases for a [`RateLimiter`], one for each thing its contract promises that needs no time to
//! pass.
//!
//! Each takes a limiter that has counted nothing yet and has the suite's [`tiers`].
//! [`rate_limiter_conformance`](crate::rate_limiter_conformance) runs all of them.

mod answers;
mod bursts;
mod callers;

pub use answers::*;
pub use bursts::*;
pub use callers::*;

use std::time::Duration;

use crate::{
    clock::{Now, Timestamp},
    key_store::Tier,
    rate_limiter::{
        Algorithm, Allowance, Check, CountBy, Quota, QuotaUsage, RateLimiter, Refusal, Subject,
        Tiers, Usage,
    },
};

/// The tiers of the suite, in windows so long that nothing comes back while it runs:
///
/// | tier | has | counted by |
/// |---|---|---|
/// | `standard`, for all that say nothing else | 10 in a day | key |
/// | `premium` | 100 in a day, sliding | key |
/// | `bucket` | 100 in a day, by GCRA | key |
/// | `fixed` | 100 in a day, in fixed windows | key |
/// | `several` | 4 in an hour, 20 in a day and 30 in a week | key |
/// | `owners` | 10 in a day | owner |
/// | `networks` | 10 in a day | address |
/// | `internal` | no limit | key |
/// | `anonymous`, for who sends no credential | 10 in a day | address |
pub fn tiers() -> Tiers {
    let day = |limit| Quota::per_day(limit).expect("a valid quota");
    let quota = |name, limit, hours: u64| {
        let quota = Quota::new(name, limit, Duration::from_secs(hours * 3_600));
        quota.expect("a valid quota")
    };
    let several = [
        quota("hour", 4, 1),
        quota("day", 20, 24),
        quota("week", 30, 7 * 24),
    ];
    let with = |tiers: Tiers, name, quotas: &[Quota]| {
        let tiers = tiers.with_tier(tier(name), quotas.iter().copied());
        tiers.expect("valid quotas")
    };
    let mut tiers = Tiers::default().with_unlimited_tier(tier("internal"));
    for name in ["standard", "owners", "networks", "anonymous"] {
        tiers = with(tiers, name, &[day(10)]);
    }
    for (name, algorithm) in BURSTS {
        tiers = with(tiers, name, &[day(100).with_algorithm(algorithm)]);
    }
    with(tiers, "several", &several)
        .with_count_by(&tier("owners"), CountBy::Owner)
        .and_then(|tiers| tiers.with_count_by(&tier("networks"), CountBy::Address))
        .expect("tiers that are there")
}

/// The tiers of 100 in a day.
const BURSTS: [(&str, Algorithm); 3] = [
    ("premium", Algorithm::SlidingWindow),
    ("bucket", Algorithm::Gcra),
    ("fixed", Algorithm::FixedWindow),
];
const DAY: Duration = Duration::from_secs(86_400);
/// Longer than the suite takes, for limiters with a clock of their own.
const A_WHILE: Duration = Duration::from_secs(600);

fn tier(name: &str) -> Tier {
    Tier::new(name).expect("the suite's own tiers are valid")
}

/// The only time there is.
fn now() -> Now {
    Now::new(
        Timestamp::from_unix_seconds(1_767_225_600),
        Duration::from_secs(1_000_000),
    )
}

/// Counts a request.
async fn count(limiter: &impl RateLimiter, caller: Subject<'_>) -> Allowance {
    match limiter.check(caller, now()) {
        Check::Done(allowance) => allowance,
        Check::Later(answer) => answer.await.expect("rule 3: the limiter can be asked"),
    }
}

/// Counts a request that is admitted, and answers the state of the quotas.
async fn admit(limiter: &impl RateLimiter, caller: Subject<'_>, rule: &str) -> Usage {
    match count(limiter, caller).await {
        Allowance::Admitted(usage) => usage,
        Allowance::Refused(refusal) => panic!("{rule}: {caller:?} is admitted, not {refusal:?}"),
    }
}

/// Counts a request that is refused, and answers why.
async fn refuse(limiter: &impl RateLimiter, caller: Subject<'_>, rule: &str) -> Refusal {
    match count(limiter, caller).await {
        Allowance::Refused(refusal) => refusal,
        Allowance::Admitted(usage) => panic!("{rule}: {caller:?} is refused, not {usage:?}"),
    }
}

/// How many requests remain, quota by quota.
fn remaining(usage: &Usage) -> Vec<u32> {
    usage.quotas().map(QuotaUsage::remaining).collect()
}
