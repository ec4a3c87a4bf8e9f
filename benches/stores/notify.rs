//! How soon a change that one process made is known in the others.

use std::{
    env, io,
    process::{self, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};
use tower_api_key::{KeyDigest, KeyId, KeyRecord, KeyStore, PostgresStore, Timestamp};

use crate::{address, note, own_name, row};

const FOLLOWERS: usize = 7;
const CHANGES: usize = 300;
const WARM_UP: usize = 20;

/// One process changes a key again and again, the others say when each change was told to them.
///
/// From before the change is asked for until a follower that looks every 0.2 ms has seen it. Processes
/// of one machine share the system's clock.
pub(crate) async fn postgres() {
    let schema = own_name("notify");
    let store = PostgresStore::connect(address()).with_schema(&schema);
    let store = store.await.expect("connects");
    let created_at = Timestamp::from_unix_seconds(0);
    let record = KeyRecord::new(key(), KeyDigest::from_bytes([7; 32]), "Studio", created_at);
    store.insert(record.clone()).await.expect("inserted");

    let mut followers: Vec<_> = (0..FOLLOWERS).map(|_| Follower::start(&schema)).collect();
    for follower in &mut followers {
        assert_eq!(follower.says().await, READY);
    }
    let (mut calls, mut delays) = (Vec::new(), Vec::new());
    let mut record = store.get(&key()).await.expect("read").expect("there");
    for change in 0..WARM_UP + CHANGES {
        record.enabled = !record.enabled;
        let asked = since_1970();
        record = store.update(record).await.expect("updated");
        let answered = since_1970();
        for follower in &mut followers {
            let seen: u64 = follower.says().await.parse().expect("a number");
            if change >= WARM_UP {
                let delay = Duration::from_micros(seen).checked_sub(asked);
                delays.push(delay.expect("seen after it was asked for"));
            }
        }
        if change >= WARM_UP {
            calls.push(answered - asked);
        }
    }
    note(
        "PostgreSQL: ms until a change of a key is answered, p50",
        format!("{:.1}", percentile(&mut calls, 50)),
    );
    note(
        "PostgreSQL: ms until a change is known in 7 other processes, p50",
        format!("{:.1}", percentile(&mut delays, 50)),
    );
    row(
        "PostgreSQL: ms until a change is known in 7 other processes, p99",
        false,
        50.0,
        percentile(&mut delays, 99),
    );
}

/// The part of a process that follows: says for each change when it was seen, until nobody listens.
pub(crate) async fn follow(schema: &str) {
    thread::spawn(|| {
        // Ends when the one who changes does.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    let store = PostgresStore::connect(address()).with_schema(schema);
    let store = store.await.expect("connects");
    let seen = tokio::task::spawn_blocking(move || {
        let changes = store.changes().expect("it tells");
        let mut stamp = changes.stamp();
        println!("{READY}");
        loop {
            while changes.is_current(key(), stamp) {
                thread::sleep(Duration::from_micros(200));
            }
            let seen = since_1970().as_micros();
            stamp = changes.stamp();
            println!("{seen}");
        }
    });
    seen.await.expect("goes on until the process ends");
}

/// A process that follows.
struct Follower {
    says: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Follower {
    fn start(schema: &str) -> Self {
        let program = env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .args([FOLLOW, schema])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let says = process.stdout.take().expect("piped");
        Self {
            says: BufReader::new(says).lines(),
            _process: process,
        }
    }

    async fn says(&mut self) -> String {
        let line = self.says.next_line().await.expect("readable");
        line.expect("follows until the end")
    }
}

/// The argument with which this program follows.
pub(crate) const FOLLOW: &str = "follow";
const READY: &str = "ready";

fn key() -> KeyId {
    KeyId::new("key").expect("an id")
}

fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // As exact as followers tell it.
    let micros = since.expect("after 1970").as_micros();
    Duration::from_micros(u64::try_from(micros).expect("before the year 500,000"))
}

/// In milliseconds.
fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    times[times.len() * percent / 100].as_secs_f64() * 1e3
}
