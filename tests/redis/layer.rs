//! Through the layer: what clients are told.

use std::{net::IpAddr, sync::Arc};

use tower_api_key::{NewKey, PeerAddress, Quota, RedisRateLimiter, Tiers};

use super::{
    connect, daily, server,
    support::{World, answer, get},
    tier,
};

async fn world(tiers: Tiers) -> (World, RedisRateLimiter) {
    let limiter = connect(&server::own_name("layer"), tiers).await.unwrap();
    let shared = Arc::new(limiter.clone());
    (World::with(|b| b.with_rate_limiter(shared)).await, limiter)
}

#[tokio::test]
async fn grants_and_refusals_carry_true_headers() {
    let (world, _) = world(daily(2)).await;
    let key = world.key(&[]).await;
    for left in ["1", "0"] {
        let answer = world.get("/me", key.text.expose()).await;
        answer.granted();
        assert_eq!(answer.headers["ratelimit-policy"], "\"day\";q=2;w=86400");
        let (remaining, reset) = limit(&answer.headers["ratelimit"]);
        assert_eq!(remaining, left);
        // Nobody knows how slow the test is, but less than a minute.
        assert!((86_340..=86_400).contains(&reset), "{reset}");
    }
    let refused = world.get("/me", key.text.expose()).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.code(), "rate_limited");
    assert_eq!(refused.json()["tier"], "standard");
    let (remaining, reset) = limit(&refused.headers["ratelimit"]);
    let retry_after: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!((remaining.as_str(), reset), ("0", retry_after));
    assert!((86_340..=86_400).contains(&retry_after), "{retry_after}");
    assert_eq!(world.calls(), 2);
}

/// What `"day";r=1;t=86400` says.
fn limit(value: &http::HeaderValue) -> (String, u64) {
    let rest = value.to_str().unwrap().strip_prefix("\"day\";r=").unwrap();
    let (remaining, reset) = rest.split_once(";t=").unwrap();
    (remaining.to_owned(), reset.parse().unwrap())
}

#[tokio::test]
async fn anonymous_callers_are_counted_by_address() {
    let guests = Quota::per_day(1).unwrap();
    let tiers = Tiers::default()
        .with_tier(tier("anonymous"), [guests])
        .unwrap();
    let (world, _) = world(tiers).await;
    let ask = async |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        let request = get("/realms").extension(PeerAddress::from(address));
        answer(
            tower::Layer::layer(&world.layer, world.inner.clone()),
            request,
        )
        .await
    };
    ask("2001:db8::1").await.granted();
    assert_eq!(ask("2001:db8::ffff").await.status, 429);
    ask("2001:db8:0:1::1").await.granted();
}

/// A burst beside a day: whichever is used up is named, and the other is not touched by it.
#[tokio::test]
async fn of_several_quotas_all_count_a_request_or_none() {
    let quotas = [
        Quota::new("burst", 3, std::time::Duration::from_secs(3_600)).unwrap(),
        Quota::per_day(5).unwrap(),
    ];
    let tiers = Tiers::default()
        .with_tier(tier("standard"), quotas)
        .unwrap();
    let (world, limiter) = world(tiers).await;
    let key = world.key(&[]).await;
    for _ in 0..3 {
        world.get("/me", key.text.expose()).await.granted();
    }
    for _ in 0..5 {
        let refused = world.get("/me", key.text.expose()).await;
        assert_eq!(refused.status, 429);
        let told = refused.headers["ratelimit"].to_str().unwrap();
        assert!(told.starts_with("\"burst\";r=0;t=3"), "{told}");
        assert!(told.contains(", \"day\";r=2;t="), "{told}");
    }
    // The day was not touched by those: without the burst its two are there.
    limiter.set_tiers(daily(5)).unwrap();
    for _ in 0..2 {
        world.get("/me", key.text.expose()).await.granted();
    }
    assert_eq!(world.get("/me", key.text.expose()).await.status, 429);
}

#[tokio::test]
async fn administrators_and_public_routes_ask_nobody() {
    let (world, _) = world(daily(1)).await;
    let admin = world
        .create(NewKey::named("admin").with_administrator(true))
        .await;
    for _ in 0..3 {
        world.get("/me", admin.text.expose()).await.granted();
        assert!(
            world
                .anonymous("/health")
                .await
                .headers
                .get("ratelimit")
                .is_none()
        );
    }
}
