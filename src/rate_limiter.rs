//! The contract of the rate limiter: asked last, before a request is granted.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::{clock::Now, error::BackendError, key_store::Tier};

/// Whom a request is counted for.
///
/// The layer makes them; so does the test of a limiter:
///
/// ```
/// use tower_api_key::{Subject, Tier};
/// let tier = Tier::new("premium")?;
/// let subject = Subject::new("k1").with_owner("studio 2").with_tier(&tier);
/// assert_eq!((subject.principal, subject.address), (Some("k1"), None));
/// # Ok::<(), tower_api_key::InvalidName>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

impl<'a> Subject<'a> {
    /// A caller who did not identify himself, from nowhere in particular.
    pub const fn anonymous() -> Self {
        Self {
            principal: None,
            owner: None,
            tier: None,
            address: None,
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
}

/// What a limiter says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allowance {
    /// It passes; the request has been counted.
    Admitted,
    /// It is one too many; nothing has been counted.
    Refused {
        /// The tier whose quota is used up.
        tier: Tier,
        /// The name of that quota.
        quota: String,
        /// After this long one more request is admitted.
        retry_after: Duration,
    },
}

/// An answer at once, or later.
#[non_exhaustive]
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
/// 4. Windows are measured on [`Now::monotonic`](crate::Now), so a step of the wall clock changes no
///    quota.
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
