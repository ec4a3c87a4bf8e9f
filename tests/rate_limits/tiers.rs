//! Which tier counts a caller, and together with whom.

use tower_api_key::{
    CountBy, CreatedKey, KeyId, KeyPatch, MemoryRateLimiter, NewKey, Tiers, TrustedProxies,
};

use super::{
    HOUR, SECOND, burst, change, from, guest, header, key_of, left, limited, limited_by,
    one_too_many, per_hour, standard,
    support::{World, admin, get},
    tier,
};

/// Of each key and of each address.
pub(super) fn three_an_hour() -> Tiers {
    let tiers = standard([per_hour(3)]).with_tier(tier("anonymous"), [per_hour(3)]);
    tiers.expect("tiers")
}

pub(super) fn counted_by(count_by: CountBy) -> Tiers {
    let tiers = three_an_hour().with_count_by(&tier("standard"), count_by);
    tiers.expect("tiers")
}

pub(super) async fn me(world: &World, key: &CreatedKey) -> super::Answer {
    world.get("/me", key.text.expose()).await
}

async fn me_from(world: &World, address: &str, key: &CreatedKey) -> super::Answer {
    let request = get("/me").header("x-api-key", key.text.expose());
    world.send(from(address, request)).await
}

/// As often as this tier has it, and then once more.
#[track_caller]
pub(super) fn exactly((granted, refused): (usize, super::Answer), limit: usize, tier: &str) {
    assert_eq!(granted, limit, "{tier}");
    one_too_many(&refused, tier, "hour", 3_600);
    let policy = format!("\"hour\";q={limit};w=3600");
    assert_eq!(header(&refused, "ratelimit-policy"), Some(&*policy));
}

#[tokio::test]
async fn address_without_a_key_has_a_hundred_an_hour() {
    let world = limited(Tiers::default()).await;
    for _ in 0..2 {
        exactly(
            burst(|| world.send(guest("192.0.2.1"))).await,
            100,
            "anonymous",
        );
        world.clock.advance(HOUR - SECOND);
        one_too_many(
            &world.send(guest("192.0.2.1")).await,
            "anonymous",
            "hour",
            1,
        );
        world.clock.advance(SECOND);
    }
}

#[tokio::test]
async fn key_that_says_nothing_has_a_thousand_an_hour() {
    let world = limited(Tiers::default()).await;
    let (key, other) = (world.key(&[]).await, key_of(&world, "standard").await);
    for _ in 0..2 {
        for key in [&key, &other] {
            exactly(burst(|| me(&world, key)).await, 1_000, "standard");
        }
        world.clock.advance(HOUR);
    }
}

#[tokio::test]
async fn premium_key_has_five_thousand_an_hour() {
    let world = limited(Tiers::default()).await;
    let key = key_of(&world, "premium").await;
    exactly(burst(|| me(&world, &key)).await, 5_000, "premium");
}

#[tokio::test]
async fn each_address_of_ipv4_has_a_quota_of_its_own() {
    let world = limited(three_an_hour()).await;
    for address in ["192.0.2.1", "192.0.2.2", "192.0.3.1", "0.0.0.0"] {
        exactly(burst(|| world.send(guest(address))).await, 3, "anonymous");
    }
}

#[tokio::test]
async fn network_of_64_bits_of_ipv6_has_one_quota() {
    let world = limited(three_an_hour()).await;
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"] {
        world.send(guest(address)).await.granted();
    }
    let last = world.send(guest("2001:db8:0:0:ffff:ffff:ffff:ffff")).await;
    one_too_many(&last, "anonymous", "hour", 3_600);
    for other in ["2001:db8:0:1::1", "2001:db9::1", "::1"] {
        exactly(burst(|| world.send(guest(other))).await, 3, "anonymous");
    }
}

#[tokio::test]
async fn mapped_address_is_that_of_ipv4() {
    let world = limited(three_an_hour()).await;
    for address in ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"] {
        world.send(guest(address)).await.granted();
    }
    for address in ["192.0.2.1", "::ffff:192.0.2.1"] {
        one_too_many(
            &world.send(guest(address)).await,
            "anonymous",
            "hour",
            3_600,
        );
    }
    // All mapped ones lie in one network of 64 bits.
    world.send(guest("::ffff:192.0.2.2")).await.granted();
}

#[tokio::test]
async fn callers_from_nowhere_share_one_quota() {
    let world = limited(three_an_hour()).await;
    exactly(burst(|| world.anonymous("/realms")).await, 3, "anonymous");
    for somewhere in ["0.0.0.0", "::", "192.0.2.1"] {
        world.send(guest(somewhere)).await.granted();
    }
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_have_a_quota_each() {
    let limiter = MemoryRateLimiter::new(three_an_hour());
    let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/8".parse().expect("a range")]);
    let world = World::with(|builder| {
        let builder = builder.with_rate_limiter(limiter);
        builder.with_trusted_proxies(proxies)
    });
    let world = world.await;
    for client in ["203.0.113.9", "2001:db8::1"] {
        let forwarded = || guest("10.0.0.1").header("x-forwarded-for", client);
        exactly(burst(|| world.send(forwarded())).await, 3, "anonymous");
    }
    let spoofed = guest("203.0.113.9").header("x-forwarded-for", "192.0.2.1");
    one_too_many(&world.send(spoofed).await, "anonymous", "hour", 3_600);
}

#[tokio::test]
async fn key_on_a_route_for_everybody_is_counted_as_itself() {
    let world = limited(three_an_hour()).await;
    let new = NewKey::named("reader");
    let scope = tower_api_key::Scope::new("read:realms").expect("a scope");
    let key = world.create(new.with_scopes([scope])).await;
    let with_key = || guest("192.0.2.1").header("x-api-key", key.text.expose());
    exactly(burst(|| world.send(with_key())).await, 3, "standard");
    exactly(
        burst(|| world.send(guest("192.0.2.1"))).await,
        3,
        "anonymous",
    );
}

#[tokio::test]
async fn key_has_one_quota_wherever_it_is_used() {
    let world = limited(three_an_hour()).await;
    let (key, neighbour) = (world.key(&[]).await, world.key(&[]).await);
    for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        me_from(&world, address, &key).await.granted();
    }
    one_too_many(&me(&world, &key).await, "standard", "hour", 3_600);
    left(
        &me_from(&world, "192.0.2.1", &neighbour).await,
        "\"hour\";r=2;t=3600",
    );
}

#[tokio::test]
async fn another_tier_counts_from_the_next_request_of_the_same_key() {
    let world = limited(three_an_hour()).await;
    let key = world.key(&[]).await;
    exactly(burst(|| me(&world, &key)).await, 3, "standard");
    let premium = KeyPatch::new().with_tier(Some(tier("premium")));
    change(&world, &key, premium.clone()).await;
    let answer = me(&world, &key).await;
    left(&answer, "\"hour\";r=4999;t=3600");
    assert_eq!(
        header(&answer, "ratelimit-policy"),
        Some("\"hour\";q=5000;w=3600")
    );
    // Who comes back finds what he had used, in either tier.
    world.clock.advance(60 * SECOND);
    change(&world, &key, KeyPatch::new().with_tier(None)).await;
    one_too_many(&me(&world, &key).await, "standard", "hour", 3_540);
    change(&world, &key, premium).await;
    left(&me(&world, &key).await, "\"hour\";r=4998;t=3540");
}

#[tokio::test]
async fn regenerated_key_keeps_its_quota() {
    let world = limited(three_an_hour()).await;
    let old = world.key(&[]).await;
    let id = &old.key.record.id;
    me(&world, &old).await.granted();
    let new = world.manager.regenerate(id, None, &admin()).await;
    let new = new.expect("a new text");
    left(&me(&world, &new).await, "\"hour\";r=1;t=3600");
    // In which both texts are one key.
    let grace = Some(60 * SECOND);
    let newest = world.manager.regenerate(id, grace, &admin()).await;
    let newest = newest.expect("a new text");
    left(&me(&world, &newest).await, "\"hour\";r=0;t=3600");
    for text in [&new, &newest, &new] {
        one_too_many(&me(&world, text).await, "standard", "hour", 3_600);
    }
    world.clock.advance(HOUR);
    exactly(burst(|| me(&world, &newest)).await, 3, "standard");
}

#[tokio::test]
async fn both_texts_of_a_key_are_counted_together_from_the_first_request_on() {
    let world = limited(three_an_hour()).await;
    let old = world.key(&[]).await;
    let id = &old.key.record.id;
    let new = world.manager.regenerate(id, Some(HOUR), &admin()).await;
    let new = new.expect("a new text");
    left(&me(&world, &new).await, "\"hour\";r=2;t=3600");
    left(&me(&world, &old).await, "\"hour\";r=1;t=3600");
    left(&me(&world, &new).await, "\"hour\";r=0;t=3600");
    one_too_many(&me(&world, &old).await, "standard", "hour", 3_600);
}

#[tokio::test]
async fn keys_of_one_owner_share_a_quota_where_owners_are_counted() {
    let world = limited(counted_by(CountBy::Owner)).await;
    let owned = |owner: &str| world.create(NewKey::named("owned").with_owner(owner));
    let (one, two, other) = (owned("ann").await, owned("ann").await, owned("bob").await);
    // Whose public id is a word that is also an owner's.
    let id = KeyId::new("ann").expect("an id");
    let nobodys = world.create(NewKey::named("nobody's").with_id(id)).await;
    for key in [&one, &two, &one] {
        me(&world, key).await.granted();
    }
    one_too_many(&me(&world, &two).await, "standard", "hour", 3_600);
    exactly(burst(|| me(&world, &other)).await, 3, "standard");
    exactly(burst(|| me(&world, &nobodys)).await, 3, "standard");
    exactly(
        burst(|| world.send(guest("192.0.2.1"))).await,
        3,
        "anonymous",
    );
    // Sold.
    let anew = KeyPatch::new().with_owner(Some("cy".into()));
    change(&world, &two, anew).await;
    left(&me(&world, &two).await, "\"hour\";r=2;t=3600");
    one_too_many(&me(&world, &one).await, "standard", "hour", 3_600);
}

#[tokio::test]
async fn owners_are_not_counted_where_keys_are() {
    let world = limited(three_an_hour()).await;
    for _ in 0..2 {
        let key = world.create(NewKey::named("owned").with_owner("ann")).await;
        exactly(burst(|| me(&world, &key)).await, 3, "standard");
    }
}

#[tokio::test]
async fn keys_at_one_address_share_a_quota_where_addresses_are_counted() {
    let world = limited(counted_by(CountBy::Address)).await;
    let (one, two) = (world.key(&[]).await, world.key(&[]).await);
    for (address, key) in [
        ("2001:db8::1", &one),
        ("2001:db8::2", &two),
        ("2001:db8::1", &one),
    ] {
        me_from(&world, address, key).await.granted();
    }
    let refused = me_from(&world, "2001:db8::3", &two).await;
    one_too_many(&refused, "standard", "hour", 3_600);
    // Elsewhere each has that place's, and those from nowhere have one.
    left(
        &me_from(&world, "192.0.2.1", &two).await,
        "\"hour\";r=2;t=3600",
    );
    for key in [&one, &two, &one] {
        me(&world, key).await.granted();
    }
    one_too_many(&me(&world, &two).await, "standard", "hour", 3_600);
    // Each tier counts for itself, at one address too.
    exactly(
        burst(|| world.send(guest("2001:db8::1"))).await,
        3,
        "anonymous",
    );
}

#[tokio::test]
async fn key_of_a_tier_that_is_not_there_has_the_default_one() {
    let world = limited(three_an_hour()).await;
    let key = key_of(&world, "platinum").await;
    me(&world, &key).await.granted();
    // The same quota, by its own name.
    change(&world, &key, KeyPatch::new().with_tier(None)).await;
    left(&me(&world, &key).await, "\"hour\";r=1;t=3600");
    let other = KeyPatch::new().with_tier(Some(tier("gold")));
    change(&world, &key, other).await;
    me(&world, &key).await.granted();
    one_too_many(&me(&world, &key).await, "standard", "hour", 3_600);
}

#[tokio::test]
async fn default_and_anonymous_tier_can_be_others() {
    let (gold, guests) = (tier("gold"), tier("guests"));
    let tiers = Tiers::default()
        .with_tier(gold.clone(), [per_hour(7)])
        .and_then(|tiers| tiers.with_tier(guests.clone(), [per_hour(2)]))
        .and_then(|tiers| tiers.with_default_tier(&gold))
        .and_then(|tiers| tiers.with_anonymous_tier(&guests))
        .expect("tiers");
    let world = limited(tiers).await;
    let key = world.key(&[]).await;
    exactly(burst(|| me(&world, &key)).await, 7, "gold");
    let unknown = key_of(&world, "platinum").await;
    exactly(burst(|| me(&world, &unknown)).await, 7, "gold");
    exactly(burst(|| world.send(guest("192.0.2.1"))).await, 2, "guests");
}

#[tokio::test]
async fn tier_without_limit_has_none_and_says_nothing() {
    let internal = tier("internal");
    let tiers = three_an_hour().with_unlimited_tier(internal.clone());
    let limiter = MemoryRateLimiter::new(tiers.clone());
    let world = limited_by(&limiter).await;
    let key = key_of(&world, "internal").await;
    for _ in 0..2_000 {
        let answer = me(&world, &key).await;
        answer.granted();
        assert_eq!(super::rate_headers(&answer), [""; 0]);
    }
    // What was not counted is not held against anybody.
    let tiers = tiers.with_tier(internal, [per_hour(2)]).expect("tiers");
    limiter.set_tiers(tiers).expect("set");
    exactly(burst(|| me(&world, &key)).await, 2, "internal");
}
