//! A server that goes away and comes back.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, BackendError, KeyStore, ManualClock, PostgresStore, RouteModules, Rule, Unlicensed,
};

use super::{
    change, connect,
    proxy::{Network, Proxy},
    record, server, stamp, told, until,
};

#[track_caller]
fn unavailable<T: std::fmt::Debug>(answer: Result<T, BackendError>) {
    assert!(
        matches!(answer, Err(BackendError::Unavailable(_))),
        "{answer:?}"
    );
}

/// Two stores on one schema: one through a network that can be cut, and one that is never.
async fn far_and_near(schema: &str) -> (Proxy, PostgresStore, PostgresStore) {
    let proxy = Proxy::to(server::port()).await;
    let far = PostgresStore::connect(server::address_through(proxy.port()))
        .with_schema(schema)
        .with_timeout(Duration::from_millis(500))
        .await
        .unwrap();
    let near = connect(schema).await.unwrap();
    near.insert(record(1)).await.unwrap();
    assert_eq!(far.find(&record(1).digest).await.unwrap(), Some(record(1)));
    (proxy, far, near)
}

async fn comes_back(far: &PostgresStore, near: &PostgresStore) {
    until("the store works again", async || {
        far.get(&record(1).id).await.is_ok()
    })
    .await;
    far.insert(record(3)).await.unwrap();
    let before = stamp(far);
    change(near, &record(1).id).await;
    told(far, &record(1).id, before).await;
}

#[tokio::test]
async fn cut_connection_is_an_outage_that_ends_by_itself() {
    let (proxy, far, near) = far_and_near(&server::own_name("cut")).await;
    let before = stamp(&far);
    proxy.set(Network::Cut);
    unavailable(far.find(&record(1).digest).await);
    unavailable(far.insert(record(2)).await);
    change(&near, &record(1).id).await;
    proxy.set(Network::Open);
    // What was missed is told, whatever notification was lost.
    told(&far, &record(1).id, before).await;
    comes_back(&far, &near).await;
    assert_eq!(near.get(&record(2).id).await.unwrap(), None);
}

/// No word that the connection is gone: as when the server's machine loses its power.
#[tokio::test]
async fn silence_is_an_outage_within_the_timeout() {
    let (proxy, far, near) = far_and_near(&server::own_name("silent")).await;
    proxy.set(Network::Silent);
    // More calls than the pool has connections, so that none is left that was not tried.
    for _ in 0..12 {
        let began = Instant::now();
        unavailable(far.find(&record(1).digest).await);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    proxy.set(Network::Cut);
    proxy.set(Network::Open);
    comes_back(&far, &near).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_changes_outlive_a_crash_of_the_server() {
    let server = server::Server::start();
    let store = PostgresStore::connect(&server.address)
        .with_timeout(Duration::from_secs(2))
        .await
        .unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut acknowledged = Vec::new();
            for number in 0..=255 {
                match store.insert(record(number)).await {
                    Ok(()) => acknowledged.push(number),
                    Err(_) => break,
                }
            }
            acknowledged
        }
    });
    until("some are written", async || {
        store.get(&record(20).id).await.unwrap().is_some()
    })
    .await;
    server.kill();
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged.len() > 20);
    unavailable(store.get(&record(1).id).await);
    server.start_again();
    until("the store works again", async || {
        store.get(&record(1).id).await.is_ok()
    })
    .await;
    for number in acknowledged {
        let found = store.find(&record(number).digest).await.unwrap();
        assert_eq!(found, Some(record(number)));
    }
    // And the same store hears of what others change there.
    let other = PostgresStore::connect(&server.address).await.unwrap();
    let before = stamp(&store);
    change(&other, &record(1).id).await;
    told(&store, &record(1).id, before).await;
}

#[tokio::test]
async fn standby_server_is_read_only() {
    let server = server::Server::start();
    let store = PostgresStore::connect(&server.address).await.unwrap();
    store.insert(record(1)).await.unwrap();
    drop(store);
    server.stop();
    server.make_standby();
    server.start_again();
    let clock = Arc::new(ManualClock::new());
    let store = PostgresStore::connect(&server.address)
        .with_clock(clock.clone())
        .with_poll_interval(Duration::from_millis(20));
    let store = store.await.unwrap();
    assert_eq!(
        store.find(&record(1).digest).await.unwrap(),
        Some(record(1))
    );
    for refused in [
        store.insert(record(2)).await,
        store.record_last_used(&[]).await,
        store.delete(&record(1).id).await.map(drop),
    ] {
        assert!(
            matches!(refused, Err(BackendError::ReadOnly)),
            "{refused:?}"
        );
    }
    // There are no notifications to listen to, and yet it is in touch.
    let guarded = Guarded::on(&store, &clock);
    clock.advance(Duration::from_secs(100));
    until("the poll is heard", async || {
        guarded.get("unknown").await == StatusCode::UNAUTHORIZED
    })
    .await;
}

/// A service that lets in whoever has a key of the store.
struct Guarded {
    layer: ApiKeyLayer,
}

impl Guarded {
    fn on(store: &PostgresStore, clock: &Arc<ManualClock>) -> Self {
        let map = RouteModules::builder().get("/me", Rule::authenticated());
        let map = map.build().unwrap();
        let layer = ApiKeyLayer::builder(store.clone(), map, Unlicensed::new())
            .with_clock(clock.clone())
            .with_maintenance_task(false)
            .with_lookup_timeout(Duration::from_secs(10))
            .build();
        Self {
            layer: layer.unwrap(),
        }
    }

    async fn get(&self, key: &str) -> StatusCode {
        let handler =
            tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
        let request = Request::get("/me").header("x-api-key", key);
        let request = request.body(String::new()).unwrap();
        let answer = self.layer.layer(handler).oneshot(request).await;
        answer.unwrap().status()
    }
}
