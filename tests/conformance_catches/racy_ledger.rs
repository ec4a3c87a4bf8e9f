//! A license ledger whose transactions are none.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tower_api_key::{
    Actor, BackendError, Changes, Clock, Eviction, Holder, HolderState, LedgerState, LicenseEvent,
    LicenseId, LicenseLedger, Line, ManualClock, Module, Operation, Overview, Standings,
};

/// A ledger whose operations read, think and write: what READ COMMITTED makes of a transaction.
pub(crate) struct RacyLedger {
    state: Mutex<LedgerState>,
    log: Mutex<Vec<LicenseEvent>>,
    clock: Arc<ManualClock>,
    changes: Changes,
    latest: watch::Sender<u64>,
}

pub(crate) fn racy_ledger(clock: &Arc<ManualClock>) -> RacyLedger {
    RacyLedger {
        state: Mutex::new(LedgerState::new(Eviction::OldestFirst)),
        log: Mutex::default(),
        clock: clock.clone(),
        changes: Changes::new(),
        latest: watch::Sender::new(0),
    }
}

#[async_trait::async_trait]
impl LicenseLedger for RacyLedger {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        let mut state = self.state.lock().expect("no caller panicked").clone();
        super::a_moment().await;
        let events = state.apply(&operation, actor, self.clock.now().wall);
        self.latest.send_replace(state.seq());
        *self.state.lock().expect("no caller panicked") = state;
        self.log
            .lock()
            .expect("no caller panicked")
            .extend_from_slice(&events);
        self.changes.everything();
        Ok(events)
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        let state = self.state.lock().expect("no caller panicked").clone();
        Ok(state.plan(operation, self.clock.now().wall))
    }

    async fn standings(&self, holder: &Holder, _: &[Module]) -> Result<Standings, BackendError> {
        Ok(self
            .state
            .lock()
            .expect("no caller panicked")
            .standings(holder))
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let state = self.state.lock().expect("no caller panicked");
        let standings = asked.iter().map(|(holder, _)| state.standings(holder));
        Ok(standings.collect())
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        let state = self.state.lock().expect("no caller panicked");
        Ok(state.first_unknown(modules).cloned())
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        Ok(self.state.lock().expect("no caller panicked").overview())
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        Ok(self
            .state
            .lock()
            .expect("no caller panicked")
            .line(license, limit))
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        Ok(self
            .state
            .lock()
            .expect("no caller panicked")
            .holders(after, limit))
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        let log = self.log.lock().expect("no caller panicked");
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(log.iter().skip(after).take(limit).cloned().collect())
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }
}
