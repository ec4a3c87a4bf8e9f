//! Backends that fail from a certain call on, as if the process had been killed there.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::sync::watch;
use tower_api_key::{
    Actor, BackendError, Changes, Holder, HolderState, KeyDigest, KeyId, KeyQuery, KeyRecord,
    KeyStore, LicenseEvent, LicenseId, LicenseLedger, Line, MemoryKeyStore, MemoryLedger, Module,
    Operation, Overview, Standings, Timestamp, UsageCount,
};

/// How many calls the backends still answer, shared by test and backends.
#[derive(Clone)]
pub(crate) struct Calls(Arc<AtomicUsize>);

impl Calls {
    const ALL: usize = usize::MAX;

    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(Self::ALL)))
    }

    /// From now on this many calls are answered, and all others fail.
    pub(crate) fn answer(&self, calls: usize) {
        self.0.store(calls, Ordering::SeqCst);
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        self.answer(Self::ALL);
    }

    async fn pass<T>(
        &self,
        call: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let left = |left: usize| match left {
            Self::ALL => Some(left),
            left => left.checked_sub(1),
        };
        match self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
        {
            Ok(_) => call.await,
            Err(_) => Err(BackendError::unavailable("killed, on purpose")),
        }
    }
}

pub(crate) struct Store(pub(crate) MemoryKeyStore, pub(crate) Calls);

#[async_trait]
impl KeyStore for Store {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        self.1.pass(self.0.find(digest)).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.1.pass(self.0.get(id)).await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.1.pass(self.0.insert(record)).await
    }

    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError> {
        self.1.pass(self.0.update(record)).await
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.1.pass(self.0.delete(id)).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        self.1.pass(self.0.list(query)).await
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.1.pass(self.0.record_last_used(uses)).await
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        let recorded = self.0.record_usage(counts, forget_before);
        self.1.pass(recorded).await
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        self.1.pass(self.0.usage(id, since)).await
    }

    fn changes(&self) -> Option<&Changes> {
        self.0.changes()
    }
}

pub(crate) struct Ledger(pub(crate) MemoryLedger, pub(crate) Calls);

#[async_trait]
impl LicenseLedger for Ledger {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        self.1.pass(self.0.apply(operation, actor)).await
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        self.1.pass(self.0.plan(operation)).await
    }

    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError> {
        self.1.pass(self.0.standings(holder, carried)).await
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        self.1.pass(self.0.standings_of(asked)).await
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        self.1.pass(self.0.first_unknown(modules)).await
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        self.1.pass(self.0.overview()).await
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        self.1.pass(self.0.line(license, limit)).await
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        self.1.pass(self.0.holders(after, limit)).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        self.1.pass(self.0.events(after, limit)).await
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.0.latest()
    }

    fn changes(&self) -> &Changes {
        self.0.changes()
    }
}
