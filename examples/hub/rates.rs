//! Where requests are counted: in this process, or in Redis for all hubs that share one.

#[cfg(feature = "redis")]
use std::time::Duration;
use std::{error::Error, fmt, str::FromStr, sync::Arc};

use tower_api_key::{MemoryRateLimiter, RateLimiter, Tiers};

/// A place, by what the command line calls it.
#[derive(Default)]
pub(crate) enum Rates {
    #[default]
    Memory,
    /// The URL may have a password in it.
    Redis(String),
}

impl FromStr for Rates {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        // It may be a URL with a password: it is not repeated.
        if !(url.starts_with("redis://") || url.starts_with("rediss://")) {
            return Err("is given no redis://HOST:PORT".into());
        }
        match cfg!(feature = "redis") {
            true => Ok(Self::Redis(url.to_owned())),
            false => Err("needs the feature `redis`".into()),
        }
    }
}

impl Rates {
    /// A limiter with the seed's three tiers.
    pub(crate) async fn open(&self) -> Result<Arc<dyn RateLimiter>, Box<dyn Error>> {
        let tiers = Tiers::default();
        match self {
            Self::Memory => Ok(Arc::new(MemoryRateLimiter::new(tiers))),
            #[cfg(feature = "redis")]
            Self::Redis(url) => {
                // Hubs are tried out on laptops, where a machine that is busy for a moment is no
                // outage. The layer waits a quarter of a second.
                let limiter = tower_api_key::RedisRateLimiter::connect(url, tiers)
                    .with_timeout(Duration::from_millis(200))
                    .await?;
                Ok(Arc::new(limiter))
            }
            #[cfg(not(feature = "redis"))]
            Self::Redis(_) => Err("this build knows no Redis".into()),
        }
    }
}

/// For people: without a password.
impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("in memory"),
            Self::Redis(url) => {
                let place = url.split_once("://").map_or("", |(_, place)| place);
                let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
                let place = place.split('?').next().unwrap_or_default();
                write!(f, "in redis://{place}")
            }
        }
    }
}
