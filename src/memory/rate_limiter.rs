//! Quotas counted in the memory of this process.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    iter,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{
    clock::Now,
    key_store::Tier,
    memory::cells::{self, Cells, Judge},
    observe,
    pass::micros,
    rate_limiter::{
        Allowance, Check, Place, Quota, QuotaName, QuotaUsage, RateLimiter, Refusal, Subject,
        TierError, Tiers, Usage,
        plans::{Counted, Plan, Plans, Who},
        window::Window,
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
    /// Makes keys of cells, in a way that nobody outside can foresee.
    hasher: RandomState,
    callers: Cells<Windows>,
    addresses: Cells<Windows>,
}

/// One caller's windows, one for each quota of the tier: most tiers have one.
#[derive(Default)]
#[repr(C)]
struct Windows {
    more: Option<Box<Windows>>,
    first: Window,
}

/// What came of a request.
enum Outcome {
    Admitted,
    /// The quota of this name has no room for it.
    Refused {
        tier: Tier,
        quota: QuotaName,
        retry_after: Duration,
    },
}

/// A time, with what is known of the quotas.
#[derive(Clone, Copy)]
struct Moment<'a> {
    plans: &'a Plans,
    /// Microseconds.
    at: u64,
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
                plans: ArcSwap::from_pointee(plans),
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
        let mut outcome = Ok(());
        self.shared
            .plans
            .rcu(|plans| match plans.followed_by(&tiers) {
                Ok(next) => {
                    outcome = Ok(());
                    Arc::new(next)
                }
                Err(error) => {
                    outcome = Err(error);
                    Arc::clone(plans)
                }
            });
        outcome
    }

    /// Counts a request, or says why not.
    pub(crate) fn count(&self, caller: &Subject<'_>, now: Now) -> Allowance {
        self.shared.ask(caller, now, Shared::count)
    }

    /// What [`count`](Self::count) would say, but counts nothing.
    pub(crate) fn look(&self, caller: &Subject<'_>, now: Now) -> Allowance {
        self.shared.ask(caller, now, Shared::look)
    }
}

impl Shared {
    /// Asks by the tiers in force; once more where that meets what was counted by later ones.
    #[inline]
    fn ask(
        &self,
        caller: &Subject<'_>,
        now: Now,
        ask: impl Fn(&Self, &Plans, &Subject<'_>, Now, &mut Usage) -> Option<Outcome>,
    ) -> Allowance {
        // Filled in where it lies: it is too large to be handed on and on.
        let mut usage = Usage::NONE;
        let outcome = loop {
            if let Some(outcome) = ask(self, &self.plans.load(), caller, now, &mut usage) {
                break outcome;
            }
        };
        match outcome {
            Outcome::Admitted => Allowance::Admitted(usage),
            Outcome::Refused {
                tier,
                quota,
                retry_after,
            } => {
                let refusal = Refusal::new(tier, quota.as_str(), retry_after);
                Allowance::Refused(refusal.with_usage(usage))
            }
        }
    }

    fn count(
        &self,
        plans: &Plans,
        caller: &Subject<'_>,
        now: Now,
        usage: &mut Usage,
    ) -> Option<Outcome> {
        let (plan, is_known) = plans.plan(caller);
        let noted = caller.place.map_or(0, Place::noted);
        if plan.quotas.is_empty() || caller.cost == 0 {
            if !is_known && !self.is_noted(noted, plan, caller, plans.version) {
                observe::unknown_tier(caller);
                caller
                    .place
                    .inspect(|place| place.note(no_place(plans.version)));
            }
            return Some(Outcome::Admitted);
        }
        let moment = Moment::new(plans, now);
        let mut count = |windows: &mut Windows| windows.ask(plan, moment, caller.cost, true, usage);
        let who = plan.who(caller);
        // Where a caller is counted by address, his place is another one each time: what is noted
        // tells only by which tiers he was counted last.
        if noted != 0 && !matches!(who, Who::Network(_)) {
            let place = noted_place(noted);
            let is_right = |key| noted == word(place, key, plans.version);
            if let Some(outcome) = self.callers.at(place, is_right, &mut count) {
                return outcome;
            }
        }
        let key = self.key(who, plan);
        let (place, outcome) = self.cells(who).of(key, &moment, count);
        let outcome = outcome?;
        let word = match who {
            Who::Network(_) => no_place(plans.version),
            _ => word(place, key, plans.version),
        };
        if noted != word {
            if !is_known && noted != no_place(plans.version) {
                observe::unknown_tier(caller);
            }
            caller.place.inspect(|place| place.note(word));
        }
        Some(outcome)
    }

    /// Whether tiers of this version have noted this word for the caller.
    fn is_noted(&self, noted: u64, plan: &Plan, caller: &Subject<'_>, version: u32) -> bool {
        let key = self.key(plan.who(caller), plan);
        noted == no_place(version) || noted == word(noted_place(noted), key, version)
    }

    fn look(
        &self,
        plans: &Plans,
        caller: &Subject<'_>,
        now: Now,
        usage: &mut Usage,
    ) -> Option<Outcome> {
        let (plan, _) = plans.plan(caller);
        let (who, moment) = (plan.who(caller), Moment::new(plans, now));
        let look = |windows: &mut Windows| windows.ask(plan, moment, caller.cost, false, usage);
        let known = self.cells(who).known(self.key(who, plan), look);
        known.unwrap_or(Some(Outcome::Admitted))
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
        Check::Done(self.count(&caller, now))
    }
}

impl fmt::Debug for MemoryRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRateLimiter")
            .field("tiers", &self.tiers())
            .finish_non_exhaustive()
    }
}

impl Windows {
    /// Counts a request by all quotas, or by none. Nothing where later tiers than these have counted
    /// here: they know what this is, and these do not.
    fn ask(
        &mut self,
        plan: &Plan,
        moment: Moment<'_>,
        cost: u32,
        counts: bool,
        usage: &mut Usage,
    ) -> Option<Outcome> {
        if !self.is_counted_by(plan) {
            if moment.counted(self).any(|(_, by)| by.is_none()) {
                return None;
            }
            self.recount(plan, moment);
        }
        let now = moment.at;
        let mut full: Option<(&Quota, u64)> = None;
        for (window, Counted { quota, measure, .. }) in self.iter_mut().zip(&plan.quotas) {
            window.advance(measure, now);
            let free_at = window.free_at(measure.cost(cost), measure, now);
            if free_at > full.map_or(now, |(_, longest)| longest) {
                full = Some((quota, free_at));
            }
        }
        for (window, Counted { quota, measure, .. }) in self.iter_mut().zip(&plan.quotas) {
            if counts && full.is_none() {
                window.take(measure.cost(cost), measure, now);
            }
            let room = window.room(measure, now);
            let reset = Duration::from_micros(room.grows_at - now);
            usage.push(QuotaUsage::new(*quota, room.remaining, reset));
        }
        Some(match full {
            None => Outcome::Admitted,
            Some((quota, free_at)) => Outcome::Refused {
                tier: plan.tier.clone(),
                quota: quota.short_name(),
                retry_after: Duration::from_micros(free_at - now),
            },
        })
    }

    fn is_counted_by(&self, plan: &Plan) -> bool {
        let numbers = plan.quotas.iter().map(|counted| counted.number);
        self.iter().map(|window| window.quota).eq(numbers)
    }

    /// Goes on with what was counted by quotas of the same names.
    fn recount(&mut self, plan: &Plan, moment: Moment<'_>) {
        let Moment { plans, at } = moment;
        let mut windows = plan.quotas.iter().map(|counted| {
            let before = self.iter_mut().find_map(|window| {
                let from = plans.known(window.quota)?;
                (from.quota.name() == counted.quota.name()).then_some((window, from))
            });
            match before {
                Some((window, from)) => {
                    window.carried(&from.measure, &counted.measure, counted.number, at)
                }
                None => Window::new(counted.number),
            }
        });
        let first = windows.next().unwrap_or_default();
        let others: Vec<_> = windows.collect();
        let linked = |more, first| Some(Box::new(Self { more, first }));
        let more = others.into_iter().rev().fold(None, linked);
        *self = Self { more, first };
    }

    fn iter(&self) -> impl Iterator<Item = &Window> {
        iter::successors(Some(self), |windows| windows.more.as_deref())
            .map(|windows| &windows.first)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Window> {
        let mut next = Some(self);
        iter::from_fn(move || {
            let Self { more, first } = next.take()?;
            next = more.as_deref_mut();
            Some(first)
        })
    }
}

impl<'a> Moment<'a> {
    fn new(plans: &'a Plans, now: Now) -> Self {
        let at = micros(now.monotonic);
        Self { plans, at }
    }

    /// Each window that was ever used, with the quota it is counted by, which only later tiers may
    /// know.
    fn counted<'w>(
        &self,
        windows: &'w Windows,
    ) -> impl Iterator<Item = (&'w Window, Option<&'a Counted>)> {
        let plans = self.plans;
        let used = windows
            .iter()
            .filter(|window| window.quota != Window::UNUSED);
        used.map(|window| (window, plans.known(window.quota)))
    }
}

impl Judge<Windows> for Moment<'_> {
    fn is_idle(&self, windows: &Windows) -> bool {
        let is_idle = |window: &Window, by: &Counted| window.idle_at(&by.measure) <= self.at;
        (self.counted(windows)).all(|(window, by)| by.is_some_and(|by| is_idle(window, by)))
    }

    fn weight(&self, windows: &Windows) -> u64 {
        let counts = self.counted(windows).map(|(window, by)| match by {
            Some(by) => window.count(&by.measure, self.at),
            None => u64::MAX,
        });
        counts.max().unwrap_or(0)
    }
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
