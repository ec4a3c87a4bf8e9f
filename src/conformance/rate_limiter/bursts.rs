//! How many are admitted, of one caller or of many at once: what rules 3 and 5 promise.

use std::sync::Arc;

use super::*;
use crate::conformance::race;

/// Rule 5: of a fresh burst exactly the quota is admitted, however it is counted.
pub async fn fresh_burst_is_exactly_the_quota(limiter: impl RateLimiter) {
    let rule = "rule 5: a fresh burst is exactly the quota";
    for (name, _) in BURSTS {
        let tier = tier(name);
        let caller = Subject::new("k1").with_tier(&tier);
        for left in (0..100).rev() {
            let usage = admit(&limiter, caller, rule).await;
            assert_eq!(remaining(&usage), [left], "{rule}");
        }
        for _ in 0..3 {
            refuse(&limiter, caller, rule).await;
        }
    }
}

/// Rule 5: of many who come at once exactly the quota is admitted.
pub async fn burst_of_many_callers_is_exactly_the_quota(limiter: impl RateLimiter) {
    let limiter = Arc::new(limiter);
    for (name, _) in BURSTS {
        let admitted = race(&limiter, |limiter, _| async move {
            let tier = tier(name);
            let mut admitted = 0;
            for _ in 0..20 {
                let caller = Subject::new("k1").with_tier(&tier);
                if let Allowance::Admitted(_) = count(&*limiter, caller).await {
                    admitted += 1;
                }
            }
            admitted
        });
        let admitted: u32 = admitted.await.into_iter().sum();
        assert_eq!(
            admitted, 100,
            "rule 5: of many at once exactly the quota is admitted"
        );
    }
}

/// Rule 5: a request is counted by all quotas of its tier, or by none.
pub async fn request_is_counted_by_all_quotas_or_none(limiter: impl RateLimiter) {
    let rule = "rule 5: a request is counted by all quotas or by none";
    let several = tier("several");
    let caller = Subject::new("k1").with_tier(&several);
    let usage = admit(&limiter, caller.with_cost(3), rule).await;
    assert_eq!(remaining(&usage), [1, 17, 27], "{rule}");
    for _ in 0..5 {
        let refusal = refuse(&limiter, caller.with_cost(2), rule).await;
        assert_eq!(refusal.quota, "hour", "{rule}");
        if refusal.usage != Usage::NONE {
            assert_eq!(remaining(&refusal.usage), [1, 17, 27], "{rule}");
        }
    }
    let usage = admit(&limiter, caller, rule).await;
    assert_eq!(remaining(&usage), [0, 16, 26], "{rule}");
}

/// Rule 5: of many at once too each is counted by all quotas of its tier, or by none.
pub async fn racing_requests_are_counted_by_all_quotas_or_none(limiter: impl RateLimiter) {
    let rule = "rule 5: a request is counted by all quotas or by none, also in a race";
    let limiter = Arc::new(limiter);
    let answers = race(&limiter, |limiter, _| async move {
        let several = tier("several");
        count(&*limiter, Subject::new("k1").with_tier(&several)).await
    });
    let answers = answers.await;
    let admitted = answers
        .iter()
        .filter(|allowance| matches!(allowance, Allowance::Admitted(_)));
    assert_eq!(admitted.count(), 4, "{rule}");
    let several = tier("several");
    let caller = Subject::new("k1").with_tier(&several);
    let refusal = refuse(&*limiter, caller, rule).await;
    if refusal.usage != Usage::NONE {
        assert_eq!(remaining(&refusal.usage), [0, 16, 26], "{rule}");
    }
}

/// A request counts for as many as its route costs; one that costs nothing is admitted uncounted.
pub async fn request_counts_for_what_it_costs(limiter: impl RateLimiter) {
    let rule = "the contract of `Subject::cost`";
    let caller = Subject::new("k1");
    let usage = admit(&limiter, caller.with_cost(4), rule).await;
    assert_eq!(remaining(&usage), [6], "{rule}");
    admit(&limiter, caller.with_cost(0), rule).await;
    let usage = admit(&limiter, caller.with_cost(5), rule).await;
    assert_eq!(remaining(&usage), [1], "{rule}");
    refuse(&limiter, caller.with_cost(2), rule).await;
    admit(&limiter, caller, rule).await;
    refuse(&limiter, caller, rule).await;
    admit(&limiter, caller.with_cost(0), rule).await;
}

/// Rule 3: an answer that somebody else has to give is asked for when it is polled.
pub async fn answer_that_nobody_awaits_counts_nothing(limiter: impl RateLimiter) {
    let rule = "rule 3: `Check::Later` begins only when it is polled";
    let caller = Subject::new("k1");
    let mut counted = 0;
    for _ in 0..5 {
        match limiter.check(caller, now()) {
            Check::Done(_) => counted += 1,
            Check::Later(answer) => drop(answer),
        }
    }
    let usage = admit(&limiter, caller, rule).await;
    assert_eq!(remaining(&usage), [9 - counted], "{rule}");
}
