//! Several limiters, also in several processes, count by the same quotas.

use std::{
    env,
    io::{self, Write},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
};
use tower_api_key::{Algorithm, CountBy, Quota, Subject, Tiers};

use super::{connect, count, daily, is_admitted, remaining, server, tier};

const PROCESSES: usize = 8;
const CALLERS: usize = 4;
const EACH: usize = 80;
const LIMIT: u64 = 1_000;

#[tokio::test]
async fn eight_processes_admit_exactly_the_quota() {
    for algorithm in ["sliding", "gcra", "fixed"] {
        let prefix = server::own_name("processes");
        let mut processes: Vec<_> = (0..PROCESSES).map(|_| start(&prefix, algorithm)).collect();
        let mut outputs = Vec::new();
        for process in &mut processes {
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
            while lines.next_line().await.unwrap().unwrap() != "ready" {}
            outputs.push(lines);
        }
        // All of them at once.
        for process in &mut processes {
            let mut input = process.stdin.take().unwrap();
            input.write_all(b"\n").await.unwrap();
        }
        let mut admitted = Vec::new();
        for mut lines in outputs {
            // To the end, beside what the harness writes.
            while let Some(line) = lines.next_line().await.unwrap() {
                admitted.extend(line.parse::<u64>());
            }
        }
        for mut process in processes {
            assert!(process.wait().await.unwrap().success());
        }
        assert_eq!(
            admitted.iter().sum::<u64>(),
            LIMIT,
            "{algorithm}: {admitted:?}"
        );
        let several = admitted.iter().filter(|admitted| **admitted > 0).count();
        assert!(several > 1, "it was no race: {admitted:?}");
    }
}

fn start(prefix: &str, algorithm: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "sharing::process_that_asks", "--nocapture"])
        .env("REDIS_PROCESS_PREFIX", prefix)
        .env("REDIS_PROCESS_ALGORITHM", algorithm)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// One of the eight. Where the tests are run, it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_that_asks() {
    let Ok(prefix) = env::var("REDIS_PROCESS_PREFIX") else {
        return;
    };
    let algorithm = match &*env::var("REDIS_PROCESS_ALGORITHM").unwrap() {
        "gcra" => Algorithm::Gcra,
        "fixed" => Algorithm::FixedWindow,
        _ => Algorithm::SlidingWindow,
    };
    let day = Quota::per_day(LIMIT).unwrap().with_algorithm(algorithm);
    let tiers = Tiers::default().with_tier(tier("standard"), [day]).unwrap();
    let limiter = connect(&prefix, tiers).await.unwrap();
    say("ready");
    io::stdin().read_line(&mut String::new()).unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let limiter = limiter.clone();
        callers.spawn(async move {
            let mut admitted = 0;
            for _ in 0..EACH {
                admitted += u32::from(is_admitted(&limiter, Subject::new("k1")).await);
            }
            admitted
        });
    }
    let admitted: u32 = callers.join_all().await.into_iter().sum();
    say(&admitted.to_string());
}

/// On a line of its own, whatever the harness has written before.
fn say(line: &str) {
    let mut output = io::stdout();
    output.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

#[tokio::test]
async fn one_prefix_is_shared_and_another_is_not() {
    let prefix = server::own_name("shared");
    let one = connect(&prefix, daily(3)).await.unwrap();
    let two = connect(&prefix, daily(3)).await.unwrap();
    let other = connect(&format!("{prefix}:other"), daily(3)).await.unwrap();
    let caller = Subject::new("k1");
    assert_eq!(remaining(&one, caller).await, 2);
    assert_eq!(remaining(&two, caller).await, 1);
    assert_eq!(remaining(&one.clone(), caller).await, 0);
    assert!(!is_admitted(&two, caller).await);
    assert_eq!(remaining(&other, caller).await, 2);
}

#[tokio::test]
async fn other_tiers_go_on_with_what_was_counted() {
    let prefix = server::own_name("changed");
    let one = connect(&prefix, daily(10)).await.unwrap();
    let two = connect(&prefix, daily(10)).await.unwrap();
    let caller = Subject::new("k1");
    for left in (6..10).rev() {
        assert_eq!(remaining(&one, caller).await, left);
    }
    one.set_tiers(daily(6)).unwrap();
    assert_eq!(one.tiers(), daily(6));
    assert_eq!(remaining(&one, caller).await, 1);
    // One process after the other is told, and nothing is lost or given twice in between.
    assert_eq!(remaining(&two, caller).await, 4);
    assert!(!is_admitted(&one, caller).await);
    two.set_tiers(daily(6)).unwrap();
    assert!(!is_admitted(&two, caller).await);
    two.set_tiers(daily(7)).unwrap();
    assert_eq!(remaining(&two, caller).await, 0);
    assert_eq!(two.tiers(), daily(7));
}

#[tokio::test]
async fn a_key_by_another_tier_begins_anew_and_finds_what_it_had() {
    let limiter = connect(&server::own_name("tiers"), daily(10))
        .await
        .unwrap();
    let premium = tier("premium");
    let (caller, upgraded) = (Subject::new("k1"), Subject::new("k1").with_tier(&premium));
    assert_eq!(remaining(&limiter, caller).await, 9);
    assert_eq!(remaining(&limiter, upgraded).await, 4_999);
    assert_eq!(remaining(&limiter, caller).await, 8);
}

/// Whatever they are called: a key, an owner, an address, with whatever in their names.
#[tokio::test]
async fn names_that_try_to_be_another_are_counted_apart() {
    let owners = tier("owners");
    let networks = tier("networks");
    let day = Quota::per_day(10).unwrap();
    let tiers = daily(10)
        .with_tier(owners.clone(), [day])
        .and_then(|tiers| tiers.with_tier(networks.clone(), [day]))
        .and_then(|tiers| tiers.with_count_by(&owners, CountBy::Owner))
        .and_then(|tiers| tiers.with_count_by(&networks, CountBy::Address))
        .unwrap();
    let limiter = connect(&server::own_name("names"), tiers).await.unwrap();
    let names = [
        "",
        "a",
        "a:b",
        "b",
        ":",
        "a:",
        "{a}",
        "{a}:b",
        "{",
        "}",
        "a}",
        "*",
        "a\n",
        "a\r\nb",
        "a\0",
        "A",
        "a ",
        "\u{e4}",
        "a\u{308}",
        "p",
        "pa",
        "o",
        "n",
        "standard:day",
        "%61",
        "k1 1",
    ];
    for name in names {
        let key = Subject::new(name);
        let owner = Subject::new("k1").with_owner(name).with_tier(&owners);
        // Nobody's, so counted as a key, in another tier.
        let nobodys = Subject::new(name).with_tier(&owners);
        for caller in [key, owner, nobodys] {
            assert_eq!(remaining(&limiter, caller).await, 9, "{caller:?}");
        }
    }
    for address in [
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "2001:db8:0:1::1",
        "::c000:201",
    ] {
        let caller = Subject::new("k1").with_tier(&networks);
        let caller = caller.with_address(address.parse().unwrap());
        assert_eq!(remaining(&limiter, caller).await, 9, "{address}");
    }
    let nowhere = Subject::new("k1").with_tier(&networks);
    assert_eq!(remaining(&limiter, nowhere).await, 9);
    for name in names {
        assert_eq!(remaining(&limiter, Subject::new(name)).await, 8, "{name:?}");
    }
}

/// More at once than the connection has places for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_share_one_connection() {
    let limiter = connect(&server::own_name("many"), daily(500))
        .await
        .unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..600 {
        let limiter = limiter.clone();
        callers.spawn(async move { is_admitted(&limiter, Subject::new("k1")).await });
    }
    let admitted = callers.join_all().await;
    assert_eq!(admitted.iter().filter(|admitted| **admitted).count(), 500);
    count(&limiter, Subject::new("k1")).await;
}
