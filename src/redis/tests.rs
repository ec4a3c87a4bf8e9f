//! What the script decides, held against the arithmetic in memory: at times that the test gives.

use std::{
    env,
    future::poll_fn,
    process,
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use ::redis::{Cmd, Value, cmd};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use super::*;
use crate::{
    clock::Timestamp,
    rate_limiter::{Algorithm, CountBy, Quota, Refusal, window::tests::waits},
};

const SECOND: u64 = 1_000_000;
/// In 2026, so that no number is smaller than in life.
const START: u64 = 1_795_248_000_000_007;

/// A limiter whose script is told the time, beside one in memory.
struct Pair {
    redis: RedisRateLimiter,
    memory: MemoryRateLimiter,
}

impl Pair {
    async fn new(tiers: &Tiers) -> Self {
        Self {
            redis: connect(tiers).await,
            memory: MemoryRateLimiter::new(tiers.clone()),
        }
    }

    fn set_tiers(&self, tiers: &Tiers) {
        self.redis.set_tiers(tiers.clone()).unwrap();
        self.memory.set_tiers(tiers.clone()).unwrap();
    }

    async fn ask(&self, caller: &Subject<'_>, micros: u64) -> (Allowance, Allowance) {
        let now = Now::new(Timestamp::MIN, Duration::from_micros(micros));
        (
            ask(&self.redis, caller, micros).await,
            self.memory.count(caller, now),
        )
    }

    /// The same answer of both, but for one number.
    async fn agree(&self, caller: &Subject<'_>, micros: u64) -> Allowance {
        let (redis, memory) = self.ask(caller, micros).await;
        let (ours, theirs) = (parts(&redis), parts(&memory));
        assert_eq!(ours.0, theirs.0, "{redis:?} and {memory:?}");
        for (ours, theirs) in ours.1.quotas().zip(theirs.1.quotas()) {
            assert_eq!(ours.quota(), theirs.quota());
            assert_eq!(ours.remaining(), theirs.remaining());
            match ours.remaining() {
                // Above a limit that was lowered more than one group has to be left behind.
                0 => assert!(ours.reset() >= theirs.reset(), "{redis:?} and {memory:?}"),
                _ => assert_eq!(ours.reset(), theirs.reset()),
            }
        }
        redis
    }
}

/// Whether it was refused, by which quota and for how long; and the rest.
fn parts(allowance: &Allowance) -> (Option<(&str, &str, Duration)>, &Usage) {
    match allowance {
        Allowance::Admitted(usage) => (None, usage),
        Allowance::Refused(Refusal {
            tier,
            quota,
            retry_after,
            usage,
        }) => (Some((tier.as_str(), quota, *retry_after)), usage),
    }
}

fn refused_for(allowance: &Allowance) -> Option<Duration> {
    parts(allowance).0.map(|(_, _, retry_after)| retry_after)
}

async fn connect(tiers: &Tiers) -> RedisRateLimiter {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let address = env::var("TEST_REDIS").expect(
        "this test needs a Redis server, and TEST_REDIS is not set: run it with `scripts/with-redis \
         cargo test …`",
    );
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    RedisRateLimiter::connect(address, tiers.clone())
        .with_prefix(format!("script:{}:{count}", process::id()))
        .with_timeout(Duration::from_secs(20))
        .await
        .unwrap()
}

/// What the script answers at this time.
async fn ask(limiter: &RedisRateLimiter, caller: &Subject<'_>, micros: u64) -> Allowance {
    let shared = &limiter.shared;
    let (ready, connection) = (shared.ready.load_full(), shared.link.connection().unwrap());
    let (plan, _) = ready.plans.plan(caller);
    let prefix = shared.link.prefix();
    let mut request = Request::new(connection.script(), prefix, &ready, plan, caller);
    request.command.arg(micros);
    link::call(&connection, &request).await.unwrap()
}

fn tier(name: &str) -> Tier {
    Tier::new(name).unwrap()
}

/// The tier of keys that say nothing, with these quotas.
fn standard(quotas: impl IntoIterator<Item = Quota>) -> Tiers {
    Tiers::default()
        .with_tier(tier("standard"), quotas)
        .unwrap()
}

fn quota(name: &str, limit: u64, seconds: u64, algorithm: Algorithm) -> Quota {
    let quota = Quota::new(name, limit, Duration::from_secs(seconds)).unwrap();
    quota.with_algorithm(algorithm)
}

const ALGORITHMS: [Algorithm; 3] = [
    Algorithm::SlidingWindow,
    Algorithm::Gcra,
    Algorithm::FixedWindow,
];

/// Requests of these costs, each so long after the one before, by quotas that may change.
#[derive(Debug, Clone)]
enum Step {
    Ask { wait: u64, cost: u32 },
    Change(Vec<Quota>),
}

fn quotas() -> impl Strategy<Value = Vec<Quota>> {
    let limits = prop_oneof![1_u64..70, 55_u64..260, 900_u64..1_100, 3_000_u64..9_000];
    let windows = prop_oneof![
        Just(1_u64),
        Just(60),
        Just(3_600),
        Just(86_400),
        1_u64..100_000
    ];
    let quota = (limits, windows, prop::sample::select(&ALGORITHMS[..]));
    prop::collection::vec(quota, 1..=3).prop_map(|quotas| {
        let named = quotas.into_iter().zip(["one", "two", "three"]);
        named
            .map(|((limit, seconds, algorithm), name)| quota_of(name, limit, seconds, algorithm))
            .collect()
    })
}

fn quota_of(name: &str, limit: u64, seconds: u64, algorithm: Algorithm) -> Quota {
    quota(name, limit.min(seconds * SECOND), seconds, algorithm)
}

/// Waits that lie close together, spread over the window of the first quota, or span it.
fn steps(quotas: &[Quota], changes: bool) -> impl Strategy<Value = Vec<Step>> + use<> {
    let window = quotas[0].window().as_secs() * SECOND;
    let limit = quotas[0].limit();
    let wait = waits(window);
    let cost = prop_oneof![4 => Just(1), 3 => 1_u32..50, 2 => 1..limit + 2];
    let ask = (wait, cost).prop_map(|(wait, cost)| Step::Ask { wait, cost });
    let names = quotas.len();
    let change = self::quotas()
        .prop_filter("quotas of the same names", move |quotas| {
            quotas.len() == names
        })
        .prop_map(Step::Change);
    let step = prop_oneof![40 => ask, u32::from(changes) => change];
    prop::collection::vec(step, 1..90)
}

fn histories(changes: bool) -> impl Strategy<Value = (Vec<Quota>, Vec<Step>)> {
    quotas().prop_flat_map(move |quotas| (Just(quotas.clone()), steps(&quotas, changes)))
}

/// Follows random histories with both limiters; of how many requests were admitted and refused.
fn follow(changes: bool, cases: u32) -> (u32, u32) {
    let runtime = Runtime::new().unwrap();
    let pair = runtime.block_on(Pair::new(&Tiers::default()));
    let (case, admitted, refused) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let followed = runner.run(&histories(changes), |(quotas, steps)| {
        let caller = format!("caller {}", case.fetch_add(1, Ordering::Relaxed));
        let caller = Subject::new(&caller);
        pair.set_tiers(&standard(quotas));
        let mut now = START;
        runtime.block_on(async {
            for step in &steps {
                match step {
                    Step::Change(quotas) => pair.set_tiers(&standard(quotas.clone())),
                    Step::Ask { wait, cost } => {
                        now += wait;
                        let allowance = pair.agree(&caller.with_cost(*cost), now).await;
                        let outcome = match refused_for(&allowance) {
                            None => &admitted,
                            Some(_) => &refused,
                        };
                        outcome.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Ok(())
    });
    followed.unwrap();
    (admitted.into_inner(), refused.into_inner())
}

#[test]
fn the_script_decides_as_memory_does() {
    let (admitted, refused) = follow(false, 300);
    assert!(admitted > 1_000 && refused > 1_000, "{admitted} {refused}");
}

#[test]
fn the_script_goes_on_with_what_other_quotas_counted() {
    follow(true, 200);
}

#[tokio::test]
async fn the_largest_quotas_are_counted_exactly() {
    for algorithm in ALGORITHMS {
        let ten_years = 10 * 366 * 86_400;
        let largest = quota("ever", u32::MAX.into(), ten_years, algorithm);
        let pair = Pair::new(&standard([largest])).await;
        let caller = Subject::new("k1");
        let all_but_one = caller.with_cost(u32::MAX - 1);
        for (caller, micros) in [
            (&all_but_one, START),
            (&caller, START + 1),
            (&caller, START + 2),
            (&all_but_one, START + ten_years * SECOND - 1),
            (&all_but_one, START + ten_years * SECOND + 1),
        ] {
            pair.agree(caller, micros).await;
        }
    }
}

/// One by one these would be so many groups that the server did nothing else for a minute.
#[tokio::test]
async fn a_quota_lowered_from_the_largest_is_counted_in_no_time() {
    let largest = quota("day", u32::MAX.into(), 86_400, Algorithm::SlidingWindow);
    let limiter = connect(&standard([largest])).await;
    let caller = Subject::new("k1");
    for number in 0..4 {
        let quarter = caller.with_cost(u32::MAX / 4);
        let asked = ask(&limiter, &quarter, START + number * SECOND).await;
        assert_eq!(refused_for(&asked), None);
    }
    let lowered = quota("day", 10, 86_400, Algorithm::SlidingWindow);
    limiter.set_tiers(standard([lowered])).unwrap();
    let now = START + 10 * SECOND;
    let waits = refused_for(&ask(&limiter, &caller, now).await).unwrap();
    // Of the latest quarter too only 10 matter, and they are left behind together.
    assert!(waits > Duration::from_secs(86_400 - 8), "{waits:?}");
    let allowance = ask(&limiter, &caller, now + waits.as_micros() as u64).await;
    assert_eq!(refused_for(&allowance), None);
}

/// Otherwise what counts as of now would move on with each request, and nobody ever come through.
#[tokio::test]
async fn who_is_refused_by_a_changed_quota_waits_once() {
    let before = quota("q", 5, 86_400, Algorithm::FixedWindow);
    let pair = Pair::new(&standard([before])).await;
    let caller = Subject::new("k1");
    pair.agree(&caller.with_cost(5), START).await;
    let after = quota("q", 5, 3_600, Algorithm::SlidingWindow);
    pair.set_tiers(&standard([after]));
    for minute in 0..60 {
        let allowance = pair.agree(&caller, START + minute * 60 * SECOND).await;
        let waits = Duration::from_secs(3_600 - minute * 60);
        assert_eq!(refused_for(&allowance), Some(waits));
    }
    let allowance = pair.agree(&caller, START + 3_600 * SECOND).await;
    assert_eq!(refused_for(&allowance), None);
}

/// He is told how long to wait, waits in vain now and then, and is served when that is over.
#[tokio::test]
async fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_window() {
    let minute = 60 * SECOND;
    for algorithm in ALGORITHMS {
        for back in [
            1,
            minute / 2,
            minute - 1,
            minute,
            minute + 1,
            1_440 * minute,
        ] {
            let limiter = connect(&standard([quota("q", 100, 60, algorithm)])).await;
            let caller = Subject::new("k1").with_cost(100);
            assert_eq!(refused_for(&ask(&limiter, &caller, START).await), None);
            let earlier = START - back;
            let waits = refused_for(&ask(&limiter, &caller, earlier).await).unwrap();
            assert!(
                waits <= Duration::from_secs(60),
                "{algorithm:?} {back}: {waits:?}"
            );
            let waits = waits.as_micros() as u64;
            for tenth in 1..10 {
                let now = earlier + waits * tenth / 10;
                assert!(refused_for(&ask(&limiter, &caller, now).await).is_some());
            }
            let waited = ask(&limiter, &caller, earlier + waits).await;
            assert_eq!(refused_for(&waited), None, "{algorithm:?} {back}");
        }
    }
}

/// A clock that is corrected by a little must not make the requests of a whole window count anew.
#[tokio::test]
async fn a_clock_that_is_set_back_leaves_requests_as_far_apart_as_they_were() {
    let limiter = connect(&standard([quota("q", 100, 60, Algorithm::SlidingWindow)])).await;
    let caller = Subject::new("k1");
    for number in 0..100 {
        let allowance = ask(&limiter, &caller, START + number * SECOND / 2).await;
        assert_eq!(refused_for(&allowance), None);
    }
    // The latest was half a second before 50.
    let now = START + 45 * SECOND;
    let waits = refused_for(&ask(&limiter, &caller, now).await).unwrap();
    let (exact, waits) = (Duration::from_millis(10_500), waits);
    // A group is of two requests, and its time is rounded up to a grain.
    assert!(
        (exact..exact + Duration::from_millis(510)).contains(&waits),
        "{waits:?}"
    );
    let then = now + waits.as_micros() as u64;
    assert!(refused_for(&ask(&limiter, &caller, then - 1).await).is_some());
    assert_eq!(refused_for(&ask(&limiter, &caller, then).await), None);
}

/// Who is refused by a quota that has changed in the meantime too.
#[tokio::test]
async fn a_clock_that_is_set_back_when_quotas_change_locks_nobody_out() {
    for from in ALGORITHMS {
        for by in ALGORITHMS {
            let limiter = connect(&standard([quota("q", 100, 3_600, from)])).await;
            let caller = Subject::new("k1").with_cost(100);
            assert_eq!(refused_for(&ask(&limiter, &caller, START).await), None);
            let earlier = START - 86_400 * SECOND;
            limiter
                .set_tiers(standard([quota("q", 100, 60, by)]))
                .unwrap();
            let waits = refused_for(&ask(&limiter, &caller, earlier).await).unwrap();
            assert!(
                waits <= Duration::from_secs(60),
                "{from:?} {by:?}: {waits:?}"
            );
            let waited = ask(&limiter, &caller, earlier + waits.as_micros() as u64).await;
            assert_eq!(refused_for(&waited), None, "{from:?} {by:?}");
        }
    }
}

/// The keys of this limiter in the server, with how long they last.
async fn keys(limiter: &RedisRateLimiter) -> Vec<(String, i64, u64)> {
    let mut calls = limiter.shared.link.connection().unwrap().calls();
    let pattern = format!("{}:*", limiter.shared.link.prefix());
    let names: Vec<String> = cmd("KEYS")
        .arg(pattern)
        .query_async(&mut calls)
        .await
        .unwrap();
    let mut keys = Vec::new();
    for name in names.into_iter().filter(|name| !name.contains(":nobody:")) {
        let lasts = cmd("PTTL")
            .arg(&name)
            .query_async(&mut calls)
            .await
            .unwrap();
        let length = cmd("STRLEN")
            .arg(&name)
            .query_async(&mut calls)
            .await
            .unwrap();
        keys.push((name, lasts, length));
    }
    keys
}

async fn count(limiter: &RedisRateLimiter, caller: Subject<'_>) -> Allowance {
    match limiter.check(caller, Now::new(Timestamp::MIN, Duration::ZERO)) {
        Check::Done(allowance) => allowance,
        Check::Later(answer) => answer.await.unwrap(),
    }
}

#[tokio::test]
async fn keys_are_small_and_last_as_long_as_they_count() {
    for algorithm in ALGORITHMS {
        let quotas = [
            quota("minute", 60, 60, algorithm),
            quota("hour", 6_000, 3_600, algorithm),
        ];
        let limiter = connect(&standard(quotas)).await;
        for _ in 0..60 {
            assert_eq!(
                refused_for(&count(&limiter, Subject::new("k1")).await),
                None
            );
        }
        let keys = keys(&limiter).await;
        assert_eq!(keys.len(), 2);
        for (name, lasts, length) in keys {
            let window = if name.ends_with(":minute") { 60 } else { 3_600 };
            // A bucket of which a hundredth is used is full again in a hundredth of the time.
            let used = match (algorithm, window) {
                (Algorithm::Gcra, 3_600) => 36,
                _ => window,
            };
            assert!(
                (1_000 * (used - 5)..=1_000 * (used + 2)).contains(&lasts),
                "{name} {lasts}"
            );
            assert!(length <= 160, "{name}: {length}");
        }
    }
}

/// A value that was refused is none, and neither is a request that asks for nothing.
#[tokio::test]
async fn who_is_refused_or_costs_nothing_leaves_nothing() {
    let quotas = [
        quota("one", 10, 60, Algorithm::SlidingWindow),
        quota("two", 5, 60, Algorithm::SlidingWindow),
    ];
    let limiter = connect(&standard(quotas)).await;
    assert!(refused_for(&count(&limiter, Subject::new("k1").with_cost(5)).await).is_none());
    let before = keys(&limiter).await;
    assert!(refused_for(&count(&limiter, Subject::new("k1")).await).is_some());
    assert_eq!(keys(&limiter).await.len(), before.len());
    assert!(refused_for(&count(&limiter, Subject::new("k2").with_cost(0)).await).is_none());
    assert_eq!(keys(&limiter).await.len(), 2);
}

#[tokio::test]
async fn no_text_of_a_caller_is_in_the_server() {
    let by_owner = tier("by-owner");
    let hour = Quota::per_hour(10).unwrap();
    let tiers = Tiers::default()
        .with_tier(by_owner.clone(), [hour])
        .unwrap();
    let tiers = tiers.with_count_by(&by_owner, CountBy::Owner).unwrap();
    let limiter = connect(&tiers).await;
    let long = "x".repeat(100_000);
    let callers = [
        Subject::new("plain-id"),
        Subject::new("https://issuer.example.net|user{1}\r\n*"),
        Subject::new(&long),
        Subject::new("k")
            .with_owner("studio 7")
            .with_tier(&by_owner),
        Subject::anonymous().with_address("192.0.2.7".parse().unwrap()),
    ];
    for caller in callers {
        count(&limiter, caller).await;
    }
    let prefix = limiter.shared.link.prefix().to_owned();
    let keys = keys(&limiter).await;
    assert_eq!(keys.len(), callers.len());
    for (name, _, _) in keys {
        let rest = name.strip_prefix(&format!("{prefix}:1:{{")).unwrap();
        let (digest, rest) = rest.split_once("}:").unwrap();
        assert!(digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(
            ["standard:hour", "by-owner:hour", "anonymous:hour"].contains(&rest),
            "{rest}"
        );
    }
}

async fn run(limiter: &RedisRateLimiter, command: &Cmd) -> Value {
    let mut calls = limiter.shared.link.connection().unwrap().calls();
    command.query_async(&mut calls).await.unwrap()
}

/// The key of the only caller, and its value.
async fn value_of(limiter: &RedisRateLimiter) -> (String, Vec<u8>) {
    let (name, ..) = keys(limiter).await.pop().unwrap();
    let Value::BulkString(value) = run(limiter, cmd("GET").arg(&name)).await else {
        panic!("{name} is gone");
    };
    (name, value)
}

#[tokio::test]
async fn a_value_that_is_none_counts_as_nothing() {
    let limiter = connect(&standard([quota("q", 10, 60, Algorithm::SlidingWindow)])).await;
    let caller = Subject::new("k1");
    let left = async || {
        let allowance = count(&limiter, caller).await;
        parts(&allowance).1.tightest().unwrap().remaining()
    };
    assert_eq!((left().await, left().await), (9, 8));
    let (name, right) = value_of(&limiter).await;
    let of_another_format = [b"\x09", &right[1..]].concat();
    let no_ticks = [&right[..17], &[0; 8], &right[25..]].concat();
    for wrong in [
        b"".as_slice(),
        b"17",
        &right[..29],
        &right[..49],
        &right[..right.len() - 1],
        &[&*right, &[0; 120]].concat(),
        &[0; 50],
        &[0xff; 50],
        &of_another_format,
        &no_ticks,
    ] {
        run(&limiter, cmd("SET").arg(&name).arg(wrong)).await;
        assert_eq!((left().await, left().await), (9, 8), "{wrong:?}");
    }
    run(&limiter, cmd("DEL").arg(&name)).await;
    run(&limiter, cmd("RPUSH").arg(&name).arg("a list")).await;
    assert_eq!((left().await, left().await), (9, 8));
    let (_, value) = value_of(&limiter).await;
    assert_eq!(value.len(), right.len());
}

#[tokio::test]
async fn a_script_that_fails_for_one_goes_on_for_the_others() {
    let limiter = connect(&Tiers::default()).await;
    let (ready, caller) = (limiter.shared.ready.load_full(), Subject::new("k1"));
    let (plan, _) = ready.plans.plan(&caller);
    let link = &limiter.shared.link;
    let connection = link.connection().unwrap();
    for wrong in ["no measure", "no answer"] {
        let mut request = Request::new(connection.script(), link.prefix(), &ready, plan, &caller);
        request.command = Cmd::new();
        match wrong {
            "no answer" => request.command.arg("ECHO").arg(wrong),
            _ => {
                let script = ["EVALSHA", connection.script(), "1", "key", wrong, wrong];
                request.command.arg(&script)
            }
        };
        let answer = Arc::clone(link).ask(Arc::clone(&connection), request).await;
        assert!(answer.is_err(), "{wrong}");
        let current = link.connection().expect("still there");
        assert!(Arc::ptr_eq(&current, &connection), "{wrong}");
    }
    assert!(refused_for(&count(&limiter, caller).await).is_none());
}

/// What counts in an outage must not stay another's.
#[tokio::test]
async fn tiers_that_two_set_at_once_are_the_same_in_an_outage() {
    let day = |limit| standard([quota("day", limit, 86_400, Algorithm::SlidingWindow)]);
    let limiter = connect(&day(4)).await;
    let shared = &limiter.shared;
    let local = shared.local.as_ref().unwrap();
    let together = Barrier::new(2);
    for _ in 0..2_000 {
        thread::scope(|threads| {
            for limit in [400, 800] {
                let (limiter, together) = (&limiter, &together);
                threads.spawn(move || {
                    together.wait();
                    limiter.set_tiers(day(limit)).unwrap();
                });
            }
        });
        let ready = shared.ready.load();
        assert_eq!(local.limiter.tiers(), ready.divided_by(local.share));
    }
}

/// As by `SCRIPT FLUSH`, or in a server that took over.
#[tokio::test]
async fn a_script_that_the_server_forgot_is_loaded_again() {
    let limiter = connect(&Tiers::default()).await;
    let connection = limiter.shared.link.connection().unwrap();
    let (ready, caller) = (limiter.shared.ready.load_full(), Subject::new("k1"));
    let (plan, _) = ready.plans.plan(&caller);
    let prefix = limiter.shared.link.prefix();
    let mut calls = connection.calls();
    let flushed: Value = cmd("SCRIPT")
        .arg("FLUSH")
        .query_async(&mut calls)
        .await
        .unwrap();
    assert_eq!(flushed, Value::Okay);
    let request = Request::new(connection.script(), prefix, &ready, plan, &caller);
    let allowance = link::call(&connection, &request).await.unwrap();
    assert_eq!(refused_for(&allowance), None);
}

/// A request that is dropped while it waits for its answer has taken nothing down.
#[tokio::test]
async fn a_dropped_request_leaves_the_others_their_answers() {
    let limiter = connect(&Tiers::default()).await;
    let now = Now::new(Timestamp::MIN, Duration::ZERO);
    for _ in 0..50 {
        let Check::Later(mut answer) = limiter.check(Subject::new("dropped"), now) else {
            panic!("the server is away");
        };
        // On its way, and then given up.
        poll_fn(|context| {
            assert!(answer.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(answer);
        assert_eq!(
            refused_for(&count(&limiter, Subject::new("kept")).await),
            None
        );
    }
    let kept = count(&limiter, Subject::new("kept")).await;
    let usage = parts(&kept).1.tightest().unwrap();
    assert_eq!(usage.remaining(), 1_000 - 51);
}
