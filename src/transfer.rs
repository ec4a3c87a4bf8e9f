//! Export and import: everything that is kept of keys and licenses, as JSON lines with digests.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! use tower_api_key::{
//!     Actor, KeyManager, MemoryKeyStore, MemoryLedger, NewKey, transfer::Archive,
//! };
//!
//! let (keys, ledger) = (MemoryKeyStore::new(), MemoryLedger::new());
//! let (manager, admin) = (KeyManager::new(keys.clone(), ledger.clone()), Actor::new("admin")?);
//! manager.create(NewKey::named("stage left"), &admin).await?;
//! let mut lines = Vec::new();
//! Archive::export(&keys, &ledger).await?.write(&mut lines)?;
//!
//! let (keys, ledger) = (MemoryKeyStore::new(), MemoryLedger::new());
//! let imported = Archive::read(&lines[..])?.import(&keys, &ledger, &admin).await?;
//! assert_eq!(imported.keys, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There are two kinds of input. In both, each line is a JSON object with one member, whose name says
//! what the line is.
//!
//! # A copy
//!
//! [`Archive::export`] writes it, and it moves whole, into an empty store and an empty ledger:
//!
//! ```json
//! {"copy":{"version":1,"clock":"2026-11-21T08:00:00Z","keys":1,"holders":1,"events":4}}
//! {"key":{"id":"k1","digest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","hint":"acme_…a1B2","name":"stage left","environment":"live","created_at":"2026-11-20T08:00:00Z","enabled":true,"administrator":false,"revision":0}}
//! {"holder":{"holder":"k1","active":true,"active_until":null,"revoked":false}}
//! {"event":{"seq":1,"at":"2026-11-20T08:00:00Z","actor":"admin","event":"module_mapped","module":"launcher","license":"lic"}}
//! {"event":{"seq":2,"at":"2026-11-20T08:00:00Z","actor":"admin","event":"license_added","license":"lic","seats":2,"valid_until":null}}
//! {"event":{"seq":3,"at":"2026-11-20T08:00:00Z","actor":"admin","event":"module_assigned","holder":"k1","module":"launcher"}}
//! {"event":{"seq":4,"at":"2026-11-20T08:00:00Z","actor":"admin","event":"reserved","license":"lic","holder":"k1","cause":"assigned"}}
//! ```
//!
//! 1. Carried over is every key as it is stored, and of the ledger everything that its log tells:
//!    licenses, modules, assignments with their places in line, who holds which seat and since when,
//!    and the log itself, with its numbers, instants and actors.
//! 2. Not carried over are what was never stored (texts, a pepper: the service must be given the
//!    same), settings (which reservation goes first), and what is not written yet: a service writes
//!    last-used times once a minute and when it is flushed.
//! 3. Time goes on: a license that has ended since the export ends when it is imported, and that is
//!    written to the log at the instant of its end.
//! 4. What uses the stores should be stopped. A ledger that changes while it is read is noticed and
//!    not exported.
//!
//! # Additions
//!
//! Written by hand, or from another system's SHA-256 digests. They are added to what is there:
//!
//! ```json
//! {"license":{"id":"lic","seats":2,"valid_until":"2027-12-31"}}
//! {"module":{"module":"launcher","license":"lic"}}
//! {"key":{"id":"k1","digest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","name":"stage left","created_at":"2026-11-20T08:00:00Z"}}
//! {"assign":{"holder":"k1","modules":["launcher"]}}
//! ```
//!
//! 1. A `key` has the fields of a [`KeyRecord`]; `id`, `digest`, `name` and `created_at` are needed.
//!    The digest is the SHA-256 of the key's text in 64 hex digits; with a peppered
//!    [`KeyHasher`](crate::KeyHasher) it is that HMAC.
//! 2. A `license` has an `id`, `seats` (a number, or `null` for unlimited), and where it ends a
//!    `valid_until`: an instant, or a date, which means through the end of that day in UTC.
//! 3. A `module` names the `license` it needs, or `null`.
//! 4. `assign` gives a key, or a user as `issuer|subject`, its modules. Earlier lines come earlier in
//!    line for a seat.
//! 5. All keys go in first, then the rest in order of the lines. The log tells of it as of any
//!    other change, under the actor that imports.
//!
//! # If it fails
//!
//! All of the input is read and checked before anything is changed. An outage may cut an import in
//! two: keys that are in stay, without their modules; a copy's ledger is one transaction. The same
//! import again finds what is in, and does the rest.
//!
//! An archive is in memory as a whole, at about a kilobyte for a key with its events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    error::BackendError,
    key_store::{KeyId, KeyQuery, KeyRecord, KeyStore},
    keys::told,
    license_ledger::{Actor, Holder, KeyEvent, LicenseLedger, Module, Operation},
};

mod error;
mod fields;
mod ledger_copy;
mod lines;

#[cfg(test)]
mod tests;

pub use error::TransferError;
pub use ledger_copy::{LedgerCopy, RestoreLedger};

/// Keys and a ledger on their way from one place to another.
#[derive(Clone)]
pub struct Archive {
    keys: Vec<KeyRecord>,
    ledger: Ledger,
}

#[derive(Clone)]
enum Ledger {
    Copy(LedgerCopy),
    /// In order: assignments and what they need.
    Additions(Vec<Operation>),
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Imported {
    /// How many keys are new.
    pub keys: usize,
    /// How many keys were there already, as an earlier import left them.
    pub known: usize,
    /// How many entries of the log are new.
    pub events: usize,
}

impl Archive {
    /// Reads all of a store and a ledger, which may be one value.
    ///
    /// # Errors
    ///
    /// As [`LedgerCopy::read`], and an outage of the store.
    pub async fn export(
        keys: &dyn KeyStore,
        ledger: &dyn LicenseLedger,
    ) -> Result<Self, TransferError> {
        // Creating and deleting keys leaves a trace in the ledger: read last, it would hide that.
        let ledger_copy = LedgerCopy::read(ledger).await?;
        let keys = list(keys).await?;
        let overview = ledger.overview().await.map_err(TransferError::Ledger)?;
        match overview.seq == ledger_copy.overview().seq {
            true => Ok(Self {
                keys,
                ledger: Ledger::Copy(ledger_copy),
            }),
            false => Err(TransferError::Changed),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &[KeyRecord] {
        &self.keys
    }

    /// The ledger, where this is a copy; nothing for additions.
    pub fn ledger(&self) -> Option<&LedgerCopy> {
        match &self.ledger {
            Ledger::Copy(copy) => Some(copy),
            Ledger::Additions(_) => None,
        }
    }

    /// Puts everything into a store and a ledger, which may be one value. `actor` is who adds; a copy
    /// keeps its own.
    ///
    /// # Errors
    ///
    /// Before anything is changed: [`NotEmpty`](TransferError::NotEmpty) for a copy,
    /// [`Duplicate`](TransferError::Duplicate), [`UnknownModule`](TransferError::UnknownModule) and
    /// [`UnknownKey`](TransferError::UnknownKey) for additions, an outage.
    /// [`Interrupted`](TransferError::Interrupted) in the middle.
    pub async fn import(
        &self,
        keys: &dyn KeyStore,
        ledger: &dyn RestoreLedger,
        actor: &Actor,
    ) -> Result<Imported, TransferError> {
        match &self.ledger {
            Ledger::Copy(copy) => self.import_copy(copy, keys, ledger).await,
            Ledger::Additions(operations) => self.add(operations, keys, ledger, actor).await,
        }
    }

    async fn import_copy(
        &self,
        copy: &LedgerCopy,
        keys: &dyn KeyStore,
        ledger: &dyn RestoreLedger,
    ) -> Result<Imported, TransferError> {
        let mut missing: BTreeMap<_, _> = self.keys.iter().map(|key| (&key.id, key)).collect();
        for stored in list(keys).await? {
            match missing.remove(&stored.id) {
                Some(key) if is_same(&stored, key) => {}
                _ => return Err(TransferError::NotEmpty(format!("the key {}", stored.id))),
            }
        }
        let events = copy.events();
        let is_restored = starts_with(ledger, events).await?;

        // The keys first: what the ledger has of keys that are not there is freed by who reconciles.
        let mut progress = Progress::of(missing.len() + usize::from(!is_restored));
        for key in missing.values() {
            progress.made(keys.insert((*key).clone()).await)?;
        }
        if !is_restored && !progress.made(ledger.restore(copy).await)? {
            return Err(TransferError::NotEmpty("the ledger's log".to_owned()));
        }
        Ok(Imported {
            keys: missing.len(),
            known: self.keys.len() - missing.len(),
            events: if is_restored { 0 } else { events.len() },
        })
    }

    async fn add(
        &self,
        operations: &[Operation],
        keys: &dyn KeyStore,
        ledger: &dyn LicenseLedger,
        actor: &Actor,
    ) -> Result<Imported, TransferError> {
        let mut missing = Vec::new();
        for key in &self.keys {
            if !is_there(keys, key).await? {
                missing.push(key);
            }
        }
        self.check_known(operations, keys, ledger).await?;

        let mut progress = Progress::of(missing.len() + self.keys.len() + operations.len());
        for key in &missing {
            progress.made(keys.insert((*key).clone()).await)?;
        }
        let mut imported = Imported {
            keys: missing.len(),
            known: self.keys.len() - missing.len(),
            events: 0,
        };
        for key in &self.keys {
            let events = introduce(key, ledger, actor).await;
            imported.events += progress.made(events)?;
        }
        for operation in operations {
            let written = ledger.apply(operation.clone(), actor).await;
            imported.events += progress.made(written)?.len();
        }
        Ok(imported)
    }

    /// Whether every module and every key of the assignments is in the archive or there already.
    async fn check_known(
        &self,
        operations: &[Operation],
        keys: &dyn KeyStore,
        ledger: &dyn LicenseLedger,
    ) -> Result<(), TransferError> {
        let ids: BTreeSet<_> = self.keys.iter().map(|key| &key.id).collect();
        let (mut mapped, mut assigned) = (BTreeSet::new(), BTreeSet::new());
        for operation in operations {
            match operation {
                Operation::MapModule { module, .. } => {
                    mapped.insert(module);
                }
                Operation::Assign { holder, modules } => {
                    assigned.extend(modules);
                    if let Some(id) = holder.key_id()
                        && !ids.contains(&id)
                        && !exists(keys, &id).await?
                    {
                        return Err(TransferError::UnknownKey(Holder::from(&id)));
                    }
                }
                _ => {}
            }
        }
        let asked: Vec<Module> = assigned.difference(&mapped).copied().cloned().collect();
        if asked.is_empty() {
            return Ok(());
        }
        let unknown = ledger.first_unknown(&asked).await;
        match unknown.map_err(TransferError::Ledger)? {
            Some(module) => Err(TransferError::UnknownModule(module)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut archive = f.debug_struct("Archive");
        archive.field("keys", &self.keys.len());
        match &self.ledger {
            Ledger::Copy(copy) => archive.field("ledger", copy),
            Ledger::Additions(operations) => archive.field("operations", &operations.len()),
        };
        archive.finish()
    }
}

/// How far an import has come.
struct Progress {
    done: usize,
    of: usize,
}

impl Progress {
    fn of(of: usize) -> Self {
        Self { done: 0, of }
    }

    fn made<T>(&mut self, step: Result<T, BackendError>) -> Result<T, TransferError> {
        let Self { done, of } = *self;
        let interrupted = |source| TransferError::Interrupted { done, of, source };
        let answer = step.map_err(interrupted)?;
        self.done += 1;
        Ok(answer)
    }
}

/// All keys, in order of their ids.
async fn list(keys: &dyn KeyStore) -> Result<Vec<KeyRecord>, TransferError> {
    let mut all: Vec<KeyRecord> = Vec::new();
    loop {
        let after = all.last().map(|key| key.id.clone());
        let page = keys.list(&KeyQuery::first(PAGE).with_after(after)).await;
        let page = page.map_err(TransferError::KeyStore)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

async fn exists(keys: &dyn KeyStore, id: &KeyId) -> Result<bool, TransferError> {
    let found = keys.get(id).await.map_err(TransferError::KeyStore)?;
    Ok(found.is_some())
}

/// Whether an earlier import brought this key.
async fn is_there(keys: &dyn KeyStore, key: &KeyRecord) -> Result<bool, TransferError> {
    let stored = keys.get(&key.id).await.map_err(TransferError::KeyStore)?;
    if let Some(stored) = stored {
        return match is_same(&stored, key) {
            true => Ok(true),
            false => Err(TransferError::Duplicate(key.id.clone())),
        };
    }
    let previous = key.previous.as_ref().map(|previous| &previous.digest);
    for digest in [&key.digest].into_iter().chain(previous) {
        let taken = keys.find(digest).await.map_err(TransferError::KeyStore)?;
        if taken.is_some() {
            return Err(TransferError::Duplicate(key.id.clone()));
        }
    }
    Ok(false)
}

/// Makes a key known to a ledger, and answers how many events that wrote.
async fn introduce(
    key: &KeyRecord,
    ledger: &dyn LicenseLedger,
    actor: &Actor,
) -> Result<usize, BackendError> {
    let event = KeyEvent::Created(key.id.clone());
    let mut operations = vec![Operation::Record { event }];
    // Every other key is as a ledger takes it to be that was told nothing.
    if !key.enabled || key.expires_at.is_some() || key.revoked_at.is_some() {
        operations.extend(told(key));
    }
    let mut events = 0;
    for operation in operations {
        events += ledger.apply(operation, actor).await?.len();
    }
    Ok(events)
}

/// Whether a stored key is the one that is meant; it may have been used since.
fn is_same(stored: &KeyRecord, meant: &KeyRecord) -> bool {
    let meant = KeyRecord {
        last_used_at: stored.last_used_at,
        ..meant.clone()
    };
    *stored == meant
}

/// Whether a ledger's log begins with these events; an empty one does not, unless there are none.
async fn starts_with(
    ledger: &dyn LicenseLedger,
    events: &[crate::LicenseEvent],
) -> Result<bool, TransferError> {
    let not_empty = || TransferError::NotEmpty("the ledger's log".to_owned());
    let mut known = 0;
    while known < events.len() {
        let page = ledger.events(known as u64, PAGE).await;
        let mut page = page.map_err(TransferError::Ledger)?;
        if page.is_empty() && known == 0 {
            return Ok(false);
        }
        page.truncate(events.len() - known);
        if page.is_empty() || !events[known..].starts_with(&page) {
            return Err(not_empty());
        }
        known += page.len();
    }
    let overview = ledger.overview().await.map_err(TransferError::Ledger)?;
    // Nothing to restore is only restored where there is nothing.
    match events.is_empty() && overview.seq > 0 {
        true => Err(not_empty()),
        false => Ok(true),
    }
}

const PAGE: usize = 1_000;
