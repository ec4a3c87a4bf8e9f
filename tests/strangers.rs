//! Tokens, guards, layers and limiters that are not what they are taken for.

mod support;

use std::{borrow::Cow, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, Method, Request, StatusCode};
use support::{Answer, Body, Seen, World, get, map, module};
use tower::{Layer, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, Check, CreatedKey, Holder, KeyFormats, ModuleMap, Modules, NewKey, Now,
    PeerAddress, Principal, RateLimiter, RequireModule, RequireScopes, Requirement, Scope, Subject,
    TokenError, TokenVerifier,
};

const TOKEN: &str = "eyJhbGciOi.aaaa.bbbb";
const INVALID: &str = "API Key is missing or invalid.";

/// Takes every token for one of this holder's.
struct Always(Holder);

#[async_trait]
impl TokenVerifier for Always {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"ey")
    }
    async fn verify(&self, _: &[u8], _: Now) -> Result<Principal, TokenError> {
        let mut principal = Principal::new(self.0.clone());
        principal.keep_for = Duration::from_secs(60);
        Ok(principal)
    }
}

fn holder(text: &str) -> Holder {
    Holder::new(text).expect("a holder")
}

fn with_key(path: &str, key: &str) -> Request<Body> {
    get(path)
        .header("x-api-key", key)
        .body(Body::default())
        .expect("valid")
}

fn bearer(path: &str, token: &str) -> Request<Body> {
    get(path)
        .header("authorization", format!("Bearer {token}"))
        .body(Body::default())
        .expect("valid")
}

fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    let address: std::net::SocketAddr = address.parse().expect("an address");
    request.extensions_mut().insert(PeerAddress::from(address));
    request
}

/// Sends a request with a key through layers that were put together by hand.
async fn send<S, B>(service: S, path: &str, key: &CreatedKey) -> (StatusCode, Option<Seen>)
where
    S: tower::Service<Request<Body>, Response = http::Response<B>>,
    S::Error: std::fmt::Debug,
{
    let answer = service.oneshot(with_key(path, key.text.expose())).await;
    let answer = answer.expect("infallible");
    (answer.status(), answer.extensions().get().cloned())
}

/// Where opaque keys are admitted, a token's text may be a key's too. It was looked up as a key where
/// it came in the key's header, and remembered as unknown: whoever had seen a token could lock its
/// owner out with one request.
#[tokio::test]
async fn a_token_in_the_keys_header_does_not_bar_the_token() {
    let world = World::with(|builder| {
        builder
            .with_token_verifier(Always(holder("issuer|alice")))
            .with_formats(KeyFormats::default().with_opaque(true))
    })
    .await;
    // Before the token was seen by its own carrier, and after.
    for _ in 0..2 {
        world
            .get("/me", TOKEN)
            .await
            .refused(401, "invalid_key", INVALID);
        let answer = world.send(bearer("/me", TOKEN)).await;
        let grant = answer.granted().grant.as_ref().expect("a grant");
        assert_eq!(grant.principal(), "issuer|alice");
    }
}

/// A token whose holder is spelled like a key's id would have that key's modules and seats: the
/// verifier is at fault, so nobody is let in and the client is not blamed.
#[tokio::test]
async fn a_holder_that_looks_like_a_key_id_is_not_that_key() {
    let backend = World::new().await;
    let key = backend.key(&["launcher"]).await;
    let verifier = Always(holder(key.key.record.id.as_str()));
    let layer = ApiKeyLayer::builder(backend.store.clone(), map(), backend.ledger.clone())
        .with_clock(backend.clock.clone())
        .with_maintenance_task(false)
        .with_token_verifier(verifier)
        .build()
        .expect("a layer");
    let service = layer.layer(backend.inner.clone());
    for path in ["/engines", "/me", "/engines"] {
        let answer = service.clone().oneshot(bearer(path, TOKEN)).await;
        let answer = answer.expect("infallible");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    assert_eq!(backend.calls(), 0);
    // The key itself is none the worse for it.
    assert_eq!(send(service, "/engines", &key).await.0, StatusCode::OK);
}

fn kept_out_of_caches(headers: &HeaderMap) -> bool {
    let vary = headers.get_all("vary").iter();
    vary.flat_map(|value| value.to_str().expect("ASCII").split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("x-api-key"))
        && headers
            .get("cache-control")
            .is_some_and(|value| value == "private")
}

/// What shadow mode lets pass is an answer to one caller like any other. It went out without `Vary`
/// and `Cache-Control`, and a shared cache could give it to the next one.
#[tokio::test]
async fn an_answer_in_shadow_mode_is_kept_out_of_shared_caches() {
    let world = World::with(|builder| builder.with_shadowed_module(module("launcher"))).await;
    let (key, entitled) = (world.key(&[]).await, world.key(&["launcher"]).await);
    for key in [key, entitled] {
        let answer = world.get("/engines", key.text.expose()).await;
        assert!(answer.granted().grant.is_some());
        assert!(kept_out_of_caches(&answer.headers), "{:?}", answer.headers);
    }
    // The same path with a key has another answer.
    let answer = world.anonymous("/engines").await;
    assert!(answer.granted().grant.is_none());
    assert!(answer.headers.contains_key("vary"));
}

/// Shadow mode forgives a missing module, not a stranger: a key that was used from an address where
/// it may not be used was a caller to the handler.
#[tokio::test]
async fn a_key_from_a_foreign_address_is_nobody_in_shadow_mode() {
    let world = World::with(|builder| builder.with_shadowed_module(module("launcher"))).await;
    let key = NewKey::named("at home")
        .with_modules([module("launcher")])
        .with_allowed_addresses(["10.0.0.0/8".parse().expect("a range")]);
    let key = world.create(key).await;
    let request = || with_key("/engines", key.text.expose());
    let seen = |answer: &Answer| {
        let seen = answer.granted();
        let code = seen.denial.as_ref().map(|denial| denial.code().as_str());
        (seen.grant.is_some(), code)
    };
    let answer = world.send(from("10.1.2.3:40000", request())).await;
    assert_eq!(seen(&answer), (true, None));
    for request in [from("192.0.2.1:40000", request()), request()] {
        let answer = world.send(request).await;
        assert_eq!(seen(&answer), (false, Some("address_not_allowed")));
    }
}

struct AskForNone(fn(Box<[tower_api_key::Module]>) -> Modules);

impl ModuleMap for AskForNone {
    fn requirement(&self, _: &Method, _: &str, _: Option<&str>) -> Option<Cow<'_, Requirement>> {
        Some(Cow::Owned(Requirement::Modules {
            modules: self.0([].into()),
            scopes: [].into(),
            cost: 1,
        }))
    }
}

/// `RouteModules` cannot ask for any module of none; a map of one's own can, as where its
/// configuration lists no modules. It is a route nobody has mapped, and no open door.
#[tokio::test]
async fn a_map_that_asks_for_none_of_no_modules_opens_nothing() {
    for modules in [Modules::Any, Modules::All] {
        let world = World::new().await;
        let map = AskForNone(modules);
        let layer = ApiKeyLayer::builder(world.store.clone(), map, world.ledger.clone())
            .with_clock(world.clock.clone())
            .with_maintenance_task(false)
            .build()
            .expect("a layer");
        let key = world.key(&["launcher"]).await;
        let service = layer.layer(world.inner.clone());
        // From the store, and from memory.
        for _ in 0..2 {
            let status = send(service.clone(), "/x", &key).await.0;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        assert_eq!(world.calls(), 0);
    }
}

/// A guard took any grant it found for its own layer's. Where two layers were mixed up, it asked its
/// own ledger about the other's key, and remembered the key: from then on the key worked at a layer
/// whose store had never heard of it.
#[tokio::test]
async fn a_guard_does_not_take_the_grant_of_another_layer() {
    let (ours, theirs) = (World::new().await, World::new().await);
    let key = ours.key(&["free"]).await;
    let module = RequireModule::new(&theirs.layer, "free").expect("a module");
    let scopes = RequireScopes::new::<&str>(&theirs.layer, []).expect("scopes");
    let mixed = [
        ours.layer.layer(module.layer(ours.inner.clone())),
        ours.layer.layer(scopes.layer(ours.inner.clone())),
    ];
    for service in mixed {
        let (status, seen) = send(service, "/me", &key).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(seen.is_none());
        let answer = theirs.get("/me", key.text.expose()).await;
        answer.refused(401, "invalid_key", INVALID);
    }
}

/// An inner layer that lets a request pass as anonymous left the outer layer's grant where it was,
/// and the handler took it for the inner layer's caller.
#[tokio::test]
async fn the_grant_of_an_outer_layer_is_none_of_an_inner_one() {
    let (outer, inner) = (World::new().await, World::new().await);
    let scope = Scope::new("read:realms").expect("a scope");
    let key = outer.create(NewKey::named("outer").with_scopes([scope]));
    let key = key.await;
    let nested = outer.layer.layer(inner.layer.layer(outer.inner.clone()));
    let (status, seen) = send(nested.clone(), "/realms", &key).await;
    assert_eq!(status, StatusCode::OK);
    let seen = seen.expect("the handler's answer");
    assert!(seen.grant.is_none(), "of a layer that is not the inner one");
    assert_eq!(send(nested, "/me", &key).await.0, StatusCode::UNAUTHORIZED);
}

struct Hangs;

impl RateLimiter for Hangs {
    fn check(&self, _: Subject<'_>, _: Now) -> Check {
        Check::Later(Box::pin(std::future::pending()))
    }
}

/// Store and ledger had a time limit, the limiter had none: one that hung kept every request with a
/// valid key, from memory or not, until the client gave up.
#[tokio::test(start_paused = true)]
async fn a_limiter_that_hangs_is_503_within_the_time_limit() {
    let limit = Duration::from_millis(250);
    let world =
        World::with(|builder| builder.with_rate_limiter(Hangs).with_lookup_timeout(limit)).await;
    let key = world.key(&[]).await;
    for _ in 0..2 {
        let begun = tokio::time::Instant::now();
        let asked = world.get("/me", key.text.expose());
        let answer = tokio::time::timeout(Duration::from_secs(3_600), asked).await;
        let answer = answer.expect("an answer within an hour");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.code(), "limiter_unavailable");
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(begun.elapsed() < 2 * limit, "{:?}", begun.elapsed());
    }
    assert_eq!(world.calls(), 0);
}
