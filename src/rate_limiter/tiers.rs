//! Tiers: which quotas a caller has.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{key_store::Tier, rate_limiter::quota::Quota};

/// The rate tiers of a service. To begin with RealmKit's three, each of which can be changed:
///
/// | tier | whose it is | quota |
/// |---|---|---|
/// | `anonymous` | who sends no credential, by address (of IPv6 the first 64 bits) | 100 an hour |
/// | `standard` | every key that says nothing else | 1,000 an hour |
/// | `premium` | keys of that tier | 5,000 an hour |
///
/// ```
/// use tower_api_key::{CountBy, Quota, Tier, Tiers};
///
/// let partner = Tier::new("partner")?;
/// let tiers = Tiers::default()
///     .with_tier(partner.clone(), [Quota::per_second(20)?, Quota::per_hour(50_000)?])?
///     .with_count_by(&partner, CountBy::Owner)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    tiers: BTreeMap<Tier, TierQuotas>,
    default: Tier,
    anonymous: Tier,
}

/// What a tier's callers have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TierQuotas {
    /// None: no limit.
    pub(crate) quotas: Vec<Quota>,
    pub(crate) count_by: CountBy,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CountBy {
    /// Those of one key, or of one user of a token.
    #[default]
    Key,
    /// Those of all keys of one owner; of a key without owner, its own.
    Owner,
    /// Those from one address; of IPv6 from one /64 network. Where no address is known, all of these
    /// are counted together.
    Address,
}

/// Tiers that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TierError {
    /// A tier without a quota: say [`with_unlimited_tier`](Tiers::with_unlimited_tier).
    #[error("tier {0} has no quota")]
    NoQuota(Tier),
    /// More quotas than a tier can have.
    #[error("tier {0} has more than {MOST_QUOTAS} quotas")]
    TooManyQuotas(Tier),
    /// Two quotas of one name.
    #[error("tier {tier} has two quotas named {quota}")]
    Repeated {
        /// Which tier.
        tier: Tier,
        /// Which name.
        quota: String,
    },
    /// No such tier.
    #[error("there is no tier {0}")]
    Unknown(Tier),
    /// More tiers with quotas than a limiter can hold.
    #[error("there are more than {MOST_TIERS} tiers")]
    TooManyTiers,
    /// A limiter numbers the quotas that it has ever counted by.
    #[error("this limiter has counted by too many different quotas: make a new one")]
    TooManyChanges,
}

impl Tiers {
    /// Adds a tier, or gives it other quotas: each of them admits a request, or none counts it. One
    /// to four, of different names. By default there are three tiers, each with one quota.
    ///
    /// ```
    /// # use tower_api_key::{Quota, Tier, Tiers};
    /// Tiers::default().with_tier(Tier::new("premium")?, [Quota::per_hour(10_000)?])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TierError`] where there is no quota, more than four, or two of one name, or where it is the
    /// 10,001st tier.
    pub fn with_tier(
        mut self,
        tier: Tier,
        quotas: impl IntoIterator<Item = Quota>,
    ) -> Result<Self, TierError> {
        let quotas: Vec<_> = quotas.into_iter().collect();
        if quotas.is_empty() {
            return Err(TierError::NoQuota(tier));
        }
        if quotas.len() > MOST_QUOTAS {
            return Err(TierError::TooManyQuotas(tier));
        }
        for (index, quota) in quotas.iter().enumerate() {
            if quotas[..index].iter().any(|q| q.name() == quota.name()) {
                let quota = quota.name().to_owned();
                return Err(TierError::Repeated { tier, quota });
            }
        }
        if self.tiers.len() >= MOST_TIERS && !self.tiers.contains_key(&tier) {
            return Err(TierError::TooManyTiers);
        }
        self.tiers.entry(tier).or_default().quotas = quotas;
        Ok(self)
    }

    /// Adds a tier without any limit, or takes its quotas away. By default every tier has one.
    ///
    /// ```
    /// # use tower_api_key::{Tier, Tiers};
    /// Tiers::default().with_unlimited_tier(Tier::new("internal")?);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_unlimited_tier(mut self, tier: Tier) -> Self {
        self.tiers.entry(tier).or_default().quotas = Vec::new();
        self
    }

    /// Whose requests of a tier are counted together. By default those of one key.
    ///
    /// ```
    /// # use tower_api_key::{CountBy, Tier, Tiers};
    /// Tiers::default().with_count_by(&Tier::new("premium")?, CountBy::Owner)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TierError::Unknown`] where there is no such tier.
    pub fn with_count_by(mut self, tier: &Tier, count_by: CountBy) -> Result<Self, TierError> {
        match self.tiers.get_mut(tier) {
            Some(quotas) => quotas.count_by = count_by,
            None => return Err(TierError::Unknown(tier.clone())),
        }
        Ok(self)
    }

    /// The tier of keys that say nothing, or name a tier that does not exist. By default `standard`.
    ///
    /// ```
    /// # use tower_api_key::{Tier, Tiers};
    /// Tiers::default().with_default_tier(&Tier::new("premium")?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TierError::Unknown`] where there is no such tier.
    pub fn with_default_tier(mut self, tier: &Tier) -> Result<Self, TierError> {
        self.default = self.known(tier)?;
        Ok(self)
    }

    /// The tier of callers without a credential, who are always counted by address. By default
    /// `anonymous`.
    ///
    /// ```
    /// # use tower_api_key::{Quota, Tier, Tiers};
    /// let guests = Tier::new("guests")?;
    /// Tiers::default()
    ///     .with_tier(guests.clone(), [Quota::per_minute(10)?])?
    ///     .with_anonymous_tier(&guests)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TierError::Unknown`] where there is no such tier.
    pub fn with_anonymous_tier(mut self, tier: &Tier) -> Result<Self, TierError> {
        self.anonymous = self.known(tier)?;
        Ok(self)
    }

    fn known(&self, tier: &Tier) -> Result<Tier, TierError> {
        match self.tiers.contains_key(tier) {
            true => Ok(tier.clone()),
            false => Err(TierError::Unknown(tier.clone())),
        }
    }

    /// The quotas of a tier: none where it has no limit; nothing where there is no such tier.
    pub fn quotas(&self, tier: &Tier) -> Option<&[Quota]> {
        Some(&self.tiers.get(tier)?.quotas)
    }

    /// The names of all tiers, in order.
    pub fn names(&self) -> impl Iterator<Item = &Tier> {
        self.tiers.keys()
    }

    /// The tier of keys that say nothing else.
    pub fn default_tier(&self) -> &Tier {
        &self.default
    }

    /// The tier of callers without a credential.
    pub fn anonymous_tier(&self) -> &Tier {
        &self.anonymous
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Tier, &TierQuotas)> {
        self.tiers.iter()
    }
}

/// RealmKit's three tiers.
impl Default for Tiers {
    fn default() -> Self {
        let tier = |name| Tier::new(name).expect("a valid name");
        let quotas = [("anonymous", 100), ("standard", 1_000), ("premium", 5_000)];
        let tiers = quotas.map(|(name, limit)| {
            let hour = Quota::per_hour(limit).expect("a valid quota");
            let quotas = TierQuotas {
                quotas: vec![hour],
                count_by: CountBy::Key,
            };
            (tier(name), quotas)
        });
        Self {
            tiers: tiers.into(),
            default: tier("standard"),
            anonymous: tier("anonymous"),
        }
    }
}

/// A limiter numbers their quotas in 16 bits.
const MOST_TIERS: usize = 10_000;
/// Of one tier.
pub(crate) const MOST_QUOTAS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(name: &str) -> Tier {
        Tier::new(name).unwrap()
    }

    #[test]
    fn the_seeds_three_tiers_are_there_to_begin_with() {
        let tiers = Tiers::default();
        for (name, limit) in [("anonymous", 100), ("standard", 1_000), ("premium", 5_000)] {
            let hour = Quota::per_hour(limit).unwrap();
            assert_eq!(tiers.quotas(&tier(name)), Some(&[hour][..]));
        }
        assert_eq!(tiers.names().count(), 3);
        assert_eq!(tiers.default_tier().as_str(), "standard");
        assert_eq!(tiers.anonymous_tier().as_str(), "anonymous");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let tiers = Tiers::default;
        let hour = Quota::per_hour(1).unwrap();
        let told = |result: Result<Tiers, TierError>| result.expect_err("refused").to_string();
        assert_eq!(
            told(tiers().with_tier(tier("a"), [])),
            "tier a has no quota"
        );
        assert_eq!(
            told(tiers().with_tier(tier("a"), [hour, hour])),
            "tier a has two quotas named hour"
        );
        let five = ["1", "2", "3", "4", "5"].map(|n| Quota::new(n, 1, hour.window()).unwrap());
        assert_eq!(
            told(tiers().with_tier(tier("a"), five)),
            "tier a has more than 4 quotas"
        );
        let mut many = tiers();
        for n in 3..10_000 {
            many = many.with_tier(tier(&format!("t{n}")), [hour]).unwrap();
        }
        let many = many.with_tier(tier("premium"), [hour]).unwrap();
        assert_eq!(
            told(many.with_tier(tier("one-more"), [hour])),
            "there are more than 10000 tiers"
        );
        let none = "there is no tier gone";
        let gone = tier("gone");
        assert_eq!(told(tiers().with_default_tier(&gone)), none);
        assert_eq!(told(tiers().with_anonymous_tier(&gone)), none);
        assert_eq!(told(tiers().with_count_by(&gone, CountBy::Owner)), none);
        assert_eq!(tiers().quotas(&gone), None);
    }
}
