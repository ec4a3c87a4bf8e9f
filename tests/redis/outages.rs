//! The server is killed, hangs, answers with errors, and comes back.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use redis::{Cmd, aio::MultiplexedConnection};
use tower_api_key::{
    Allowance, BackendError, Check, Clock, ConnectRedis, OnOutage, Quota, RateLimiter,
    RedisRateLimiter, Subject, SystemClock, Tiers,
};

use super::{count, daily, is_admitted, server::Server, support::World, tier, until};

const CALLER: Subject<'_> = Subject::new("k1");

/// A quota of 40 in a day, so of 10 in an outage.
fn connect(server: &Server) -> ConnectRedis {
    // Longer than a busy machine takes, and not so long that a test of silence would be.
    RedisRateLimiter::connect(&server.address, daily(40)).with_timeout(Duration::from_secs(1))
}

/// By which limit a request was counted: 40 by the server, 10 in an outage.
async fn limit(limiter: &RedisRateLimiter) -> u32 {
    let usage = match count(limiter, CALLER).await {
        Allowance::Admitted(usage) => usage,
        Allowance::Refused(refusal) => refusal.usage,
        other => panic!("{other:?}"),
    };
    usage.tightest().unwrap().quota().limit()
}

async fn comes_back(limiter: &RedisRateLimiter) {
    until("the server counts again", async || {
        limit(limiter).await == 40
    })
    .await;
}

/// How many of so many requests are admitted.
async fn admitted_of(limiter: &RedisRateLimiter, requests: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..requests {
        admitted += u32::from(is_admitted(limiter, CALLER).await);
    }
    admitted
}

/// Another client of the same server.
async fn client(server: &Server) -> MultiplexedConnection {
    let client = redis::Client::open(&*server.address).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn ask<T: redis::FromRedisValue>(client: &MultiplexedConnection, command: &str) -> T {
    let mut words = Cmd::new();
    words.arg(command.split(' ').collect::<Vec<_>>());
    words.query_async(&mut client.clone()).await.unwrap()
}

#[tokio::test]
async fn while_the_server_is_down_a_share_of_the_quota_counts() {
    let server = Server::start();
    let limiter = connect(&server).await.unwrap();
    assert_eq!(limit(&limiter).await, 40);
    server.kill();
    assert_eq!(admitted_of(&limiter, 30).await, 10);
    assert_eq!(limit(&limiter).await, 10);
    server.start_again();
    comes_back(&limiter).await;
    // What the server forgot when it was killed is counted anew, and exactly.
    let used = 40 - super::remaining(&limiter, CALLER).await;
    assert_eq!(admitted_of(&limiter, 50).await, 40 - used);
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_the_first_and_nobody_else() {
    let server = Server::start();
    let limiter = connect(&server).await.unwrap();
    assert_eq!(admitted_of(&limiter, 5).await, 5);
    server.pause();
    let began = Instant::now();
    assert_eq!(limit(&limiter).await, 10);
    assert!(began.elapsed() >= Duration::from_secs(1), "it was asked");
    let began = Instant::now();
    assert_eq!(admitted_of(&limiter, 300).await, 9);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "nobody waits again"
    );
    server.resume();
    comes_back(&limiter).await;
    // It has forgotten nothing: those of before are counted.
    assert!(super::remaining(&limiter, CALLER).await <= 40 - 7);
}

#[tokio::test]
async fn where_that_is_set_an_outage_refuses_with_503() {
    let server = Server::start();
    let limiter = connect(&server)
        .with_on_outage(OnOutage::Refuse)
        .await
        .unwrap();
    let world = World::with(|builder| builder.with_rate_limiter(limiter)).await;
    let key = world.key(&[]).await;
    world.get("/me", key.text.expose()).await.granted();
    for hangs in [false, true] {
        match hangs {
            true => server.pause(),
            false => server.kill(),
        }
        for _ in 0..5 {
            let answer = world.get("/me", key.text.expose()).await;
            assert_eq!(answer.status, 503);
            assert_eq!(answer.code(), "limiter_unavailable");
            assert!(answer.headers.contains_key("retry-after"));
            assert!(answer.seen.is_none(), "the handler ran");
        }
        match hangs {
            true => server.resume(),
            false => server.start_again(),
        }
        until("it is served again", async || {
            world.get("/me", key.text.expose()).await.status == 200
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_an_error_is_an_outage_too() {
    let server = Server::start();
    let (limiter, client) = (connect(&server).await.unwrap(), client(&server).await);
    // No memory left, as the server sees it.
    ask::<()>(&client, "CONFIG SET maxmemory 1").await;
    assert_eq!(admitted_of(&limiter, 30).await, 10);
    ask::<()>(&client, "CONFIG SET maxmemory 0").await;
    comes_back(&limiter).await;
    // So is a server that only repeats what another one does.
    ask::<()>(&client, "REPLICAOF 127.0.0.1 1").await;
    assert_eq!(limit(&limiter).await, 10);
    ask::<()>(&client, "REPLICAOF NO ONE").await;
    comes_back(&limiter).await;
}

#[tokio::test]
async fn a_share_is_at_least_one_and_no_limit_stays_none() {
    let server = Server::start();
    let (free, small) = (tier("free"), tier("small"));
    let two = Quota::per_day(2).unwrap();
    let tiers = Tiers::default()
        .with_unlimited_tier(free.clone())
        .with_tier(small.clone(), [two])
        .unwrap();
    let limiter = RedisRateLimiter::connect(&server.address, tiers).with_share(10);
    let limiter = limiter.await.unwrap();
    server.kill();
    let caller = CALLER.with_tier(&small);
    assert!(is_admitted(&limiter, caller).await);
    assert!(!is_admitted(&limiter, caller).await);
    for _ in 0..100 {
        assert!(is_admitted(&limiter, CALLER.with_tier(&free)).await);
    }
    let address = "192.0.2.1".parse().unwrap();
    let anonymous = Subject::anonymous().with_address(address);
    let mut admitted = 0;
    for _ in 0..20 {
        admitted += u32::from(is_admitted(&limiter, anonymous).await);
    }
    assert_eq!(admitted, 10, "a tenth of the tier for who sends no key");
}

#[tokio::test]
async fn tiers_that_change_in_an_outage_are_in_force_in_it() {
    let server = Server::start();
    let limiter = connect(&server).await.unwrap();
    server.kill();
    assert_eq!(admitted_of(&limiter, 30).await, 10);
    limiter.set_tiers(daily(80)).unwrap();
    assert_eq!(admitted_of(&limiter, 30).await, 10);
    server.start_again();
    until("the server counts again", async || {
        limit(&limiter).await == 80
    })
    .await;
}

/// Not even the one who finds out: a task of the limiter's does what has to be done.
#[tokio::test]
async fn requests_that_are_dropped_in_an_outage_leave_nothing_behind() {
    let server = Server::start();
    let limiter = connect(&server).await.unwrap();
    server.pause();
    for _ in 0..100 {
        let Check::Later(mut answer) = limiter.check(CALLER, SystemClock::new().now()) else {
            panic!("nobody has waited for the server yet");
        };
        poll_fn(|context| {
            assert!(answer.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    assert_eq!(limit(&limiter).await, 10);
    server.resume();
    comes_back(&limiter).await;
    server.kill();
    assert_eq!(limit(&limiter).await, 10);
    server.start_again();
    comes_back(&limiter).await;
}

/// Each of them gives up before the limiter does, and still the server is found to hang.
#[tokio::test]
async fn a_layer_that_waits_less_than_the_limiter_finds_out_too() {
    let server = Server::start();
    let limiter = connect(&server).with_timeout(Duration::from_millis(300));
    let limiter = limiter.await.unwrap();
    // A quarter of a second is the layer's.
    let world = World::with(|builder| builder.with_rate_limiter(limiter)).await;
    let key = world.key(&[]).await;
    // By which limit a request was counted, if it was.
    let limit = async || {
        let answer = world.get("/me", key.text.expose()).await;
        if answer.status == 503 {
            assert_eq!(answer.code(), "limiter_unavailable");
            return None;
        }
        answer.granted();
        let policy = answer.headers["ratelimit-policy"].to_str().unwrap();
        let (_, policy) = policy.split_once("q=").unwrap();
        policy.split(';').next().unwrap().parse::<u32>().ok()
    };
    until("the server counts", async || limit().await == Some(40)).await;
    server.pause();
    assert_eq!(limit().await, None);
    let refused = AtomicUsize::new(1);
    until("this process counts for itself", async || {
        let limit = limit().await;
        refused.fetch_add(usize::from(limit.is_none()), Ordering::SeqCst);
        limit == Some(10)
    })
    .await;
    assert!(refused.into_inner() < 10);
    server.resume();
    until("the server counts again", async || {
        limit().await == Some(40)
    })
    .await;
}

/// As many do with connections that are idle: no request has to find out.
#[tokio::test]
async fn a_connection_that_the_server_closes_is_opened_again_before_it_is_needed() {
    let server = Server::start();
    let limiter = connect(&server)
        .with_on_outage(OnOutage::Refuse)
        .await
        .unwrap();
    let client = client(&server).await;
    let counted = async || {
        let stats: String = ask(&client, "INFO commandstats").await;
        let stats = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        stats
            .unwrap()
            .split(',')
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    for closed in 1..3 {
        assert_eq!(counted().await, closed);
        ask::<u32>(&client, "CLIENT KILL TYPE normal").await;
        until("the limiter has tried the server", async || {
            counted().await > closed
        })
        .await;
    }
    drop(limiter);
}

/// Accepts and closes: what a server does that has no room for a client more.
async fn closing_server() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("redis://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            counting.fetch_add(1, Ordering::SeqCst);
            drop(client);
        }
    });
    (address, accepted)
}

#[tokio::test]
async fn in_an_outage_the_server_is_tried_once_a_second() {
    let (address, accepted) = closing_server().await;
    let began = Instant::now();
    let limiter = RedisRateLimiter::connect(&address, daily(40)).with_start_in_outage(true);
    let limiter = limiter.await.unwrap();
    let asked = AtomicUsize::new(0);
    // Once when it was made, at once again, and then each second.
    until("it was tried four times", async || {
        asked.fetch_add(1, Ordering::SeqCst);
        assert_eq!(limit(&limiter).await, 10);
        accepted.load(Ordering::SeqCst) == 4
    })
    .await;
    assert!(
        began.elapsed() >= Duration::from_millis(1_990),
        "{:?}",
        began.elapsed()
    );
    assert!(asked.into_inner() > 50);
}

#[tokio::test]
async fn a_limiter_may_be_made_in_an_outage() {
    let server = Server::start();
    server.kill();
    connect(&server).await.expect_err("by default it may not");
    let limiter = connect(&server).with_start_in_outage(true).await.unwrap();
    assert_eq!(admitted_of(&limiter, 30).await, 10);
    let refuses = connect(&server).with_start_in_outage(true);
    let refuses = refuses.with_on_outage(OnOutage::Refuse).await.unwrap();
    let Check::Later(answer) = refuses.check(CALLER, SystemClock::new().now()) else {
        panic!("what refuses answers with an error");
    };
    assert!(matches!(answer.await, Err(BackendError::Unavailable(_))));
    server.start_again();
    comes_back(&limiter).await;
    let wrong = server.address.replace("redis://:", "redis://:not-");
    let wrong = RedisRateLimiter::connect(wrong, daily(40)).with_start_in_outage(true);
    wrong.await.expect_err("that is no outage");
}

#[cfg(all(feature = "metrics", feature = "tracing"))]
#[tokio::test]
async fn an_outage_is_told_once_and_each_request_in_it_is_counted() {
    use super::watch::{Watch, counts};

    const FALLBACK: &str = "tower_api_key_limiter_fallback_total";
    let watch = Watch::default();
    let _guards = watch.begin();
    let server = Server::start();
    let limiter = connect(&server).await.unwrap();
    assert_eq!(admitted_of(&limiter, 5).await, 5);
    assert_eq!(watch.counter(FALLBACK), counts([]));
    server.kill();
    let began = Instant::now();
    until("it is told", async || !watch.events().is_empty()).await;
    assert_eq!(admitted_of(&limiter, 300).await, 10);
    assert_eq!(
        watch.counter(FALLBACK),
        counts([("admitted", 10), ("refused", 290)])
    );
    let told = watch.take();
    // At once and after each second.
    let tries = 1 + began.elapsed().as_secs() as usize;
    assert!((1..=1 + tries).contains(&told.len()), "{told:?}");
    for event in told {
        assert_eq!(event.message, "backend failed");
        assert_eq!(event.fields["backend"], "limiter");
    }
    server.start_again();
    comes_back(&limiter).await;
    watch.take();
    admitted_of(&limiter, 5).await;
    assert_eq!(watch.counter(FALLBACK), counts([]));
    assert_eq!(watch.take().len(), 0);
}

/// Each request is told as refused, but not why again and again.
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[tokio::test]
async fn an_outage_that_refuses_is_told_once_too() {
    use super::watch::Watch;

    let watch = Watch::default();
    let _guards = watch.begin();
    let server = Server::start();
    let limiter = connect(&server).with_on_outage(OnOutage::Refuse);
    let limiter = limiter.await.unwrap();
    let world = World::with(|builder| builder.with_rate_limiter(limiter)).await;
    let key = world.key(&[]).await;
    world.get("/me", key.text.expose()).await.granted();
    watch.take();
    let began = Instant::now();
    server.kill();
    let failed = || {
        let mut events = watch.events();
        events.retain(|event| event.message == "backend failed");
        events.len()
    };
    until("it is told", async || failed() > 0).await;
    for _ in 0..100 {
        assert_eq!(world.get("/me", key.text.expose()).await.status, 503);
    }
    // At once and after each second.
    let tries = 1 + began.elapsed().as_secs() as usize;
    assert!((1..=1 + tries).contains(&failed()), "{:?}", watch.events());
    let refused = watch.counter("tower_api_key_requests_total");
    assert_eq!(refused["limiter_unavailable"], 100);
    let failures = watch.counter("tower_api_key_backend_failures_total");
    assert_eq!(failures["limiter"], failed() as u64);
}

/// The place that the layer keeps for a key remembers it, also through an outage.
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[tokio::test]
async fn an_unknown_tier_is_told_once_for_a_key() {
    use super::watch::Watch;

    let watch = Watch::default();
    let _guards = watch.begin();
    let server = Server::start();
    let limiter = connect(&server).await.unwrap();
    let (gone, place) = (tier("gone"), tower_api_key::Place::default());
    let mut caller = CALLER.with_tier(&gone);
    caller.place = Some(&place);
    for _ in 0..3 {
        assert!(is_admitted(&limiter, caller).await);
    }
    let told = watch.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].message, "unknown tier");
    assert_eq!(told[0].fields["tier"], "gone");
    server.kill();
    assert!(is_admitted(&limiter, caller).await);
    assert!(
        watch
            .take()
            .iter()
            .all(|event| event.message == "backend failed")
    );
}

/// Also where the tier that counts instead has no limit, and where the request costs nothing.
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[tokio::test]
async fn an_unknown_tier_is_told_where_nothing_is_counted_and_when_tiers_change() {
    use super::watch::Watch;

    let watch = Watch::default();
    let _guards = watch.begin();
    let limiter = super::connect(&super::server::own_name("unknown"), daily(40));
    let limiter = limiter.await.unwrap();
    let (gone, place) = (tier("gone"), tower_api_key::Place::default());
    let caller = CALLER.with_tier(&gone).with_place(&place).with_cost(0);
    let told = async |caller| {
        for _ in 0..3 {
            assert!(is_admitted(&limiter, caller).await);
        }
        watch.take().len()
    };
    assert_eq!(told(caller).await, 1, "of what costs nothing");
    let unlimited = Tiers::default().with_unlimited_tier(tier("standard"));
    limiter.set_tiers(unlimited).unwrap();
    let caller = caller.with_cost(1);
    assert_eq!(told(caller).await, 1, "by other tiers, without a limit");
    let known = daily(40).with_unlimited_tier(gone.clone());
    limiter.set_tiers(known).unwrap();
    assert_eq!(told(caller).await, 0);
    limiter.set_tiers(daily(40)).unwrap();
    assert_eq!(told(caller).await, 1, "once it has gone again");
}
