//! The memory backend passes the suites.

use std::sync::Arc;

use tower_api_key::{Eviction, ManualClock, MemoryKeyStore, MemoryLedger, MemoryRateLimiter};

mod key_store {
    use super::*;

    tower_api_key::key_store_conformance!(|| async { MemoryKeyStore::new() });
}

mod license_ledger {
    use super::*;

    tower_api_key::license_ledger_conformance!(fresh_ledger);
}

mod newest_first_ledger {
    use super::*;

    tower_api_key::license_ledger_conformance!(newest_first, |clock| async {
        fresh_ledger(clock)
            .await
            .with_eviction(Eviction::NewestFirst)
    });
}

mod rate_limiter {
    use super::*;

    tower_api_key::rate_limiter_conformance!(|tiers| async { MemoryRateLimiter::new(tiers) });
}

async fn fresh_ledger(clock: Arc<ManualClock>) -> MemoryLedger {
    MemoryLedger::new().with_clock(clock)
}

/// Also the proof that telling by events misses no holder: each step of each history checks it.
#[tokio::test]
async fn a_hundred_more_histories() {
    for seed in 1_000..1_100 {
        let clock = Arc::new(ManualClock::new());
        let ledger = fresh_ledger(clock.clone()).await;
        tower_api_key::conformance::license_ledger::random_history(ledger, clock, seed).await;
    }
}
