//! Wrappers around the memory's backends that fail, or let somebody else in, at any of their calls.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::watch;
use tower_api_key::{
    Actor, BackendError, Changes, Holder, HolderState, KeyDigest, KeyId, KeyQuery, KeyRecord,
    KeyStore, LicenseEvent, LicenseId, LicenseLedger, Line, MemoryKeyStore, MemoryLedger, Module,
    Operation, Overview, Standings, Timestamp, UsageCount,
};

/// What happens at a call of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and does nothing.
    Before,
    /// It is done, and then the connection is lost.
    After,
    /// This call and all that follow fail.
    Outage,
}

/// Somebody else, who gets his turn right before or right after a call.
struct Interruption {
    at: usize,
    after: bool,
    by: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What the store and the ledger of a manager share: the number of calls, and what is planned.
#[derive(Default)]
pub(crate) struct Plan {
    calls: AtomicUsize,
    fault: Mutex<Option<(usize, Fault)>>,
    interruption: Mutex<Option<Interruption>>,
    pub(crate) read_only: Mutex<bool>,
    /// So many updates of a key meet somebody else's change.
    pub(crate) conflicts: AtomicUsize,
    /// What the ledger was asked.
    asked: Mutex<Vec<&'static str>>,
    /// The ledger answers of one holder less than it is asked of.
    pub(crate) forgets_one: AtomicBool,
}

impl Plan {
    /// From now on: a fault at the `at`-th call, counted from 1.
    pub(crate) fn fail(&self, at: usize, fault: Fault) {
        self.calls.store(0, Ordering::SeqCst);
        *self.fault.lock().unwrap() = Some((at, fault));
    }

    /// From now on: somebody else gets his turn right before the `at`-th call, counted from 1.
    pub(crate) fn interrupt(&self, at: usize, by: impl Future<Output = ()> + Send + 'static) {
        self.plan_interruption(at, false, by);
    }

    /// From now on: somebody else gets his turn right after the `at`-th call, counted from 1.
    pub(crate) fn interrupt_after(&self, at: usize, by: impl Future<Output = ()> + Send + 'static) {
        self.plan_interruption(at, true, by);
    }

    fn plan_interruption(
        &self,
        at: usize,
        after: bool,
        by: impl Future<Output = ()> + Send + 'static,
    ) {
        self.calls.store(0, Ordering::SeqCst);
        let by = Box::pin(by);
        *self.interruption.lock().unwrap() = Some(Interruption { at, after, by });
    }

    async fn let_in(&self, number: usize, after: bool) {
        let planned = {
            let mut planned = self.interruption.lock().unwrap();
            planned.take_if(|planned| planned.at == number && planned.after == after)
        };
        if let Some(planned) = planned {
            planned.by.await;
        }
    }

    /// What the ledger was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Nothing fails any more. Answers whether the plan was carried out at all.
    pub(crate) fn lift(&self) -> bool {
        let calls = self.calls.load(Ordering::SeqCst);
        let fault = self.fault.lock().unwrap().take();
        let waiting = self.interruption.lock().unwrap().take().is_some();
        fault.is_some_and(|(at, _)| at <= calls) || (fault.is_none() && !waiting)
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.let_in(number, false).await;
        let lost = || BackendError::unavailable("the connection was lost");
        let fault = *self.fault.lock().unwrap();
        let outcome = match fault {
            Some((at, Fault::Before)) if at == number => Err(lost()),
            Some((at, Fault::Outage)) if at <= number => Err(lost()),
            Some((at, Fault::After)) if at == number => call.await.and_then(|_| Err(lost())),
            _ => call.await,
        };
        self.let_in(number, true).await;
        outcome
    }

    async fn change<T>(
        &self,
        call: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        if *self.read_only.lock().unwrap() {
            return Err(BackendError::ReadOnly);
        }
        self.call(call).await
    }
}

pub(crate) struct Store(pub(crate) MemoryKeyStore, pub(crate) Arc<Plan>);

#[async_trait]
impl KeyStore for Store {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        self.1.call(self.0.find(digest)).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.1.call(self.0.get(id)).await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.1.change(self.0.insert(record)).await
    }

    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError> {
        let conflict = |left: usize| left.checked_sub(1);
        let conflicts = &self.1.conflicts;
        if let Ok(left) = conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, conflict) {
            let mut other = self.0.get(&record.id).await?.expect("it is there");
            other.hint = format!("changed {left}");
            self.0.update(other).await?;
        }
        self.1.change(self.0.update(record)).await
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.1.change(self.0.delete(id)).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        self.1.call(self.0.list(query)).await
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.1.change(self.0.record_last_used(uses)).await
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        self.1
            .change(self.0.record_usage(counts, forget_before))
            .await
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        self.1.call(self.0.usage(id, since)).await
    }

    fn changes(&self) -> Option<&Changes> {
        self.0.changes()
    }
}

pub(crate) struct Ledger(pub(crate) MemoryLedger, pub(crate) Arc<Plan>);

impl Ledger {
    async fn ask<T>(
        &self,
        question: &'static str,
        answer: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        self.1.asked.lock().unwrap().push(question);
        self.1.call(answer).await
    }
}

#[async_trait]
impl LicenseLedger for Ledger {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        self.ask("apply", self.0.apply(operation, actor)).await
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        self.ask("plan", self.0.plan(operation)).await
    }

    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError> {
        self.ask("standings", self.0.standings(holder, carried))
            .await
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        let mut answer = self.ask("standings_of", self.0.standings_of(asked)).await?;
        if self.1.forgets_one.load(Ordering::SeqCst) {
            answer.pop();
        }
        Ok(answer)
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        self.ask("first_unknown", self.0.first_unknown(modules))
            .await
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        self.ask("overview", self.0.overview()).await
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        self.ask("line", self.0.line(license, limit)).await
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        self.ask("holders", self.0.holders(after, limit)).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        self.ask("events", self.0.events(after, limit)).await
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.0.latest()
    }

    fn changes(&self) -> &Changes {
        self.0.changes()
    }
}
