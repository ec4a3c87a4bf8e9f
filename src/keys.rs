//! What an administrator does: keys, their modules, and licenses.
//!
//! [`KeyManager`] works over the contracts [`KeyStore`] and [`LicenseLedger`] only, and changes
//! them by three rules:
//!
//! 1. **The store first, the ledger after.** What stops a key takes effect before its seat is
//!    freed, and what starts one before it gets a seat. So a call that is cut short, by a crash or
//!    because its future was dropped, never leaves a request granted without a seat; it may leave
//!    a seat kept without its key, until the call is made again or
//!    [`reconcile`](KeyManager::reconcile) has run.
//! 2. **The log before what only the log tells.** A change of fields that the ledger does not know,
//!    and a new text, are written to the log before they are made: a crash may leave an entry
//!    without its change, never a change without its entry. Within a process the changes of one
//!    key are made one after the other, so one that is refused since the key has changed leaves no
//!    entry; where two processes change the same key at the same time, it may leave one.
//! 3. **Every call can be made again**, and does then what is still missing. Where that needs care,
//!    the call says so.

use std::{fmt, sync::Arc};

use crate::{
    clock::{Clock, SystemClock, Timestamp},
    key_format::{KeyFormats, KeyHasher, KeyText},
    key_store::{Environment, KeyId, KeyQuery, KeyRecord, KeyStore},
    license_ledger::{
        Actor, Holder, KeyEvent, LicenseEvent, LicenseLedger, Module, Operation, Standings,
    },
    uses::Uses,
};

mod change;
mod create;
mod error;
mod key_patch;
mod licenses;
mod locks;
mod managed_key;
mod new_key;
mod plan;
mod reconcile;
mod reservations;
mod usage;
mod write;

#[cfg(feature = "manage")]
pub(crate) use create::id_from;
pub use error::ManageError;
pub use key_patch::KeyPatch;
pub(crate) use locks::KeyLocks;
pub use managed_key::{AssignedModule, CreatedKey, ManagedKey};
pub use new_key::NewKey;
pub(crate) use new_key::{check_hint, check_text};
pub use plan::{Plan, Planned, PlannedSeat};
pub use reconcile::Reconciled;
pub use reservations::{
    HeldSeat, Reservations, ReservationsCursor, ReservationsQuery, WaitingHolder,
};
pub(crate) use write::told;

/// Creates, changes and ends keys, assigns modules, and sets licenses: a handle that is cheap to
/// clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use tower_api_key::{
///     Actor, KeyManager, License, LicenseId, MemoryKeyStore, MemoryLedger, Module, NewKey, Seats,
///     Status,
/// };
/// let manager = KeyManager::new(MemoryKeyStore::new(), MemoryLedger::new());
/// let (launcher, license) = (Module::new("launcher")?, LicenseId::new("launcher-2026")?);
/// let admin = Actor::new("alice")?;
/// manager.set_license(License::new(license.clone(), Seats::Limited(1)), &admin).await?;
/// manager.map_module(&launcher, Some(&license), &admin).await?;
///
/// let new = NewKey::named("stage left").with_modules([launcher.clone()]);
/// let created = manager.create(new, &admin).await?;
/// assert!(created.text.expose().starts_with("rk_live_"));
/// assert_eq!(created.key.modules[0].status, Status::Reserved);
///
/// manager.revoke(&created.key.record.id, &admin).await?;
/// let log = manager.events(0, 100).await?;
/// assert!(log.iter().all(|event| event.actor == admin));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeyManager(Arc<Parts>);

/// What a manager works with; a layer shares its own with the manager it hands out.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) ledger: Arc<dyn LicenseLedger>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) formats: KeyFormats,
    pub(crate) hasher: KeyHasher,
    pub(crate) locks: KeyLocks,
    /// When a key was last used, where that is known better than the store knows it yet.
    pub(crate) last_used: Option<Arc<LastUsed>>,
    /// What a layer has counted and not written yet.
    pub(crate) uses: Option<Arc<Uses>>,
}

pub(crate) type LastUsed = dyn Fn(&KeyRecord) -> Option<Timestamp> + Send + Sync;

impl KeyManager {
    /// Manages the keys of this store and the seats of this ledger.
    pub fn new(store: impl KeyStore, ledger: impl LicenseLedger) -> Self {
        Self::from_parts(Parts {
            store: Arc::new(store),
            ledger: Arc::new(ledger),
            clock: Arc::new(SystemClock::new()),
            formats: KeyFormats::default(),
            hasher: KeyHasher::default(),
            locks: KeyLocks::new(),
            last_used: None,
            uses: None,
        })
    }

    pub(crate) fn from_parts(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Where the time comes from. By default a [`SystemClock`]. The ledger has its own.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        Arc::make_mut(&mut self.0).clock = Arc::new(clock);
        self
    }

    /// What the texts of new keys look like, and which can be imported: as the layer has it. By
    /// default [`KeyFormats::default`].
    #[must_use]
    pub fn with_formats(mut self, formats: KeyFormats) -> Self {
        Arc::make_mut(&mut self.0).formats = formats;
        self
    }

    /// How texts are hashed: as the layer has it, or no key will be found. By default SHA-256.
    #[must_use]
    pub fn with_hasher(mut self, hasher: KeyHasher) -> Self {
        Arc::make_mut(&mut self.0).hasher = hasher;
        self
    }

    /// One key.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound); an outage.
    pub async fn read(&self, id: &KeyId) -> Result<ManagedKey, ManageError> {
        self.describe(self.record(id).await?).await
    }

    /// The keys asked for, in order of the id. The id of the last one is where the next page
    /// begins: [`KeyQuery::with_after`].
    ///
    /// ```
    /// # use tower_api_key::{KeyManager, KeyQuery, ManageError};
    /// # async fn page(manager: &KeyManager) -> Result<(), ManageError> {
    /// let query = KeyQuery::first(100).with_contains(Some("stage".into()));
    /// for key in manager.list(&query).await? {
    ///     println!("{} {}", key.record.hint, key.record.name);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// An outage.
    pub async fn list(&self, query: &KeyQuery) -> Result<Vec<ManagedKey>, ManageError> {
        let records = self.0.store.list(query).await;
        let records = records.map_err(ManageError::of_listing)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> = records
            .iter()
            .map(|record| (Holder::from(&record.id), &record.modules[..]))
            .collect();
        let standings = self.0.ledger.standings_of(&asked).await;
        let standings = standings.map_err(ManageError::of_ledger)?;
        // A key without an answer must not be missing from the page, as if it were not there.
        if standings.len() != records.len() {
            let (said, asked) = (standings.len(), records.len());
            let problem = format!("the ledger was asked of {asked} holders and answered of {said}");
            return Err(ManageError::LedgerUnavailable(problem.into()));
        }
        let keys = records.into_iter().zip(&standings);
        let keys = keys.map(|(record, standings)| self.with_standings(record, standings));
        Ok(keys.collect())
    }

    /// The first of these that the ledger does not know is an error.
    async fn check_known(&self, modules: &[Module]) -> Result<(), ManageError> {
        if modules.is_empty() {
            return Ok(());
        }
        let unknown = self.0.ledger.first_unknown(modules).await;
        match unknown.map_err(ManageError::of_ledger)? {
            Some(unknown) => Err(ManageError::UnknownModule(unknown)),
            None => Ok(()),
        }
    }

    pub(crate) fn generate(&self, environment: &Environment) -> Result<KeyText, ManageError> {
        let text = self.0.formats.generate(environment);
        text.map_err(|error| ManageError::NoRandomBytes(error.into()))
    }

    /// The text that a key of this environment gets from these random bytes: always the same.
    #[cfg(any(feature = "manage", test))]
    pub(crate) fn text_from(&self, environment: &Environment, entropy: &[u8; 32]) -> KeyText {
        self.0.formats.text_from(environment, entropy)
    }

    /// A record with what the ledger knows of its modules.
    async fn describe(&self, record: KeyRecord) -> Result<ManagedKey, ManageError> {
        let holder = Holder::from(&record.id);
        let standings = self.standings(&holder, &record.modules).await?;
        Ok(self.with_standings(record, &standings))
    }

    fn with_standings(&self, mut record: KeyRecord, standings: &Standings) -> ManagedKey {
        record.last_used_at = self.last_used(&record);
        ManagedKey {
            modules: managed_key::assigned(standings, self.now()),
            record,
        }
    }

    /// When a key was last used, as far as this process knows.
    fn last_used(&self, record: &KeyRecord) -> Option<Timestamp> {
        let fresher = self.0.last_used.as_ref();
        let fresher = fresher.and_then(|last_used| last_used(record));
        record.last_used_at.max(fresher)
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now().wall
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, ManageError> {
        let found = self.0.store.get(id).await;
        found.map_err(|error| ManageError::of_store(error, id))
    }

    async fn record(&self, id: &KeyId) -> Result<KeyRecord, ManageError> {
        let found = self.find(id).await?;
        found.ok_or_else(|| ManageError::NotFound(id.clone()))
    }

    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, ManageError> {
        let standings = self.0.ledger.standings(holder, carried).await;
        standings.map_err(ManageError::of_ledger)
    }

    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, ManageError> {
        let events = self.0.ledger.apply(operation, actor).await;
        events.map_err(ManageError::of_ledger)
    }

    async fn log(&self, event: KeyEvent, actor: &Actor) -> Result<(), ManageError> {
        self.apply(Operation::Record { event }, actor).await?;
        Ok(())
    }
}

impl fmt::Debug for KeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyManager")
            .field("formats", &self.0.formats)
            .field("hasher", &self.0.hasher)
            .finish_non_exhaustive()
    }
}

/// Whether two records are the same key with the same settings.
fn is_same(stored: &KeyRecord, meant: &KeyRecord) -> bool {
    let meant = KeyRecord {
        created_at: stored.created_at,
        last_used_at: stored.last_used_at,
        revision: stored.revision,
        ..meant.clone()
    };
    *stored == meant
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, MemoryKeyStore, MemoryLedger};

    #[tokio::test]
    async fn fresher_last_use_is_shown_and_an_older_one_is_not() {
        let store = MemoryKeyStore::new();
        let fresher = Timestamp::from_unix_seconds(200);
        let mut manager =
            KeyManager::new(store.clone(), MemoryLedger::new()).with_clock(ManualClock::new());
        let parts = Arc::get_mut(&mut manager.0).expect("not cloned yet");
        parts.last_used = Some(Arc::new(move |record: &KeyRecord| {
            (record.name == "used").then_some(fresher)
        }));
        for name in ["idle", "used"] {
            let new = NewKey::named(name).with_id(KeyId::new(name).unwrap());
            manager.create(new, &Actor::system()).await.unwrap();
        }
        let shown = async || {
            let keys = manager.list(&KeyQuery::first(9)).await.unwrap();
            keys.into_iter()
                .map(|key| key.record.last_used_at)
                .collect::<Vec<_>>()
        };
        assert_eq!(shown().await, [None, Some(fresher)]);
        let written = [100, 300].map(Timestamp::from_unix_seconds);
        for (instant, freshest) in written.into_iter().zip([fresher, written[1]]) {
            let uses = ["idle", "used"].map(|name| (KeyId::new(name).unwrap(), instant));
            store.record_last_used(&uses).await.unwrap();
            assert_eq!(shown().await, [Some(instant), Some(freshest)]);
        }
    }
}
