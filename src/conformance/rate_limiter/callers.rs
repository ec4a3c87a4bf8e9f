//! Who is counted together, and who apart: what rules 2 and 6 promise.

use super::*;
use crate::rate_limiter::Place;

/// How many requests of a caller's ten remain after one more.
async fn left(limiter: &impl RateLimiter, caller: Subject<'_>, rule: &str) -> u32 {
    let usage = admit(limiter, caller, rule).await;
    let tightest = usage.tightest();
    let tightest = tightest.unwrap_or_else(|| panic!("{rule}: {caller:?} has a quota"));
    tightest.remaining()
}

/// Rule 2: keys are counted apart, by their ids as they are.
pub async fn keys_are_counted_apart(limiter: impl RateLimiter) {
    let rule = "rule 2: keys are counted apart, by the bytes of their ids";
    let long = "x".repeat(5_000);
    let longer = format!("{long}x");
    let names = [
        "k1", "K1", "k2", "k1 ", "", "a", "a:b", "b", ":", "a|b", "{a}", "a}", "%61", "*", "a\n",
        "a\0", "\u{e4}", "a\u{308}", &long, &longer,
    ];
    for expected in [9, 8] {
        for name in names {
            let left = left(&limiter, Subject::new(name), rule).await;
            assert_eq!(left, expected, "{rule}: {name:?}");
        }
    }
}

/// Rule 2: whose key it is and where a request comes from matters only where a tier says so.
pub async fn key_is_counted_by_itself_wherever_it_comes_from(limiter: impl RateLimiter) {
    let rule = "rule 2: a tier that counts by key counts by nothing else";
    for (owner, address, expected) in [
        ("studio 1", "192.0.2.1", 9),
        ("studio 2", "192.0.2.1", 8),
        ("studio 1", "2001:db8::1", 7),
    ] {
        let caller = Subject::new("k1").with_owner(owner);
        let caller = caller.with_address(address.parse().expect("an address"));
        assert_eq!(left(&limiter, caller, rule).await, expected, "{rule}");
    }
}

/// Rule 2: where a tier counts by owner, all keys of one are counted together.
pub async fn keys_of_an_owner_are_counted_together(limiter: impl RateLimiter) {
    let rule = "rule 2: a tier that counts by owner";
    let owners = tier("owners");
    let of = |key| Subject::new(key).with_tier(&owners);
    for (caller, expected) in [
        (of("k1").with_owner("studio 1"), 9),
        (of("k2").with_owner("studio 1"), 8),
        (of("k1").with_owner("studio 2"), 9),
        // Nobody's key is counted by itself, whatever it is called.
        (of("k1"), 9),
        (of("studio 1"), 9),
        (of("k2"), 9),
        (of("k3").with_owner("studio 1"), 7),
        (of("k3").with_owner("k1"), 9),
    ] {
        let left = left(&limiter, caller, rule).await;
        assert_eq!(left, expected, "{rule}: {caller:?}");
    }
}

/// Rule 2: anonymous callers, and those of a tier that counts by address, are counted by it; of
/// IPv6 by the first 64 bits. Those of no known address are counted together.
pub async fn networks_are_counted_together(limiter: impl RateLimiter) {
    let rule = "rule 2: callers are counted by address, of IPv6 by its first 64 bits";
    let networks = tier("networks");
    let named = Subject::new("k1").with_tier(&networks);
    // Two tiers, each of which counts for itself.
    for caller in [Subject::anonymous(), named] {
        for (address, expected) in [
            ("192.0.2.1", 9),
            ("192.0.2.2", 9),
            ("192.0.2.1", 8),
            ("::ffff:192.0.2.1", 7),
            ("2001:db8:0:1::1", 9),
            ("2001:db8:0:1:ffff:ffff:ffff:ffff", 8),
            ("2001:db8:0:2::1", 9),
            ("::", 9),
        ] {
            let caller = caller.with_address(address.parse().expect("an address"));
            let left = left(&limiter, caller, rule).await;
            assert_eq!(left, expected, "{rule}: {caller:?}");
        }
        for expected in [9, 8] {
            assert_eq!(left(&limiter, caller, rule).await, expected, "{rule}");
        }
    }
    let other = Subject::new("k2").with_tier(&networks);
    assert_eq!(left(&limiter, other, rule).await, 7, "{rule}");
}

/// Rule 6: who has a tier that is not there is counted as one of the default tier.
pub async fn unknown_tier_counts_as_the_default_one(limiter: impl RateLimiter) {
    let rule = "rule 6: an unknown tier counts as the default tier";
    let (gone, standard) = (tier("gone"), tier("standard"));
    let caller = Subject::new("k1");
    assert_eq!(left(&limiter, caller, rule).await, 9, "{rule}");
    let unknown = caller.with_tier(&gone);
    assert_eq!(left(&limiter, unknown, rule).await, 8, "{rule}");
    let named = caller.with_tier(&standard);
    assert_eq!(left(&limiter, named, rule).await, 7, "{rule}");
    for _ in 0..7 {
        admit(&limiter, unknown, rule).await;
    }
    assert_eq!(
        refuse(&limiter, unknown, rule).await.tier,
        standard,
        "{rule}"
    );
}

/// A tier without a limit admits everything and tells of no quota.
pub async fn tier_without_limit_admits_everything(limiter: impl RateLimiter) {
    let rule = "the contract of `Tiers::with_unlimited_tier`";
    let internal = tier("internal");
    let caller = Subject::new("k1").with_tier(&internal);
    for _ in 0..300 {
        let usage = admit(&limiter, caller.with_cost(1_000_000), rule).await;
        assert_eq!(usage, Usage::NONE, "{rule}");
    }
    assert_eq!(left(&limiter, Subject::new("k1"), rule).await, 9, "{rule}");
}

/// Rule 2: what a limiter notes in a caller's place changes nothing that it counts.
pub async fn place_changes_nothing(limiter: impl RateLimiter) {
    let rule = "rule 2: a limiter owns what it counts, with or without a place";
    let (one, two, other) = (Place::default(), Place::default(), Place::default());
    let at = |caller, place| Subject {
        place: Some(place),
        ..caller
    };
    let caller = Subject::new("k1");
    for (caller, expected) in [
        (at(caller, &one), 9),
        (at(caller, &one), 8),
        // The layer has forgotten the key, and looked it up again.
        (at(caller, &two), 7),
        (caller, 6),
        (at(Subject::new("k2"), &other), 9),
        (at(caller, &one), 5),
        (at(caller, &two), 4),
    ] {
        assert_eq!(left(&limiter, caller, rule).await, expected, "{rule}");
    }
}
