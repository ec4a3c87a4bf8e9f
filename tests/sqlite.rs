//! What is special about keys in SQLite: files, several stores on one of them, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::{
    fs,
    future::poll_fn,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    task::Poll,
    time::Duration,
};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tower_api_key::{
    BackendError, Durability, KeyQuery, KeyStore, OpenErrorKind, Operation, SqliteStore, Timestamp,
};

#[path = "support/sqlite.rs"]
mod files;

use files::{digest, fill, fresh, id, pool, read_only_pool, record};

#[tokio::test]
async fn keys_are_there_after_reopening() {
    let path = fresh();
    let store = SqliteStore::open(&path).await.unwrap();
    fill(&store, 3).await;
    drop(store);
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.find(&digest(2)).await.unwrap(), Some(record(2)));
    assert_eq!(all(&store).await, 3);
}

#[tokio::test]
async fn file_of_a_later_version_is_refused_and_left_alone() {
    let path = fresh();
    fill(&SqliteStore::open(&path).await.unwrap(), 1).await;
    execute(&path, "update tower_schema set version = 99").await;
    let error = SqliteStore::open(&path).await.unwrap_err();
    let OpenErrorKind::Newer { found: 99, known } = error.kind() else {
        panic!("{error}");
    };
    let versions = format!("version 99, and this crate knows versions up to {known}");
    assert_eq!(
        error.to_string(),
        format!("{}: its tables are of {versions}", path.display())
    );
    let version = format!("update tower_schema set version = {known} where version = 99");
    execute(&path, version.leak()).await;
    assert_eq!(all(&SqliteStore::open(&path).await.unwrap()).await, 1);
}

#[tokio::test]
async fn version_that_was_never_written_is_damage() {
    let path = fresh();
    drop(SqliteStore::open(&path).await.unwrap());
    execute(&path, "update tower_schema set version = -1").await;
    assert_eq!(refusal(&path).await, OpenErrorKind::Damaged);
}

#[tokio::test]
async fn file_of_another_kind_is_refused() {
    let path = fresh();
    let text = "This is a letter, and no database. ".repeat(200);
    fs::write(&path, &text).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::NotADatabase);
    let message = format!("{}: not a database", path.display());
    assert_eq!(error.to_string(), message);
    let source = std::error::Error::source(&error).expect("what SQLite said");
    assert!(source.to_string().contains("not a database"), "{source}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "left as it was");
}

#[tokio::test]
async fn damaged_file_is_refused() {
    let path = fresh();
    let pool = pool(&path).await;
    fill(&SqliteStore::with_pool(pool.clone()).await.unwrap(), 1).await;
    let checkpoint = sqlx::query("pragma wal_checkpoint(truncate)");
    checkpoint.execute(&pool).await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // All but the header of the first page, where the schema is.
    bytes[100..4_096].fill(0x5a);
    let damaged = fresh();
    fs::write(&damaged, bytes).unwrap();
    assert_eq!(refusal(&damaged).await, OpenErrorKind::Damaged);
}

#[tokio::test]
async fn places_without_a_file_are_told_apart() {
    let path = fresh();
    let folder = path.parent().unwrap();
    assert_eq!(refusal(folder).await, OpenErrorKind::NotADatabase);
    let nowhere = folder.join("missing").join("keys.db");
    assert_eq!(refusal(&nowhere).await, OpenErrorKind::NotFound);
    for memory in [":memory:", ""] {
        assert_eq!(refusal(Path::new(memory)).await, OpenErrorKind::InMemory);
    }
    let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
    let error = SqliteStore::with_pool(pool).await.unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::InMemory);
}

#[tokio::test]
async fn read_only_file_without_tables_is_refused() {
    let path = fresh();
    execute(&path, "create table of_the_host (id integer)").await;
    let read_only = read_only_pool(&path).await;
    let error = SqliteStore::with_pool(read_only).await.unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::ReadOnly);
}

#[tokio::test]
async fn tables_of_the_host_are_left_alone() {
    let path = fresh();
    execute(
        &path,
        "create table key (id integer);
         create table license (id integer);
         insert into key values (7);
         pragma user_version = 42",
    )
    .await;
    let pool = pool(&path).await;
    fill(&SqliteStore::with_pool(pool.clone()).await.unwrap(), 1).await;
    let theirs = sqlx::query_scalar::<_, i64>("select id from key");
    assert_eq!(theirs.fetch_one(&pool).await.unwrap(), 7);
    let version = sqlx::query_scalar::<_, i64>("pragma user_version");
    assert_eq!(version.fetch_one(&pool).await.unwrap(), 42);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_open_a_new_file_at_once() {
    let path = fresh();
    let openings = (0..8).map(|number| {
        let path = path.clone();
        tokio::spawn(async move {
            let store = SqliteStore::open(path).await.unwrap();
            store.insert(record(number)).await.unwrap();
        })
    });
    for opening in openings.collect::<Vec<_>>() {
        opening.await.unwrap();
    }
    assert_eq!(all(&SqliteStore::open(&path).await.unwrap()).await, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_on_one_file_see_each_others_changes() {
    let path = fresh();
    let here = SqliteStore::open(&path).await.unwrap();
    let there = SqliteStore::open(&path).await.unwrap();
    let told = there.changes().unwrap();

    let before = told.stamp();
    here.insert(record(1)).await.unwrap();
    until(|| !told.is_current("k1", before)).await;
    assert_eq!(there.find(&digest(1)).await.unwrap(), Some(record(1)));

    let before = told.stamp();
    let mut disabled = record(1);
    disabled.enabled = false;
    let disabled = here.update(disabled).await.unwrap();
    until(|| !told.is_current("k1", before)).await;
    assert!(told.is_current("k2", before), "and nothing else is told");
    assert_eq!(there.get(&id(1)).await.unwrap(), Some(disabled.clone()));

    let before = told.stamp();
    let mut regenerated = disabled;
    regenerated.digest = digest(2);
    here.update(regenerated).await.unwrap();
    until(|| !told.is_current("k1", before)).await;
    assert_eq!(there.find(&digest(1)).await.unwrap(), None);

    let before = told.stamp();
    here.delete(&id(1)).await.unwrap();
    until(|| !told.is_current("k1", before)).await;
    assert_eq!(there.find(&digest(2)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_are_no_change() {
    let path = fresh();
    let here = SqliteStore::open(&path).await.unwrap();
    let there = SqliteStore::open(&path).await.unwrap();
    let told = there.changes().unwrap();
    let before = told.stamp();
    fill(&here, 2).await;
    until(|| !told.is_current("k1", before)).await;
    let before = told.stamp();
    let used = [(id(0), Timestamp::from_unix_seconds(1))];
    here.record_last_used(&used).await.unwrap();
    // What comes later is told, so what came before would have been.
    here.delete(&id(1)).await.unwrap();
    until(|| !told.is_current("k1", before)).await;
    assert!(told.is_current("k0", before));
}

#[tokio::test]
async fn old_changes_are_forgotten() {
    let path = fresh();
    let pool = pool(&path).await;
    let store = SqliteStore::with_pool(pool.clone()).await.unwrap();
    fill(&store, 3).await;
    execute(&path, "update tower_tenant set key_seq = 8191").await;
    fill_from(&store, 3, 2).await;
    let kept = sqlx::query_scalar("select seq from tower_key_change order by seq");
    let kept: Vec<i64> = kept.fetch_all(&pool).await.unwrap();
    assert_eq!(kept, [8_192, 8_193]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_waits_for_another_process() {
    let path = fresh();
    let store = SqliteStore::open(&path).await.unwrap();
    let other = pool(&path).await;
    let lock = other.begin_with("begin immediate").await.unwrap();
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.insert(record(1)).await }
    });
    // Nobody who reads waits.
    assert_eq!(store.find(&digest(1)).await.unwrap(), None);
    let planned = tower_api_key::LicenseLedger::plan(&store, &Operation::Tick).await;
    assert_eq!(planned.unwrap(), []);
    assert!(!writing.is_finished());
    lock.rollback().await.unwrap();
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn full_disk_refuses_changes_until_there_is_space() {
    let path = fresh();
    // A page more than the tables and a few keys take.
    let full = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .pragma("max_page_count", "30");
    let full = SqlitePoolOptions::new().connect_with(full).await.unwrap();
    let store = SqliteStore::with_pool(full).await.unwrap();
    let mut kept = 0;
    let error = loop {
        let mut large = record(kept);
        large.name = "x".repeat(3_000);
        match store.insert(large).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1_000, "the disk is full some time");
    };
    let BackendError::Unavailable(source) = error else {
        panic!("a full disk is an outage, not {error}");
    };
    assert!(source.to_string().contains("full"), "{source}");
    assert_eq!(store.get(&id(kept)).await.unwrap(), None, "nothing of it");
    assert_eq!(all(&store).await as u64, kept, "requests go on");
    for number in 0..4 {
        assert!(store.delete(&id(number)).await.unwrap());
    }
    store.insert(record(kept)).await.unwrap();
    assert_eq!(all(&store).await as u64, kept - 3);
}

#[tokio::test]
async fn dropped_call_leaves_nothing_half_done() {
    let store = SqliteStore::open(fresh()).await.unwrap();
    for polls in 0..40 {
        let (mut insert, mut left) = (store.insert(record(polls)), polls);
        let cut = poll_fn(|context| match left.checked_sub(1) {
            Some(fewer) => {
                left = fewer;
                insert.as_mut().poll(context).map(Some)
            }
            None => Poll::Ready(None),
        });
        let answer = cut.await;
        drop(insert);
        let (by_id, by_digest) = (
            store.get(&id(polls)).await,
            store.find(&digest(polls)).await,
        );
        if let Some(kept) = by_id.unwrap() {
            assert_eq!(by_digest.unwrap(), Some(kept), "after {polls} polls");
        } else {
            assert!(answer.is_none(), "{answer:?} after {polls} polls");
            assert_eq!(by_digest.unwrap(), None, "after {polls} polls");
        }
    }
    store.insert(record(100)).await.unwrap();
}

/// Also the process that is killed, where it finds a path among its variables.
#[tokio::test]
async fn answered_changes_survive_kill_9() {
    if let Some(path) = std::env::var_os("STORE") {
        let store = SqliteStore::open(path)
            .with_durability(Durability::ProcessDeath)
            .await
            .unwrap();
        for number in 0.. {
            store.insert(record(number)).await.unwrap();
            println!("answered {number}");
        }
    }
    let path = fresh();
    let mut killed = this_test("answered_changes_survive_kill_9", &path);
    let output = BufReader::new(killed.stdout.take().unwrap());
    let mut answered = Vec::new();
    for line in output.lines().map_while(Result::ok) {
        // The name of the test stands before the first of them.
        if let Some((_, number)) = line.split_once("answered ") {
            answered.push(number.parse::<u64>().unwrap());
        }
        if answered.len() == 100 {
            killed.kill().unwrap();
        }
    }
    killed.wait().unwrap();
    assert!(answered.len() >= 100);
    let store = SqliteStore::open(&path).await.unwrap();
    for number in answered {
        let found = store.find(&digest(number)).await.unwrap();
        assert_eq!(found, Some(record(number)));
    }
    store.insert(record(1_000_000)).await.unwrap();
}

/// Also the other process, where it finds a path among its variables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_another_process_are_told() {
    if let Some(path) = std::env::var_os("STORE") {
        let store = SqliteStore::open(path).await.unwrap();
        let mut revoked = store.get(&id(1)).await.unwrap().unwrap();
        revoked.revoked_at = Some(revoked.created_at);
        store.update(revoked).await.unwrap();
        return;
    }
    let path = fresh();
    let store = SqliteStore::open(&path).await.unwrap();
    fill(&store, 2).await;
    let told = store.changes().unwrap();
    let before = told.stamp();
    let mut other = this_test("changes_of_another_process_are_told", &path);
    assert!(other.wait().unwrap().success());
    until(|| !told.is_current("k1", before)).await;
    let revoked = store.get(&id(1)).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some());
}

#[tokio::test]
async fn sqlite_is_one_that_does_not_corrupt_files() {
    let pool = pool(&fresh()).await;
    let version = sqlx::query_scalar::<_, String>("select sqlite_version()");
    let version = version.fetch_one(&pool).await.unwrap();
    let parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
    assert!(parts.ge([3, 51, 3]), "{version}");
}

#[tokio::test]
async fn debug_tells_the_place_and_no_key() {
    let path = fresh();
    let store = SqliteStore::open(&path).await.unwrap();
    fill(&store, 1).await;
    let place = path.to_str().unwrap();
    assert_eq!(
        format!("{store:?}"),
        format!("SqliteStore {{ place: {place:?}, .. }}")
    );
}

async fn refusal(path: &Path) -> OpenErrorKind {
    let error = SqliteStore::open(path).await.unwrap_err();
    assert_eq!(error.place(), path.to_str().unwrap());
    error.kind()
}

async fn execute(path: &Path, sql: &'static str) {
    let pool = pool(path).await;
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    pool.close().await;
}

async fn all(store: &SqliteStore) -> usize {
    let keys = store.list(&KeyQuery::first(usize::MAX)).await;
    keys.unwrap().len()
}

async fn fill_from(store: &SqliteStore, first: u64, keys: u64) {
    for number in first..first + keys {
        store.insert(record(number)).await.unwrap();
    }
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    waited.expect("it is told within moments");
}

/// One test of this file in a process of its own, on the file at `path`.
fn this_test(name: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("STORE", path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
