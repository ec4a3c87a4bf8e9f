//! A check beside the same script called by hand, with the same client library and the same settings.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use ::redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, aio::MultiplexedConnection,
    cmd, io::tcp::TcpSettings,
};
use futures_util::{StreamExt, stream};
use tower_api_key::{
    Allowance, Check, Clock, Now, RateLimiter, RedisRateLimiter, Subject, SystemClock, Tiers,
};

use crate::{median, micros, note, own_name, row};

const CALLERS: usize = 1_000;
const ROUNDS: usize = 61;
const TIMES: usize = 512;
/// Longer than the machine is ever held up.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn check() {
    let url = std::env::var("TEST_REDIS").expect("run it with `scripts/with-redis cargo bench …`");
    let prefix = own_name("bench");
    let limiter = RedisRateLimiter::connect(&url, Tiers::default()).with_prefix(&prefix);
    let limiter = limiter.with_timeout(TIMEOUT).await.expect("connects");
    let by_hand = ByHand::new(&url, &prefix).await;
    race(&limiter, &by_hand, 1, "one after the other").await;
    race(&limiter, &by_hand, 64, "64 in flight").await;
}

async fn race(limiter: &RedisRateLimiter, by_hand: &ByHand, at_once: usize, how: &str) {
    let names: Vec<_> = (0..CALLERS)
        .map(|number| format!("01JD4ZK8R7Q2-{number:08}"))
        .collect();
    let now = SystemClock::new().now();
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let callers = (0..TIMES).map(|time| &*names[(round * TIMES + time) * 7 % CALLERS]);
        let checks = callers.clone().map(|caller| admitted(limiter, caller, now));
        let checks: Vec<_> = checks.collect();
        let calls: Vec<_> = callers.map(|caller| by_hand.admitted(caller)).collect();
        // Each comes first as often as the other.
        let (spent, spent_by_hand) = if round % 2 == 0 {
            let spent = time(checks, at_once).await;
            (spent, time(calls, at_once).await)
        } else {
            let spent_by_hand = time(calls, at_once).await;
            (time(checks, at_once).await, spent_by_hand)
        };
        // The first round warms up.
        if round > 0 {
            ours.push(spent);
            theirs.push(spent_by_hand);
            ratios.push(spent / spent_by_hand);
        }
    }
    note(
        &format!("Redis: µs for a check, {how}; by hand"),
        format!("{:.1}, {:.1}", median(ours), median(theirs)),
    );
    row(
        &format!("Redis: a check against the same script by hand, {how}"),
        false,
        1.2,
        median(ratios),
    );
}

/// Microseconds for each, of so many at once.
async fn time(calls: Vec<impl Future<Output = ()>>, at_once: usize) -> f64 {
    let start = Instant::now();
    if at_once == 1 {
        for call in calls {
            call.await;
        }
    } else {
        stream::iter(calls)
            .buffer_unordered(at_once)
            .collect::<()>()
            .await;
    }
    micros(start.elapsed()) / TIMES as f64
}

async fn admitted(limiter: &RedisRateLimiter, caller: &str, now: Now) {
    let Check::Later(answer) = limiter.check(Subject::new(caller), now) else {
        panic!("the server is away");
    };
    let allowance = answer.await.expect("answered");
    assert!(matches!(allowance, Allowance::Admitted(_)));
    black_box(allowance);
}

/// What a limiter must do at least: name the key, call the script, and read its answer.
struct ByHand {
    calls: MultiplexedConnection,
    script: String,
    prefix: String,
    measure: Vec<u8>,
}

impl ByHand {
    async fn new(url: &str, prefix: &str) -> Self {
        let server = url.into_connection_info().expect("a URL");
        let settings = server
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let tcp = TcpSettings::default().set_nodelay(true);
        let server = server.set_redis_settings(settings).set_tcp_settings(tcp);
        let client = Client::open(server).expect("a client");
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT));
        let calls = client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        let mut calls = calls.expect("connects");
        let script = cmd("SCRIPT")
            .arg("LOAD")
            .arg(include_str!("../../src/redis/count.lua"))
            .query_async(&mut calls)
            .await;
        // 1,000 in an hour, in grains of an eighth of a second, groups of 17 and microseconds.
        let mut measure = vec![1];
        measure.extend(1_000_u32.to_be_bytes());
        measure.extend(3_600_000_000_u64.to_be_bytes());
        measure.extend(125_000_u64.to_be_bytes());
        measure.extend(17_u32.to_be_bytes());
        Self {
            calls,
            script: script.expect("loaded"),
            prefix: format!("{prefix}:by-hand"),
            measure,
        }
    }

    async fn admitted(&self, caller: &str) {
        let answer: (u64, u64, u64, u64) = cmd("EVALSHA")
            .arg(&self.script)
            .arg(1)
            .arg(format!("{}:{caller}:hour", self.prefix))
            .arg(1)
            .arg(&self.measure)
            .query_async(&mut self.calls.clone())
            .await
            .expect("answered");
        assert_eq!(answer.0, 0);
        black_box(answer);
    }
}
