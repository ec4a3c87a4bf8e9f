//! SQLite passes the suites.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::sync::Arc;

use tower_api_key::{Eviction, ManualClock, SqliteStore};

#[path = "support/sqlite.rs"]
mod files;

mod key_store {
    use super::*;

    tower_api_key::key_store_conformance!(fresh_store);
}

mod key_store_in_a_pool {
    use super::*;

    tower_api_key::key_store_conformance!(|| async {
        let pool = files::pool(&files::fresh()).await;
        SqliteStore::with_pool(pool).await.unwrap()
    });
}

mod read_only_key_store {
    use super::*;

    tower_api_key::key_store_conformance!(read_only, || async {
        let path = files::fresh();
        files::fill(&SqliteStore::open(&path).await.unwrap(), 3).await;
        SqliteStore::with_pool(files::read_only_pool(&path).await)
            .await
            .unwrap()
    });
}

async fn fresh_store() -> SqliteStore {
    SqliteStore::open(files::fresh()).await.unwrap()
}

mod license_ledger {
    use super::*;

    tower_api_key::license_ledger_conformance!(fresh_ledger);
}

mod newest_first_ledger {
    use super::*;

    tower_api_key::license_ledger_conformance!(newest_first, |clock| async {
        let opening = SqliteStore::open(files::fresh()).with_clock(clock);
        opening.with_eviction(Eviction::NewestFirst).await.unwrap()
    });
}

async fn fresh_ledger(clock: Arc<ManualClock>) -> SqliteStore {
    let opening = SqliteStore::open(files::fresh()).with_clock(clock);
    opening.await.unwrap()
}
