//! Quotas counted in the memory of this process.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::{
    clock::Now,
    memory::{
        cells::{self, Cells},
        windows::{Full, Moment, Request, Windows},
    },
    observe,
    pass::micros,
    rate_limiter::{
        Allowance, Check, Place, QuotaUsage, RateLimiter, Refusal, Subject, TierError, Tiers,
        Usage,
        plans::{Known, Plan, Plans, Who},
    },
};

/// Counts requests in the memory of this process: 160 bytes for each caller and quota in use.
///
/// 1. A caller whose key is remembered by the layer is counted without a lock that another key's
///    request needs, and without an allocation.
/// 2. Whoever has not called for a window's length gives his place to others. Keys are all counted,
///    however many; of addresses at most [`with_address_capacity`](Self::with_address_capacity), of
///    which the quietest are forgotten first.
/// 3. Each tier counts for itself: who comes to another tier begins anew there, and who comes back
///    finds what he had used.
/// 4. Several layers that share a limiter, by clones, share its quotas.
///
/// ```
/// use tower_api_key::{MemoryRateLimiter, Tiers};
/// let limiter = MemoryRateLimiter::new(Tiers::default());
/// # |builder: tower_api_key::ApiKeyLayerBuilder|
/// builder.with_rate_limiter(limiter.clone())
/// # ;
/// ```
#[derive(Clone)]
pub struct MemoryRateLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    plans: ArcSwap<Plans>,
    /// That of the plans: it follows them.
    version: AtomicU32,
    known: Arc<Known>,
    /// Held by who changes the plans.
    change: Mutex<()>,
    /// Makes keys of cells, in a way that nobody outside can foresee.
    hasher: RandomState,
    callers: Cells<Windows>,
    addresses: Cells<Windows>,
}

impl MemoryRateLimiter {
    /// A limiter that has counted nothing yet.
    pub fn new(tiers: Tiers) -> Self {
        Self::with_capacity(tiers, ADDRESSES)
    }

    /// A limiter of the same tiers that counts so many addresses at once, of 160 bytes each: at least
    /// one, by default 65,536. It has counted nothing yet, and clones made before are of the other one:
    /// call it first.
    ///
    /// ```
    /// # use tower_api_key::{MemoryRateLimiter, Tiers};
    /// MemoryRateLimiter::new(Tiers::default()).with_address_capacity(1_000_000);
    /// ```
    #[must_use]
    pub fn with_address_capacity(self, addresses: usize) -> Self {
        Self::with_capacity(self.tiers(), addresses)
    }

    fn with_capacity(tiers: Tiers, addresses: usize) -> Self {
        let plans = Plans::default().followed_by(&tiers);
        let plans = plans.expect("the first tiers are not so many that numbers run out");
        Self {
            shared: Arc::new(Shared {
                version: plans.version.into(),
                known: Arc::clone(&plans.known),
                plans: ArcSwap::from_pointee(plans),
                change: Mutex::default(),
                hasher: RandomState::new(),
                callers: Cells::new(cells::MOST),
                addresses: Cells::new(addresses),
            }),
        }
    }

    /// The tiers in force.
    pub fn tiers(&self) -> Tiers {
        self.shared.plans.load().tiers.clone()
    }

    /// Puts other tiers in force, for the next request on. What was counted goes on: by the quota of
    /// the same name in the same tier. What exceeds a limit that is lowered is kept for the case that
    /// it is raised again, except by [`Algorithm::Gcra`](crate::Algorithm::Gcra), whose bucket is then
    /// just used up.
    ///
    /// # Errors
    ///
    /// [`TierError::TooManyChanges`] after some 65,000 different quotas.
    pub fn set_tiers(&self, tiers: Tiers) -> Result<(), TierError> {
        let shared = &self.shared;
        let _one_at_a_time = shared.change.lock();
        let next = shared.plans.load().followed_by(&tiers)?;
        let version = next.version;
        shared.plans.store(Arc::new(next));
        shared.version.store(version, Ordering::Release);
        Ok(())
    }

    /// Counts a request, or says why not.
    pub(crate) fn count(&self, caller: &Subject<'_>, now: Now) -> Allowance {
        let mut answer = Allowance::Admitted(Usage::none());
        self.shared.ask(caller, now, true, &mut answer);
        answer
    }

    /// What [`count`](Self::count) would say, but counts nothing.
    pub(crate) fn look(&self, caller: &Subject<'_>, now: Now) -> Allowance {
        let mut answer = Allowance::Admitted(Usage::none());
        self.shared.ask(caller, now, false, &mut answer);
        answer
    }
}

impl Shared {
    /// Answers where the answer lies: it is too large to be handed on and on. It admits, and tells of no
    /// quota yet.
    fn ask(&self, caller: &Subject<'_>, now: Now, counts: bool, answer: &mut Allowance) {
        let Allowance::Admitted(usage) = answer else {
            return;
        };
        let at = micros(now.monotonic);
        let request = Request {
            cost: caller.cost,
            counts,
            at: Moment {
                known: &self.known,
                at,
            },
        };
        let places = usage.places();
        let full = self.at_his_place(caller, request, places);
        let full = full.unwrap_or_else(|| self.by_name(caller, request, places));
        if let Some((quota, free_at)) = full {
            let takes = Duration::from_micros(free_at - at);
            let tier = self.plans.load().plan(caller).0.tier.clone();
            let refusal = Refusal::new(tier, quota.name(), takes).with_usage(*usage);
            *answer = Allowance::Refused(refusal);
        }
    }

    /// Asks the cell in the place that the caller has noted, if it is still his by the tiers in force:
    /// nothing else has to be looked up for that.
    #[inline]
    fn at_his_place<'k>(
        &self,
        caller: &Subject<'_>,
        request: Request<'k>,
        usage: &mut [Option<QuotaUsage>],
    ) -> Option<Full<'k>> {
        let noted = caller.place?.noted();
        let version = self.version.load(Ordering::Acquire);
        if noted == 0 || noted == no_place(version) || request.cost == 0 {
            return None;
        }
        let place = noted_place(noted);
        let is_right = |key| noted == word(place, key, version);
        // Where later tiers than these have counted in the meantime it is counted as they say.
        let ask = |windows: &mut Windows| {
            windows
                .are_used()
                .then(|| windows.ask(request, None, usage))
        };
        self.callers.at(place, is_right, ask).flatten()
    }

    /// Asks the caller's cell, which is looked for, and made where a request is to be counted.
    #[inline(never)]
    fn by_name<'k>(
        &self,
        caller: &Subject<'_>,
        request: Request<'k>,
        usage: &mut [Option<QuotaUsage>],
    ) -> Full<'k> {
        loop {
            let plans = self.plans.load();
            let (plan, is_known) = plans.plan(caller);
            let who = plan.who(caller);
            let (key, cells) = (self.key(who, plan), self.cells(who));
            let ask = |windows: &mut Windows| {
                if !windows.are_counted_by(plan) {
                    // Who finds later tiers than his own here goes by those instead.
                    if self.plans.load().version != plans.version {
                        return None;
                    }
                    windows.recount(plan, request.at);
                }
                Some(windows.ask(request, None, usage))
            };
            let (place, full) = if plan.quotas.is_empty() || request.cost == 0 {
                (None, Some(None))
            } else if !request.counts {
                (None, cells.known(key, ask).unwrap_or(Some(None)))
            } else {
                let (place, full) = cells.of(key, &request.at, ask);
                // By address a caller has another place each time.
                let place = (!matches!(who, Who::Network(_))).then_some(place);
                (place, full)
            };
            if let Some(full) = full {
                if request.counts {
                    note(caller, place, key, plans.version, is_known);
                }
                return full;
            }
        }
    }

    fn key(&self, who: Who<'_>, plan: &Plan) -> u64 {
        self.hasher.hash_one((who, &plan.tier))
    }

    fn cells(&self, who: Who<'_>) -> &Cells<Windows> {
        match who {
            Who::Network(_) => &self.addresses,
            Who::Principal(_) | Who::Owner(_) => &self.callers,
        }
    }
}

impl RateLimiter for MemoryRateLimiter {
    fn check(&self, caller: Subject<'_>, now: Now) -> Check {
        let mut check = Check::Done(Allowance::Admitted(Usage::none()));
        if let Check::Done(answer) = &mut check {
            self.shared.ask(&caller, now, true, answer);
        }
        check
    }
}

impl fmt::Debug for MemoryRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRateLimiter")
            .field("tiers", &self.tiers())
            .finish_non_exhaustive()
    }
}

/// Notes where a caller is counted, and tells once of these tiers if his is none of them.
fn note(caller: &Subject<'_>, place: Option<u32>, key: u64, version: u32, is_known: bool) {
    let noted = caller.place.map_or(0, Place::noted);
    let is_noted = [no_place(version), word(noted_place(noted), key, version)].contains(&noted);
    if !is_known && !is_noted {
        observe::unknown_tier(caller);
    }
    let word = match place {
        Some(place) => word(place, key, version),
        None if is_noted => return,
        None => no_place(version),
    };
    caller.place.inspect(|place| place.note(word));
}

/// A caller's place together with what shows that it is still his: bits of the key, and of the
/// version of the tiers that led to it.
fn word(place: u32, key: u64, version: u32) -> u64 {
    let mark = key ^ u64::from(version).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (u64::from(place) + 1) << PROOF | mark >> (64 - PROOF)
}

/// What is noted for who is counted elsewhere, or not at all.
fn no_place(version: u32) -> u64 {
    word(0, 0, version)
}

fn noted_place(word: u64) -> u32 {
    ((word >> PROOF) as u32).saturating_sub(1)
}

/// Bits; the others are the place.
const PROOF: u32 = 38;
/// How many are counted at once.
const ADDRESSES: usize = 65_536;

#[cfg(test)]
mod tests;
