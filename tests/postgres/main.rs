//! What is special about a store that is a server's: opening, other processes, outages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/postgres.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

mod cut_off;
mod following;
mod opening;
mod outages;
mod reading;

use std::time::Duration;

use tower_api_key::{
    KeyDigest, KeyId, KeyRecord, KeyStore, PostgresStore, Stamp, Timestamp,
    postgres::ConnectPostgres,
};

/// A connection to a schema of the test's own.
fn connect(schema: &str) -> ConnectPostgres {
    PostgresStore::connect(server::address()).with_schema(schema)
}

fn record(number: u8) -> KeyRecord {
    let id = KeyId::new(format!("k{number}")).unwrap();
    let digest = KeyDigest::from_bytes([number; 32]);
    KeyRecord::new(id, digest, "Studio A", Timestamp::from_unix_seconds(0))
}

/// Changes a key, in this way or that.
async fn change(store: &PostgresStore, id: &KeyId) {
    let mut record = store.get(id).await.unwrap().expect("the key is there");
    record.enabled = !record.enabled;
    store.update(record).await.unwrap();
}

fn stamp(store: &PostgresStore) -> Stamp {
    store.changes().unwrap().stamp()
}

/// Until `store` was told that the key changed after `stamp`.
async fn told(store: &PostgresStore, id: &KeyId, stamp: Stamp) {
    until("the change is told", async || {
        !store.changes().unwrap().is_current(id, stamp)
    })
    .await;
}

/// Asks again and again whether something has come about; a minute is for ever.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        let mut soon = tokio::time::interval(Duration::from_millis(2));
        while !condition().await {
            soon.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}, at last");
}
