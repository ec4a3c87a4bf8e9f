//! What the layer tells those who run the service: each row of the tables in `observe`'s docs.
#![cfg(all(feature = "metrics", feature = "tracing"))]

mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use http::Request;
use support::{
    World, admin, answer,
    faults::{Fault, Faulty},
    get, module,
};
use tower::Layer;
use tower_api_key::{
    Allowance, BackendError, Check, Clock, CountBy, Holder, KeyPatch, LicenseLedger,
    MemoryRateLimiter, NewKey, Now, Operation, PeerAddress, Principal, Quota, RateLimiter, Refusal,
    RequireModule, Subject, SystemClock, Tier, Tiers, TokenError, TokenVerifier, Usage,
};
use tracing::Level;
use watch::{Told, Watch, counts, texts, told};

/// Admits, refuses or fails, as it is told.
#[derive(Clone, Default)]
struct Limiter(Arc<Mutex<Limits>>);

#[derive(Clone, Copy, Default)]
enum Limits {
    #[default]
    Admits,
    Refuses,
    Fails,
}

impl Limiter {
    fn set(&self, limits: Limits) {
        *self.0.lock().expect("not poisoned") = limits;
    }
}

impl RateLimiter for Limiter {
    fn check(&self, _: Subject<'_>, _: Now) -> Check {
        match *self.0.lock().expect("not poisoned") {
            Limits::Admits => Check::Done(Allowance::Admitted(Usage::NONE)),
            Limits::Refuses => Check::Done(Allowance::Refused(Refusal::new(
                Tier::new("standard").expect("a tier"),
                "hour",
                Duration::from_secs(1),
            ))),
            Limits::Fails => {
                Check::Later(Box::pin(async { Err(BackendError::unavailable("away")) }))
            }
        }
    }
}

/// Knows `token:hangs`; all others it cannot verify.
struct Verifier;

#[async_trait]
impl TokenVerifier for Verifier {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"token:")
    }

    async fn verify(&self, token: &[u8], _: Now) -> Result<Principal, TokenError> {
        if token == b"token:hangs" {
            std::future::pending::<()>().await;
        }
        Err(TokenError::Unavailable("away".into()))
    }
}

fn bearer(token: &str) -> http::request::Builder {
    get("/me").header("authorization", format!("Bearer {token}"))
}

const REQUESTS: &str = "tower_api_key_requests_total";
const SHADOWED: &str = "tower_api_key_shadowed_total";
const AT_ROUTE: &str = "tower_api_key_route_refusals_total";
const FAILURES: &str = "tower_api_key_backend_failures_total";
const WRITTEN: &str = "tower_api_key_last_used_written_total";

#[tokio::test]
async fn refusals_are_told_at_the_level_of_their_status() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let limiter = Limiter::default();
    let faulty = Faulty::with(true, None, |b| b.with_rate_limiter(limiter.clone())).await;
    let key = faulty.world.key(&["launcher"]).await;
    let (text, id) = (key.text.expose(), key.key.record.id.as_str());
    let refused = "request refused";
    watch.take();

    let twice = get("/me").header("x-api-key", "a").header("x-api-key", "b");
    answer(faulty.service.clone(), twice).await;
    let fields = texts([("code", "multiple_credentials")]);
    told(&watch.take(), Level::DEBUG, refused, fields);

    faulty.get("/me", "nonsense").await;
    let fields = texts([("code", "invalid_key")]);
    told(&watch.take(), Level::DEBUG, refused, fields);

    faulty.get("/lino/x", text).await;
    let fields = [("code", "module_access_missing"), ("principal", id)];
    let [code, principal] = fields;
    let fields = texts([code, principal, ("module", "lino")]);
    told(&watch.take(), Level::INFO, refused, fields);

    limiter.set(Limits::Refuses);
    faulty.get("/engines", text).await;
    let fields = texts([("code", "rate_limited"), ("quota", "hour"), principal]);
    told(&watch.take(), Level::INFO, refused, fields);

    limiter.set(Limits::Fails);
    faulty.get("/engines", text).await;
    let events = watch.take();
    let fields = texts([("code", "limiter_unavailable"), principal]);
    told(&events, Level::WARN, refused, fields);
    let error = ("error", "the backend is unavailable");
    let fields = texts([("backend", "limiter"), error]);
    told(&events, Level::WARN, "backend failed", fields);

    limiter.set(Limits::Admits);
    faulty.get("/engines", text).await.granted();
    assert!(watch.take().is_empty(), "a grant is no news");
}

#[tokio::test]
async fn refusal_that_shadow_mode_holds_back_is_told_and_counted_apart() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let world = World::with(|b| b.with_shadowed_module(module("launcher"))).await;
    let key = world.key(&[]).await;
    watch.take();
    world.get("/engines", key.text.expose()).await.granted();
    assert_eq!(watch.counter(REQUESTS), counts([("shadowed", 1)]));
    assert_eq!(
        watch.counter(SHADOWED),
        counts([("module_access_missing", 1)])
    );
    let principal = ("principal", key.key.record.id.as_str());
    let code = ("code", "module_access_missing");
    let fields = texts([code, principal, ("module", "launcher")]);
    let message = "request would be refused";
    told(&watch.take(), Level::INFO, message, fields);
}

#[tokio::test(start_paused = true)]
async fn backend_that_fails_or_does_not_answer_is_named_and_counted() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let faulty = Faulty::with(true, None, |b| b.with_token_verifier(Verifier)).await;
    let key = faulty.world.key(&["launcher"]).await;
    let text = key.text.expose();
    for (fault, told_as) in [
        (Fault::Down, None),
        (Fault::Hangs, Some("TimedOut")),
        (Fault::Panics, Some("Died")),
    ] {
        for (backend, faults) in [("key_store", &faulty.store), ("ledger", &faulty.ledger)] {
            watch.take();
            faults.set(fault);
            assert_eq!(faulty.get("/engines", text).await.status, 503);
            faults.set(Fault::None);
            assert_eq!(watch.counter(FAILURES), counts([(backend, 1)]));
            failed(&watch.take(), backend, told_as);
            faulty
                .world
                .manager
                .disable(&key.key.record.id, &admin())
                .await
                .expect("disabled");
            faulty
                .world
                .manager
                .enable(&key.key.record.id, &admin())
                .await
                .expect("enabled");
        }
    }
    for (token, told_as) in [("token:away", None), ("token:hangs", Some("TimedOut"))] {
        watch.take();
        let answer = answer(faulty.service.clone(), bearer(token)).await;
        assert_eq!(answer.status, 503);
        assert_eq!(watch.counter(FAILURES), counts([("verifier", 1)]));
        failed(&watch.take(), "verifier", told_as);
    }
}

#[track_caller]
fn failed(events: &[Told], backend: &str, reason: Option<&str>) {
    let backend = ("backend", backend);
    match reason {
        None => {
            let error = ("error", "the backend is unavailable");
            let fields = texts([backend, error]);
            told(events, Level::WARN, "backend failed", fields);
        }
        Some(reason) => {
            let fields = texts([backend, ("reason", reason)]);
            told(events, Level::WARN, "look-up failed", fields);
        }
    }
}

#[tokio::test]
async fn maintenance_that_fails_is_told_by_its_task() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let faulty = Faulty::new().await;
    for _ in 0..3 {
        let key = faulty.world.key(&[]).await;
        faulty.get("/me", key.text.expose()).await.granted();
    }
    watch.take();
    let error = ("error", "the backend is unavailable");
    faulty.ledger.set(Fault::Down);
    faulty.layer.maintain().await.expect_err("down");
    let fields = texts([("task", "tick"), error]);
    told(&watch.take(), Level::WARN, "maintenance failed", fields);
    faulty.store.set(Fault::Down);
    faulty.layer.flush().await.expect_err("down");
    assert_eq!(watch.counter(WRITTEN), counts([]));
    let fields = texts([("task", "last_used"), error]);
    told(&watch.take(), Level::WARN, "maintenance failed", fields);
    faulty.store.set(Fault::None);
    faulty.layer.flush().await.expect("flushed");
    assert_eq!(
        watch.counter(WRITTEN),
        counts([("", 3)]),
        "one for each key"
    );
    assert!(watch.take().is_empty());
}

#[tokio::test]
async fn request_that_is_not_public_counts_exactly_once() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let limiter = Limiter::default();
    let faulty = Faulty::with(true, None, |builder| {
        builder
            .with_rate_limiter(limiter.clone())
            .with_token_verifier(Verifier)
            .with_preflight_admitted(true)
            .with_shadowed_module(module("free"))
    })
    .await;
    let key = faulty.world.key(&["launcher"]).await;
    let unknown = World::new().await.key(&[]).await;
    let with = |path: &str, key: &str| get(path).header("x-api-key", key);
    let (text, unknown) = (key.text.expose(), unknown.text.expose());
    let outcome = async |request: http::request::Builder| {
        watch.take();
        answer(faulty.service.clone(), request).await;
        watch.counter(REQUESTS)
    };
    for (request, counted) in [
        // Cold, then from memory.
        (with("/engines", text), "granted"),
        (with("/engines", text), "granted"),
        (with("/me", unknown), "invalid_key"),
        (with("/me", unknown), "invalid_key"),
        (get("/realms"), "anonymous"),
        (with("/free", text), "shadowed"),
        (get("/free"), "shadowed"),
        (get("/engines"), "missing_credential"),
        (with("/lino/x", text), "module_access_missing"),
        (with("/scoped", text), "insufficient_scope"),
        (with("/elsewhere", text), "route_not_mapped"),
        (get("/lino//x"), "ambiguous_path"),
        (bearer("token:away"), "store_unavailable"),
        (
            with("/me", "a").header("x-api-key", "b"),
            "multiple_credentials",
        ),
    ] {
        assert_eq!(outcome(request).await, counts([(counted, 1)]));
    }
    assert_eq!(outcome(with("/health", text)).await, counts([]), "public");
    let preflight = Request::options("/engines")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "GET");
    assert_eq!(outcome(preflight).await, counts([]), "public too");
    for (limits, counted) in [
        (Limits::Refuses, "rate_limited"),
        (Limits::Fails, "limiter_unavailable"),
    ] {
        limiter.set(limits);
        let request = with("/engines", text);
        assert_eq!(outcome(request).await, counts([(counted, 1)]));
    }
}

#[tokio::test]
async fn request_that_passes_a_guard_too_still_counts_once() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let world = World::with(|b| b.with_shadowed_module(module("free"))).await;
    let key = world.key(&["launcher"]).await;
    for (guarded_by, refused, shadowed) in [
        ("launcher", counts([]), counts([])),
        ("lino", counts([("module_access_missing", 1)]), counts([])),
        ("free", counts([]), counts([("module_access_missing", 1)])),
    ] {
        let guard = RequireModule::new(&world.layer, guarded_by).expect("a module");
        let service = world.layer.layer(guard.layer(world.inner.clone()));
        watch.take();
        let request = get("/engines").header("x-api-key", key.text.expose());
        let answer = answer(service, request).await;
        assert_eq!(answer.status == 403, !refused.is_empty(), "{guarded_by}");
        let granted = counts([("granted", 1)]);
        assert_eq!(watch.counter(REQUESTS), granted, "{guarded_by}");
        assert_eq!(watch.counter(AT_ROUTE), refused, "{guarded_by}");
        assert_eq!(watch.counter(SHADOWED), shadowed, "{guarded_by}");
        let events = watch.take();
        assert_eq!(events.len(), usize::from(guarded_by != "launcher"));
        if let Some(event) = events.first() {
            assert_eq!(event.level, Level::INFO);
            assert_eq!(event.fields["module"], guarded_by);
        }
    }
}

#[tokio::test]
async fn unknown_tier_is_told_once_and_counts_as_the_default_one() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let tier = |name| Tier::new(name).expect("a tier");
    let limiter = MemoryRateLimiter::new(Tiers::default());
    let world = World::with(|b| b.with_rate_limiter(limiter.clone())).await;
    let key = world
        .create(NewKey::named("new").with_tier(tier("gold")))
        .await;
    let (id, text) = (&key.key.record.id, key.text.expose());
    let told_of = |name| texts([("tier", name), ("principal", id.as_str())]);
    watch.take();
    for remaining in (990..1_000).rev() {
        let answer = world.get("/me", text).await;
        let fields = format!("\"hour\";r={remaining};t=3600");
        assert_eq!(
            answer.granted().grant.as_ref().map(|g| g.tier()),
            Some(Some(&tier("gold")))
        );
        assert_eq!(answer.headers["ratelimit"], fields);
    }
    let events = watch.take();
    told(&events, Level::WARN, "unknown tier", told_of("gold"));
    assert_eq!(events.len(), 1);

    // Once more for another tier, and none for one that is there.
    for (name, count) in [("silver", 1), ("premium", 0)] {
        let patch = KeyPatch::new().with_tier(Some(tier(name)));
        world
            .manager
            .update(id, &patch, &admin())
            .await
            .expect("changed");
        for _ in 0..3 {
            world.get("/me", text).await.granted();
        }
        let events = watch.take();
        assert_eq!(events.len(), count, "{events:?}");
        if count > 0 {
            told(&events, Level::WARN, "unknown tier", told_of(name));
        }
    }
}

#[tokio::test]
async fn tier_that_is_taken_away_is_told_once_for_each_key_in_use() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let (gold, hour) = (Tier::new("gold").expect("a tier"), Quota::per_hour(9));
    let with_gold = Tiers::default().with_tier(gold.clone(), hour);
    let with_gold = with_gold.expect("tiers");
    let by_address = |tiers: Tiers| {
        let standard = tiers.default_tier().clone();
        tiers
            .with_count_by(&standard, CountBy::Address)
            .expect("tiers")
    };
    for without in [Tiers::default(), by_address(Tiers::default())] {
        let limiter = MemoryRateLimiter::new(with_gold.clone());
        let world = World::with(|b| b.with_rate_limiter(limiter.clone())).await;
        let key = world
            .create(NewKey::named("new").with_tier(gold.clone()))
            .await;
        let (id, text) = (key.key.record.id.as_str(), key.text.expose());
        world.get("/me", text).await.granted();
        watch.take();
        for _ in 0..2 {
            limiter.set_tiers(without.clone()).expect("set");
            for from in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
                let from: std::net::IpAddr = from.parse().expect("an address");
                let request = get("/me").header("x-api-key", text);
                let request = request.extension(PeerAddress::from(from));
                world.send(request).await.granted();
            }
            let events = watch.take();
            let fields = texts([("tier", "gold"), ("principal", id)]);
            told(&events, Level::WARN, "unknown tier", fields);
            limiter.set_tiers(with_gold.clone()).expect("set");
            world.get("/me", text).await.granted();
            assert!(watch.take().is_empty());
        }
    }
}

#[tokio::test]
async fn unknown_tier_is_told_once_also_where_nothing_is_counted() {
    let watch = Watch::default();
    let _guards = watch.begin();
    let gold = Tier::new("gold").expect("a tier");
    let free = Tiers::default().with_unlimited_tier(Tiers::default().default_tier().clone());
    for (tiers, costs) in [
        (free, [1, 1, 1, 1]),
        (Tiers::default(), [0, 1, 0, 1]),
        (Tiers::default(), [1, 0, 1, 0]),
    ] {
        let limiter = MemoryRateLimiter::new(tiers.clone());
        let place = tower_api_key::Place::default();
        let caller = Subject::new("k1").with_tier(&gold).with_place(&place);
        for _ in 0..2 {
            for cost in costs {
                limiter.check(caller.with_cost(cost), SystemClock::new().now());
            }
            let events = watch.take();
            assert_eq!(events.len(), 1, "{costs:?}: {events:?}");
            told(
                &events,
                Level::WARN,
                "unknown tier",
                texts([("tier", "gold"), ("principal", "k1")]),
            );
            limiter.set_tiers(tiers.clone()).expect("set");
        }
    }
}

/// Does whatever there is to tell of.
async fn everything(watch: &Watch) {
    let limiter = Limiter::default();
    let faulty = Faulty::with(true, None, |builder| {
        builder
            .with_rate_limiter(limiter.clone())
            .with_token_verifier(Verifier)
            .with_shadowed_module(module("free"))
    })
    .await;
    let key = faulty.world.key(&["launcher"]).await;
    let text = key.text.expose();
    watch.take();
    for (store, ledger) in [
        (Fault::Down, Fault::None),
        (Fault::Hangs, Fault::None),
        (Fault::None, Fault::Down),
    ] {
        faulty.store.set(store);
        faulty.ledger.set(ledger);
        faulty.get("/engines", text).await;
    }
    faulty.layer.maintain().await.expect_err("down");
    faulty.ledger.set(Fault::None);
    for path in ["/engines", "/free", "/lino/x", "/lino//x"] {
        faulty.get(path, text).await;
    }
    answer(faulty.service.clone(), get("/realms")).await;
    answer(faulty.service.clone(), bearer("token:away")).await;
    for limits in [Limits::Fails, Limits::Refuses] {
        limiter.set(limits);
        faulty.get("/engines", text).await;
    }
    limiter.set(Limits::Admits);
    let guard = RequireModule::new(&faulty.layer, "lino").expect("a module");
    let guarded = faulty.layer.layer(guard.layer(faulty.world.inner.clone()));
    answer(guarded, get("/engines").header("x-api-key", text)).await;
    let limiter = MemoryRateLimiter::new(Tiers::default());
    let world = World::with(|b| b.with_rate_limiter(limiter)).await;
    let gold = Tier::new("gold").expect("a tier");
    let gold = world.create(NewKey::named("new").with_tier(gold)).await;
    world.get("/me", gold.text.expose()).await;
    faulty.layer.flush().await.expect("flushed");
    // A key that only the ledger has, when the two are compared the next time.
    let assign = Operation::Assign {
        holder: Holder::new("key-1").expect("a holder"),
        modules: vec![module("launcher")],
    };
    let assigned = faulty.world.ledger.apply(assign, &admin()).await;
    assigned.expect("assigned");
    faulty.world.clock.advance(Duration::from_secs(61));
    faulty.layer.maintain().await.expect("repaired");
    #[cfg(feature = "redis")]
    away().await;
    #[cfg(feature = "manage")]
    managed(&faulty).await;
}

/// A management call in an outage of the ledger.
#[cfg(feature = "manage")]
async fn managed(faulty: &Faulty) {
    use tower::ServiceExt;
    use tower_api_key::manage::Management;

    let administrator = NewKey::named("admin").with_administrator(true);
    let administrator = faulty.world.create(administrator).await;
    let management = Management::builder(&faulty.layer);
    let router = management.build().expect("random bytes").router();
    for (fault, status) in [(Fault::None, 200), (Fault::Down, 503)] {
        faulty.ledger.set(fault);
        let request = Request::get(format!("/keys/{}", administrator.key.record.id))
            .header("x-api-key", administrator.text.expose());
        let request = request.body(axum::body::Body::empty()).expect("a request");
        let answered = router.clone().oneshot(request).await.expect("infallible");
        assert_eq!(answered.status(), status);
    }
    faulty.ledger.set(Fault::None);
}

/// Nobody listens on port 1.
#[cfg(feature = "redis")]
async fn away() {
    use tower_api_key::RedisRateLimiter;

    let guests = Tier::new("anonymous").expect("a tier");
    let one = Quota::per_hour(1).expect("a quota");
    let tiers = Tiers::default().with_tier(guests, [one]).expect("tiers");
    let limiter = RedisRateLimiter::connect("redis://127.0.0.1:1", tiers);
    let limiter = limiter.with_start_in_outage(true).await.expect("made");
    for _ in 0..2 {
        limiter.check(Subject::anonymous(), SystemClock::new().now());
    }
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of the module's tables that have so many cells, headings aside. The first cell comes
/// without its first backtick.
fn rows(cells: usize) -> Vec<Vec<&'static str>> {
    let docs = include_str!("../src/observe.rs").lines();
    let rows = docs.filter_map(|line| line.strip_prefix("//! | `")?.strip_suffix('|'));
    let rows = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    rows.filter(|row| row.len() == cells).collect()
}

#[tokio::test(start_paused = true)]
async fn the_tables_in_the_docs_say_what_is_told_and_counted() {
    let watch = Watch::default();
    let _guards = watch.begin();
    everything(&watch).await;

    let events = watch.events();
    let messages: BTreeSet<_> = events.iter().map(|event| event.message.as_str()).collect();
    let mut documented = rows(3);
    // What only an authorization server's answer leads to is seen in `tests/introspection.rs`.
    documented.retain(|row| !row[0].starts_with("tokens of no type refused"));
    if cfg!(not(feature = "manage")) {
        documented.retain(|row| !row[0].starts_with("management call failed"));
    }
    assert!(documented.len() >= 5, "{documented:?}");
    let names = documented
        .iter()
        .map(|row| row[0].split('`').next().expect("a name"));
    assert_eq!(names.clone().collect::<BTreeSet<_>>(), messages);
    for (name, row) in names.zip(&documented) {
        let alike = || events.iter().filter(|event| event.message == name);
        let levels: BTreeSet<_> = alike().map(|event| event.level.to_string()).collect();
        let fields: BTreeSet<_> = alike().flat_map(|event| event.fields.keys()).collect();
        let said: BTreeSet<_> = quoted(row[1]).into_iter().map(String::from).collect();
        assert_eq!(said, levels, "the levels of {name}");
        let said: Vec<_> = quoted(row[2]).into_iter().map(String::from).collect();
        assert_eq!(
            said.iter().collect::<BTreeSet<_>>(),
            fields,
            "the fields of {name}"
        );
    }

    let counters = watch.counters();
    let names: BTreeSet<_> = counters.keys().map(|(name, _)| name.as_str()).collect();
    let documented = rows(2).into_iter().filter(|row| {
        // Only a limiter in a server falls back; a million counts that wait are in `uses::counts`.
        (cfg!(feature = "redis") || !row[0].contains("limiter_fallback"))
            && !row[0].contains("usage_dropped")
    });
    let documented: Vec<_> = documented.collect();
    let said = documented.iter().map(|row| row[0].trim_end_matches('`'));
    assert_eq!(said.clone().collect::<BTreeSet<_>>(), names);
    let codes = include_str!("../src/denial/code.rs");
    for (name, row) in said.zip(&documented) {
        let said = quoted(row[1]);
        for (_, labels) in counters.keys().filter(|(counter, _)| counter == name) {
            let keys: Vec<_> = labels.keys().map(String::as_str).collect();
            assert_eq!(
                keys,
                said.get(..1).unwrap_or_default(),
                "the label of {name}"
            );
            for value in labels.values() {
                let code = keys == ["outcome"] && codes.contains(&format!("\"{value}\""));
                assert!(
                    code || said[1..].contains(&value.as_str()),
                    "{name}: {value}"
                );
            }
        }
        let counted = watch.counter(name);
        for value in said.iter().skip(1) {
            assert!(
                counted.contains_key(*value),
                "{name}: {value} is never counted"
            );
        }
    }
}
