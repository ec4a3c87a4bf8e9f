//! The contract of the license ledger, and the nouns it hands out.
//!
//! A ledger owns which holder is assigned which module, which license a module needs, and who holds
//! a seat. A request never changes any of it: it reads a [`Standing`] and judges it against the
//! time.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    changes::Changes, clock::Timestamp, error::BackendError, key_store::KeyId, name::name_type,
};

mod event;
mod reading;
mod standing;

pub use event::{EventKind, KeyEvent, LicenseEvent, RemovedCause, ReservedCause};
pub use reading::{HolderState, LicenseUse, Line, Overview};
pub use standing::{Reason, Seat, Standing, Standings, Status};

name_type! {
    /// A module resource key: what a route asks for and a key is assigned, such as `launcher`.
    Module, "module", "1 to 200 visible ASCII characters, neither `.` nor `..`", |text| crate::name::segment(text, 200)
}

name_type! {
    /// The id of a [`License`].
    LicenseId, "license id", "1 to 200 visible ASCII characters, neither `.` nor `..`", |text| crate::name::segment(text, 200)
}

name_type! {
    /// Who can be assigned modules and hold seats: a key, by its public [`KeyId`], or a user, as
    /// `issuer|subject`. Never a secret.
    Holder, "holder", "1 to 512 visible ASCII characters", |text| crate::name::visible_ascii(text, 512)
}

name_type! {
    /// Who made a change, for the log: `system`, `key:…` or what the host calls its people.
    Actor, "actor", "1 to 200 visible ASCII characters", |text| crate::name::visible_ascii(text, 200)
}

impl Holder {
    /// The key that this holder is, or nothing where it is a user (`issuer|subject`).
    pub fn key_id(&self) -> Option<KeyId> {
        KeyId::new(self.as_str()).ok()
    }
}

impl From<&KeyId> for Holder {
    fn from(id: &KeyId) -> Self {
        Self(id.as_str().into())
    }
}

impl Actor {
    /// The system itself: ticks, repairs, what nobody asked for.
    pub fn system() -> Self {
        Self("system".into())
    }

    /// A key that calls.
    pub fn key(id: &KeyId) -> Self {
        Self(format!("key:{id}").into())
    }
}

/// How many holders a license admits at once.
///
/// In serde a number, or `null` for unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Option<u32>", into = "Option<u32>")]
pub enum Seats {
    /// At most this many; none at all is a number too.
    Limited(u32),
    /// As many as want one.
    Unlimited,
}

impl From<Option<u32>> for Seats {
    fn from(seats: Option<u32>) -> Self {
        seats.map_or(Self::Unlimited, Self::Limited)
    }
}

impl From<Seats> for Option<u32> {
    fn from(seats: Seats) -> Self {
        match seats {
            Seats::Limited(seats) => Some(seats),
            Seats::Unlimited => None,
        }
    }
}

impl fmt::Display for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(seats) => write!(f, "{seats}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// A number of seats, for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct License {
    /// Its id.
    pub id: LicenseId,
    /// How many may hold it at once.
    pub seats: Seats,
    /// The first instant at which it is no longer valid; nothing: for ever.
    pub valid_until: Option<Timestamp>,
}

impl License {
    /// A license that never expires.
    pub fn new(id: LicenseId, seats: Seats) -> Self {
        Self {
            id,
            seats,
            valid_until: None,
        }
    }

    /// The first instant at which it is no longer valid. By default it never expires.
    ///
    /// ```
    /// # use tower_api_key::{License, LicenseId, Seats};
    /// let license = License::new(LicenseId::new("launcher-2026")?, Seats::Limited(2));
    /// license.with_valid_until(Some("2027-01-01T00:00:00Z".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_valid_until(mut self, valid_until: Option<Timestamp>) -> Self {
        self.valid_until = valid_until;
        self
    }
}

/// Which reservation goes first when there are more than seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Eviction {
    /// The oldest reservation first.
    #[default]
    OldestFirst,
    /// The newest reservation first.
    NewestFirst,
}

/// One change to a ledger. Each is one transaction, and idempotent: what changes nothing is no
/// error and writes no event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Assigns modules, in this order. The ledger need not know the modules or their licenses yet.
    Assign {
        /// Who gets them.
        holder: Holder,
        /// Which.
        modules: Vec<Module>,
    },
    /// Takes modules away, in this order.
    Unassign {
        /// Who loses them.
        holder: Holder,
        /// Which.
        modules: Vec<Module>,
    },
    /// Removes a holder with all it was assigned and held.
    DeleteKey {
        /// Who.
        holder: Holder,
    },
    /// Takes all a holder was assigned and held, for good: it can never be active again.
    RevokeKey {
        /// Who.
        holder: Holder,
    },
    /// Disables or enables a holder. Disabled, it holds no seat but keeps its places in line.
    SetActive {
        /// Who.
        holder: Holder,
        /// Whether it is active from now on.
        active: bool,
    },
    /// Sets the instant from which on a holder is no longer active (a key's expiry).
    SetActiveUntil {
        /// Who.
        holder: Holder,
        /// The first instant at which it is not active; nothing: active for ever.
        active_until: Option<Timestamp>,
    },
    /// Adds a license, or changes seats and validity of the one with this id together.
    SetLicense {
        /// The license as it is to be.
        license: License,
    },
    /// The same where the license is as expected, and nothing otherwise: of several with one
    /// expectation, each of which would change it, one does.
    SetLicenseIf {
        /// The license as it is to be.
        license: License,
        /// The one with its id as it is; nothing: there is none.
        expected: Option<License>,
    },
    /// Removes a license. Modules that map to it stay mapped to it, and their users wait.
    RemoveLicense {
        /// Which.
        license: LicenseId,
    },
    /// The same where the license is as expected, and nothing otherwise.
    RemoveLicenseIf {
        /// The license as it is.
        expected: License,
    },
    /// Makes a module known, and says which license it needs, if any.
    MapModule {
        /// The module.
        module: Module,
        /// The license it needs; nothing: it needs none.
        license: Option<LicenseId>,
    },
    /// Switches limited edition, in which every license counts as expired.
    SetLimitedEdition {
        /// Whether it is on from now on.
        enabled: bool,
    },
    /// Writes a key's event to the log.
    Record {
        /// What happened to a key.
        event: KeyEvent,
    },
    /// Lets the time pass: what expired until now is freed, and written down.
    Tick,
}

/// Owns assignments, reservations and the log of one tenant.
///
/// # Contract
///
/// 1. [`apply`](Self::apply) does what `LedgerState::apply` (the pure state machine of this crate)
///    does, and answers with the same events; each call is one transaction, and calls take effect
///    one after the other.
/// 2. When `apply` returns, the change is durable as far as the backend promises durability, and
///    [`changes`](Self::changes) has been told: of every holder of whom the [`Standings`] now say
///    anything else, of any module at any instant, than before; or of everything.
/// 3. `apply` that returns an error changed nothing, or (only where the connection was lost in the
///    middle) all of it; doing it again is then safe, since operations are idempotent.
/// 4. The ledger's time is the greatest of its own clock's readings; it never goes back, not even
///    over a restart.
/// 5. The reading calls see one committed moment each.
/// 6. [`events`](Self::events) are the whole log in order, numbered 1, 2, 3 … without gaps.
/// 7. [`standings_of`](Self::standings_of) answers as many as it is asked of, in the order asked:
///    of each holder what [`standings`](Self::standings) would say at that one moment, also where
///    it is asked of twice or not known. It takes any number of holders, none too.
/// 8. [`first_unknown`](Self::first_unknown) answers the first module, in the order asked, that no
///    [`MapModule`](Operation::MapModule) has named yet; a mapping to no license, or to one that is
///    not there, makes it known all the same. It takes any number of modules, none too.
/// 9. [`plan`](Self::plan) answers with the events that `apply` would answer with at this moment,
///    all in the name of [`Actor::system`], or refuses what `apply` would refuse. It changes
///    nothing, not even the ledger's time, tells nobody, and holds up no `apply` for longer than a
///    reading does.
#[async_trait]
pub trait LicenseLedger: Send + Sync + 'static {
    /// Lets the time pass until now, makes one change, and answers with the events of both.
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError>;

    /// What [`apply`](Self::apply) would answer with, without doing it.
    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError>;

    /// All that is known of one holder. One that the ledger does not know has no modules and is
    /// active. `carried` are the modules that the key's own record carries; a ledger that keeps
    /// assignments itself ignores them.
    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError>;

    /// The [`standings`](Self::standings) of several holders at once: each is asked of with the
    /// modules that its own record carries. One question, however many they are: a page of keys.
    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError>;

    /// The first of these modules that the ledger does not know; nothing where it knows them all.
    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError>;

    /// Licenses and modules.
    async fn overview(&self) -> Result<Overview, BackendError>;

    /// Who holds the seats of a license and who waits, at most `limit` of each; nothing where the
    /// license is unknown.
    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError>;

    /// The holders in order of their name's bytes, those after `after`, at most `limit`.
    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError>;

    /// The log after event `after`, at most `limit` entries.
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError>;

    /// Carries the number of the last event whenever it grows, so that who follows the log knows
    /// when to read on. A hint: numbers may be skipped, the log may not.
    fn latest(&self) -> tokio::sync::watch::Receiver<u64>;

    /// What changed, for the layers of this process.
    fn changes(&self) -> &Changes;
}

/// A shared ledger is a ledger, also behind `Arc<dyn LicenseLedger>`.
#[async_trait]
impl<T: LicenseLedger + ?Sized> LicenseLedger for Arc<T> {
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        (**self).apply(operation, actor).await
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        (**self).plan(operation).await
    }

    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError> {
        (**self).standings(holder, carried).await
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        (**self).standings_of(asked).await
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        (**self).first_unknown(modules).await
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        (**self).overview().await
    }

    async fn line(&self, license: &LicenseId, limit: usize) -> Result<Option<Line>, BackendError> {
        (**self).line(license, limit).await
    }

    async fn holders(
        &self,
        after: Option<&Holder>,
        limit: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        (**self).holders(after, limit).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        (**self).events(after, limit).await
    }

    fn latest(&self) -> tokio::sync::watch::Receiver<u64> {
        (**self).latest()
    }

    fn changes(&self) -> &Changes {
        (**self).changes()
    }
}
