//! The contract of the rate limiter, asked last before a request is granted; quotas and tiers, and
//! the arithmetic that the built-in limiters share.
//!
//! ```
//! use tower_api_key::{MemoryRateLimiter, Quota, Tier, Tiers};
//!
//! let tiers = Tiers::default().with_tier(Tier::new("partner")?, [Quota::per_hour(50_000)?])?;
//! let limiter = MemoryRateLimiter::new(tiers);
//! # |builder: tower_api_key::ApiKeyLayerBuilder|
//! builder.with_rate_limiter(limiter)
//! # ;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;

use crate::{clock::Now, error::BackendError, key_store::Tier};

pub(crate) mod plans;
mod quota;
mod tiers;
mod usage;
pub(crate) mod window;

pub use quota::{Algorithm, Quota, QuotaError, QuotaName};
pub use tiers::{CountBy, TierError, Tiers};
pub use usage::{QuotaUsage, Usage};

/// Whom a request is counted for, and how much.
///
/// The layer makes them; so does the test of a limiter:
///
/// ```
/// use tower_api_key::{Subject, Tier};
/// let tier = Tier::new("premium")?;
/// let subject = Subject::new("k1").with_owner("studio 2").with_tier(&tier);
/// assert_eq!((subject.principal, subject.address, subject.cost), (Some("k1"), None, 1));
/// # Ok::<(), tower_api_key::InvalidName>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Subject<'a> {
    /// The key's public id or `issuer|subject`; nothing for an anonymous caller.
    pub principal: Option<&'a str>,
    /// Whose key it is.
    pub owner: Option<&'a str>,
    /// The tier of the key; nothing: the default one.
    pub tier: Option<&'a Tier>,
    /// Where the request comes from, as far as that is known.
    pub address: Option<IpAddr>,
    /// How many requests it counts for, by its route: 1 where that says nothing else. One that costs
    /// nothing is admitted uncounted.
    pub cost: u32,
    /// Where the limiter may note where it counts this caller, for the next time.
    pub place: Option<&'a Place>,
}

/// A word that a limiter may keep with what the layer remembers of a credential, so that it need not
/// look for where it counts it. It lives as long as the credential is remembered: a new look-up takes
/// it over unless the key has changed. Each credential has one of its own.
#[derive(Debug, Default)]
pub struct Place(AtomicU64);

impl Place {
    /// What was last noted; to begin with 0.
    pub fn noted(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes a word.
    pub fn note(&self, word: u64) {
        self.0.store(word, Ordering::Relaxed);
    }
}

impl<'a> Subject<'a> {
    /// A caller who did not identify himself, from nowhere in particular.
    pub const fn anonymous() -> Self {
        Self {
            principal: None,
            owner: None,
            tier: None,
            address: None,
            cost: 1,
            place: None,
        }
    }

    /// A caller by his key's public id or as `issuer|subject`, of the default tier.
    pub const fn new(principal: &'a str) -> Self {
        Self {
            principal: Some(principal),
            ..Self::anonymous()
        }
    }

    /// Whose key it is. By default nobody's.
    #[must_use]
    pub const fn with_owner(mut self, owner: &'a str) -> Self {
        self.owner = Some(owner);
        self
    }

    /// The tier of the key. By default the default one.
    #[must_use]
    pub const fn with_tier(mut self, tier: &'a Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Where the request comes from. By default that is not known.
    #[must_use]
    pub const fn with_address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Where the limiter may note where it counts this caller. By default nowhere.
    #[must_use]
    pub const fn with_place(mut self, place: &'a Place) -> Self {
        self.place = Some(place);
        self
    }

    /// How many requests it counts for. By default 1.
    #[must_use]
    pub const fn with_cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }
}

/// What a limiter says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allowance {
    /// It passes; the request has been counted, by every quota.
    Admitted(Usage),
    /// It is one too many; nothing has been counted, by any quota.
    Refused(Refusal),
}

/// Why a request is one too many.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The tier whose quota is used up.
    pub tier: Tier,
    /// The name of that quota; of several the one that takes longest.
    pub quota: String,
    /// After this long the request is admitted, if no other is before.
    pub retry_after: Duration,
    /// The state of all quotas, where the limiter tells it.
    pub usage: Usage,
}

impl Refusal {
    /// The quota of this name is used up, for so long.
    pub fn new(tier: Tier, quota: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            tier,
            quota: quota.into(),
            retry_after,
            usage: Usage::NONE,
        }
    }

    /// With the state of all quotas. By default that is not told.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_key::{Quota, QuotaUsage, Refusal, Tier, Usage};
    /// let (hour, half) = (Quota::per_hour(100)?, Duration::from_secs(1_800));
    /// Refusal::new(Tier::new("anonymous")?, "hour", half)
    ///     .with_usage(Usage::NONE.and(QuotaUsage::new(hour, 0, half)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }
}

/// An answer at once, or later.
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "what memory answers costs no allocation"
)]
pub enum Check {
    /// The answer was in memory.
    Done(Allowance),
    /// Somebody else has to be asked.
    Later(BoxFuture<'static, Result<Allowance, BackendError>>),
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(allowance) => f.debug_tuple("Done").field(allowance).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// Counts requests.
///
/// # Contract
///
/// 1. A limiter is asked once for each request that everything else would grant, and never for
///    public routes, administrators, or requests refused earlier.
/// 2. It owns what it counts, by what [`Subject`] names, so that neither eviction from a cache nor a
///    new text of a key changes a quota.
/// 3. [`Check::Done`] blocks on nothing. [`Check::Later`] begins only when it is polled; an error
///    means that the limiter could not be asked, which the client sees as 503, never as admitted.
/// 4. Windows are measured on [`Now::monotonic`](crate::Now), or on the clock of the server that
///    counts for several processes, so a step of this machine's wall clock changes no quota.
/// 5. A request is counted by all quotas of its tier or by none. Who waits as long as
///    [`Refusal::retry_after`] says is admitted, unless others of the same subject came first.
/// 6. A tier that the limiter does not know counts as the default tier.
pub trait RateLimiter: Send + Sync + 'static {
    /// Counts one request, or says why not.
    fn check(&self, caller: Subject<'_>, now: Now) -> Check;
}

/// A shared limiter is a limiter, also behind `Arc<dyn RateLimiter>`.
impl<T: RateLimiter + ?Sized> RateLimiter for Arc<T> {
    fn check(&self, caller: Subject<'_>, now: Now) -> Check {
        (**self).check(caller, now)
    }
}
