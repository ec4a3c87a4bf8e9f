//! What a warm request costs the allocator and the inner service, beside what these cost bare.

mod support;

use std::{
    convert::Infallible,
    future::ready,
    hint::black_box,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use axum::{Router, routing::get};
use http::{HeaderValue, Request, Response};
use support::{Body, World, module};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_key::{
    AddressRange, Algorithm, Allowance, Check, CountBy, CreatedKey, MemoryRateLimiter, NewKey, Now,
    PeerAddress, Quota, RateLimiter, Scope, Subject, Tier, Tiers, TrustedProxies, Usage,
};

/// A key that has all that the route `/scoped` asks for, known to the layer.
async fn warm_key(world: &World) -> CreatedKey {
    let scopes = ["read:a", "write:b"].map(|scope| Scope::new(scope).expect("a scope"));
    let new = NewKey::named("warm").with_modules([module("launcher")]);
    let key = world.create(new.with_scopes(scopes)).await;
    world.get("/scoped", key.text.expose()).await.granted();
    key
}

fn request<B: Default>(key: &CreatedKey) -> Request<B> {
    support::get("/scoped")
        .header("x-api-key", key.text.expose())
        .body(B::default())
        .expect("valid")
}

/// The allocations of one call, from the request to the dropped answer; the second of two, so that
/// nothing is counted that is set up once.
fn allocations<S, B, A>(mut service: S, key: &CreatedKey) -> u64
where
    S: Service<Request<B>, Response = Response<A>, Error = Infallible>,
    B: Default,
{
    drop(call(&mut service, request(key)));
    let request = request(key);
    measure(|| drop(black_box(call(&mut service, request)))).count_total
}

/// The answer to a request that nobody else is asked about.
fn call<S, B, A>(service: &mut S, request: Request<B>) -> Response<A>
where
    S: Service<Request<B>, Response = Response<A>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else {
        panic!("not ready");
    };
    let Poll::Ready(Ok(answer)) = pin!(service.call(request)).poll(&mut cx) else {
        panic!("a warm request asks nobody");
    };
    assert_eq!(answer.status(), 200);
    answer
}

fn empty() -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {
    service_fn(|_| ready(Ok(Response::new(Body::default()))))
}

fn router() -> Router {
    Router::new().route("/scoped", get(async || ()))
}

#[test]
fn the_counter_counts() {
    let counted = measure(|| drop(black_box((Box::new(1), vec![1, 2], String::from("x")))));
    assert_eq!(counted.count_total, 3);
    assert_eq!(measure(|| _ = black_box([0_u8; 64])).count_total, 0);
}

#[tokio::test]
async fn a_warm_grant_allocates_for_the_extension_only() {
    let world = World::with(|builder| builder.with_cache_headers(false)).await;
    let key = warm_key(&world).await;
    let bare = allocations(empty(), &key);
    let guarded = allocations(world.layer.layer(empty()), &key);
    // The map of extensions in its box, its table, and the grant in a box of its own.
    assert!(guarded <= bare + 3, "{guarded} against {bare}");

    let filled = |request: &mut Request<Body>| {
        request.extensions_mut().insert(());
    };
    let mut service = world.layer.layer(empty());
    let mut request = request(&key);
    filled(&mut request);
    let counted = measure(|| drop(call(&mut service, request))).count_total;
    assert!(counted <= bare + 1, "{counted} against {bare}");
}

#[tokio::test]
async fn around_an_axum_router_a_grant_adds_two_allocations() {
    let world = World::with(|builder| builder.with_cache_headers(false)).await;
    let key = warm_key(&world).await;
    let bare = allocations::<_, axum::body::Body, _>(router(), &key);
    let guarded = allocations::<_, axum::body::Body, _>(world.layer.layer(router()), &key);
    assert!(guarded <= bare + 2, "{guarded} against {bare}");
}

#[tokio::test]
async fn through_a_routers_layer_a_grant_adds_eight_allocations() {
    let world = World::with(|builder| builder.with_cache_headers(false)).await;
    let key = warm_key(&world).await;
    let bare = allocations::<_, axum::body::Body, _>(router(), &key);
    let guarded = allocations::<_, axum::body::Body, _>(router().layer(world.layer.clone()), &key);
    assert!(guarded <= bare + 8, "{guarded} against {bare}");
}

#[tokio::test]
async fn response_headers_add_six_allocations() {
    let world = World::with(|builder| builder.with_cache_headers(false)).await;
    let key = warm_key(&world).await;
    let without = allocations(world.layer.layer(empty()), &key);
    let world = World::new().await;
    let key = warm_key(&world).await;
    let marked = allocations(world.layer.layer(empty()), &key);
    assert!(marked <= without + 6, "{marked} against {without}");

    let answer = call(&mut world.layer.layer(empty()), request(&key));
    assert_eq!(answer.headers()["vary"], "x-api-key, authorization");
    assert_eq!(answer.headers()["cache-control"], "private");
}

/// Quotas that a test does not use up, of one tier.
fn tiers(quotas: impl IntoIterator<Item = Quota>) -> Tiers {
    let standard = Tier::new("standard").expect("a tier");
    let tiers = Tiers::default().with_tier(standard, quotas);
    tiers.expect("tiers")
}

fn counted_by(tiers: Tiers, count_by: CountBy) -> Tiers {
    let standard = tiers.default_tier().clone();
    tiers.with_count_by(&standard, count_by).expect("tiers")
}

#[tokio::test]
async fn counting_a_warm_request_allocates_nothing() {
    let world = World::with(|builder| builder.with_cache_headers(false)).await;
    let key = warm_key(&world).await;
    let uncounted = allocations(world.layer.layer(empty()), &key);
    let hour = || Quota::per_hour(1_000).expect("a quota");
    let second = || Quota::per_second(1_000).expect("a quota");
    for tiers in [
        Tiers::default(),
        tiers([hour().with_algorithm(Algorithm::Gcra)]),
        tiers([hour().with_algorithm(Algorithm::FixedWindow)]),
        tiers([second(), hour()]),
        counted_by(Tiers::default(), CountBy::Owner),
        counted_by(Tiers::default(), CountBy::Address),
    ] {
        let limiter = MemoryRateLimiter::new(tiers.clone());
        let world = World::with(|builder| {
            let builder = builder.with_cache_headers(false);
            let builder = builder.with_rate_limit_headers(false);
            builder.with_rate_limiter(limiter)
        });
        let world = world.await;
        let key = warm_key(&world).await;
        let counted = allocations(world.layer.layer(empty()), &key);
        assert_eq!(counted, uncounted, "{tiers:?}");
    }
}

#[tokio::test]
async fn with_rate_headers_all_response_headers_add_six_allocations() {
    let world = World::with(|builder| builder.with_cache_headers(false)).await;
    let key = warm_key(&world).await;
    let without = allocations(world.layer.layer(empty()), &key);
    let limiter = MemoryRateLimiter::new(Tiers::default());
    let world = World::with(|builder| {
        let builder = builder.with_x_rate_limit_headers(true);
        builder.with_rate_limiter(limiter)
    });
    let world = world.await;
    let key = warm_key(&world).await;
    let marked = allocations(world.layer.layer(empty()), &key);
    assert!(marked <= without + 6, "{marked} against {without}");

    let answer = call(&mut world.layer.layer(empty()), request(&key));
    assert_eq!(answer.headers().len(), 7, "{:?}", answer.headers());
}

/// Admits every request, and notes where the last one came from.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Option<IpAddr>>>);

impl RateLimiter for Noted {
    fn check(&self, caller: Subject<'_>, _: Now) -> Check {
        *self.0.lock().expect("not poisoned") = caller.address;
        Check::Done(Allowance::Admitted(Usage::NONE))
    }
}

#[tokio::test]
async fn reading_a_proxys_header_allocates_nothing() {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let (proxy, client) = (ip("10.0.0.1"), ip("2001:db8::1"));
    let counted = async |proxies: Option<TrustedProxies>| {
        let noted = Noted::default();
        let world = World::with(|builder| {
            let builder = builder.with_rate_limiter(noted.clone());
            match proxies {
                Some(proxies) => builder.with_trusted_proxies(proxies),
                None => builder,
            }
        });
        let world = world.await;
        let key = warm_key(&world).await;
        let mut service = world.layer.layer(empty());
        let forwarded = || {
            let mut request = request::<Body>(&key);
            let elements = "for=\"[2001:db8::1]:80\";proto=https, for=10.0.0.2";
            let elements = HeaderValue::from_static(elements);
            request.headers_mut().insert("forwarded", elements);
            request.extensions_mut().insert(PeerAddress::from(proxy));
            request
        };
        drop(call(&mut service, forwarded()));
        let request = forwarded();
        let count = measure(|| drop(black_box(call(&mut service, request)))).count_total;
        let from = *noted.0.lock().expect("not poisoned");
        (from.expect("it was counted"), count)
    };
    let range: AddressRange = "10.0.0.0/8".parse().expect("a range");
    let (from, bare) = counted(None).await;
    assert_eq!(from, proxy);
    let read = counted(Some(TrustedProxies::forwarded([range]))).await;
    assert_eq!(read, (client, bare));
}

#[tokio::test]
async fn a_warm_grant_clones_no_inner_service() {
    let world = World::new().await;
    let key = warm_key(&world).await;
    let mut service = world.layer.layer(world.inner.clone());
    let clones = || world.inner.clones.load(Ordering::SeqCst);
    let before = clones();
    drop(call(&mut service, request(&key)));
    assert_eq!(clones(), before);

    let cold = world.key(&["launcher"]).await;
    let answer = service.ready().await.expect("infallible");
    let answer = answer.call(request(&cold)).await.expect("infallible");
    assert_eq!(
        answer.status(),
        403,
        "the key is known and lacks the scopes"
    );
    assert_eq!(
        clones(),
        before + 1,
        "a cold request takes the ready service along"
    );
}
