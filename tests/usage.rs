//! What is promised about how often keys were used: nothing is lost, and nothing counts twice.

mod support;
#[path = "support/writes.rs"]
mod writes;

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{future::join, poll};
use support::{Answer, Strict, World, admin, answer, get, map, module};
use tower::Layer;
use tower_api_key::{
    ApiKeyLayer, ApiKeyLayerBuilder, ApiKeyService, Clock, CreatedKey, DenialCode, Holder, KeyId,
    KeyManager, KeyStore, ManageError, MemoryRateLimiter, Now, Outcome, Principal, Quota,
    RequireScopes, SessionKey, Tiers, Timestamp, TokenError, TokenVerifier, UsageCount,
};
use writes::{WatchedStore, Writes, Writing};

const HOUR: Duration = Duration::from_secs(3_600);
const GRANTED: Outcome = Outcome::Granted;

/// A world whose layer counts, and writes to a store that is watched.
struct Counted {
    world: World,
    writes: Writes,
    layer: ApiKeyLayer,
    manager: KeyManager,
    service: ApiKeyService<Strict>,
}

impl Counted {
    async fn new() -> Self {
        Self::with(true, |builder| builder).await
    }

    async fn with(
        tells: bool,
        settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder,
    ) -> Self {
        let world = World::new().await;
        let writes = Writes::new();
        let store = WatchedStore {
            store: world.store.clone(),
            writes: writes.clone(),
            tells,
        };
        let builder = ApiKeyLayer::builder(store, map(), world.ledger.clone())
            .with_clock(world.clock.clone())
            .with_maintenance_task(false);
        let layer = settings(builder).build().expect("a layer");
        Self {
            manager: layer.manager(),
            service: layer.layer(world.inner.clone()),
            world,
            writes,
            layer,
        }
    }

    async fn get(&self, path: &str, key: &CreatedKey) -> Answer {
        let request = get(path).header("x-api-key", key.text.expose());
        answer(self.service.clone(), request).await
    }

    async fn granted(&self, times: usize, key: &CreatedKey) {
        for _ in 0..times {
            self.get("/me", key).await.granted();
        }
    }

    async fn flush(&self) {
        self.layer.flush().await.expect("written");
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now().wall
    }

    /// What came of a key's requests, and how often, whatever the hour.
    async fn usage(&self, key: &CreatedKey) -> Vec<(Outcome, u64)> {
        let usage = self.manager.usage(id(key), Timestamp::MIN).await;
        let usage = usage.expect("counts").into_iter();
        usage.map(|count| (count.outcome, count.count)).collect()
    }

    /// The same as far as the store has it.
    async fn written(&self, key: &CreatedKey) -> Vec<(Outcome, u64)> {
        let usage = self.world.store.usage(id(key), Timestamp::MIN).await;
        let usage = usage.expect("counts").into_iter();
        usage.map(|count| (count.outcome, count.count)).collect()
    }

    /// Another text for the key, beside the one it has.
    async fn second_text(&self, key: &CreatedKey) -> CreatedKey {
        let (manager, admin) = (&self.manager, admin());
        let regenerated = manager.regenerate(id(key), Some(24 * HOUR), &admin);
        regenerated.await.expect("a new text")
    }
}

fn id(key: &CreatedKey) -> &KeyId {
    &key.key.record.id
}

fn refused(code: DenialCode, times: u64) -> (Outcome, u64) {
    (Outcome::Refused(code), times)
}

/// All that the store was told to add, whosever it was.
fn sum(writes: &Writes) -> u64 {
    let batches = writes.take_counts().into_iter();
    let counts = batches.flat_map(|(counts, _)| counts);
    counts.map(|count| count.count).sum()
}

#[tokio::test]
async fn requests_are_counted_by_what_came_of_them() {
    let counted = Counted::new().await;
    let key = counted.world.key(&["free"]).await;
    let other = counted.world.key(&[]).await;
    counted.granted(3, &key).await;
    counted.granted(1, &other).await;
    for _ in 0..2 {
        let answer = counted.get("/engines", &key).await;
        assert_eq!(answer.code(), "module_access_missing");
    }
    let answer = counted.get("/realms", &key).await;
    assert_eq!(answer.code(), "insufficient_scope");
    let manager = &counted.manager;
    manager.revoke(id(&key), &admin()).await.expect("revoked");
    assert_eq!(counted.get("/me", &key).await.code(), "revoked_key");
    let expected = [
        (GRANTED, 3),
        refused(DenialCode::InsufficientScope, 1),
        refused(DenialCode::ModuleAccessMissing, 2),
        refused(DenialCode::RevokedKey, 1),
    ];
    assert_eq!(counted.usage(&key).await, expected, "before it is written");
    assert_eq!(counted.written(&key).await, []);
    counted.flush().await;
    assert_eq!(counted.usage(&key).await, expected);
    assert_eq!(counted.written(&key).await, expected);
    assert_eq!(counted.usage(&other).await, [(GRANTED, 1)]);
    // There is nothing left to write.
    assert_eq!(sum(&counted.writes), 8);
    counted.flush().await;
    assert_eq!(counted.writes.take_counts(), []);
}

#[tokio::test]
async fn requests_that_prove_no_key_do_not_count() {
    let counted = Counted::with(true, |builder| builder.with_token_verifier(Tokens)).await;
    let service = || counted.service.clone();
    for request in [
        get("/health"),
        get("/realms"),
        get("/me"),
        get("/me").header("x-api-key", "rk_live_nobody"),
        get("/me").header("authorization", "Bearer user:someone"),
        get("/engines").header("authorization", "Bearer user:someone"),
    ] {
        answer(service(), request).await;
    }
    counted.flush().await;
    assert_eq!(sum(&counted.writes), 0);
}

#[tokio::test]
async fn a_session_counts_for_its_key() {
    let counted = Counted::with(true, |builder| builder.with_token_verifier(Tokens)).await;
    let key = counted.world.key(&[]).await;
    let token = format!("Bearer session:{}:{}", id(&key), key.key.record.digest);
    counted.granted(2, &key).await;
    for _ in 0..3 {
        let request = get("/me").header("authorization", &token);
        answer(counted.service.clone(), request).await.granted();
    }
    counted.granted(1, &key).await;
    assert_eq!(counted.usage(&key).await, [(GRANTED, 6)]);
    counted.flush().await;
    assert_eq!(counted.written(&key).await, [(GRANTED, 6)]);
}

#[tokio::test]
async fn both_texts_of_a_key_count() {
    let counted = Counted::new().await;
    let old = counted.world.key(&[]).await;
    let new = counted.second_text(&old).await;
    for round in 1..4 {
        counted.granted(2, &old).await;
        counted.granted(1, &new).await;
        counted.granted(1, &old).await;
        assert_eq!(counted.usage(&old).await, [(GRANTED, 4 * round)]);
        if round == 2 {
            counted.flush().await;
        }
    }
    counted.flush().await;
    assert_eq!(counted.written(&old).await, [(GRANTED, 12)]);
}

#[tokio::test]
async fn rate_limited_requests_are_counted_as_such() {
    let quota = Quota::per_minute(2).expect("a quota");
    let tier = Tiers::default().default_tier().clone();
    let tiers = Tiers::default().with_tier(tier, [quota]);
    let limiter = MemoryRateLimiter::new(tiers.expect("tiers"));
    let counted = Counted::with(true, |builder| builder.with_rate_limiter(limiter)).await;
    let key = counted.world.key(&[]).await;
    counted.granted(2, &key).await;
    for _ in 0..5 {
        assert_eq!(counted.get("/me", &key).await.code(), "rate_limited");
    }
    let expected = [(GRANTED, 2), refused(DenialCode::RateLimited, 5)];
    assert_eq!(counted.usage(&key).await, expected);
}

#[tokio::test]
async fn each_hour_is_counted_by_itself() {
    let counted = Counted::new().await;
    let key = counted.world.key(&[]).await;
    let first = UsageCount::new(id(&key).clone(), counted.now(), GRANTED, 2);
    let left = HOUR - counted.now().saturating_since(first.hour);
    counted.granted(1, &key).await;
    counted.world.clock.advance(left - Duration::from_micros(1));
    counted.granted(1, &key).await;
    // Not written yet, and the hour turns.
    counted.world.clock.advance(Duration::from_micros(1));
    let second = UsageCount::new(id(&key).clone(), counted.now(), GRANTED, 3);
    assert!(second.hour > first.hour);
    counted.granted(3, &key).await;
    counted.world.clock.advance(5 * HOUR);
    assert_eq!(counted.get("/lino", &key).await.status, 403);
    let missing = Outcome::Refused(DenialCode::ModuleAccessMissing);
    let third = UsageCount::new(id(&key).clone(), counted.now(), missing, 1);
    let expected = [first, second.clone(), third.clone()];
    let manager = &counted.manager;
    let usage = async |since| manager.usage(id(&key), since).await.expect("counts");
    for _ in 0..2 {
        assert_eq!(usage(Timestamp::MIN).await, expected);
        // From within an hour on means from its beginning on.
        let within = second.hour.saturating_add(HOUR / 2);
        assert_eq!(usage(within).await, expected[1..]);
        assert_eq!(usage(counted.now()).await, std::slice::from_ref(&third));
        counted.flush().await;
    }
}

/// Each look-up makes a new memory of the key: without a time to live, one for every request.
#[tokio::test]
async fn what_is_read_anew_at_each_use_loses_no_count() {
    let counted = Counted::with(false, |builder| builder.with_cache_ttl(Duration::ZERO)).await;
    let key = counted.world.key(&[]).await;
    counted.granted(100, &key).await;
    assert_eq!(counted.usage(&key).await, [(GRANTED, 100)]);
    counted.flush().await;
    assert_eq!(counted.written(&key).await, [(GRANTED, 100)]);
}

#[tokio::test]
async fn what_is_judged_anew_or_evicted_loses_no_count() {
    let counted = Counted::with(true, |builder| builder.with_cache_capacity(2)).await;
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.push(counted.world.key(&["free"]).await);
    }
    let (flipped, admin) = (module("flipped"), admin());
    for _ in 0..5 {
        let mapped = counted.manager.map_module(&flipped, None, &admin);
        mapped.await.expect("mapped");
        for key in &keys {
            counted.get("/free", key).await.granted();
            counted.granted(1, key).await;
        }
    }
    counted.flush().await;
    for key in &keys {
        assert_eq!(counted.written(key).await, [(GRANTED, 10)]);
    }
}

#[tokio::test]
async fn what_a_deleted_key_counted_is_dropped() {
    let counted = Counted::new().await;
    let (deleted, other) = (counted.world.key(&[]).await, counted.world.key(&[]).await);
    counted.granted(2, &deleted).await;
    counted.granted(1, &other).await;
    let manager = &counted.manager;
    manager.delete(id(&deleted), &admin()).await.expect("gone");
    counted.flush().await;
    assert_eq!(counted.written(&deleted).await, []);
    assert_eq!(counted.written(&other).await, [(GRANTED, 1)]);
    let usage = manager.usage(id(&deleted), Timestamp::MIN).await;
    assert!(matches!(usage, Err(ManageError::NotFound(_))), "{usage:?}");
}

#[tokio::test]
async fn an_outage_delivers_its_counts_later_under_their_own_hours() {
    let counted = Counted::new().await;
    let key = counted.world.key(&["free"]).await;
    counted.writes.set_counting(Writing::Fails);
    let mut expected = Vec::new();
    for times in 1..4 {
        counted.granted(times, &key).await;
        counted.get("/engines", &key).await;
        let missing = Outcome::Refused(DenialCode::ModuleAccessMissing);
        for (outcome, count) in [(GRANTED, times as u64), (missing, 1)] {
            let count = UsageCount::new(id(&key).clone(), counted.now(), outcome, count);
            expected.push(count);
        }
        for _ in 0..2 {
            counted.layer.flush().await.expect_err("an outage");
        }
        counted.world.clock.advance(HOUR);
    }
    let manager = &counted.manager;
    let usage = async || manager.usage(id(&key), Timestamp::MIN).await;
    assert_eq!(usage().await.expect("counts"), expected);
    assert_eq!(counted.written(&key).await, []);
    counted.writes.set_counting(Writing::Works);
    counted.flush().await;
    assert_eq!(usage().await.expect("counts"), expected);
    let written = counted.world.store.usage(id(&key), Timestamp::MIN).await;
    assert_eq!(written.expect("counts"), expected);
}

#[tokio::test]
async fn counts_that_cannot_be_written_hold_up_no_last_used_times() {
    let counted = Counted::new().await;
    let mut keys = Vec::new();
    for _ in 0..40 {
        keys.push(counted.world.key(&[]).await);
    }
    counted.writes.set_counting(Writing::Fails);
    for _ in 0..2 {
        for key in &keys {
            counted.granted(1, key).await;
        }
        counted.layer.flush().await.expect_err("an outage");
        assert_eq!(counted.writes.take_all().len(), keys.len());
    }
}

#[tokio::test]
async fn what_a_dropped_flush_held_is_counted_once() {
    let counted = Counted::new().await;
    let key = counted.world.key(&["free"]).await;
    counted.granted(2, &key).await;
    counted.get("/engines", &key).await;
    counted.writes.set_counting(Writing::Waits);
    {
        let mut dropped = pin!(counted.layer.flush());
        assert!(poll!(dropped.as_mut()).is_pending());
        counted.granted(1, &key).await;
    }
    let expected = [(GRANTED, 3), refused(DenialCode::ModuleAccessMissing, 1)];
    assert_eq!(counted.usage(&key).await, expected);
    counted.writes.open();
    counted.flush().await;
    assert_eq!(counted.written(&key).await, expected);
    assert_eq!(sum(&counted.writes), 4);
}

/// A reader in the middle of a writing would find what is on its way neither here nor there, or twice.
#[tokio::test]
async fn who_reads_during_a_writing_finds_each_count_once() {
    let counted = Counted::new().await;
    let key = counted.world.key(&[]).await;
    counted.granted(2, &key).await;
    counted.writes.set_counting(Writing::Waits);
    let mut flush = pin!(counted.layer.flush());
    assert!(poll!(flush.as_mut()).is_pending());
    counted.granted(1, &key).await;
    let mut usage = pin!(counted.usage(&key));
    assert!(poll!(usage.as_mut()).is_pending());
    counted.writes.open();
    let (flushed, usage) = join(flush, usage).await;
    flushed.expect("written");
    assert_eq!(usage, [(GRANTED, 3)]);
    assert_eq!(counted.written(&key).await, [(GRANTED, 2)]);
}

#[tokio::test]
async fn what_a_read_only_store_cannot_keep_is_dropped() {
    let counted = Counted::new().await;
    let key = counted.world.key(&["free"]).await;
    counted.granted(2, &key).await;
    counted.get("/engines", &key).await;
    counted.writes.set_counting(Writing::ReadOnly);
    for _ in 0..2 {
        counted.flush().await;
    }
    counted.writes.set_counting(Writing::Works);
    counted.flush().await;
    assert_eq!(sum(&counted.writes), 0);
    // The store can write again: so are uses from now on.
    counted.granted(1, &key).await;
    counted.flush().await;
    assert_eq!(counted.written(&key).await, [(GRANTED, 1)]);
}

#[tokio::test]
async fn the_store_is_told_once_an_hour_to_forget_what_is_too_old() {
    let counted = Counted::new().await;
    let key = counted.world.key(&[]).await;
    let told = |counted: &Counted| -> Vec<_> {
        let batches = counted.writes.take_counts().into_iter();
        batches.map(|(_, before)| before).collect()
    };
    let kept = 30 * 24 * HOUR;
    let hour = |at| UsageCount::new(id(&key).clone(), at, GRANTED, 0).hour;
    for _ in 0..2 {
        for _ in 0..2 {
            counted.flush().await;
        }
        let before = told(&counted);
        assert_eq!(before.len(), 1);
        assert_eq!(before[0].saturating_add(kept), hour(counted.now()));
        counted.world.clock.advance(HOUR);
    }
    counted.granted(1, &key).await;
    counted.flush().await;
    counted.flush().await;
    assert_eq!(told(&counted).len(), 1, "with the counts");
    assert_eq!(counted.usage(&key).await, [(GRANTED, 1)]);
    counted.world.clock.advance(kept);
    counted.flush().await;
    assert_eq!(counted.usage(&key).await, [(GRANTED, 1)]);
    counted.world.clock.advance(HOUR);
    counted.flush().await;
    assert_eq!(counted.usage(&key).await, []);
}

#[tokio::test]
async fn switched_off_nothing_is_counted_or_written() {
    let counted = Counted::with(true, |builder| builder.with_usage(false)).await;
    let key = counted.world.key(&[]).await;
    counted.granted(2, &key).await;
    counted.get("/engines", &key).await;
    counted.flush().await;
    assert_eq!(counted.usage(&key).await, []);
    assert_eq!(counted.writes.take_counts(), []);
    assert_eq!(counted.writes.take_all().len(), 1, "when it was used is");
}

#[tokio::test]
async fn in_shadow_mode_what_reaches_the_handler_with_a_grant_is_granted() {
    let shadow = |builder: ApiKeyLayerBuilder| builder.with_shadowed_module(module("launcher"));
    let counted = Counted::with(true, shadow).await;
    let key = counted.world.key(&[]).await;
    let seen = counted.get("/engines", &key).await;
    assert!(seen.granted().grant.is_some());
    let manager = &counted.manager;
    manager.revoke(id(&key), &admin()).await.expect("revoked");
    let seen = counted.get("/engines", &key).await;
    assert!(seen.granted().grant.is_none());
    let expected = [(GRANTED, 1), refused(DenialCode::RevokedKey, 1)];
    assert_eq!(counted.usage(&key).await, expected);
}

#[tokio::test]
async fn a_refusal_behind_the_layer_counts_as_granted() {
    let counted = Counted::new().await;
    let key = counted.world.key(&[]).await;
    let guard = RequireScopes::new(&counted.layer, ["write:shows"]).expect("a guard");
    let guarded = guard.layer(counted.world.inner.clone());
    let request = get("/me").header("x-api-key", key.text.expose());
    let refused = answer(counted.layer.layer(guarded), request).await;
    assert_eq!(refused.code(), "insufficient_scope");
    assert_eq!(counted.usage(&key).await, [(GRANTED, 1)]);
}

/// Two texts take each other's place in the queue all the time, hours turn, and all is written
/// meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_grant_while_others_flush_lose_and_double_nothing() {
    const THREADS: usize = 4;
    const EACH: usize = 2_000;
    let counted = Counted::new().await;
    let old = counted.world.key(&[]).await;
    let new = counted.second_text(&old).await;
    let granting = AtomicBool::new(true);
    let grant = async |thread: usize| {
        for number in 0..EACH {
            let key = [&old, &new][(thread + number) % 2];
            counted.granted(1, key).await;
            if number % 200 == 0 {
                counted.world.clock.advance(HOUR / 20);
            }
            if number % 10 == 0 {
                assert_eq!(counted.get("/engines", key).await.status, 403);
            }
        }
    };
    let runtime = tokio::runtime::Handle::current();
    let flushes = std::thread::scope(|scope| {
        let granters: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (runtime, grant) = (runtime.clone(), &grant);
                scope.spawn(move || runtime.block_on(grant(thread)))
            })
            .collect();
        let flusher = scope.spawn(|| {
            let mut flushes = 0;
            while granting.load(Ordering::Relaxed) {
                runtime.block_on(counted.flush());
                flushes += 1;
            }
            flushes
        });
        for granter in granters {
            granter.join().expect("granted");
        }
        granting.store(false, Ordering::Relaxed);
        flusher.join().expect("flushed")
    });
    assert!(flushes > 0);
    let total = (THREADS * EACH) as u64;
    let all = async || {
        let usage = counted.usage(&old).await.into_iter();
        let (granted, refused): (Vec<_>, Vec<_>) =
            usage.partition(|(outcome, _)| *outcome == GRANTED);
        [granted, refused].map(|counts| counts.iter().map(|(_, count)| count).sum::<u64>())
    };
    assert_eq!(all().await, [total, total / 10], "written and waiting");
    counted.flush().await;
    assert_eq!(all().await, [total, total / 10], "written");
    assert_eq!(sum(&counted.writes), total + total / 10);
}

/// Takes `session:ID:DIGEST` for a session of that key, and `user:NAME` for a user's token.
struct Tokens;

#[async_trait]
impl TokenVerifier for Tokens {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"session:") || token.starts_with(b"user:")
    }

    async fn verify(&self, token: &[u8], _: Now) -> Result<Principal, TokenError> {
        let text = std::str::from_utf8(token).map_err(|_| TokenError::Invalid)?;
        let holder = |name: &str| Holder::new(format!("https://hub.example|{name}"));
        let holder = |name| holder(name).expect("a holder");
        let mut principal = match text.split_once(':').expect("two parts") {
            ("session", session) => {
                let (id, digest) = session.split_once(':').expect("two parts");
                let mut principal = Principal::new(holder(id));
                let digest = digest.parse().expect("a digest");
                let id = KeyId::new(id).expect("an id");
                principal.session_of = Some(SessionKey::new(id, &digest));
                principal
            }
            (_, user) => Principal::new(holder(user)),
        };
        principal.keep_for = HOUR;
        Ok(principal)
    }
}
