//! PostgreSQL passes the suites.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::sync::Arc;

use tower_api_key::{
    ConnectPostgres, Eviction, KeyDigest, KeyId, KeyRecord, KeyStore, ManualClock, PostgresStore,
    Timestamp,
};

#[path = "support/postgres.rs"]
mod server;

mod schema_of_its_own {
    use super::*;

    tower_api_key::key_store_conformance!(fresh_schema);
}

/// What one tenant does touches no other one: all of these share their tables.
mod tenant_of_its_own {
    use super::*;

    tower_api_key::key_store_conformance!(|| async {
        PostgresStore::connect(server::address())
            .with_schema("shared by tenants")
            .with_tenant(server::own_name("tenant"))
            .await
            .unwrap()
    });
}

mod read_only {
    use super::*;

    tower_api_key::key_store_conformance!(read_only, || async {
        let schema = server::own_name("read_only");
        filled(&schema).await;
        let url = format!(
            "{}?options[default_transaction_read_only]=on",
            server::address()
        );
        PostgresStore::connect(url)
            .with_schema(schema)
            .await
            .unwrap()
    });
}

/// A user who has the right to read and no other.
mod reader {
    use super::*;

    tower_api_key::key_store_conformance!(read_only, || async {
        let (schema, role) = (server::own_name("read_by"), server::own_name("reader"));
        filled(&schema).await;
        let grants = format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'read'; GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
        );
        server::execute(&grants).await;
        PostgresStore::connect(server::address_of(&role, "read"))
            .with_schema(schema)
            .await
            .unwrap()
    });
}

async fn fresh_schema() -> PostgresStore {
    PostgresStore::connect(server::address())
        .with_schema(server::own_name("conformance"))
        .await
        .unwrap()
}

async fn filled(schema: &str) {
    let store = PostgresStore::connect(server::address())
        .with_schema(schema)
        .await
        .unwrap();
    for number in 0..3 {
        let id = KeyId::new(format!("there-{number}")).unwrap();
        let digest = KeyDigest::from_bytes([200 + number; 32]);
        let record = KeyRecord::new(id, digest, "there", Timestamp::from_unix_seconds(0));
        store.insert(record).await.unwrap();
    }
}

mod license_ledger {
    use super::*;

    tower_api_key::license_ledger_conformance!(fresh_ledger);
}

mod newest_first_ledger {
    use super::*;

    tower_api_key::license_ledger_conformance!(newest_first, |clock| async {
        let connect = ledger_of_its_own(clock).with_eviction(Eviction::NewestFirst);
        connect.await.unwrap()
    });
}

async fn fresh_ledger(clock: Arc<ManualClock>) -> PostgresStore {
    ledger_of_its_own(clock).await.unwrap()
}

/// All of these share their tables.
fn ledger_of_its_own(clock: Arc<ManualClock>) -> ConnectPostgres {
    PostgresStore::connect(server::address())
        .with_schema("shared by ledgers")
        .with_tenant(server::own_name("tenant"))
        .with_clock(clock)
}
