//! The layer, and what all that is made from it shares.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use tower_layer::Layer;

use crate::{
    answers::Answers,
    error::BackendError,
    gate::Gate,
    key_store::KeyStore,
    keys::{KeyLocks, KeyManager, Parts},
    license_ledger::LicenseLedger,
    maintenance,
    module_map::ModuleMap,
    service::ApiKeyService,
};

mod builder;

pub use builder::{ApiKeyLayerBuilder, SetupError};

/// Lets only those requests through to a service whose caller may make them.
///
/// All clones, and all services made from them, share one state. Build one with
/// [`builder`](Self::builder).
#[derive(Clone)]
pub struct ApiKeyLayer {
    shared: Arc<Shared>,
}

/// What all clones of a layer and its services share.
pub(crate) struct Shared {
    pub(crate) gate: Gate,
    pub(crate) answers: Arc<Answers>,
    pub(crate) keeps_credential: bool,
    /// Names the credential headers in `Vary`.
    pub(crate) vary: Option<HeaderValue>,
    /// Whether answers say that they are not for others.
    pub(crate) cache_headers: bool,
    pub(crate) maintenance: maintenance::Schedule,
    /// Of its managers.
    pub(crate) key_locks: KeyLocks,
}

impl ApiKeyLayer {
    /// Begins a layer that finds keys in `store`, asks `map` what a request needs, and `ledger`
    /// whether its license is reserved.
    pub fn builder(
        store: impl KeyStore,
        map: impl ModuleMap,
        ledger: impl LicenseLedger,
    ) -> ApiKeyLayerBuilder {
        ApiKeyLayerBuilder::new(Arc::new(store), Arc::new(map), Arc::new(ledger))
    }

    /// What an administrator does, with the settings and the memory of this layer: keys get its
    /// format and its digest, and last-used times are seen at once.
    pub fn manager(&self) -> KeyManager {
        self.shared.manager()
    }

    /// Does now what the layer's own task does by and by: lets the ledger's time pass, writes the
    /// last-used times and the counts of usage that are due, and, where that is due, repairs what a crash cut in two between
    /// store and ledger ([`KeyManager::reconcile`]).
    ///
    /// The task starts by itself within a tokio runtime, so this is for services that switched it
    /// off, and for tests.
    ///
    /// # Errors
    ///
    /// The first error of a backend; what it kept from being done is done the next time.
    pub async fn maintain(&self) -> Result<(), BackendError> {
        self.shared.maintain().await
    }

    /// Writes all last-used times and counts of usage now: call it when the service has stopped
    /// serving. Nobody else does: without it, those of the last interval are lost.
    ///
    /// # Errors
    ///
    /// The store's error; what was not written stays in memory, so this can be called again.
    pub async fn flush(&self) -> Result<(), BackendError> {
        self.shared.flush().await
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    pub(crate) fn manager(&self) -> KeyManager {
        let lookup = Arc::clone(&self.gate.lookup);
        // By one of its texts, or by a session.
        let uses = Arc::clone(&self.gate.uses);
        KeyManager::from_parts(Parts {
            store: lookup.store_for_changes(),
            ledger: Arc::clone(&lookup.ledger),
            clock: Arc::clone(&lookup.clock),
            formats: self.gate.formats.clone(),
            hasher: self.gate.hasher.clone(),
            locks: self.key_locks.clone(),
            uses: Some(Arc::clone(&self.gate.uses)),
            last_used: Some(Arc::new(move |record| {
                lookup.last_used(record).max(uses.last_used(&record.id))
            })),
        })
    }
}

#[cfg(feature = "manage")]
impl Shared {
    /// The same layer for a part of the service that maps its routes itself, without a task of its
    /// own: it shares what this one remembers.
    pub(crate) fn with_map(&self, map: Arc<dyn ModuleMap>) -> Self {
        Self {
            gate: self.gate.with_map(map),
            answers: Arc::clone(&self.answers),
            keeps_credential: false,
            vary: self.vary.clone(),
            cache_headers: self.cache_headers,
            maintenance: maintenance::Schedule::without_task(),
            key_locks: self.key_locks.clone(),
        }
    }
}

impl<S> Layer<S> for ApiKeyLayer {
    type Service = ApiKeyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ApiKeyService::new(inner, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for ApiKeyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyLayer")
            .field("gate", &self.shared.gate)
            .finish_non_exhaustive()
    }
}
