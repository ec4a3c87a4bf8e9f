//! Rate tiers as clients meet them: through the layer, on quotas counted in memory.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod changes;
mod counting;
mod many_quotas;
mod protocols;
mod sharing;
mod tiers;
mod waiting;

use std::{net::IpAddr, time::Duration};

use http::request::Builder;
use support::{Answer, World, get};
use tower_api_key::{
    Algorithm, CreatedKey, KeyPatch, MemoryRateLimiter, NewKey, PeerAddress, Quota, RouteModules,
    Rule, Tier, Tiers,
};

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);
const ALGORITHMS: [Algorithm; 3] = [
    Algorithm::SlidingWindow,
    Algorithm::Gcra,
    Algorithm::FixedWindow,
];

fn tier(name: &str) -> Tier {
    Tier::new(name).expect("a tier")
}

fn per_hour(limit: u64) -> Quota {
    Quota::per_hour(limit).expect("a quota")
}

fn per_minute(limit: u64) -> Quota {
    Quota::per_minute(limit).expect("a quota")
}

/// Tiers whose default one has these quotas.
fn standard(quotas: impl IntoIterator<Item = Quota>) -> Tiers {
    let tiers = Tiers::default().with_tier(tier("standard"), quotas);
    tiers.expect("tiers")
}

/// The usual world, with these tiers.
async fn limited(tiers: Tiers) -> World {
    limited_by(&MemoryRateLimiter::new(tiers)).await
}

async fn limited_by(limiter: &MemoryRateLimiter) -> World {
    World::with(|builder| builder.with_rate_limiter(limiter.clone())).await
}

/// A world whose routes `/1` to `/9` and `/all` cost so much, and `/free` nothing.
async fn costing(tiers: Tiers) -> World {
    let mut map = RouteModules::builder()
        .get("/plain", Rule::authenticated())
        .get("/free", Rule::authenticated().with_cost(0))
        .get("/all", Rule::authenticated().with_cost(u32::MAX));
    for cost in 1..=9 {
        map = map.get(format!("/{cost}"), Rule::authenticated().with_cost(cost));
    }
    let map = map.build().expect("a map");
    let limiter = MemoryRateLimiter::new(tiers);
    World::mapped(map, |builder| builder.with_rate_limiter(limiter)).await
}

async fn key_of(world: &World, name: &str) -> CreatedKey {
    world
        .create(NewKey::named("tiered").with_tier(tier(name)))
        .await
}

async fn change(world: &World, key: &CreatedKey, patch: KeyPatch) {
    let id = &key.key.record.id;
    let changed = world.manager.update(id, &patch, &support::admin()).await;
    changed.expect("changed");
}

/// The request of somebody at this address.
fn from(address: &str, mut request: Builder) -> Builder {
    let address: IpAddr = address.parse().expect("an address");
    let extensions = request.extensions_mut().expect("valid");
    extensions.insert(PeerAddress::from(address));
    request
}

/// The request of somebody without a key.
fn guest(address: &str) -> Builder {
    from(address, get("/realms"))
}

/// Requests that are granted until one is not: how many, and that one's answer.
async fn burst<F: Future<Output = Answer>>(mut send: impl FnMut() -> F) -> (usize, Answer) {
    for granted in 0.. {
        let answer = send().await;
        if answer.status != 200 {
            return (granted, answer);
        }
        answer.granted();
    }
    unreachable!("there is a limit")
}

/// The value of a header that stands there once.
fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut values = answer.headers.get_all(name).iter();
    let value = values.next()?.to_str().expect("ASCII");
    assert_eq!(values.next(), None, "{name} stands there twice");
    Some(value)
}

/// All headers that say anything of quotas, in order.
fn rate_headers(answer: &Answer) -> Vec<String> {
    let named = answer.headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.contains("ratelimit") || name == "retry-after"
    });
    let mut lines: Vec<_> = named
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
        .collect();
    lines.sort();
    lines
}

/// It was granted, and this is what is left of the caller's quotas.
#[track_caller]
fn left(answer: &Answer, fields: &str) {
    answer.granted();
    assert_eq!(header(answer, "ratelimit"), Some(fields));
}

/// It was one too many for this tier and quota, and is admitted after so many seconds.
#[track_caller]
fn one_too_many(answer: &Answer, tier: &str, quota: &str, retry_after: u64) {
    let detail = format!("Too many requests for tier {tier}, quota {quota}.");
    answer.refused(429, "rate_limited", &detail);
    let body = answer.json();
    assert_eq!(
        (&body["tier"], &body["quota"]),
        (&tier.into(), &quota.into())
    );
    let retry_after = retry_after.to_string();
    assert_eq!(header(answer, "retry-after"), Some(&*retry_after));
}
