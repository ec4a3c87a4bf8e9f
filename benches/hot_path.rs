//! How long does one request take: `cargo bench --features axum --bench hot_path`.
//!
//! Every figure includes the inner service and the making of the request is left out; the lines
//! `bare` are the same inner services without the layer.

use std::hint::black_box;

use axum::body::Body;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::Request;
use tower::{Layer, Service, ServiceExt};

use support::{PATH, Random, World, ample};

mod support;

/// One request for every iteration, made outside of the time that is taken.
fn bench<S>(
    criterion: &mut Criterion,
    (group, name): (&str, &str),
    mut service: S,
    mut request: impl FnMut() -> Request<Body>,
) where
    S: Service<Request<Body>, Error = std::convert::Infallible>,
{
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            &mut request,
            |request| black_box(support::call(&mut service, request)),
            BatchSize::SmallInput,
        );
    });
}

fn grants(criterion: &mut Criterion) {
    for count in [1_000, 100_000] {
        let world = World::warm(count, |builder| builder);
        let mut random = Random::new();
        let mut request = || support::request(PATH, world.keys.text(random.below(count)));
        let group = format!("grant/{count} keys");
        let name = |name| (group.as_str(), name);

        let (nothing, router) = (support::nothing(), support::router());
        bench(
            criterion,
            name("service_fn, bare"),
            nothing.clone(),
            &mut request,
        );
        bench(
            criterion,
            name("service_fn"),
            world.layer.layer(nothing.clone()),
            &mut request,
        );
        bench(
            criterion,
            name("router, bare"),
            router.clone(),
            &mut request,
        );
        bench(
            criterion,
            name("router, wrapped whole"),
            world.layer.layer(router.clone()),
            &mut request,
        );
        bench(
            criterion,
            name("router, through Router::layer"),
            router.layer(world.layer.clone()),
            &mut request,
        );

        let limited = World::warm(count, |builder| builder.with_rate_limiter(ample()));
        let request = || support::request(PATH, limited.keys.text(random.below(count)));
        bench(
            criterion,
            name("service_fn, quota on"),
            limited.layer.layer(nothing),
            request,
        );

        let marked = World::warm(count, |builder| builder.with_cache_headers(true));
        let request = || support::request(PATH, marked.keys.text(random.below(count)));
        bench(
            criterion,
            name("service_fn, response headers on"),
            marked.layer.layer(support::nothing()),
            request,
        );
    }
}

fn refusals(criterion: &mut Criterion) {
    let world = World::warm(1_000, |builder| builder);
    let service = || world.layer.layer(support::nothing());
    for (name, make) in support::refusals(&world) {
        bench(criterion, ("refusal", name), service(), make);
    }
}

/// A key that nobody has asked for before, on a store and a ledger in memory.
fn cold(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let count = 100_000;
    // So little room that a key is gone again when its turn comes.
    let world = World::cold(count, |builder| builder.with_cache_capacity(1));
    let mut service = world.layer.layer(support::nothing());
    let mut turn = (0..count).cycle();
    criterion.bench_function("cold/memory", |bencher| {
        bencher.iter_batched(
            || support::request(PATH, world.keys.text(turn.next().expect("endless"))),
            |request| runtime.block_on(async { service.ready().await?.call(request).await }),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, grants, refusals, cold);
criterion_main!(benches);
