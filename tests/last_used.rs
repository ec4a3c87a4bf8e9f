//! What is promised about the times at which keys were last used.

mod support;
#[path = "support/writes.rs"]
mod writes;

use std::{collections::HashSet, pin::pin, time::Duration};

use futures_util::poll;
use http::StatusCode;
use support::{Body, Strict, World, admin, get, license, map, module};
use tower::{Layer, ServiceExt};
use tower_api_key::{ApiKeyLayer, ApiKeyService, Clock, CreatedKey};
use writes::{WatchedStore, Writes, Writing};

const SECOND: Duration = Duration::from_secs(1);
/// So many uses of one key, each queued by itself, would fill a batch.
const USES: usize = 1_000;
/// So many keys share batches, wherever they are kept until they are written.
const KEYS: usize = 17;

/// A world whose layer writes to a store that is watched.
struct Watched {
    world: World,
    writes: Writes,
    layer: ApiKeyLayer,
    service: ApiKeyService<Strict>,
}

impl Watched {
    async fn new() -> Self {
        Self::with(true, Duration::from_secs(5)).await
    }

    async fn with(tells: bool, cache_ttl: Duration) -> Self {
        let world = World::new().await;
        let writes = Writes::new();
        let store = WatchedStore {
            store: world.store.clone(),
            writes: writes.clone(),
            tells,
        };
        let layer = ApiKeyLayer::builder(store, map(), world.ledger.clone())
            .with_clock(world.clock.clone())
            .with_cache_ttl(cache_ttl)
            .with_maintenance_task(false)
            .build()
            .expect("a layer");
        let service = layer.layer(world.inner.clone());
        Self {
            world,
            writes,
            layer,
            service,
        }
    }

    async fn keys(&self, count: usize) -> Vec<CreatedKey> {
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            keys.push(self.world.key(&["free"]).await);
        }
        keys
    }

    async fn get(&self, path: &str, key: &CreatedKey) {
        let request = get(path)
            .header("x-api-key", key.text.expose())
            .body(Body::default())
            .expect("valid");
        let answer = self.service.clone().oneshot(request).await;
        assert_eq!(answer.expect("infallible").status(), StatusCode::OK);
    }

    async fn flush(&self) {
        self.layer.flush().await.expect("written");
    }
}

/// Each key was written once, and keys shared their batches.
#[track_caller]
fn each_once(writes: &Writes, keys: &[CreatedKey]) {
    let batches = writes.take();
    let (calls, written) = (batches.len(), batches.concat());
    let different: HashSet<_> = written.iter().map(|(id, _)| id).collect();
    assert_eq!(written.len(), keys.len());
    assert_eq!(different.len(), keys.len());
    assert!(calls < keys.len(), "{calls} calls for {} keys", keys.len());
}

/// Each look-up makes a new memory of the key, and each of these used to be queued: with a time to
/// live of zero the queue grew by one for every request until the next writing, and a batch of a
/// thousand held one key only.
#[tokio::test]
async fn a_key_that_is_read_at_each_use_waits_once() {
    let watched = Watched::with(false, Duration::ZERO).await;
    let keys = watched.keys(KEYS).await;
    for key in &keys {
        for _ in 0..USES {
            watched.get("/me", key).await;
        }
    }
    watched.flush().await;
    each_once(&watched.writes, &keys);
}

/// The same for what the ledger says: any event at all made a new memory of every key in use, also
/// where the store tells of changes and nothing about the keys has changed.
#[tokio::test]
async fn a_key_that_is_judged_anew_at_each_use_waits_once() {
    let watched = Watched::new().await;
    let keys = watched.keys(KEYS).await;
    let (flipped, license, actor) = (module("flipped"), license("launcher"), admin());
    for round in 0..USES {
        let license = (round % 2 == 0).then_some(&license);
        let manager = &watched.world.manager;
        let mapped = manager.map_module(&flipped, license, &actor);
        mapped.await.expect("mapped");
        for key in &keys {
            watched.get("/free", key).await;
        }
    }
    watched.flush().await;
    each_once(&watched.writes, &keys);
}

/// Whoever shuts down calls `flush` and ends the process. A call beside the task's own writing found
/// an empty queue and said that everything was written, while the task still waited for the store.
#[tokio::test]
async fn a_flush_waits_for_the_writing_under_way() {
    let watched = Watched::new().await;
    let key = watched.world.key(&[]).await;
    watched.get("/me", &key).await;
    watched.writes.set(Writing::Waits);
    let mut first = pin!(watched.layer.flush());
    assert!(poll!(first.as_mut()).is_pending());
    let mut second = pin!(watched.layer.flush());
    assert!(
        poll!(second.as_mut()).is_pending(),
        "it said that all is written"
    );
    watched.writes.open();
    first.await.expect("written");
    second.await.expect("written");
    assert_eq!(watched.writes.take_all().len(), 1);
}

/// A writing that is dropped half-way (a time limit around `flush`) took what it held with it. Worse:
/// the keys still counted as queued, so that their later uses were never written either.
#[tokio::test]
async fn what_a_dropped_flush_held_is_written_by_the_next_one() {
    let watched = Watched::new().await;
    let keys = watched.keys(40).await;
    for key in &keys {
        watched.get("/me", key).await;
    }
    watched.writes.set(Writing::Waits);
    {
        let mut dropped = pin!(watched.layer.flush());
        assert!(poll!(dropped.as_mut()).is_pending());
    }
    watched.writes.open();
    watched.flush().await;
    each_once(&watched.writes, &keys);
    // And they are no strangers to the queue.
    watched.world.clock.advance(SECOND);
    let now = watched.world.clock.now().wall;
    for key in &keys {
        watched.get("/me", key).await;
    }
    watched.flush().await;
    let written = watched.writes.take_all();
    assert_eq!(written.len(), keys.len());
    assert!(written.iter().all(|(_, at)| *at == now));
}

/// The use that comes while the key is being written is not in what is written.
#[tokio::test]
async fn a_use_during_the_writing_is_written_by_the_next_one() {
    let watched = Watched::new().await;
    let key = watched.world.key(&[]).await;
    watched.get("/me", &key).await;
    let first_use = watched.world.clock.now().wall;
    watched.writes.set(Writing::Waits);
    {
        let mut flush = pin!(watched.layer.flush());
        assert!(poll!(flush.as_mut()).is_pending());
        watched.world.clock.advance(SECOND);
        watched.get("/me", &key).await;
        watched.writes.open();
        flush.await.expect("written");
    }
    let id = key.key.record.id;
    assert_eq!(watched.writes.take_all(), [(id.clone(), first_use)]);
    watched.flush().await;
    let second_use = watched.world.clock.now().wall;
    assert_eq!(watched.writes.take_all(), [(id, second_use)]);
}

#[tokio::test]
async fn a_read_only_store_is_asked_once_and_what_it_cannot_keep_is_dropped() {
    let watched = Watched::new().await;
    let keys = watched.keys(40).await;
    for key in &keys {
        watched.get("/me", key).await;
    }
    watched.writes.set(Writing::ReadOnly);
    watched.flush().await;
    watched.writes.set(Writing::Works);
    watched.flush().await;
    assert_eq!(watched.writes.take_all(), []);
    // The store can write again: so are uses from now on.
    for key in &keys {
        watched.get("/me", key).await;
    }
    watched.flush().await;
    each_once(&watched.writes, &keys);
}

/// Both texts of a regenerated key are the same key. Whichever was used last says when.
#[tokio::test]
async fn a_key_with_two_live_texts_is_written_once_with_its_latest_use() {
    for old_last in [false, true] {
        let watched = Watched::new().await;
        let old = watched.world.key(&[]).await;
        let id = old.key.record.id.clone();
        let grace = Some(Duration::from_secs(3_600));
        let manager = &watched.world.manager;
        let new = manager.regenerate(&id, grace, &admin()).await;
        let new = new.expect("a new text");
        let (first, last) = if old_last { (&new, &old) } else { (&old, &new) };
        watched.get("/me", last).await;
        for key in [first, last, first, last] {
            watched.world.clock.advance(SECOND);
            watched.get("/me", key).await;
        }
        let latest = watched.world.clock.now().wall;
        watched.flush().await;
        assert_eq!(watched.writes.take_all(), [(id, latest)]);
        // Nothing of it was left behind.
        watched.flush().await;
        assert_eq!(watched.writes.take_all(), []);
    }
}

/// One text's use was on its way to the store when the other text was used: what comes back into the
/// queue from a writing that failed is older than what stands there.
#[tokio::test]
async fn a_dropped_flush_of_one_text_does_not_undo_the_use_of_the_other() {
    let watched = Watched::new().await;
    let old = watched.world.key(&[]).await;
    let id = old.key.record.id.clone();
    let grace = Some(Duration::from_secs(3_600));
    let manager = &watched.world.manager;
    let new = manager.regenerate(&id, grace, &admin()).await;
    let new = new.expect("a new text");
    watched.get("/me", &old).await;
    watched.writes.set(Writing::Waits);
    {
        let mut dropped = pin!(watched.layer.flush());
        assert!(poll!(dropped.as_mut()).is_pending());
        watched.world.clock.advance(SECOND);
        watched.get("/me", &new).await;
    }
    watched.writes.open();
    watched.flush().await;
    let latest = watched.world.clock.now().wall;
    assert_eq!(watched.writes.take_all(), [(id, latest)]);
}
