//! What a caller is told: what `RateLimit` and `Retry-After` are written from.

use super::*;

/// What is told of one quota after it was used: how much remains, and when that grows.
fn told(usage: &Usage, name: &str) -> (u32, Duration) {
    let quota = usage.quotas().find(|usage| usage.quota().name() == name);
    let quota = quota.expect("the contract of `Usage`: each quota of the tier is told");
    (quota.remaining(), quota.reset())
}

/// Not before `least` less the time that a suite may take, and never after it.
fn is_about(time: Duration, least: Duration) -> bool {
    (least.saturating_sub(A_WHILE)..=least + GRAIN).contains(&time)
}

/// By so much a sliding window of a week may be rounded up.
const GRAIN: Duration = Duration::from_secs(60);

/// Who is admitted is told every quota of his tier in its order, as it is.
pub async fn grant_tells_every_quota(limiter: impl RateLimiter) {
    let rule = "the contract of `Usage`: all quotas in the order of the tier";
    let several = tier("several");
    let expected = tiers().quotas(&several).map(<[Quota]>::to_vec);
    let caller = Subject::new("k1").with_tier(&several);
    let usage = admit(&limiter, caller, rule).await;
    let quotas = usage.quotas().map(|usage| *usage.quota()).collect();
    assert_eq!(Some(quotas), expected, "{rule}");
    assert_eq!(remaining(&usage), [3, 19, 29], "{rule}");
}

/// What remains grows when it is said to: a window after the first request, or of a bucket each
/// part of it.
pub async fn grant_tells_when_more_remains(limiter: impl RateLimiter) {
    let rule = "the contract of `QuotaUsage::reset`";
    for (name, algorithm) in BURSTS {
        let tier = tier(name);
        let caller = Subject::new("k1").with_tier(&tier);
        admit(&limiter, caller, rule).await;
        let usage = admit(&limiter, caller, rule).await;
        let (remaining, reset) = told(&usage, "day");
        assert_eq!(remaining, 98, "{rule}");
        match algorithm {
            // One in 14.4 minutes.
            Algorithm::Gcra => assert!(is_about(reset, DAY / 100), "{rule}: {reset:?}"),
            _ => assert!(is_about(reset, DAY), "{rule}: {reset:?}"),
        }
    }
}

/// Who is refused is told by which quota, of which tier, and for how long.
pub async fn refusal_tells_what_is_used_up_and_for_how_long(limiter: impl RateLimiter) {
    let rule = "the contract of `Refusal`";
    for (name, algorithm) in BURSTS {
        let tier = tier(name);
        let caller = Subject::new("k1").with_tier(&tier);
        admit(&limiter, caller.with_cost(95), rule).await;
        let refusal = refuse(&limiter, caller.with_cost(50), rule).await;
        assert_eq!((&refusal.tier, &*refusal.quota), (&tier, "day"), "{rule}");
        let wait = match algorithm {
            // 45 parts of a hundred have to flow in.
            Algorithm::Gcra => DAY * 45 / 100,
            _ => DAY,
        };
        let told = refusal.retry_after;
        assert!(is_about(told, wait), "{rule}: {told:?} and not {wait:?}");
    }
}

/// Of several quotas that are used up the one is named that takes longest.
pub async fn refusal_names_the_quota_that_takes_longest(limiter: impl RateLimiter) {
    let rule = "the contract of `Refusal::quota`: the one that takes longest";
    let several = tier("several");
    let caller = Subject::new("k1").with_tier(&several);
    admit(&limiter, caller, rule).await;
    // Counted by each quota as no more than it has: the whole hour, and 19 of the day.
    let refusal = refuse(&limiter, caller.with_cost(20), rule).await;
    assert_eq!(refusal.quota, "day", "{rule}");
    let told = refusal.retry_after;
    assert!(is_about(told, DAY), "{rule}: {told:?}");
    let refusal = refuse(&limiter, caller.with_cost(30), rule).await;
    assert_eq!(refusal.quota, "week", "{rule}");
}
