//! Backends that fail on demand and count how often they are asked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use tower::Layer;
use tower_api_key::{
    Actor, ApiKeyLayer, ApiKeyLayerBuilder, ApiKeyService, BackendError, Changes, Holder,
    HolderState, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, LicenseEvent, LicenseId,
    LicenseLedger, Line, Module, Operation, Overview, Standings, Timestamp, UsageCount,
};

use super::{Answer, Strict, World, answer, get, map};

/// What happens to a read.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    None,
    /// It fails.
    Down,
    /// It never answers.
    Hangs,
    /// It panics.
    Panics,
    /// It has read, and answers when `Faults::gate` lets it.
    Late,
}

/// A switch that test and backend share.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    fault: AtomicU8,
    asked: AtomicUsize,
    read_only: AtomicBool,
    written: AtomicUsize,
    gate: Semaphore,
}

impl Faults {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            fault: AtomicU8::new(0),
            asked: AtomicUsize::new(0),
            read_only: AtomicBool::new(false),
            written: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        }))
    }

    pub fn set(&self, fault: Fault) {
        self.0.fault.store(fault as u8, Ordering::SeqCst);
    }

    pub fn set_read_only(&self, read_only: bool) {
        self.0.read_only.store(read_only, Ordering::SeqCst);
    }

    /// How many reads came so far.
    pub fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// How many last-used times were written so far.
    pub fn written(&self) -> usize {
        self.0.written.load(Ordering::SeqCst)
    }

    /// Lets one late answer go.
    pub fn open(&self) {
        self.0.gate.add_permits(1);
    }

    fn is(&self, fault: Fault) -> bool {
        self.0.fault.load(Ordering::SeqCst) == fault as u8
    }

    async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        assert!(!self.is(Fault::Panics), "a backend that panics, on purpose");
        if self.is(Fault::Hangs) {
            std::future::pending::<()>().await;
        }
        if self.is(Fault::Down) {
            return Err(BackendError::unavailable("down, on purpose"));
        }
        let late = self.is(Fault::Late);
        let answer = read.await;
        if late {
            self.0.gate.acquire().await.expect("never closed").forget();
        }
        answer
    }
}

impl Faults {
    /// Whether what was noted of uses can be written.
    fn writing(&self) -> Result<(), BackendError> {
        if self.0.read_only.load(Ordering::SeqCst) {
            return Err(BackendError::ReadOnly);
        }
        match self.is(Fault::Down) {
            true => Err(BackendError::unavailable("down, on purpose")),
            false => Ok(()),
        }
    }
}

/// A store with a switch, which tells of changes or does not.
pub struct FaultyStore<S> {
    pub store: S,
    pub faults: Faults,
    pub tells: bool,
    /// In the place of the store's own.
    pub changes: Option<Changes>,
}

#[async_trait]
impl<S: KeyStore> KeyStore for FaultyStore<S> {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        self.faults.read(self.store.find(digest)).await
    }
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.store.get(id).await
    }
    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.store.insert(record).await
    }
    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError> {
        self.store.update(record).await
    }
    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.store.delete(id).await
    }
    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        self.store.list(query).await
    }
    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.faults.writing()?;
        self.faults
            .0
            .written
            .fetch_add(uses.len(), Ordering::SeqCst);
        self.store.record_last_used(uses).await
    }
    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        self.faults.writing()?;
        self.store.record_usage(counts, forget_before).await
    }
    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        self.store.usage(id, since).await
    }
    fn changes(&self) -> Option<&Changes> {
        self.changes
            .as_ref()
            .or_else(|| self.store.changes())
            .filter(|_| self.tells)
    }
}

/// A ledger with a switch.
pub struct FaultyLedger<L> {
    pub ledger: L,
    pub faults: Faults,
    /// In the place of the ledger's own.
    pub changes: Option<Changes>,
}

#[async_trait]
impl<L: LicenseLedger> LicenseLedger for FaultyLedger<L> {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        if self.faults.is(Fault::Down) {
            return Err(BackendError::unavailable("down, on purpose"));
        }
        self.ledger.apply(operation, actor).await
    }
    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        self.faults.read(self.ledger.plan(operation)).await
    }
    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError> {
        self.faults
            .read(self.ledger.standings(holder, carried))
            .await
    }
    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        self.faults.read(self.ledger.standings_of(asked)).await
    }
    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        self.ledger.first_unknown(modules).await
    }
    async fn overview(&self) -> Result<Overview, BackendError> {
        self.ledger.overview().await
    }
    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        self.ledger.line(license, limit).await
    }
    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        self.ledger.holders(after, limit).await
    }
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        self.faults.read(self.ledger.events(after, limit)).await
    }
    fn latest(&self) -> watch::Receiver<u64> {
        self.ledger.latest()
    }
    fn changes(&self) -> &Changes {
        self.changes
            .as_ref()
            .unwrap_or_else(|| self.ledger.changes())
    }
}

/// A world whose layer asks through switches.
pub struct Faulty {
    pub world: World,
    pub store: Faults,
    pub ledger: Faults,
    pub changes: Option<Changes>,
    pub service: ApiKeyService<Strict>,
    pub layer: ApiKeyLayer,
}

impl Faulty {
    pub async fn new() -> Self {
        Self::with(true, None, |builder| builder).await
    }

    pub async fn with(
        tells: bool,
        changes: Option<Changes>,
        settings: impl FnOnce(ApiKeyLayerBuilder) -> ApiKeyLayerBuilder,
    ) -> Self {
        let world = World::new().await;
        let (store, ledger) = (Faults::new(), Faults::new());
        let layer = ApiKeyLayer::builder(
            FaultyStore {
                store: world.store.clone(),
                faults: store.clone(),
                tells,
                changes: changes.clone(),
            },
            map(),
            FaultyLedger {
                ledger: world.ledger.clone(),
                faults: ledger.clone(),
                changes: changes.clone(),
            },
        )
        .with_clock(world.clock.clone())
        .with_maintenance_task(false);
        let layer = settings(layer).build().expect("a layer");
        let service = layer.layer(world.inner.clone());
        Self {
            world,
            store,
            ledger,
            changes,
            service,
            layer,
        }
    }

    pub async fn get(&self, path: &str, key: &str) -> Answer {
        let request = get(path).header("x-api-key", key);
        answer(self.service.clone(), request).await
    }

    pub fn asked(&self) -> (usize, usize) {
        (self.store.asked(), self.ledger.asked())
    }
}
