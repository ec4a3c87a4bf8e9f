//! Credentials that nobody here has seen yet: how many of them may turn out to be none, by address.
//!
//! Who guesses keys is told to wait before the store is asked. A key that is remembered is never
//! held up, whoever else calls from its address.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

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
///    are under way do not fill the quota together: of keys that are nobody's the store is never asked
///    about more.
/// 2. Where only attempts under way stand in its way, it waits in line for their outcome: it may be
///    that they are all good.
/// 3. Only those that turn out to be nobody's count; what the store could not answer is nobody's fault.
pub(crate) struct Strangers {
    failures: MemoryRateLimiter,
    limit: u32,
    clock: Arc<dyn Clock>,
    /// Only addresses from which attempts are under way.
    crowds: Mutex<HashMap<Option<Network>, Crowd>>,
}

/// Who comes from one address.
#[derive(Default)]
struct Crowd {
    under_way: u32,
    /// Who has to wait for the outcome of those.
    line: VecDeque<oneshot::Sender<Turn>>,
}

/// What one who waits is told.
type Turn = Result<Attempt, Box<Refusal>>;

/// An attempt under way; over when it is dropped.
pub(crate) struct Attempt {
    /// Nothing: it was never made.
    strangers: Option<Arc<Strangers>>,
    address: Option<IpAddr>,
    failed: bool,
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
            crowds: Mutex::default(),
        })
    }

    /// A line of its own for attempts of another kind, which fail on the same account: those that hang
    /// here hold up none there.
    pub(crate) fn beside(&self) -> Self {
        Self {
            failures: self.failures.clone(),
            limit: self.limit,
            clock: Arc::clone(&self.clock),
            crowds: Mutex::default(),
        }
    }

    /// Lets an attempt from this address through, when it is its turn.
    pub(crate) async fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Turn {
        match self.line_up(address) {
            Ok(turn) => turn,
            Err(turn) => turn.await.expect("who waits is told before the line goes"),
        }
    }

    /// Whether nobody from this address is let through now.
    pub(crate) fn holds_up(&self, address: Option<IpAddr>) -> bool {
        self.left(address).is_err()
    }

    /// Its turn, or where it will be told of it.
    fn line_up(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Turn, oneshot::Receiver<Turn>> {
        let mut crowds = self.crowds();
        let left = match self.left(address) {
            Ok(left) => left,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let crowd = crowds.entry(address.map(Network::of)).or_default();
        if crowd.under_way < left {
            crowd.under_way += 1;
            return Ok(Ok(Attempt::new(self, address)));
        }
        let (tell, turn) = oneshot::channel();
        crowd.line.push_back(tell);
        Err(turn)
    }

    /// How many more failures there may be.
    fn left(&self, address: Option<IpAddr>) -> Result<u32, Box<Refusal>> {
        match self.failures.look(&caller(address), self.clock.now()) {
            Allowance::Refused(refusal) => Err(refusal.into()),
            Allowance::Admitted(usage) => {
                Ok((usage.quotas().next()).map_or(self.limit, QuotaUsage::remaining))
            }
        }
    }

    /// Ends an attempt, and lets those go on who have waited for that.
    fn end(self: &Arc<Self>, address: Option<IpAddr>, failed: bool) {
        let mut crowds = self.crowds();
        if failed {
            self.failures.count(&caller(address), self.clock.now());
        }
        let Entry::Occupied(mut crowd) = crowds.entry(address.map(Network::of)) else {
            return;
        };
        let Crowd { under_way, line } = crowd.get_mut();
        *under_way -= 1;
        let left = self.left(address);
        while left.as_ref().map_or(true, |left| *under_way < *left) {
            let Some(next) = line.pop_front() else { break };
            let turn = match &left {
                Ok(_) => Ok(Attempt::new(self, address)),
                Err(refusal) => Err(refusal.clone()),
            };
            match next.send(turn) {
                Ok(()) => *under_way += u32::from(left.is_ok()),
                // Nobody waits there any more.
                Err(turn) => drop(turn.map(Attempt::never_made)),
            }
        }
        if *under_way == 0 && line.is_empty() {
            crowd.remove();
        }
    }

    fn crowds(&self) -> MutexGuard<'_, HashMap<Option<Network>, Crowd>> {
        self.crowds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    fn new(strangers: &Arc<Strangers>, address: Option<IpAddr>) -> Self {
        Self {
            strangers: Some(Arc::clone(strangers)),
            address,
            failed: false,
        }
    }

    /// It is nobody's.
    pub(crate) fn fail(mut self) {
        self.failed = true;
    }

    fn never_made(mut self) {
        self.strangers = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(strangers) = self.strangers.take() {
            strangers.end(self.address, self.failed);
        }
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

    /// What is said at once; nothing where it waits.
    fn try_one(strangers: &Arc<Strangers>, from: Option<IpAddr>) -> Option<Turn> {
        strangers.admit(from).now_or_never()
    }

    /// An attempt that is let through at once.
    fn one(strangers: &Arc<Strangers>, from: Option<IpAddr>) -> Attempt {
        try_one(strangers, from).unwrap().ok().unwrap()
    }

    #[test]
    fn failures_and_attempts_under_way_fill_the_quota_together() {
        let (strangers, clock) = strangers(3);
        one(&strangers, address(1)).fail();
        let under_way = [0, 1].map(|_| one(&strangers, address(1)));
        assert!(try_one(&strangers, address(1)).is_none(), "it waits");
        drop(one(&strangers, address(2)));
        drop(under_way);
        let under_way = [0, 1].map(|_| one(&strangers, address(1)));
        under_way.into_iter().for_each(Attempt::fail);
        let refusal = try_one(&strangers, address(1)).unwrap().err().unwrap();
        assert_eq!(refusal.quota, "failed");
        assert!(strangers.holds_up(address(1)));
        clock.advance(refusal.retry_after - Duration::from_micros(1));
        assert!(try_one(&strangers, address(1)).unwrap().is_err());
        clock.advance(Duration::from_micros(1));
        assert!(!strangers.holds_up(address(1)));
        drop(one(&strangers, address(1)));
        assert!(strangers.crowds().is_empty(), "nothing is left behind");
    }

    #[test]
    fn who_waits_goes_on_in_line_as_others_end() {
        let (strangers, _) = strangers(2);
        let first = [0, 1].map(|_| one(&strangers, address(1)));
        let mut line = [0; 5].map(|_| Box::pin(strangers.admit(address(1))));
        let mut turns = || line.each_mut().map(|turn| turn.as_mut().now_or_never());
        assert!(turns().iter().all(Option::is_none));
        let [a, b] = first;
        drop(a);
        let [Some(Ok(third)), None, None, None, None] = turns() else {
            panic!("one place, for the first of them");
        };
        b.fail();
        third.fail();
        let [_, second @ ..] = line;
        for turn in second {
            assert!(turn.now_or_never().unwrap().is_err(), "the quota is full");
        }
        assert!(strangers.crowds().is_empty());
    }

    #[test]
    fn who_no_longer_waits_is_passed_over() {
        let (strangers, _) = strangers(1);
        let first = one(&strangers, address(1));
        assert!(try_one(&strangers, address(1)).is_none(), "it went away");
        let mut second = Box::pin(strangers.admit(address(1)));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().unwrap().ok().unwrap();
        // Told, and gone before it looked.
        let mut third = Box::pin(strangers.admit(address(1)));
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        drop(third);
        drop(one(&strangers, address(1)));
        assert!(strangers.crowds().is_empty());
    }

    #[test]
    fn all_of_a_network_count_together() {
        let (strangers, _) = strangers(1);
        let [a, b, c] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
            .map(|address| Some(address.parse().unwrap()));
        one(&strangers, a).fail();
        assert!(try_one(&strangers, b).unwrap().is_err());
        drop(one(&strangers, c));
        one(&strangers, None).fail();
        assert!(try_one(&strangers, None).unwrap().is_err());
    }
}
