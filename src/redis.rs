//! Quotas counted in a Redis server, shared by any number of processes.
//!
//! ```no_run
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use tower_api_key::{RedisRateLimiter, Tiers};
//!
//! let url = "redis://:secret@quotas.example.net";
//! let limiter = RedisRateLimiter::connect(url, Tiers::default()).await?;
//! # |builder: tower_api_key::ApiKeyLayerBuilder|
//! builder.with_rate_limiter(limiter)
//! # ;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! 1. A request is one round trip: a script counts it by all quotas of its tier or by none, with the
//!    same arithmetic as [`MemoryRateLimiter`] and on the server's clock. All processes with one
//!    server and one [prefix](ConnectRedis::with_prefix) share their quotas exactly.
//! 2. All requests of a process go over one connection, many at a time.
//! 3. A caller's use of a quota is one value of up to 170 bytes, which the server forgets when it
//!    counts nothing any more. It says what it was counted by, so that other [tiers] go on with it.
//!    It is kept at `PREFIX:1:{DIGEST}:TIER:QUOTA`, where 1 is the version of its format, so that
//!    versions of this crate that differ in that count apart; the digest is of whom it is about, of
//!    whom there is no text. A value that is none counts as nothing, and is written anew.
//! 4. While the server is away each process counts for itself by a part of each quota, or refuses
//!    with 503: see [`OnOutage`]. Requests ask it again as soon as it answers; nothing has to be
//!    restarted.
//!
//! [tiers]: RedisRateLimiter::set_tiers
//!
//! # Caveats
//!
//! - Redis 6 or later, or a server that speaks its protocol 3 and has `EVALSHA`. The user needs the
//!   commands `EVALSHA`, `SCRIPT LOAD`, `TIME`, `MGET` and `SET`, on keys that begin with the prefix.
//! - TLS (`rediss://`) comes with one of redis's features, such as `tokio-rustls-comp`: enable it on
//!   `redis` in your own `Cargo.toml`.
//! - One server counts. All keys of a caller are in one slot of a cluster, but the client talks to one
//!   address: a cluster needs a proxy that knows it.
//! - What a server forgets in a crash or a failover is counted anew.
//! - A caller takes some 270 bytes of the server's memory for each quota, name included, and up to 400
//!   where he calls often, until a window after his latest request. Who sends no key takes that for
//!   each address (of IPv6, for each /64): a flood from a million of them is 270 MB for the length of
//!   the window.
//! - A server that has reached its `maxmemory` and evicts nothing (`noeviction`) refuses to count, which
//!   is an outage until there is room. One that evicts should do so by `volatile-ttl`: it forgets first
//!   what would be over first, and those callers begin anew.

use std::{future::ready, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::{
    clock::Now,
    error::BackendError,
    key_store::Tier,
    memory::MemoryRateLimiter,
    observe::{self, Away},
    rate_limiter::{Allowance, Check, RateLimiter, Subject, TierError, Tiers, Usage, plans::Plan},
};

mod asked;
mod link;
mod open;
mod script;

use asked::Asked;
use link::Link;
pub use open::{ConnectRedis, OnOutage};
use script::{Ready, Request};

/// Counts requests in a Redis server: see the [module](self).
///
/// A clone is another handle of the same limiter.
#[derive(Clone)]
pub struct RedisRateLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    link: Arc<Link>,
    ready: ArcSwap<Ready>,
    /// Held while tiers change: they are in two places, which have to agree.
    changing: Mutex<()>,
    /// Nothing: an outage refuses.
    local: Option<Local>,
}

/// What counts while the server is away.
struct Local {
    limiter: MemoryRateLimiter,
    /// One part in so many.
    share: u32,
}

/// Whom a request is counted for, kept for the case that the server cannot be asked.
struct Caller {
    principal: Option<Box<str>>,
    owner: Option<Box<str>>,
    tier: Tier,
    address: Option<IpAddr>,
    cost: u32,
    now: Now,
}

impl RedisRateLimiter {
    /// The tiers in force.
    pub fn tiers(&self) -> Tiers {
        self.shared.ready.load().tiers.clone()
    }

    /// Puts other tiers in force in this process, for the next request on. What was counted goes on:
    /// by the quota of the same name in the same tier. What exceeds a limit that is lowered is
    /// kept for the case that it is raised again; a bucket (GCRA) is then used up.
    ///
    /// # Errors
    ///
    /// [`TierError::TooManyChanges`] after some 65,000 different quotas.
    pub fn set_tiers(&self, tiers: Tiers) -> Result<(), TierError> {
        let shared = &*self.shared;
        let _changing = shared.changing.lock();
        let ready = shared.ready.load().followed_by(tiers)?;
        if let Some(local) = &shared.local {
            local.limiter.set_tiers(ready.divided_by(local.share))?;
        }
        shared.ready.store(ready.into());
        Ok(())
    }
}

impl RateLimiter for RedisRateLimiter {
    fn check(&self, caller: Subject<'_>, now: Now) -> Check {
        let shared = &self.shared;
        let tiers = shared.ready.load();
        let (plan, is_known) = tiers.plans.plan(&caller);
        if !is_known {
            tell_once(&caller, tiers.plans.version);
        }
        if plan.quotas.is_empty() || caller.cost == 0 {
            return Check::Done(Allowance::Admitted(Usage::NONE));
        }
        let Some(connection) = shared.link.connection() else {
            return match &shared.local {
                Some(local) => Check::Done(local.count(&Caller::of(plan, &caller, now))),
                None => Check::Later(Box::pin(ready(Err(BackendError::unavailable(Away))))),
            };
        };
        let request = Request::new(
            connection.script(),
            shared.link.prefix(),
            &tiers,
            plan,
            &caller,
        );
        let local = shared.local.is_some();
        let caller = local.then(|| Caller::of(plan, &caller, now));
        let link = Arc::clone(&shared.link);
        let answer = Asked::new(Arc::clone(&link), link.ask(connection, request));
        let shared = Arc::clone(shared);
        Check::Later(Box::pin(async move {
            match (answer.await, &shared.local, caller) {
                (Ok(allowance), ..) => Ok(allowance),
                (Err(Away), Some(local), Some(caller)) => Ok(local.count(&caller)),
                (Err(away), ..) => Err(BackendError::unavailable(away)),
            }
        }))
    }
}

impl std::fmt::Debug for RedisRateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisRateLimiter")
            .field("server", &self.shared.link.place())
            .field("prefix", &self.shared.link.prefix())
            .field("tiers", &self.shared.ready.load().tiers)
            .finish_non_exhaustive()
    }
}

impl Local {
    fn count(&self, caller: &Caller) -> Allowance {
        let subject = Subject {
            principal: caller.principal.as_deref(),
            owner: caller.owner.as_deref(),
            // The one that he is counted by, which is known.
            tier: caller.principal.is_some().then_some(&caller.tier),
            address: caller.address,
            cost: caller.cost,
            // His place is where he is told to be of no known tier.
            place: None,
        };
        let allowance = self.limiter.count(&subject, caller.now);
        observe::limiter_fallback(matches!(allowance, Allowance::Admitted(_)));
        allowance
    }
}

impl Caller {
    fn of(plan: &Plan, caller: &Subject<'_>, now: Now) -> Self {
        Self {
            principal: caller.principal.map(Into::into),
            owner: caller.owner.map(Into::into),
            tier: plan.tier.clone(),
            address: caller.address,
            cost: caller.cost,
            now,
        }
    }
}

/// Once for each time the key is looked up, and again when tiers change: its place remembers by which
/// it was told.
fn tell_once(caller: &Subject<'_>, version: u32) {
    let word = u64::from(version);
    if caller.place.is_none_or(|place| place.noted() != word) {
        observe::unknown_tier(caller);
    }
    if let Some(place) = caller.place {
        place.note(word);
    }
}

#[cfg(test)]
mod tests;
