//! The tiers of a limiter in use, ready for the arithmetic.

use std::{cmp::Ordering, net::IpAddr, sync::Arc};

use crate::{
    key_store::Tier,
    rate_limiter::{
        CountBy, Quota, Subject, TierError, Tiers,
        window::{Measure, Window},
    },
};

/// All tiers.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    /// As they were given.
    pub(crate) tiers: Tiers,
    /// In the order of [`by_length`].
    plans: Vec<Plan>,
    default: usize,
    anonymous: usize,
    /// Grows with each change.
    pub(crate) version: u32,
    pub(crate) known: Arc<Known>,
}

/// Every quota that a limiter has ever counted by, each by its number: what is counted by an earlier
/// one goes on under the one of the same name. None is ever forgotten, so they are read without a
/// lock.
#[derive(Debug, Default)]
pub(crate) struct Known(boxcar::Vec<Counted>);

/// One tier.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) tier: Tier,
    pub(crate) count_by: CountBy,
    pub(crate) quotas: Vec<Counted>,
}

/// A quota with its arithmetic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) quota: Quota,
    pub(crate) measure: Measure,
    /// Its place among all that this limiter has ever counted by.
    pub(crate) number: u16,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who<'a> {
    Principal(&'a str),
    Owner(&'a str),
    /// An address of IPv4, or the first half of one of IPv6, where all of a customer's are.
    Network(Option<Network>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl Plans {
    /// These tiers in place of the ones before: one such call at a time.
    ///
    /// # Errors
    ///
    /// [`TierError::TooManyChanges`] where there is no number left for a new quota.
    pub(crate) fn followed_by(&self, tiers: &Tiers) -> Result<Self, TierError> {
        let mut next = Self {
            tiers: tiers.clone(),
            known: Arc::clone(&self.known),
            version: self.version.wrapping_add(1),
            ..Self::default()
        };
        let mut sorted: Vec<_> = tiers.iter().collect();
        sorted.sort_by(|(one, _), (other, _)| by_length(one, other));
        for (tier, quotas) in sorted {
            let counted = quotas.quotas.iter().map(|quota| next.known.counted(*quota));
            let counted = counted.collect::<Result<_, _>>()?;
            if tier == tiers.default_tier() {
                next.default = next.plans.len();
            }
            if tier == tiers.anonymous_tier() {
                next.anonymous = next.plans.len();
            }
            next.plans.push(Plan {
                tier: tier.clone(),
                count_by: quotas.count_by,
                quotas: counted,
            });
        }
        Ok(next)
    }

    /// What a caller has, and whether the tier he names is there.
    pub(crate) fn plan(&self, caller: &Subject<'_>) -> (&Plan, bool) {
        let named = match (caller.principal, caller.tier) {
            (None, _) => return (&self.plans[self.anonymous], true),
            (Some(_), None) => return (&self.plans[self.default], true),
            (Some(_), Some(tier)) => self
                .plans
                .binary_search_by(|plan| by_length(&plan.tier, tier)),
        };
        (&self.plans[named.unwrap_or(self.default)], named.is_ok())
    }
}

impl Known {
    fn counted(&self, quota: Quota) -> Result<Counted, TierError> {
        if let Some((_, known)) = self.0.iter().find(|(_, known)| known.quota == quota) {
            return Ok(*known);
        }
        let number = u16::try_from(self.0.count()).ok();
        let number = number.filter(|number| *number != Window::UNUSED);
        let counted = Counted {
            quota,
            measure: Measure::new(&quota),
            number: number.ok_or(TierError::TooManyChanges)?,
        };
        self.0.push(counted);
        Ok(counted)
    }

    /// A quota by its number.
    pub(crate) fn get(&self, number: u16) -> Option<&Counted> {
        self.0.get(number.into())
    }

    /// In the order of their numbers.
    #[cfg_attr(
        not(feature = "redis"),
        expect(dead_code, reason = "told to the script")
    )]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Counted> {
        self.0.iter().map(|(_, counted)| counted)
    }
}

/// Short names first: of few tiers that tells most apart without a look at the names.
fn by_length(one: &Tier, other: &Tier) -> Ordering {
    let (one, other) = (one.as_str(), other.as_str());
    (one.len(), one).cmp(&(other.len(), other))
}

impl Plan {
    /// Whose requests the caller's is counted with.
    pub(crate) fn who<'a>(&self, caller: &Subject<'a>) -> Who<'a> {
        let network = || Who::Network(caller.address.map(Network::of));
        match (self.count_by, caller.principal, caller.owner) {
            (CountBy::Address, ..) | (_, None, _) => network(),
            (CountBy::Owner, Some(_), Some(owner)) => Who::Owner(owner),
            (_, Some(principal), _) => Who::Principal(principal),
        }
    }
}

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}
