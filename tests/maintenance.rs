//! What has to happen by and by goes on happening, whatever a backend or a runtime does.

mod support;
#[path = "support/writes.rs"]
mod writes;

use std::{sync::mpsc, thread, time::Duration};

use futures_util::FutureExt;
use http::StatusCode;
use support::{Body, Strict, World, admin, get, license, map, module};
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, ApiKeyService, Clock, Holder, License, LicenseLedger, Operation, Seats,
};
use writes::{WatchedStore, Writes, Writing};

const SECOND: Duration = Duration::from_secs(1);

/// A world whose layer runs its task, and writes last-used times each second.
struct Kept {
    world: World,
    writes: Writes,
    /// Keeps the task alive, which ends with its layer.
    service: ApiKeyService<Strict>,
}

impl Kept {
    async fn new() -> Self {
        let world = World::new().await;
        let writes = Writes::new();
        let store = WatchedStore {
            store: world.store.clone(),
            writes: writes.clone(),
            tells: true,
        };
        let layer = ApiKeyLayer::builder(store, map(), world.ledger.clone())
            .with_clock(world.clock.clone())
            .with_last_used_interval(SECOND)
            .build()
            .expect("a layer");
        let service = layer.layer(world.inner.clone());
        Self {
            world,
            writes,
            service,
        }
    }

    /// A request with a new key, which asks the store: that starts the task.
    async fn use_a_key(&self) {
        let key = self.world.key(&[]).await;
        let status = send(self.service.clone(), key.text.expose()).await;
        assert_eq!(status, StatusCode::OK);
    }

    /// Time passes: that of the layer, and that of the runtime, which is paused and jumps.
    async fn pass(&self, time: Duration) {
        self.world.clock.advance(time);
        tokio::time::sleep(time).await;
    }

    /// A license that ends in a second; the number of the last event so far.
    async fn end_a_license(&self) -> u64 {
        let end = self.world.clock.now().wall.saturating_add(SECOND);
        let ending = License::new(license("ending"), Seats::Limited(1)).with_valid_until(Some(end));
        let set = self.world.manager.set_license(ending, &admin()).await;
        set.expect("set");
        self.events().await
    }

    /// How many holders the ledger knows.
    async fn holders(&self) -> usize {
        let holders = self.world.ledger.holders(None, usize::MAX).await;
        holders.expect("holders").len()
    }

    async fn events(&self) -> u64 {
        let overview = self.world.manager.overview().await;
        overview.expect("an overview").seq
    }
}

async fn send(service: ApiKeyService<Strict>, key: &str) -> StatusCode {
    let request = get("/me")
        .header("x-api-key", key)
        .body(Body::default())
        .expect("valid");
    let answer = service.oneshot(request).await;
    answer.expect("infallible").status()
}

/// What a page shows of it then has the other half of the second.
#[tokio::test(start_paused = true)]
async fn what_ends_is_told_within_half_a_second() {
    let kept = Kept::new().await;
    kept.use_a_key().await;
    for started in [Duration::ZERO, SECOND / 4, SECOND / 3] {
        kept.pass(started).await;
        let before = kept.end_a_license().await;
        kept.pass(SECOND - Duration::from_millis(1)).await;
        assert_eq!(kept.events().await, before, "told before it ends");
        kept.pass(SECOND / 2 + Duration::from_millis(2)).await;
        assert!(kept.events().await > before, "not told in time");
    }
}

/// Ticks and writings shared one task with the backends they called: a store that panicked or hung
/// once ended both for good, and licenses no longer ran out until the process was started anew.
async fn both_go_on_after(writing: Writing) {
    let kept = Kept::new().await;
    kept.writes.set(writing);
    kept.use_a_key().await;
    kept.pass(3 * SECOND).await;
    let before = kept.end_a_license().await;
    kept.pass(60 * SECOND).await;
    assert!(kept.events().await > before, "ticks ended for good");
    kept.writes.take();
    kept.use_a_key().await;
    kept.pass(3 * SECOND).await;
    assert!(
        !kept.writes.take_all().is_empty(),
        "writings ended for good"
    );
}

#[tokio::test(start_paused = true)]
async fn ticks_and_writings_go_on_after_a_store_that_panics() {
    both_go_on_after(Writing::PanicsOnce).await;
}

#[tokio::test(start_paused = true)]
async fn ticks_and_writings_go_on_after_a_store_that_hangs() {
    both_go_on_after(Writing::HangsOnce).await;
}

/// A write that hung held the use it was about: given up, it comes back into the queue.
#[tokio::test(start_paused = true)]
async fn a_use_whose_writing_hung_is_written_later() {
    let kept = Kept::new().await;
    kept.writes.set(Writing::HangsOnce);
    kept.use_a_key().await;
    kept.pass(60 * SECOND).await;
    kept.pass(3 * SECOND).await;
    assert_eq!(kept.writes.take_all().len(), 1);
}

/// A process that died between its two steps leaves a key in the ledger only: its seat is freed.
#[tokio::test(start_paused = true)]
async fn what_a_crash_cut_in_two_is_repaired() {
    let kept = Kept::new().await;
    let [cut, other] = [Holder::new("key-1"), Holder::new("key-2")].map(|id| id.expect("a holder"));
    for holder in [&cut, &other] {
        let assign = Operation::Assign {
            holder: holder.clone(),
            modules: vec![module("launcher")],
        };
        kept.world
            .ledger
            .apply(assign, &admin())
            .await
            .expect("assigned");
    }
    assert_eq!(kept.holders().await, 2);
    kept.use_a_key().await;
    kept.pass(3 * SECOND).await;
    assert_eq!(kept.holders().await, 1, "the one whose key is in the store");
    // And again, at the next time.
    let assign = Operation::Assign {
        holder: cut,
        modules: vec![module("launcher")],
    };
    kept.world
        .ledger
        .apply(assign, &admin())
        .await
        .expect("assigned");
    kept.pass(10 * SECOND).await;
    assert_eq!(kept.holders().await, 2, "not before its time");
    kept.pass(60 * SECOND).await;
    assert_eq!(kept.holders().await, 1);
}

fn paused() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// A layer in a `static` outlives the runtime of its first request, as in a suite where each test
/// has its own. The task ended with that runtime, and the layer thought that it ran.
#[test]
fn a_runtime_that_ends_hands_the_task_to_the_next_one() {
    let first = paused();
    let kept = first.block_on(async {
        let kept = Kept::new().await;
        kept.use_a_key().await;
        kept.pass(2 * SECOND).await;
        assert_eq!(kept.writes.take_all().len(), 1, "the task runs");
        kept
    });
    drop(first);
    paused().block_on(async {
        kept.use_a_key().await;
        let before = kept.end_a_license().await;
        kept.pass(2 * SECOND).await;
        assert!(kept.events().await > before, "nobody ticks");
        assert_eq!(kept.writes.take_all().len(), 1);
    });
}

/// A runtime that is shut down drops what is spawned on it there and then. The look-up's own drop
/// takes the lock under which it was spawned: the request stood still, and all others behind it.
#[test]
fn a_request_while_its_runtime_is_shut_down_is_answered() {
    let runtime = Runtime::new().expect("a runtime");
    let kept = runtime.block_on(Kept::new());
    let key = runtime.block_on(kept.world.key(&[]));
    let handle = runtime.handle().clone();
    drop(runtime);
    let service = kept.service.clone();
    let text = key.text.expose().to_owned();
    let (tell, told) = mpsc::channel();
    // In a thread of its own, so that a request that stands still is a failure and no hanging test.
    let asked = thread::spawn(move || {
        let _entered = handle.enter();
        tell.send(send(service, &text).now_or_never())
            .expect("somebody listens");
    });
    let answer = told.recv_timeout(10 * SECOND);
    assert_eq!(
        answer.expect("an answer, and no deadlock"),
        Some(StatusCode::SERVICE_UNAVAILABLE)
    );
    asked.join().expect("no panic");
    // And the layer works on, on a runtime that lives.
    let status = paused().block_on(send(kept.service.clone(), key.text.expose()));
    assert_eq!(status, StatusCode::OK);
}
