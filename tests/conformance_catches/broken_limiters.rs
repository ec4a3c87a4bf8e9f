//! Rate limiters with one fault each.

use std::{
    future::ready,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use tower_api_key::{
    Allowance, Check, MemoryRateLimiter, Now, Quota, QuotaUsage, RateLimiter, Refusal, Subject,
    Tier, Usage, conformance::rate_limiter as suite,
};

use super::is_caught;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// None: the wrapper itself breaks nothing.
    None,
    AdmitsOneMore,
    LooksBeforeItCounts,
    CountsAPartOfWhatItRefuses,
    IgnoresCosts,
    CountsWhatCostsNothing,
    CountsBeforeItIsPolled,
    CutsNames,
    IgnoresCase,
    CountsAlwaysByOwner,
    IgnoresOwners,
    TakesOwnersForKeys,
    CountsEachAddressOfANetwork,
    TakesMappedAddressesForOthers,
    AdmitsUnknownTiers,
    LimitsEveryTier,
    ForgetsWithThePlace,
    TellsTheLimit,
    TellsOneQuota,
    TellsNoTime,
    NamesTheFirstQuota,
}

struct BrokenLimiter {
    inner: MemoryRateLimiter,
    fault: Fault,
    /// Requests, or places.
    counted: Arc<Mutex<u32>>,
}

fn tier(name: &str) -> Tier {
    Tier::new(name).expect("a tier")
}

fn limiter(fault: Fault) -> BrokenLimiter {
    let mut tiers = suite::tiers();
    let more = match fault {
        Fault::AdmitsOneMore => Some(("premium", 101)),
        Fault::LimitsEveryTier => Some(("internal", 100)),
        _ => None,
    };
    if let Some((name, limit)) = more {
        let day = Quota::per_day(limit).expect("a quota");
        tiers = tiers.with_tier(tier(name), [day]).expect("tiers");
    }
    BrokenLimiter {
        inner: MemoryRateLimiter::new(tiers),
        fault,
        counted: Arc::default(),
    }
}

impl BrokenLimiter {
    fn ask(&self, caller: Subject<'_>, now: Now) -> Allowance {
        match self.inner.check(caller, now) {
            Check::Done(allowance) => allowance,
            other => panic!("{other:?}"),
        }
    }

    /// Counts whom it takes for the caller.
    fn count(&self, caller: Subject<'_>, now: Now) -> Allowance {
        let (internal, owners) = (tier("internal"), tier("owners"));
        let lower = caller.principal.map(str::to_lowercase);
        let at_place;
        let mut caller = caller;
        match self.fault {
            Fault::IgnoresCosts => caller.cost = 1,
            Fault::CountsWhatCostsNothing => caller.cost = caller.cost.max(1),
            Fault::CutsNames => {
                caller.principal = caller.principal.map(|name| &name[..name.len().min(100)]);
            }
            Fault::IgnoresCase => caller.principal = lower.as_deref(),
            Fault::CountsAlwaysByOwner => caller.principal = caller.owner.or(caller.principal),
            Fault::IgnoresOwners => caller.owner = None,
            Fault::TakesOwnersForKeys if caller.tier == Some(&owners) => {
                caller.principal = caller.owner.take().or(caller.principal);
            }
            Fault::CountsEachAddressOfANetwork | Fault::TakesMappedAddressesForOthers => {
                caller.address = caller.address.map(|address| self.other(address));
            }
            Fault::AdmitsUnknownTiers => {
                let tiers = self.inner.tiers();
                let is_known = |tier: &&Tier| tiers.quotas(tier).is_some();
                caller.tier = caller.tier.map(|tier| {
                    let known = Some(tier).filter(is_known);
                    known.unwrap_or(&internal)
                });
            }
            Fault::ForgetsWithThePlace => {
                if let Some(place) = caller.place.take() {
                    if place.noted() == 0 {
                        let mut places = self.counted.lock().expect("no caller panicked");
                        *places += 1;
                        place.note((*places).into());
                    }
                    at_place = place.noted().to_string();
                    caller.principal = Some(&at_place);
                }
            }
            _ => {}
        }
        let allowance = self.ask(caller, now);
        if self.fault == Fault::CountsAPartOfWhatItRefuses
            && matches!(allowance, Allowance::Refused(_))
        {
            self.ask(caller.with_cost(1), now);
        }
        allowance
    }

    fn other(&self, address: IpAddr) -> IpAddr {
        match (address, self.fault) {
            (IpAddr::V6(v6), Fault::TakesMappedAddressesForOthers) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::from((u128::from(v4.to_bits()) << 64).to_be_bytes()),
                None => address,
            },
            (IpAddr::V6(v6), _) if v6.to_ipv4_mapped().is_none() => {
                IpAddr::from(v6.to_bits().rotate_left(64).to_be_bytes())
            }
            _ => address,
        }
    }

    fn told(&self, allowance: Allowance) -> Allowance {
        let usage = |usage: Usage| {
            let told = usage.quotas().map(|usage| {
                let (quota, remaining, reset) = (*usage.quota(), usage.remaining(), usage.reset());
                match self.fault {
                    Fault::TellsTheLimit => QuotaUsage::new(quota, quota.limit(), reset),
                    Fault::TellsNoTime => QuotaUsage::new(quota, remaining, Default::default()),
                    _ => *usage,
                }
            });
            let first = if self.fault == Fault::TellsOneQuota {
                1
            } else {
                4
            };
            told.take(first).fold(Usage::NONE, Usage::and)
        };
        match allowance {
            Allowance::Admitted(all) => Allowance::Admitted(usage(all)),
            Allowance::Refused(refusal) => {
                let first = refusal.usage.quotas().next().map(|usage| *usage.quota());
                let quota = match (self.fault, first) {
                    (Fault::NamesTheFirstQuota, Some(first)) => first.name().to_owned(),
                    _ => refusal.quota,
                };
                let wait = match self.fault {
                    Fault::TellsNoTime => Default::default(),
                    _ => refusal.retry_after,
                };
                let told = Refusal::new(refusal.tier, quota, wait);
                Allowance::Refused(told.with_usage(usage(refusal.usage)))
            }
            other => other,
        }
    }
}

impl RateLimiter for BrokenLimiter {
    fn check(&self, caller: Subject<'_>, now: Now) -> Check {
        match self.fault {
            Fault::LooksBeforeItCounts => {
                let counted = Arc::clone(&self.counted);
                let several = caller.tier == Some(&tier("several"));
                let limit = if several { 4 } else { 100 };
                Check::Later(Box::pin(async move {
                    let used = *counted.lock().expect("no caller panicked");
                    super::a_moment().await;
                    if used >= limit {
                        let refusal = Refusal::new(tier("standard"), "day", Default::default());
                        return Ok(Allowance::Refused(refusal));
                    }
                    *counted.lock().expect("no caller panicked") = used + 1;
                    Ok(Allowance::Admitted(Usage::NONE))
                }))
            }
            Fault::CountsBeforeItIsPolled => {
                Check::Later(Box::pin(ready(Ok(self.count(caller, now)))))
            }
            _ => Check::Done(self.told(self.count(caller, now))),
        }
    }
}

mod without_a_fault {
    use super::*;

    tower_api_key::rate_limiter_conformance!(|_| async { limiter(Fault::None) });
}

#[tokio::test]
async fn more_than_the_quota_is_caught() {
    let case = suite::fresh_burst_is_exactly_the_quota(limiter(Fault::AdmitsOneMore));
    is_caught("rule 5: a fresh burst", case).await;
    let broken = || limiter(Fault::LooksBeforeItCounts);
    let case = suite::burst_of_many_callers_is_exactly_the_quota(broken());
    is_caught("rule 5: of many at once exactly", case).await;
    let case = suite::racing_requests_are_counted_by_all_quotas_or_none(broken());
    is_caught(
        "rule 5: a request is counted by all quotas or by none, also",
        case,
    )
    .await;
}

#[tokio::test]
async fn requests_that_are_counted_in_part_are_caught() {
    let broken = limiter(Fault::CountsAPartOfWhatItRefuses);
    let case = suite::request_is_counted_by_all_quotas_or_none(broken);
    is_caught(
        "rule 5: a request is counted by all quotas or by none",
        case,
    )
    .await;
    let broken = limiter(Fault::CountsBeforeItIsPolled);
    let case = suite::answer_that_nobody_awaits_counts_nothing(broken);
    is_caught("rule 3: `Check::Later` begins only", case).await;
}

#[tokio::test]
async fn wrong_costs_are_caught() {
    for fault in [Fault::IgnoresCosts, Fault::CountsWhatCostsNothing] {
        let case = suite::request_counts_for_what_it_costs(limiter(fault));
        is_caught("the contract of `Subject::cost`", case).await;
    }
}

#[tokio::test]
async fn callers_taken_for_others_are_caught() {
    for fault in [Fault::CutsNames, Fault::IgnoresCase] {
        let case = suite::keys_are_counted_apart(limiter(fault));
        is_caught("rule 2: keys are counted apart", case).await;
    }
    let broken = limiter(Fault::CountsAlwaysByOwner);
    let case = suite::key_is_counted_by_itself_wherever_it_comes_from(broken);
    is_caught("rule 2: a tier that counts by key", case).await;
    for fault in [Fault::IgnoresOwners, Fault::TakesOwnersForKeys] {
        let case = suite::keys_of_an_owner_are_counted_together(limiter(fault));
        is_caught("rule 2: a tier that counts by owner", case).await;
    }
    for fault in [
        Fault::CountsEachAddressOfANetwork,
        Fault::TakesMappedAddressesForOthers,
    ] {
        let case = suite::networks_are_counted_together(limiter(fault));
        is_caught("rule 2: callers are counted by address", case).await;
    }
    let case = suite::place_changes_nothing(limiter(Fault::ForgetsWithThePlace));
    is_caught("rule 2: a limiter owns what it counts", case).await;
}

#[tokio::test]
async fn wrong_tiers_are_caught() {
    let broken = limiter(Fault::AdmitsUnknownTiers);
    let case = suite::unknown_tier_counts_as_the_default_one(broken);
    is_caught("rule 6: an unknown tier", case).await;
    let case = suite::tier_without_limit_admits_everything(limiter(Fault::LimitsEveryTier));
    is_caught("the contract of `Tiers::with_unlimited_tier`", case).await;
}

#[tokio::test]
async fn wrong_answers_are_caught() {
    for fault in [Fault::TellsTheLimit, Fault::TellsOneQuota] {
        let case = suite::grant_tells_every_quota(limiter(fault));
        is_caught("the contract of `Usage`", case).await;
    }
    let case = suite::grant_tells_when_more_remains(limiter(Fault::TellsNoTime));
    is_caught("the contract of `QuotaUsage::reset`", case).await;
    let broken = limiter(Fault::TellsNoTime);
    let case = suite::refusal_tells_what_is_used_up_and_for_how_long(broken);
    is_caught("the contract of `Refusal`", case).await;
    let broken = limiter(Fault::NamesTheFirstQuota);
    let case = suite::refusal_names_the_quota_that_takes_longest(broken);
    is_caught("the contract of `Refusal::quota`", case).await;
}
