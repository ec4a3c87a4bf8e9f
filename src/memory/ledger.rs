//! Licenses in memory.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    changes::Changes,
    clock::{Clock, SystemClock},
    error::BackendError,
    ledger_state::LedgerState,
    license_ledger::{
        Actor, Eviction, Holder, HolderState, LicenseEvent, LicenseId, LicenseLedger, Line, Module,
        Operation, Overview, Standings,
    },
    transfer::{LedgerCopy, RestoreLedger},
};

/// A [`LicenseLedger`] in memory.
///
/// The log is kept whole, as its contract asks for: a million entries take about 100 MB.
///
/// A [`plan`](LicenseLedger::plan) works on a copy of all but the log, so it takes time and memory
/// in proportion to the number of holders and of what they are assigned. Other calls wait while the
/// copy is made; requests that a layer decides from memory do not.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use tower_api_key::{
///     Actor, Holder, License, LicenseLedger, MemoryLedger, Module, Operation, Seats, Status,
///     Timestamp,
/// };
/// let ledger = MemoryLedger::new();
/// let (actor, holder, launcher) = (Actor::system(), Holder::new("k1")?, Module::new("launcher")?);
/// let license = License::new("launcher-license".parse()?, Seats::Limited(1));
/// for operation in [
///     Operation::MapModule { module: launcher.clone(), license: Some(license.id.clone()) },
///     Operation::SetLicense { license },
///     Operation::Assign { holder: holder.clone(), modules: vec![launcher.clone()] },
/// ] {
///     ledger.apply(operation, &actor).await?;
/// }
/// let standings = ledger.standings(&holder, &[]).await?;
/// assert_eq!(standings.status(&launcher, Timestamp::MIN), Status::Reserved);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryLedger(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    changes: Changes,
    latest: watch::Sender<u64>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    state: LedgerState,
    log: Vec<LicenseEvent>,
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            inner: Mutex::new(Inner {
                clock: Arc::new(SystemClock::new()),
                state: LedgerState::new(Eviction::default()),
                log: Vec::new(),
            }),
            changes: Changes::new(),
            latest: watch::Sender::new(0),
        }))
    }

    /// Where it reads the time. By default a [`SystemClock`].
    ///
    /// ```
    /// # use tower_api_key::{ManualClock, MemoryLedger};
    /// let ledger = MemoryLedger::new().with_clock(ManualClock::new());
    /// ```
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.lock().clock = Arc::new(clock);
        self
    }

    /// Which reservation goes first where there are more than seats. By default the oldest.
    ///
    /// ```
    /// # use tower_api_key::{Eviction, MemoryLedger};
    /// let ledger = MemoryLedger::new().with_eviction(Eviction::NewestFirst);
    /// ```
    #[must_use]
    pub fn with_eviction(self, eviction: Eviction) -> Self {
        self.lock().state.set_eviction(eviction);
        self
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The only foreign code that runs under the lock is the clock, read before anything is
        // changed: what panicked there left nothing half done.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger")
            .field("events", &self.lock().log.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl LicenseLedger for MemoryLedger {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        let mut inner = self.lock();
        let now = inner.clock.now().wall;
        let events = inner.state.apply(&operation, actor, now);
        inner.log.extend_from_slice(&events);
        for event in &events {
            event.tell(&self.0.changes);
        }
        if let Some(last) = events.last() {
            self.0.latest.send_replace(last.seq);
        }
        Ok(events)
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        let (mut copy, now) = {
            let inner = self.lock();
            (inner.state.clone(), inner.clock.now().wall)
        };
        Ok(copy.apply(operation, &Actor::system(), now))
    }

    async fn standings(&self, holder: &Holder, _: &[Module]) -> Result<Standings, BackendError> {
        Ok(self.lock().state.standings(holder))
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let inner = self.lock();
        let standings = asked
            .iter()
            .map(|(holder, _)| inner.state.standings(holder));
        Ok(standings.collect())
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        Ok(self.lock().state.first_unknown(modules).cloned())
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        Ok(self.lock().state.overview())
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        Ok(self.lock().state.line(license, limit))
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        Ok(self.lock().state.holders(after, limit))
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        let inner = self.lock();
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        let rest = inner.log.get(after..).unwrap_or_default();
        Ok(rest[..rest.len().min(limit)].to_vec())
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.0.latest.subscribe()
    }

    fn changes(&self) -> &Changes {
        &self.0.changes
    }
}

#[async_trait]
impl RestoreLedger for MemoryLedger {
    async fn restore(&self, copy: &LedgerCopy) -> Result<bool, BackendError> {
        let mut inner = self.lock();
        if inner.state.seq() > 0 {
            return Ok(false);
        }
        let now = inner.clock.now().wall.max(inner.state.clock());
        (inner.state, inner.log) = copy.at(now, inner.state.eviction());
        for event in &inner.log {
            event.tell(&self.0.changes);
        }
        self.0.latest.send_replace(inner.state.seq());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{ManualClock, Now};

    fn assign(holder: &str) -> Operation {
        Operation::Assign {
            holder: Holder::new(holder).unwrap(),
            modules: vec![Module::new("launcher").unwrap()],
        }
    }

    /// Fails once, as a clock of the host's own may.
    struct FailingClock(AtomicBool);

    impl Clock for FailingClock {
        fn now(&self) -> Now {
            assert!(self.0.swap(true, Ordering::SeqCst), "the first reading");
            ManualClock::new().now()
        }
    }

    #[tokio::test]
    async fn panic_of_the_clock_does_not_close_the_ledger() {
        let clock = FailingClock(AtomicBool::new(false));
        let ledger = MemoryLedger::new().with_clock(clock);
        let failing = ledger.clone();
        let call = async move { failing.apply(assign("a"), &Actor::system()).await };
        assert!(tokio::spawn(call).await.is_err());
        assert!(ledger.0.inner.is_poisoned());
        assert_eq!(ledger.events(0, 9).await.unwrap(), []);
        let events = ledger.apply(assign("a"), &Actor::system()).await.unwrap();
        assert_eq!(ledger.events(0, 9).await.unwrap(), events);
        assert_eq!(events[0].seq, 1);
    }

    #[tokio::test]
    async fn clones_see_the_same_ledger() {
        let ledger = MemoryLedger::new();
        let events = ledger.clone().apply(assign("a"), &Actor::system()).await;
        assert_eq!(ledger.events(0, 9).await.unwrap(), events.unwrap());
        assert_eq!(format!("{ledger:?}"), "MemoryLedger { events: 2, .. }");
    }

    #[test]
    fn million_entries_of_the_log_take_about_100_megabytes() {
        let size = size_of::<LicenseEvent>();
        assert!(size <= 100, "{size} bytes, and names are shared");
    }
}
