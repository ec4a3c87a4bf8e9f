//! A manager over the memory backends, and a wrapper around both that fails, or lets somebody else
//! in, at any of its calls.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::watch;
use tower_api_key::{
    Actor, BackendError, Changes, Clock, EventKind, Holder, HolderState, KeyDigest, KeyId,
    KeyManager, KeyQuery, KeyRecord, KeyStore, License, LicenseEvent, LicenseId, LicenseLedger,
    Line, ManualClock, MemoryKeyStore, MemoryLedger, Module, Operation, Overview, Seats, Standings,
    Timestamp, UsageCount,
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

struct Store(MemoryKeyStore, Arc<Plan>);

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

struct Ledger(MemoryLedger, Arc<Plan>);

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

/// A manager over backends that can fail, and what lies behind it.
#[derive(Clone)]
pub(crate) struct World {
    /// The one under test.
    pub(crate) manager: KeyManager,
    /// Another one over the same data, without faults: somebody else.
    pub(crate) other: KeyManager,
    pub(crate) plan: Arc<Plan>,
    pub(crate) store: MemoryKeyStore,
    pub(crate) ledger: MemoryLedger,
    pub(crate) clock: Arc<ManualClock>,
    /// The key that somebody else is after.
    pub(crate) target: Arc<Mutex<&'static str>>,
}

impl World {
    /// `launcher` needs the license `lic`, of which there is one seat; `open` needs none.
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let (store, plan) = (MemoryKeyStore::new(), Arc::new(Plan::default()));
        let ledger = MemoryLedger::new().with_clock(clock.clone());
        let manager = KeyManager::new(
            Arc::new(Store(store.clone(), plan.clone())),
            Arc::new(Ledger(ledger.clone(), plan.clone())),
        )
        .with_clock(clock.clone());
        let other = KeyManager::new(Arc::new(store.clone()), Arc::new(ledger.clone()))
            .with_clock(clock.clone());
        let license = License::new(lic(), Seats::Limited(1));
        let system = Actor::system();
        other.set_license(license, &system).await.unwrap();
        for (module, license) in [(launcher(), Some(lic())), (open(), None)] {
            let mapped = other.map_module(&module, license.as_ref(), &system);
            mapped.await.unwrap();
        }
        Self {
            manager,
            other,
            plan,
            store,
            ledger,
            clock,
            target: Arc::new(Mutex::new("")),
        }
    }

    /// The instant so many seconds from now.
    pub(crate) fn clock_in(&self, seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(self.clock.now().wall.unix_seconds() + seconds)
    }

    /// Who holds the seat, and who waits for it.
    pub(crate) async fn line(&self) -> (Vec<String>, Vec<String>) {
        let line = self.other.line(&lic(), 100).await.unwrap();
        let names = |part: Vec<(Holder, Timestamp)>| {
            let names = part.iter().map(|(holder, _)| holder.to_string());
            names.collect::<Vec<_>>()
        };
        (names(line.reserved), names(line.waiting))
    }

    /// The last event's number.
    pub(crate) async fn seq(&self) -> u64 {
        self.other.overview().await.unwrap().seq
    }

    /// What was logged after `seq`: in short, and each with its actor.
    pub(crate) async fn log(&self, seq: u64) -> Vec<(String, Actor)> {
        let events = self.other.events(seq, usize::MAX).await.unwrap();
        let short = |event: LicenseEvent| (short(&event.kind), event.actor);
        events.into_iter().map(short).collect()
    }

    pub(crate) async fn record(&self, id: &KeyId) -> Option<KeyRecord> {
        self.store.get(id).await.unwrap()
    }

    pub(crate) async fn keys(&self) -> Vec<KeyRecord> {
        let query = KeyQuery::first(usize::MAX);
        self.store.list(&query).await.unwrap()
    }

    /// No seat without its key, nobody in line who could not use one, and the ledger takes every
    /// key for what the store says it is.
    pub(crate) async fn assert_consistent(&self, context: &str) {
        let now = self.other.overview().await.unwrap().clock;
        let (reserved, waiting) = self.line().await;
        for name in reserved.iter().chain(&waiting) {
            let record = self.record(&id(name)).await;
            let record = record.unwrap_or_else(|| panic!("{context}: {name} has a place"));
            assert!(record.enabled, "{context}: {record:?}");
            assert!(record.revoked_at.is_none(), "{context}: {record:?}");
            let ended = record.expires_at.is_some_and(|end| end <= now);
            assert!(!ended, "{context}: {record:?}");
        }
        for state in self.ledger.holders(None, usize::MAX).await.unwrap() {
            let Some(key) = state.holder.key_id() else {
                continue;
            };
            let record = self.record(&key).await;
            let record = record.unwrap_or_else(|| panic!("{context}: {state:?} is left over"));
            assert_eq!(state.revoked, record.revoked_at.is_some(), "{context}");
            if !state.revoked {
                assert_eq!(state.active, record.enabled, "{context}");
                assert_eq!(state.active_until, record.expires_at, "{context}");
            }
        }
    }
}

/// An event's name, and what it is about.
pub(crate) fn short(kind: &EventKind) -> String {
    let json = serde_json::to_value(kind).unwrap();
    let fields = ["event", "holder", "module", "license", "cause", "reason"];
    let text = |field: &&str| json[*field].as_str().map(str::to_owned);
    let mut words: Vec<_> = fields.iter().filter_map(text).collect();
    let changed = json["changed"].as_array().into_iter().flatten();
    words.extend(changed.filter_map(|name| name.as_str().map(str::to_owned)));
    words.join(" ")
}

pub(crate) fn lic() -> LicenseId {
    LicenseId::new("lic").unwrap()
}

pub(crate) fn launcher() -> Module {
    Module::new("launcher").unwrap()
}

pub(crate) fn open() -> Module {
    Module::new("open").unwrap()
}

pub(crate) fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

pub(crate) fn alice() -> &'static Actor {
    static ALICE: LazyLock<Actor> = LazyLock::new(|| Actor::new("alice").unwrap());
    &ALICE
}

pub(crate) fn bob() -> &'static Actor {
    static BOB: LazyLock<Actor> = LazyLock::new(|| Actor::new("bob").unwrap());
    &BOB
}

/// Entries of the log, all by the same actor.
pub(crate) fn by<const N: usize>(actor: &Actor, events: [&str; N]) -> [(String, Actor); N] {
    events.map(|event| (event.to_owned(), actor.clone()))
}
