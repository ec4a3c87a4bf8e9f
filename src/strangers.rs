//! Credentials that nobody here has seen yet: how many of them may turn out to be none, by address.
//!
//! Who guesses keys is told to wait before the store is asked. A key that is remembered is never
//! held up, whoever else calls from its address.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    clock::Clock,
    key_store::Tier,
    memory::MemoryRateLimiter,
    rate_limiter::{
        Allowance, Quota, QuotaUsage, Refusal, Subject, TierError, Tiers, plans::Network,
    },
};

/// Counts failed authentication.
///
/// 1. An attempt is let through while the failures of its address and the attempts from there that
///    are under way do not fill the quota together: the store is never asked more often.
/// 2. Where only attempts under way stand in its way, it waits for their outcome: it may be that they
///    are all good.
/// 3. Those that turn out to be good do not count.
pub(crate) struct Strangers {
    failures: MemoryRateLimiter,
    limit: u32,
    clock: Arc<dyn Clock>,
    /// Attempts whose outcome is not known yet; only addresses that have any.
    under_way: Mutex<HashMap<Option<Network>, u32>>,
    settled: Notify,
}

/// An attempt under way. Dropped without an outcome it has failed: who goes away early has cost as
/// much as who waits.
pub(crate) struct Attempt {
    strangers: Arc<Strangers>,
    address: Option<IpAddr>,
    failed: bool,
}

/// Why an attempt is not let through at once.
enum Held {
    /// The quota is used up.
    Refused(Box<Refusal>),
    /// Others have to settle first.
    Waits,
}

impl Strangers {
    pub(crate) fn new(quota: Quota, clock: Arc<dyn Clock>) -> Result<Self, TierError> {
        let tiers = Tiers::default();
        let anonymous = Tier::clone(tiers.anonymous_tier());
        let tiers = tiers.with_tier(anonymous, [quota])?;
        Ok(Self {
            failures: MemoryRateLimiter::new(tiers).with_address_capacity(ADDRESSES),
            limit: quota.limit(),
            clock,
            under_way: Mutex::default(),
            settled: Notify::new(),
        })
    }

    /// Lets an attempt from this address through, when it is its turn.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<Attempt, Box<Refusal>> {
        loop {
            let mut settled = pin!(self.settled.notified());
            // From here on: what settles while it looks does not escape it.
            settled.as_mut().enable();
            match self.try_admit(address) {
                Ok(attempt) => return Ok(attempt),
                Err(Held::Refused(refusal)) => return Err(refusal),
                Err(Held::Waits) => settled.await,
            }
        }
    }

    fn try_admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Attempt, Held> {
        let mut under_way = self.under_way();
        let left = match self.failures.look(&caller(address), self.clock.now()) {
            Allowance::Refused(refusal) => return Err(Held::Refused(refusal.into())),
            Allowance::Admitted(usage) => {
                usage.tightest().map_or(self.limit, QuotaUsage::remaining)
            }
        };
        let attempts = under_way.entry(address.map(Network::of)).or_default();
        if *attempts >= left {
            return Err(Held::Waits);
        }
        *attempts += 1;
        Ok(Attempt {
            strangers: Arc::clone(self),
            address,
            failed: true,
        })
    }

    fn settle(&self, attempt: &Attempt) {
        let mut under_way = self.under_way();
        let network = attempt.address.map(Network::of);
        if let Some(attempts) = under_way.get_mut(&network) {
            *attempts -= 1;
            if *attempts == 0 {
                under_way.remove(&network);
            }
        }
        if attempt.failed {
            self.failures
                .count(&caller(attempt.address), self.clock.now());
        }
        drop(under_way);
        self.settled.notify_waiters();
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Option<Network>, u32>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// It was a credential after all, or nobody could say.
    pub(crate) fn forgive(mut self) {
        self.failed = false;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.strangers.settle(self);
    }
}

impl fmt::Debug for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strangers")
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

fn caller<'a>(address: Option<IpAddr>) -> Subject<'a> {
    let anonymous = Subject::anonymous();
    address.map_or(anonymous, |address| anonymous.with_address(address))
}

/// How many are counted at once, of some 160 bytes each.
const ADDRESSES: usize = 32_768;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::ManualClock;

    fn strangers(limit: u64) -> (Arc<Strangers>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let quota = Quota::new("failed", limit, Duration::from_secs(60)).unwrap();
        let strangers = Strangers::new(quota, clock.clone()).unwrap();
        (Arc::new(strangers), clock)
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    fn try_one(
        strangers: &Arc<Strangers>,
        from: Option<IpAddr>,
    ) -> Option<Result<Attempt, Box<Refusal>>> {
        strangers.admit(from).now_or_never()
    }

    #[test]
    fn failures_and_attempts_under_way_fill_the_quota_together() {
        let (strangers, clock) = strangers(3);
        drop(try_one(&strangers, address(1)).unwrap().ok().unwrap());
        let under_way = [0, 1].map(|_| try_one(&strangers, address(1)).unwrap().ok().unwrap());
        assert!(try_one(&strangers, address(1)).is_none(), "it waits");
        assert!(
            try_one(&strangers, address(2)).unwrap().is_ok(),
            "others do not"
        );
        under_way.into_iter().for_each(Attempt::forgive);
        let under_way = [0, 1].map(|_| try_one(&strangers, address(1)).unwrap().ok().unwrap());
        drop(under_way);
        let refusal = try_one(&strangers, address(1)).unwrap().err().unwrap();
        assert_eq!(refusal.quota, "failed");
        clock.advance(refusal.retry_after - Duration::from_micros(1));
        assert!(try_one(&strangers, address(1)).unwrap().is_err());
        clock.advance(Duration::from_micros(1));
        assert!(try_one(&strangers, address(1)).unwrap().is_ok());
        assert!(strangers.under_way().is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_others_have_settled() {
        let (strangers, _) = strangers(1);
        let first = strangers.admit(address(1)).await.ok().unwrap();
        let waits = tokio::spawn({
            let strangers = Arc::clone(&strangers);
            async move { strangers.admit(address(1)).await.map(Attempt::forgive) }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        first.forgive();
        assert!(waits.await.unwrap().is_ok());
        let last = strangers.admit(address(1)).await.ok().unwrap();
        let waits = tokio::spawn({
            let strangers = Arc::clone(&strangers);
            async move { strangers.admit(address(1)).await.map(Attempt::forgive) }
        });
        tokio::task::yield_now().await;
        drop(last);
        assert!(waits.await.unwrap().is_err(), "the one before failed");
    }

    #[test]
    fn all_of_a_network_count_together() {
        let (strangers, _) = strangers(1);
        let [a, b, c] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
            .map(|address| Some(address.parse().unwrap()));
        drop(try_one(&strangers, a).unwrap());
        assert!(try_one(&strangers, b).unwrap().is_err());
        assert!(try_one(&strangers, c).unwrap().is_ok());
        drop(try_one(&strangers, None).unwrap());
        assert!(try_one(&strangers, None).unwrap().is_err());
    }
}
