//! What cannot work is refused at set-up, by the name of the setting; what can is in force.

mod support;

use std::time::Duration;

use support::{
    World, answer,
    faults::{Fault, Faulty},
    get, map, module,
};
use tower::Layer;
use tower_api_key::{
    ApiKeyLayer, ApiKeyLayerBuilder, Environment, KeyFormat, KeyFormats, KeyHasher, KeyText,
    MemoryKeyStore, MemoryLedger, NewKey, SetupError, TrustedProxies,
};

/// Why these settings cannot work.
#[track_caller]
fn error(settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder) -> SetupError {
    let builder = ApiKeyLayer::builder(MemoryKeyStore::new(), map(), MemoryLedger::new());
    settings(builder).build().expect_err("it cannot work")
}

#[test]
fn header_that_cannot_be_used_is_named() {
    for name in ["", "x api key", "x-api-key:", "schlüssel"] {
        let error = error(|builder| builder.with_header(name));
        assert!(matches!(error, SetupError::Carriers(_)), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("credential header {name:?} is invalid: a header name (RFC 9110 §5.1)")
        );
    }
    let error = error(|builder| builder.with_header("Authorization"));
    assert_eq!(
        error.to_string(),
        "credential header \"authorization\" is invalid: another header than `authorization`, \
         which is read for tokens"
    );
}

#[test]
fn query_parameter_that_cannot_be_used_is_named() {
    for name in ["", "api key", "é", &"a".repeat(65)] {
        let error = error(|builder| builder.with_query_parameter(name));
        assert!(matches!(error, SetupError::Carriers(_)), "{error:?}");
        let rule = "1 to 64 visible ASCII characters";
        assert_eq!(
            error.to_string(),
            format!("credential parameter {name:?} is invalid: {rule}")
        );
    }
}

#[test]
fn layer_that_reads_no_credential_at_all_is_refused() {
    let error = error(|builder| builder.without_header().with_bearer(false));
    assert!(matches!(error, SetupError::Carriers(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "choice of credential carriers \"\" is invalid: at least one of header, bearer and query \
         parameter"
    );
}

#[test]
fn realm_that_cannot_stand_in_a_header_is_named() {
    for realm in ["a\nb", "a\0", "Küche"] {
        // Whichever challenges there are.
        for bearer in [true, false] {
            let error = error(|builder| builder.with_realm(realm).with_bearer(bearer));
            assert!(matches!(error, SetupError::Realm(_)), "{error:?}");
            let message = format!("the realm {realm:?} cannot stand in a header");
            assert_eq!(error.to_string(), message);
        }
    }
}

#[test]
fn setting_that_must_not_be_zero_is_named() {
    type Zeroed = fn(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder;
    let zeroed: [(_, Zeroed); 4] = [
        ("cache_capacity", |b| b.with_cache_capacity(0)),
        ("lookup_timeout", |b| b.with_lookup_timeout(Duration::ZERO)),
        ("verification_timeout", |b| {
            b.with_verification_timeout(Duration::ZERO)
        }),
        ("lookups_at_once", |b| b.with_lookups_at_once(0)),
    ];
    for (name, zero) in zeroed {
        let error = error(zero);
        assert!(matches!(error, SetupError::Zero(_)), "{error:?}");
        assert_eq!(error.to_string(), format!("`{name}` must not be zero"));
    }
}

#[test]
fn list_of_environments_that_admits_nobody_is_refused() {
    let error = error(|builder| builder.with_environments([]));
    assert!(matches!(error, SetupError::NoEnvironment), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the list of environments is empty: no key would be admitted"
    );
}

#[test]
fn list_of_trusted_proxies_that_names_none_is_refused() {
    for none in [
        TrustedProxies::x_forwarded_for([]),
        TrustedProxies::forwarded([]),
    ] {
        let error = error(|builder| builder.with_trusted_proxies(none));
        assert!(matches!(error, SetupError::NoTrustedProxy), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the list of trusted proxies is empty: no header would ever be read"
        );
    }
}

#[test]
fn problem_type_base_that_is_no_uri_is_named() {
    for base in [
        "",
        "errors",
        "two words",
        "https://example.com/errors of ours#",
        "https://example.com/\"",
        "://example.com/",
        "1a:b",
        "/errors\n",
        "/é",
    ] {
        let error = error(|builder| builder.with_problem_type_base(base));
        assert!(matches!(error, SetupError::ProblemTypeBase(_)), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "the problem type base {base:?} is neither a URI with a scheme nor an absolute path"
            )
        );
    }
}

#[tokio::test]
async fn problem_type_base_stands_before_the_code() {
    for base in [
        "https://example.com/errors#",
        "/errors/",
        "urn:example:",
        "tag:example.com,2026:",
    ] {
        let world = World::with(|builder| builder.with_problem_type_base(base)).await;
        let answer = world.anonymous("/me").await;
        assert_eq!(answer.json()["type"], format!("{base}missing_credential"));
    }
}

#[test]
fn resource_metadata_url_that_clients_must_not_be_sent_to_is_named() {
    for url in [
        "",
        "/.well-known/oauth-protected-resource",
        "http://api.example/.well-known/oauth-protected-resource",
        "https://api.example/.well-known/oauth-protected-resource#",
        "https://me@api.example/.well-known/oauth-protected-resource",
        "https://api.example/\", error=\"invalid_token",
        "https://api.example/\r\nx-injected: 1",
    ] {
        let error = error(|builder| builder.with_resource_metadata(url));
        assert!(
            matches!(error, SetupError::ResourceMetadata(_)),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            format!(
                "the resource metadata URL {url:?} is not an https URL (http only for localhost), \
                 without user information and fragment"
            )
        );
    }
}

#[test]
fn resource_metadata_url_that_nobody_would_be_told_is_refused() {
    let error = error(|builder| {
        let url = "https://api.example/.well-known/oauth-protected-resource";
        builder.with_resource_metadata(url).with_bearer(false)
    });
    assert!(
        matches!(error, SetupError::ResourceMetadataWithoutBearer),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "a resource metadata URL is told to bearers, but bearer tokens are not read"
    );
}

/// RFC 9728 §5.1, with what RFC 6750 §3 says beside it.
#[tokio::test]
async fn each_bearer_challenge_says_where_the_resource_metadata_is() {
    let url = "https://api.example/.well-known/oauth-protected-resource/v1";
    let world = World::with(|builder| builder.with_resource_metadata(url)).await;
    let bearer = format!("Bearer realm=\"api\", resource_metadata=\"{url}\"");
    let api_key = "ApiKey realm=\"api\", header=\"X-API-Key\"";

    let nothing_sent = world.anonymous("/me").await;
    assert_eq!(nothing_sent.challenges(), [bearer.as_str(), api_key]);

    let invalid = world.get("/me", "nobody's").await;
    let challenge = format!("{bearer}, error=\"invalid_token\"");
    assert_eq!(invalid.challenges(), [challenge.as_str(), api_key]);

    let key = world.key(&["launcher"]).await;
    let lacks_scopes = world.get("/scoped", key.text.expose()).await;
    assert_eq!(lacks_scopes.status, 403);
    let challenge = format!("{bearer}, error=\"insufficient_scope\", scope=\"read:a write:b\"");
    assert_eq!(lacks_scopes.challenges(), [challenge.as_str()]);

    // No token would help.
    let lacks_module = world.get("/lino", key.text.expose()).await;
    assert_eq!(lacks_module.status, 403);
    assert!(lacks_module.challenges().is_empty());
}

#[tokio::test]
async fn without_header_only_the_other_carriers_are_read() {
    let world = World::with(ApiKeyLayerBuilder::without_header).await;
    let key = world.key(&["launcher"]).await;
    let text = key.text.expose();
    let answer = world.get("/engines", text).await;
    answer.refused(401, "missing_credential", "API Key is missing or invalid.");
    assert_eq!(answer.challenges(), ["Bearer realm=\"api\""]);
    assert_eq!(
        answer.json()["remediation"],
        "Send your API key as Authorization: Bearer."
    );
    let bearer = get("/engines").header("authorization", format!("Bearer {text}"));
    let answer = world.send(bearer.header("x-api-key", "another's")).await;
    let seen = answer.granted();
    assert_eq!(seen.headers["x-api-key"], "another's", "none of ours");
    assert_eq!(answer.headers["vary"], "authorization");
}

#[tokio::test]
async fn query_parameter_alone_is_challenged_for_and_taken_out() {
    let world = World::with(|builder| {
        builder
            .without_header()
            .with_bearer(false)
            .with_query_parameter("api_key")
    })
    .await;
    let key = world.key(&["launcher"]).await;
    let text = key.text.expose();
    for answer in [
        world.anonymous("/engines").await,
        world.get("/engines", text).await,
        world
            .send(get("/engines").header("authorization", format!("Bearer {text}")))
            .await,
    ] {
        answer.refused(401, "missing_credential", "API Key is missing or invalid.");
        assert_eq!(
            answer.challenges(),
            ["ApiKey realm=\"api\", query=\"api_key\""]
        );
        assert_eq!(
            answer.json()["remediation"],
            "Send your API key in the query parameter api_key."
        );
    }
    let answer = world.anonymous("/engines?api_key=nonsense").await;
    answer.refused(401, "invalid_key", "API Key is missing or invalid.");
    let request = get(&format!("/engines?a=1&api_key={text}&b=2"));
    let answer = world.send(request).await;
    assert_eq!(answer.granted().uri, "/engines?a=1&b=2");
    assert!(!answer.headers.contains_key("vary"), "no header decides");
    assert_eq!(answer.headers["cache-control"], "private");
}

/// A world's key is granted by its own layer, and unknown to one with the defaults beside it.
async fn granted_here_only(world: &World) -> KeyText {
    let key = world.key(&["launcher"]).await;
    world.get("/engines", key.text.expose()).await.granted();
    let default = ApiKeyLayer::builder(world.store.clone(), map(), world.ledger.clone())
        .with_clock(world.clock.clone())
        .with_maintenance_task(false)
        .build()
        .expect("a layer");
    let request = get("/engines").header("x-api-key", key.text.expose());
    answer(default.layer(world.inner.clone()), request)
        .await
        .refused(401, "invalid_key", "API Key is missing or invalid.");
    // Nor does this layer know a key of the default one.
    let other = default
        .manager()
        .create(
            NewKey::named("other").with_modules([module("launcher")]),
            &support::admin(),
        )
        .await
        .expect("created");
    let answer = world.get("/engines", other.text.expose()).await;
    answer.refused(401, "invalid_key", "API Key is missing or invalid.");
    key.text
}

#[tokio::test]
async fn key_under_a_pepper_is_worthless_without_it() {
    let hasher = KeyHasher::hmac_sha256([7; 32]).expect("32 bytes");
    let world = World::with(|builder| builder.with_hasher(hasher)).await;
    let text = granted_here_only(&world).await;
    assert!(text.expose().starts_with("rk_live_"));
}

#[tokio::test]
async fn key_in_a_format_of_ones_own_is_made_and_accepted() {
    let formats = KeyFormats::new(KeyFormat::checked("acme").expect("a prefix"));
    let world = World::with(|builder| builder.with_formats(formats)).await;
    let text = granted_here_only(&world).await;
    assert!(text.expose().starts_with("acme_live_"));
}

/// Well-formed keys that nobody has.
fn unknown_keys(count: usize) -> Vec<KeyText> {
    let (formats, live) = (KeyFormats::default(), Environment::live());
    let unknown = || formats.generate(&live).expect("random bytes");
    std::iter::repeat_with(unknown).take(count).collect()
}

#[tokio::test]
async fn flood_of_unknown_keys_asks_for_each_once() {
    let faulty = Faulty::with(true, None, ApiKeyLayerBuilder::without_failure_quota).await;
    let unknown = unknown_keys(2_000);
    for _ in 0..2 {
        for key in &unknown {
            assert_eq!(faulty.get("/me", key.expose()).await.status, 401);
        }
        assert_eq!(faulty.asked(), (2_000, 0));
    }
}

#[tokio::test]
async fn flood_of_unknown_keys_evicts_none_that_works() {
    let few = |builder: ApiKeyLayerBuilder| builder.with_cache_capacity(64);
    let faulty = Faulty::with(true, None, |builder| few(builder).without_failure_quota()).await;
    let mut good = Vec::new();
    for _ in 0..8 {
        let key = faulty.world.key(&["free"]).await;
        faulty.get("/free", key.text.expose()).await.granted();
        good.push(key);
    }
    let warm = faulty.asked();
    let mut flooded = 0;
    for unknown in unknown_keys(10_000) {
        flooded += 1;
        // Repeated at once, it is not asked for again.
        for _ in 0..1 + usize::from(flooded % 16 == 0) {
            assert_eq!(faulty.get("/me", unknown.expose()).await.status, 401);
        }
        assert_eq!(faulty.asked(), (warm.0 + flooded, warm.1));
    }
    let asked = faulty.asked();
    for key in &good {
        faulty.get("/free", key.text.expose()).await.granted();
    }
    assert_eq!(faulty.asked(), asked, "all are still remembered");
}

#[tokio::test]
async fn more_keys_than_the_cache_has_room_for_are_served_all_the_same() {
    let faulty = Faulty::with(true, None, |builder| builder.with_cache_capacity(1)).await;
    let (a, b) = (
        faulty.world.key(&["free"]).await,
        faulty.world.key(&["free"]).await,
    );
    for _ in 0..3 {
        faulty.get("/free", a.text.expose()).await.granted();
        faulty.get("/free", b.text.expose()).await.granted();
    }
    let (store, _) = faulty.asked();
    assert!(store > 2, "one of them had to be asked for again: {store}");
}

#[tokio::test(start_paused = true)]
async fn look_up_takes_no_longer_than_its_limit() {
    let limit = Duration::from_millis(40);
    let faulty = Faulty::with(true, None, |builder| builder.with_lookup_timeout(limit)).await;
    let key = faulty.world.key(&["launcher"]).await;
    for (faults, code) in [
        (&faulty.store, "store_unavailable"),
        (&faulty.ledger, "ledger_unavailable"),
    ] {
        faults.set(Fault::Hangs);
        let start = tokio::time::Instant::now();
        let answer = faulty.get("/engines", key.text.expose()).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.code(), code);
        assert_eq!(start.elapsed(), limit);
        faults.set(Fault::None);
        faulty.get("/me", key.text.expose()).await.granted();
    }
}

#[tokio::test]
async fn last_used_is_written_at_the_interval_of_the_setting() {
    let every = Duration::from_secs(10);
    let faulty = Faulty::with(true, None, |builder| builder.with_last_used_interval(every)).await;
    let key = faulty.world.key(&["launcher"]).await;
    for written in 1..4 {
        faulty.get("/engines", key.text.expose()).await.granted();
        faulty.world.clock.advance(every - Duration::from_micros(1));
        faulty.layer.maintain().await.expect("maintained");
        assert_eq!(faulty.store.written(), written - 1);
        faulty.world.clock.advance(Duration::from_micros(1));
        faulty.layer.maintain().await.expect("maintained");
        assert_eq!(faulty.store.written(), written);
    }
}
