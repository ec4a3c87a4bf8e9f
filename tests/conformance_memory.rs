//! The memory backend passes the suites.

use tower_api_key::MemoryKeyStore;

mod key_store {
    tower_api_key::key_store_conformance!(super::fresh_store);
}

async fn fresh_store() -> MemoryKeyStore {
    MemoryKeyStore::new()
}
