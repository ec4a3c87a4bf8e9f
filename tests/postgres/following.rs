//! What one process changes, the others are told.

use std::time::Duration;

use sqlx::Connection;
use tower_api_key::{KeyId, KeyStore, PostgresStore};

use super::{change, connect, record, server, stamp, told, until};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn changes_are_notified() {
    let schema = server::own_name("notified");
    let ours = connect(&schema).with_poll_interval(HOUR).await.unwrap();
    let theirs = connect(&schema).with_poll_interval(HOUR).await.unwrap();
    let id = record(1).id;
    ours.insert(record(1)).await.unwrap();
    // The first may still be found when the other begins to listen. After it nothing polls.
    for _ in 0..20 {
        for (from, to) in [(&ours, &theirs), (&theirs, &ours)] {
            let before = stamp(to);
            change(from, &id).await;
            told(to, &id, before).await;
        }
    }
}

#[tokio::test]
async fn new_keys_end_what_is_known_of_their_absence() {
    let schema = server::own_name("absent");
    let (ours, theirs) = (
        connect(&schema).await.unwrap(),
        connect(&schema).await.unwrap(),
    );
    // What a layer remembers as unknown is forgotten with every addition, which `is_current` does
    // not show; an addition told of is a change of the new name too.
    let before = stamp(&theirs);
    ours.insert(record(1)).await.unwrap();
    told(&theirs, &record(1).id, before).await;
    assert_eq!(
        theirs.find(&record(1).digest).await.unwrap(),
        Some(record(1))
    );
}

#[tokio::test]
async fn changes_are_polled_where_no_notification_comes_through() {
    let schema = server::own_name("polled");
    let ours = connect(&schema).await.unwrap();
    let interval = Duration::from_millis(20);
    let theirs = connect(&schema).with_poll_interval(interval).await.unwrap();
    let id = record(1).id;
    ours.insert(record(1)).await.unwrap();
    for _ in 0..3 {
        let before = stamp(&theirs);
        server::execute(&format!(
            "WITH next AS (UPDATE {schema}.tower_tenant SET key_seq = key_seq + 1 RETURNING key_seq)
             INSERT INTO {schema}.tower_key_change SELECT 'default', key_seq, '{id}', false FROM next"
        ))
        .await;
        told(&theirs, &id, before).await;
    }
}

/// However many notifications come: those who are told nothing new have their turn.
#[tokio::test]
async fn flood_of_notifications_keeps_no_quiet_tenant_out_of_touch() {
    let schema = server::own_name("flood");
    let interval = Duration::from_millis(20);
    let busy = connect(&schema).with_poll_interval(interval).await.unwrap();
    let quiet = busy.tenant("quiet").await.unwrap();
    busy.insert(record(1)).await.unwrap();
    let flood = tokio::spawn({
        let busy = busy.clone();
        async move {
            loop {
                change(&busy, &record(1).id).await;
            }
        }
    });
    for _ in 0..3 {
        let before = stamp(&quiet);
        // Notified by nobody: only a poll finds it.
        server::execute(&format!(
            "WITH next AS (UPDATE {schema}.tower_tenant SET key_seq = key_seq + 1
                           WHERE tenant = 'quiet' RETURNING key_seq)
             INSERT INTO {schema}.tower_key_change SELECT 'quiet', key_seq, 'k9', false FROM next"
        ))
        .await;
        told(&quiet, &KeyId::new("k9").unwrap(), before).await;
    }
    flood.abort();
}

#[tokio::test]
async fn tenants_are_not_told_of_each_other() {
    let schema = server::own_name("tenants");
    let ours = connect(&schema).with_tenant("ours").await.unwrap();
    let theirs = connect(&schema).with_tenant("theirs").await.unwrap();
    let also_theirs = connect(&schema).with_tenant("theirs").await.unwrap();
    let before = (stamp(&ours), stamp(&also_theirs));
    theirs.insert(record(1)).await.unwrap();
    told(&also_theirs, &record(1).id, before.1).await;
    assert_eq!(stamp(&ours), before.0);
    assert_eq!(ours.get(&record(1).id).await.unwrap(), None);
}

#[tokio::test]
async fn change_of_last_use_is_nobodys_news() {
    let schema = server::own_name("uses");
    let store = connect(&schema).await.unwrap();
    store.insert(record(1)).await.unwrap();
    let used = (record(1).id, record(1).created_at);
    store.record_last_used(&[used]).await.unwrap();
    let changes = format!("SELECT key_seq FROM {schema}.tower_tenant");
    assert_eq!(server::ask(&changes).await, 1);
}

#[tokio::test]
async fn whoever_is_far_behind_takes_it_that_everything_changed() {
    let schema = server::own_name("behind");
    let store = connect(&schema).await.unwrap();
    let before = stamp(&store);
    server::execute(&format!(
        "SELECT {schema}.tower_key_changed('default', 'k' || n, false) FROM generate_series(1, 6000) n"
    ))
    .await;
    told(&store, &record(200).id, before).await;
    let kept = format!("SELECT count(*) FROM {schema}.tower_key_change");
    let kept = server::ask(&kept).await;
    assert!((4_096..5_120).contains(&kept), "{kept} changes are kept");
}

/// Two batches that locked the same keys in different orders could wait for each other in a circle,
/// which the server ends by breaking one of them off.
#[tokio::test]
async fn batches_of_uses_lock_keys_in_order_of_their_ids() {
    let schema = server::own_name("order");
    let store = connect(&schema).with_timeout(HOUR).await.unwrap();
    let keys: Vec<_> = (10..60).rev().map(record).collect();
    for key in &keys {
        store.insert(key.clone()).await.unwrap();
    }
    let mut blocker = sqlx::PgConnection::connect(&server::address())
        .await
        .unwrap();
    let lock = format!("BEGIN; SELECT FROM {schema}.tower_key WHERE id = 'k30' FOR UPDATE");
    let lock = sqlx::raw_sql(sqlx::AssertSqlSafe(lock));
    lock.execute(&mut blocker).await.unwrap();

    let uses: Vec<_> = keys
        .into_iter()
        .map(|key| (key.id, key.created_at))
        .collect();
    let batch = tokio::spawn({
        let store = store.clone();
        async move { store.record_last_used(&uses).await }
    });
    // It waits for k30, and holds those before it.
    let free = format!(
        "SELECT count(*) FROM (SELECT FROM {schema}.tower_key WHERE id COMPARED 'k30'
         FOR UPDATE SKIP LOCKED) AS free"
    );
    let (before, after) = (free.replace("COMPARED", "<"), free.replace("COMPARED", ">"));
    until(
        "the batch holds all before the one that is locked",
        async || server::ask(&before).await == 0,
    )
    .await;
    assert_eq!(server::ask(&after).await, 29);
    blocker.close().await.unwrap();
    batch.await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_a_store_that_was_dropped() {
    let name = server::own_name("dropped");
    let url = format!("{}?application_name={name}", server::address());
    let connections =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    let store = PostgresStore::connect(url)
        .with_schema(&name)
        .await
        .unwrap();
    let other_handle = store.clone();
    drop(store);
    other_handle.insert(record(1)).await.unwrap();
    until("the store follows", async || {
        server::ask(&connections).await >= 2
    })
    .await;
    drop(other_handle);
    until("all connections are closed", async || {
        server::ask(&connections).await == 0
    })
    .await;
}
