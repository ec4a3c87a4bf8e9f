//! Redis passes the suite, and so does what counts while it is away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::time::Duration;

use tower_api_key::{RedisRateLimiter, Tiers};

#[path = "support/redis.rs"]
mod server;

mod rate_limiter {
    use super::*;

    tower_api_key::rate_limiter_conformance!(fresh_limiter);
}

async fn fresh_limiter(tiers: Tiers) -> RedisRateLimiter {
    RedisRateLimiter::connect(server::address(), tiers)
        .with_prefix(server::own_name("conformance"))
        .with_timeout(Duration::from_secs(20))
        .await
        .unwrap()
}

mod away {
    use super::*;

    // Nobody listens on port 1, and this process alone is the one that counts.
    tower_api_key::rate_limiter_conformance!(|tiers| async {
        RedisRateLimiter::connect("redis://127.0.0.1:1", tiers)
            .with_share(1)
            .with_start_in_outage(true)
            .await
            .unwrap()
    });
}
