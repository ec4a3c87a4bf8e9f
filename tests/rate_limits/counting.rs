//! Which requests count, and for how much.

use http::{Method, Request};
use tower::Layer;
use tower_api_key::{
    CountBy, CreatedKey, Environment, KeyPatch, License, MemoryRateLimiter, NewKey, RequireModule,
    Seats, Tiers, Timestamp,
};

use super::{
    HOUR, SECOND, change, costing, from, header, left, limited, one_too_many, per_hour,
    rate_headers, standard,
    support::{
        Answer, World, admin, answer,
        faults::{Fault, Faulty},
        get, license, module,
    },
    tier,
};

const HERE: &str = "192.0.2.1";

/// The requests of everybody together are one quota: of all keys, and of who has none.
fn together(limit: u64) -> Tiers {
    let tiers = standard([per_hour(limit)])
        .with_count_by(&tier("standard"), CountBy::Owner)
        .and_then(|tiers| tiers.with_tier(tier("anonymous"), [per_hour(limit)]));
    tiers.expect("tiers")
}

fn owned() -> NewKey {
    NewKey::named("owned").with_owner("ann")
}

/// A world in which every refusal can be had, and each request that is refused before it is counted.
struct Refusals {
    world: World,
    /// A key that works.
    key: CreatedKey,
    requests: Vec<(&'static str, http::request::Builder)>,
}

impl Refusals {
    async fn new(limit: u64) -> Self {
        let limiter = MemoryRateLimiter::new(together(limit));
        let world = World::with(|builder| {
            let builder = builder.with_rate_limiter(limiter);
            let builder = builder.with_x_rate_limit_headers(true);
            builder.with_environments([Environment::live()])
        });
        let world = world.await;
        let (launcher, lino) = (module("launcher"), module("lino"));
        let key = world
            .create(owned().with_modules([launcher.clone(), module("lost")]))
            .await;
        // The one seat of this license is taken, and the other license is over.
        world.create(owned().with_modules([lino.clone()])).await;
        let late = world.create(owned().with_modules([lino])).await;
        let manager = &world.manager;
        let end = Timestamp::from_unix_seconds(0);
        let over = License::new(license("launcher"), Seats::Limited(2));
        let over = over.with_valid_until(Some(end));
        manager.set_license(over, &admin()).await.expect("set");
        let elsewhere = owned().with_allowed_addresses(["10.0.0.0/8".parse().expect("a range")]);
        let elsewhere = world.create(elsewhere).await;
        let test = owned().with_environment(Environment::test());
        let test = world.create(test).await;
        let soon = Timestamp::from_unix_seconds(1_767_225_601);
        let expired = world.create(owned().with_expires_at(soon)).await;
        let (disabled, revoked) = (world.create(owned()).await, world.create(owned()).await);
        let (gone, old) = (world.create(owned()).await, world.create(owned()).await);
        let id = |key: &CreatedKey| key.key.record.id.clone();
        let done = manager.disable(&id(&disabled), &admin()).await;
        done.expect("disabled");
        let done = manager.revoke(&id(&revoked), &admin()).await;
        done.expect("revoked");
        let done = manager.regenerate(&id(&old), None, &admin()).await;
        done.expect("a new text");
        manager.delete(&id(&gone), &admin()).await.expect("deleted");
        world.clock.advance(SECOND);

        let with = |path: &str, key: &CreatedKey| {
            from(HERE, get(path)).header("x-api-key", key.text.expose())
        };
        let nobody = |path: &str| from(HERE, get(path));
        let requests = vec![
            ("missing_credential", nobody("/me")),
            ("missing_credential", nobody("/elsewhere")),
            (
                "invalid_key",
                nobody("/realms").header("x-api-key", "nonsense"),
            ),
            ("invalid_key", with("/realms", &gone)),
            ("invalid_key", with("/me", &old)),
            ("expired_key", with("/me", &expired)),
            ("revoked_key", with("/me", &revoked)),
            ("disabled_key", with("/me", &disabled)),
            ("wrong_environment", with("/me", &test)),
            (
                "multiple_credentials",
                with("/me", &key).header("x-api-key", "b"),
            ),
            ("ambiguous_path", with("/lino//x", &key)),
            ("ambiguous_path", nobody("/realms/../me")),
            ("insufficient_scope", with("/realms", &key)),
            ("insufficient_scope", with("/scoped", &key)),
            ("address_not_allowed", with("/me", &elsewhere)),
            ("route_not_mapped", with("/elsewhere", &key)),
            ("module_access_missing", with("/lino/x", &key)),
            ("license_not_reserved", with("/lost", &key)),
            ("license_limit_reached", with("/lino/x", &late)),
            ("license_expired", with("/engines", &key)),
        ];
        Self {
            world,
            key,
            requests,
        }
    }
}

#[tokio::test]
async fn what_was_refused_earlier_counts_for_nothing_and_hears_of_no_quota() {
    let Refusals {
        world,
        key,
        requests,
    } = Refusals::new(2).await;
    let mut answers = Vec::new();
    for (code, request) in requests {
        let answer = world.send(request).await;
        assert_eq!(answer.code(), code);
        answers.push(answer);
    }
    for answer in &answers {
        assert_eq!(rate_headers(answer), [""; 0], "{}", answer.code());
    }
    // All of it is there still: of the owner of every key among them, and of the address.
    left(
        &world.get("/me", key.text.expose()).await,
        "\"hour\";r=1;t=3600",
    );
    let nobody = world.send(from(HERE, get("/realms"))).await;
    left(&nobody, "\"hour\";r=1;t=3600");
}

#[tokio::test]
async fn whoever_would_be_refused_anyway_is_not_told_that_his_quota_is_used_up() {
    let Refusals {
        world,
        key,
        requests,
    } = Refusals::new(1).await;
    world.get("/me", key.text.expose()).await.granted();
    let refused = world.get("/me", key.text.expose()).await;
    one_too_many(&refused, "standard", "hour", 3_600);
    world.send(from(HERE, get("/realms"))).await.granted();
    let refused = world.send(from(HERE, get("/realms"))).await;
    one_too_many(&refused, "anonymous", "hour", 3_600);
    for (code, request) in requests {
        let answer = world.send(request).await;
        assert_eq!(answer.code(), code);
        assert_eq!(rate_headers(&answer), [""; 0], "{code}");
    }
}

#[tokio::test]
async fn outage_counts_for_nothing() {
    let limiter = MemoryRateLimiter::new(standard([per_hour(2)]));
    let faulty = Faulty::with(true, None, |b| b.with_rate_limiter(limiter)).await;
    let key = faulty.world.key(&["launcher"]).await;
    for (faults, code) in [
        (&faulty.store, "store_unavailable"),
        (&faulty.ledger, "ledger_unavailable"),
    ] {
        faults.set(Fault::Down);
        for _ in 0..3 {
            let answer = faulty.get("/engines", key.text.expose()).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (503, code.into()));
            assert_eq!(rate_headers(&answer), ["retry-after: 1"]);
        }
        faults.set(Fault::None);
    }
    left(
        &faulty.get("/engines", key.text.expose()).await,
        "\"hour\";r=1;t=3600",
    );
}

/// Requests that memory answers, and those about which store or ledger is asked, take different ways
/// to the limiter.
#[tokio::test]
async fn request_counts_once_whether_or_not_a_backend_was_asked() {
    let limiter = MemoryRateLimiter::new(standard([per_hour(10)]));
    let faulty = Faulty::with(true, None, |b| b.with_rate_limiter(limiter)).await;
    let key = faulty.world.key(&["launcher"]).await;
    let mut asked = faulty.asked();
    for (remaining, changed) in [(9, "store"), (8, ""), (7, "ledger"), (6, "")] {
        if changed == "ledger" {
            let (id, lino) = (&key.key.record.id, [module("lino")]);
            let assigned = faulty.world.manager.assign(id, &lino, &admin()).await;
            assigned.expect("assigned");
        }
        let answer = faulty.get("/engines", key.text.expose()).await;
        left(&answer, &format!("\"hour\";r={remaining};t=3600"));
        assert_eq!(faulty.asked() != asked, !changed.is_empty(), "{remaining}");
        asked = faulty.asked();
    }
}

#[tokio::test]
async fn every_method_counts_and_head_does_as_get() {
    let world = limited(standard([per_hour(5)])).await;
    let key = world.key(&["launcher", "lino"]).await;
    let send = |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(path);
        world.send(request.header("x-api-key", key.text.expose()))
    };
    for (method, path, remaining) in [
        (Method::GET, "/me", 4),
        (Method::HEAD, "/me", 3),
        (Method::POST, "/lino/x", 2),
        (Method::DELETE, "/lino/x", 1),
        (Method::OPTIONS, "/lino/x", 0),
    ] {
        let answer = send(method, path).await;
        left(&answer, &format!("\"hour\";r={remaining};t=3600"));
    }
    let refused = send(Method::HEAD, "/me").await;
    one_too_many(&refused, "standard", "hour", 3_600);
}

#[tokio::test]
async fn preflight_that_is_let_through_counts_for_nothing() {
    let limiter = MemoryRateLimiter::new(together(1));
    let world = World::with(|builder| {
        let builder = builder.with_rate_limiter(limiter);
        builder.with_preflight_admitted(true)
    });
    let world = world.await;
    for _ in 0..3 {
        let preflight = from(HERE, Request::options("/realms"))
            .header("origin", "https://example.com")
            .header("access-control-request-method", "GET");
        let answer = world.send(preflight).await;
        answer.granted();
        assert_eq!(rate_headers(&answer), [""; 0]);
    }
    left(
        &world.send(from(HERE, get("/realms"))).await,
        "\"hour\";r=0;t=3600",
    );
}

#[tokio::test]
async fn in_shadow_mode_nobody_is_held_up_or_hears_that_he_would_be() {
    let limiter = MemoryRateLimiter::new(standard([per_hour(1)]));
    let world = World::with(|builder| {
        let builder = builder.with_rate_limiter(limiter);
        builder.with_shadowed_module(module("launcher"))
    });
    let world = world.await;
    let key = world.key(&["launcher"]).await;
    let answer = world.get("/engines", key.text.expose()).await;
    left(&answer, "\"hour\";r=0;t=3600");
    let answer = world.get("/engines", key.text.expose()).await;
    let seen = answer.granted();
    let denial = seen.denial.as_ref().expect("noted");
    assert_eq!(denial.code().as_str(), "rate_limited");
    assert!(seen.grant.is_some());
    assert_eq!(rate_headers(&answer), [""; 0]);
    // Elsewhere it is.
    let answer = world.get("/me", key.text.expose()).await;
    one_too_many(&answer, "standard", "hour", 3_600);
}

async fn get_as(world: &World, path: &str, key: &CreatedKey) -> Answer {
    world.get(path, key.text.expose()).await
}

#[tokio::test]
async fn request_counts_for_what_its_route_costs() {
    let world = costing(standard([per_hour(10)])).await;
    let key = world.key(&[]).await;
    left(&get_as(&world, "/3", &key).await, "\"hour\";r=7;t=3600");
    world.clock.advance(60 * SECOND);
    left(&get_as(&world, "/5", &key).await, "\"hour\";r=2;t=3540");
    // Three are too many, as long as the first three count; two are not.
    let refused = get_as(&world, "/3", &key).await;
    one_too_many(&refused, "standard", "hour", 3_540);
    assert_eq!(header(&refused, "ratelimit"), Some("\"hour\";r=2;t=3540"));
    // For six the five must be gone too.
    let refused = get_as(&world, "/6", &key).await;
    one_too_many(&refused, "standard", "hour", 3_600);
    left(&get_as(&world, "/2", &key).await, "\"hour\";r=0;t=3540");
    world.clock.advance(3_540 * SECOND);
    left(&get_as(&world, "/3", &key).await, "\"hour\";r=0;t=60");
}

#[tokio::test]
async fn request_that_costs_nothing_passes_whatever_is_left() {
    let world = costing(standard([per_hour(1)])).await;
    let key = world.key(&[]).await;
    for _ in 0..2 {
        for _ in 0..3 {
            let answer = get_as(&world, "/free", &key).await;
            answer.granted();
            assert_eq!(rate_headers(&answer), [""; 0]);
        }
        get_as(&world, "/plain", &key).await;
        let refused = get_as(&world, "/plain", &key).await;
        one_too_many(&refused, "standard", "hour", 3_600);
    }
}

#[tokio::test]
async fn request_that_costs_more_than_the_quota_takes_the_whole_of_it() {
    for algorithm in super::ALGORITHMS {
        let world = costing(standard([per_hour(4).with_algorithm(algorithm)])).await;
        let key = world.key(&[]).await;
        for path in ["/all", "/9"] {
            let answer = get_as(&world, path, &key).await;
            answer.granted();
            let fields = header(&answer, "ratelimit").expect("fields");
            assert!(fields.starts_with("\"hour\";r=0;t="), "{fields}");
            let refused = get_as(&world, path, &key).await;
            one_too_many(&refused, "standard", "hour", 3_600);
            world.clock.advance(HOUR);
        }
        // Where one is used, the whole is not there.
        get_as(&world, "/plain", &key).await.granted();
        let refused = get_as(&world, "/9", &key).await;
        assert_eq!(refused.status, 429);
        let fields = header(&refused, "ratelimit").expect("fields");
        assert!(fields.starts_with("\"hour\";r=3;t="), "{fields}");
    }
}

#[tokio::test]
async fn guard_at_a_route_counts_nothing_more() {
    let world = limited(standard([per_hour(4)])).await;
    let key = world.key(&["lino"]).await;
    let send = async |guarded_by: &str| {
        let guard = RequireModule::new(&world.layer, guarded_by).expect("a module");
        let service = world.layer.layer(guard.layer(world.inner.clone()));
        let request = get("/me").header("x-api-key", key.text.expose());
        answer(service, request).await
    };
    left(&send("lino").await, "\"hour\";r=3;t=3600");
    left(&send("lino").await, "\"hour\";r=2;t=3600");
    // It runs after the layer, which has counted the request.
    let refused = send("launcher").await;
    assert_eq!(refused.code(), "module_access_missing");
    assert_eq!(header(&refused, "ratelimit"), Some("\"hour\";r=1;t=3600"));
    left(&send("lino").await, "\"hour\";r=0;t=3600");
    for guarded_by in ["lino", "launcher"] {
        one_too_many(&send(guarded_by).await, "standard", "hour", 3_600);
    }
}

#[tokio::test]
async fn key_that_works_again_has_used_nothing_while_it_did_not() {
    let world = limited(standard([per_hour(1)])).await;
    let key = world.key(&[]).await;
    change(&world, &key, KeyPatch::new().with_enabled(false)).await;
    for _ in 0..3 {
        assert_eq!(get_as(&world, "/me", &key).await.code(), "disabled_key");
    }
    change(&world, &key, KeyPatch::new().with_enabled(true)).await;
    left(&get_as(&world, "/me", &key).await, "\"hour\";r=0;t=3600");
}
