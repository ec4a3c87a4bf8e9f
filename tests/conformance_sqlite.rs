//! SQLite passes the suites.

use tower_api_key::SqliteStore;

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
