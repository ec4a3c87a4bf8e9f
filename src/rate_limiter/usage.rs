//! How much of a caller's quotas is used.

use std::{array, cmp::Reverse, fmt, time::Duration};

use crate::rate_limiter::{
    quota::{Quota, QuotaName},
    tiers::MOST_QUOTAS,
};

/// The state of a caller's quotas after a request was counted or refused: what `RateLimit` tells.
///
/// It holds nothing on the heap, so that who is admitted costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    quotas: [Option<QuotaUsage>; MOST_QUOTAS],
}

/// The state of one quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUsage {
    quota: Quota,
    remaining: u32,
    /// Microseconds.
    reset: u64,
}

impl Usage {
    /// No quota at all.
    pub const NONE: Self = Self {
        quotas: [None; MOST_QUOTAS],
    };

    /// The same as [`NONE`](Self::NONE), but made on the spot: that writes four bytes where a constant is
    /// copied whole.
    #[inline]
    pub(crate) fn none() -> Self {
        Self {
            quotas: array::from_fn(|_| None),
        }
    }

    /// One for each quota of the tier, to be filled in where it lies.
    pub(crate) fn places(&mut self) -> &mut [Option<QuotaUsage>] {
        &mut self.quotas
    }

    /// The quotas, in the order of the tier: four at most.
    pub fn quotas(&self) -> impl Iterator<Item = &QuotaUsage> {
        self.quotas.iter().map_while(Option::as_ref)
    }

    /// The quota of which least is left; of several the one whose `reset` is the latest.
    pub fn tightest(&self) -> Option<&QuotaUsage> {
        let tightness = |usage: &&QuotaUsage| (usage.remaining, Reverse(usage.reset));
        self.quotas().min_by_key(tightness)
    }

    /// One more quota. A fifth one is not kept.
    #[must_use]
    pub fn and(mut self, usage: QuotaUsage) -> Self {
        if let Some(place) = self.quotas.iter_mut().find(|place| place.is_none()) {
            *place = Some(usage);
        }
        self
    }
}

impl QuotaUsage {
    /// `remaining` more requests are admitted now, and one more than that after `reset`.
    pub fn new(quota: Quota, remaining: u32, reset: Duration) -> Self {
        let reset = u64::try_from(reset.as_micros()).unwrap_or(u64::MAX);
        Self::in_micros(quota, remaining, reset)
    }

    pub(crate) fn in_micros(quota: Quota, remaining: u32, reset: u64) -> Self {
        Self {
            quota,
            remaining,
            reset,
        }
    }

    /// Which quota.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// How many more requests, each of cost 1, are admitted now.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// After this long `remaining` grows, by one at least; zero where nothing is used.
    pub fn reset(&self) -> Duration {
        Duration::from_micros(self.reset)
    }

    pub(crate) fn name(&self) -> QuotaName {
        self.quota.short_name()
    }

    /// The same in whole seconds, rounded up, so that who waits that long is not early.
    pub(crate) fn reset_seconds(&self) -> u64 {
        self.reset.div_ceil(1_000_000)
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.quotas()).finish()
    }
}
