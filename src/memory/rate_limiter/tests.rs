use std::thread;

use super::*;
use crate::{
    clock::{Clock, ManualClock},
    key_store::Tier,
    rate_limiter::{CountBy, Quota},
};

fn admitted(limiter: &MemoryRateLimiter, caller: Subject<'_>, now: Now) -> bool {
    matches!(limiter.count(&caller, now), Allowance::Admitted(_))
}

#[test]
fn a_caller_takes_160_bytes() {
    assert_eq!(Cells::<Windows>::BYTES, 160);
}

#[test]
fn a_place_leads_to_nobody_else_once_it_was_given_away() {
    let tiers = Tiers::default();
    let limiter = MemoryRateLimiter::new(tiers.clone());
    let clock = ManualClock::new();
    let place = Place::default();
    let named = |name| Subject::new(name).with_place(&place);
    assert!(admitted(&limiter, named("first"), clock.now()));
    let noted = place.noted();
    assert_ne!(noted, 0);
    assert!(admitted(&limiter, named("first"), clock.now()));
    assert_eq!(place.noted(), noted, "it is where it was");
    // An hour later he has given his cell to another.
    clock.advance(Duration::from_secs(3_600));
    for _ in 0..1_000 {
        assert!(admitted(&limiter, Subject::new("second"), clock.now()));
    }
    assert!(admitted(&limiter, named("first"), clock.now()));
    assert_ne!(place.noted(), noted, "it is another one now");
    assert!(!admitted(&limiter, Subject::new("second"), clock.now()));
    // Other tiers may count him elsewhere.
    let noted = place.noted();
    limiter.set_tiers(tiers).expect("set");
    assert!(admitted(&limiter, named("first"), clock.now()));
    assert_ne!(place.noted(), noted);
}

#[test]
fn threads_at_once_are_admitted_the_limit_and_not_one_more() {
    for with_place in [false, true] {
        let limiter = MemoryRateLimiter::new(Tiers::default());
        let (now, place) = (ManualClock::new().now(), Place::default());
        let count = || {
            let caller = Subject::new("k1");
            let caller = if with_place {
                caller.with_place(&place)
            } else {
                caller
            };
            (0..1_000)
                .filter(|_| admitted(&limiter, caller, now))
                .count()
        };
        let all = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(count));
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert_eq!(all.iter().sum::<usize>(), 1_000);
    }
}

#[test]
fn owners_keys_and_tiers_of_one_name_are_apart() {
    let tier = |name| Tier::new(name).expect("a tier");
    let one = [Quota::per_hour(1).expect("a quota")];
    let [by_key, by_owner] = ["standard", "premium"].map(tier);
    let tiers = Tiers::default()
        .with_tier(by_key.clone(), one)
        .and_then(|tiers| tiers.with_tier(by_owner.clone(), one))
        .and_then(|tiers| tiers.with_count_by(&by_owner, CountBy::Owner));
    let limiter = MemoryRateLimiter::new(tiers.expect("tiers"));
    let now = ManualClock::new().now();
    let callers = [
        Subject::new("x"),
        Subject::new("x").with_tier(&by_owner),
        Subject::new("y").with_tier(&by_owner).with_owner("x"),
    ];
    for caller in callers {
        assert!(admitted(&limiter, caller, now), "{caller:?}");
        assert!(!admitted(&limiter, caller, now), "{caller:?}");
    }
    let other_key = Subject::new("z").with_tier(&by_owner).with_owner("x");
    assert!(!admitted(&limiter, other_key, now), "of the same owner");
}

/// Whatever the threads' order, nobody reads other tiers than those that count.
#[test]
fn tiers_are_those_in_force() {
    let hourly = |limit| {
        let standard = Tier::new("standard").expect("a tier");
        let tiers = Tiers::default().with_tier(standard, Quota::per_hour(limit));
        tiers.expect("tiers")
    };
    for _ in 0..200 {
        let limiter = MemoryRateLimiter::new(Tiers::default());
        thread::scope(|scope| {
            for limit in [1, 2, 3] {
                let limiter = &limiter;
                scope.spawn(move || limiter.set_tiers(hourly(limit)).expect("set"));
            }
        });
        let caller = Subject::new("k1");
        let now = ManualClock::new().now();
        let counted = (0..9).filter(|_| admitted(&limiter, caller, now)).count();
        assert_eq!(limiter.tiers(), hourly(counted as u64));
    }
}

#[test]
fn tiers_that_change_all_the_while_admit_the_limit_and_not_one_more() {
    let hour = Quota::per_hour(1_000).expect("a quota");
    let minute = Quota::per_minute(100_000).expect("a quota");
    let standard = Tier::new("standard").expect("a tier");
    let tiers = |quotas: &[Quota]| {
        let tiers = Tiers::default().with_tier(standard.clone(), quotas.iter().copied());
        tiers.expect("tiers")
    };
    let (one, two) = (tiers(&[hour]), tiers(&[minute, hour]));
    let limiter = MemoryRateLimiter::new(one.clone());
    let (now, place) = (ManualClock::new().now(), Place::default());
    let caller = Subject::new("k1").with_tier(&standard).with_place(&place);
    let count = || {
        (0..1_500)
            .filter(|_| admitted(&limiter, caller, now))
            .count()
    };
    let total: usize = thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(count));
        for _ in 0..500 {
            for tiers in [&two, &one] {
                limiter.set_tiers(tiers.clone()).expect("few quotas");
                thread::yield_now();
            }
        }
        threads
            .map(|thread| thread.join().expect("it ends"))
            .iter()
            .sum()
    });
    assert_eq!(total, 1_000);
}
