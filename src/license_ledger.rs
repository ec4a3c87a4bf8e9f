//! The contract of the license ledger, and the nouns it hands out.
//!
//! A ledger owns which holder is assigned which module, which license a module needs, and who holds
//! a seat. A request never changes any of it: it reads a [`Standing`] and judges it against the
//! time.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    key_store::KeyId,
    name::{self, name_type},
};

name_type! {
    /// A module resource key: what a route asks for and a key is assigned, such as `launcher`.
    Module, "module", "1 to 200 visible ASCII characters", |text| crate::name::visible_ascii(text, 200)
}

name_type! {
    /// The id of a [`License`].
    LicenseId, "license id", "1 to 200 visible ASCII characters", |text| crate::name::visible_ascii(text, 200)
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
    /// Removes a license. Modules that map to it stay mapped to it, and their users wait.
    RemoveLicense {
        /// Which.
        license: LicenseId,
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

/// What happened to a key outside the ledger: the ledger only keeps it in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyEvent {
    /// A key was created: the ledger knows it as a holder from now on. Recording it again for a
    /// holder that is known changes nothing.
    Created(KeyId),
    /// Fields of a key, named here, were changed.
    Changed(KeyId, Vec<String>),
    /// A key got a new text.
    Regenerated(KeyId),
}

/// One entry of the log.
///
/// Its serde form is one flat object: `seq`, `at`, `actor`, `event`, then the fields of the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LicenseEvent {
    /// Its place in the log: 1, 2, 3 … without gaps.
    pub seq: u64,
    /// When it took effect, by the ledger's clock: an expiry carries its own instant.
    pub at: Timestamp,
    /// Who did it; an expiry is the system's.
    pub actor: Actor,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl LicenseEvent {
    /// An entry as a backend reads it back from its log.
    pub fn new(seq: u64, at: Timestamp, actor: Actor, kind: EventKind) -> Self {
        Self {
            seq,
            at,
            actor,
            kind,
        }
    }

    /// Tells `changes` what this event changed: the holder that it names, or everything where it
    /// is about a license, a mapping or limited edition.
    ///
    /// A ledger that does this with each event of an operation has told all that rule 2 of the
    /// contract of [`LicenseLedger`] asks for.
    pub fn tell(&self, changes: &Changes) {
        match (self.kind.holder(), &self.kind) {
            (Some(holder), _) => changes.changed(holder),
            // The seats that a new number gives and takes are events of their own.
            (None, EventKind::CountChanged { .. }) => {}
            (None, _) => changes.everything(),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the variants' names are the glossary; fields name their nouns"
)]
pub enum EventKind {
    KeyCreated {
        holder: Holder,
    },
    KeyChanged {
        holder: Holder,
        changed: Vec<String>,
    },
    KeyRegenerated {
        holder: Holder,
    },
    KeyRevoked {
        holder: Holder,
    },
    KeyExpired {
        holder: Holder,
    },
    KeyDeleted {
        holder: Holder,
    },
    KeyDisabled {
        holder: Holder,
    },
    KeyEnabled {
        holder: Holder,
    },
    ModuleAssigned {
        holder: Holder,
        module: Module,
    },
    ModuleUnassigned {
        holder: Holder,
        module: Module,
    },
    ModuleMapped {
        module: Module,
        license: Option<LicenseId>,
    },
    LicenseAdded {
        license: LicenseId,
        seats: Seats,
        valid_until: Option<Timestamp>,
    },
    LicenseRemoved {
        license: LicenseId,
    },
    LicenseExpired {
        license: LicenseId,
    },
    LicenseRenewed {
        license: LicenseId,
        valid_until: Option<Timestamp>,
    },
    ValidityChanged {
        license: LicenseId,
        valid_until: Option<Timestamp>,
    },
    CountChanged {
        license: LicenseId,
        from: Seats,
        to: Seats,
    },
    LimitedEditionChanged {
        enabled: bool,
    },
    Reserved {
        license: LicenseId,
        holder: Holder,
        cause: ReservedCause,
    },
    ReservationRemoved {
        license: LicenseId,
        holder: Holder,
        cause: RemovedCause,
    },
    ReservationFailed {
        module: Module,
        license: Option<LicenseId>,
        holder: Holder,
        reason: Reason,
    },
}

impl EventKind {
    /// The holder that it is about; nothing where it is about a license, a mapping or limited
    /// edition.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::KeyCreated { holder }
            | Self::KeyChanged { holder, .. }
            | Self::KeyRegenerated { holder }
            | Self::KeyRevoked { holder }
            | Self::KeyExpired { holder }
            | Self::KeyDeleted { holder }
            | Self::KeyDisabled { holder }
            | Self::KeyEnabled { holder }
            | Self::ModuleAssigned { holder, .. }
            | Self::ModuleUnassigned { holder, .. }
            | Self::Reserved { holder, .. }
            | Self::ReservationRemoved { holder, .. }
            | Self::ReservationFailed { holder, .. } => Some(holder),
            Self::ModuleMapped { .. }
            | Self::LicenseAdded { .. }
            | Self::LicenseRemoved { .. }
            | Self::LicenseExpired { .. }
            | Self::LicenseRenewed { .. }
            | Self::ValidityChanged { .. }
            | Self::CountChanged { .. }
            | Self::LimitedEditionChanged { .. } => None,
        }
    }
}

/// What gave a holder its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReservedCause {
    /// It was assigned a module, and a seat was free.
    Assigned,
    /// It was enabled, or its expiry was moved, and a seat was free.
    Enabled,
    /// Somebody else's seat came free, and it was the first in line.
    SeatFreed,
    /// The license got more seats, or no limit.
    CountIncreased,
    /// The license was renewed.
    Renewed,
    /// Limited edition ended.
    LimitedEditionEnded,
    /// The license was added.
    LicenseAdded,
    /// The module was mapped to this license.
    Remapped,
}

/// What took a holder's seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RemovedCause {
    /// Its last module of this license was taken away.
    Unassigned,
    /// It was deleted.
    KeyDeleted,
    /// It was revoked.
    KeyRevoked,
    /// It was disabled.
    KeyDisabled,
    /// It expired itself.
    KeyExpired,
    /// The license has fewer seats now.
    CountDecreased,
    /// The license expired.
    LicenseExpired,
    /// Limited edition began.
    LimitedEdition,
    /// The license was removed.
    LicenseRemoved,
    /// The module was mapped to another license, or to none.
    Remapped,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// All seats are taken.
    LimitReached,
    /// The ledger does not know the module or its license, or its answer is out of date.
    Unavailable,
    /// The holder is disabled, revoked or expired.
    KeyDisabled,
    /// The license is past its end.
    ValidUntil,
    /// Limited edition is on.
    LimitedEdition,
}

/// What a ledger says of one holder and one module at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// The module is not assigned.
    NotAssigned,
    /// The module is mapped to no license: assigned is enough.
    NotRequired,
    /// A seat is held.
    Reserved,
    /// The license is expired: [`Reason::ValidUntil`] or [`Reason::LimitedEdition`].
    Expired(Reason),
    /// There is no seat for any other reason.
    ReservationFailed(Reason),
}

impl Status {
    /// The label for people, as the seed words it; nothing where there is no license to speak of.
    pub fn label(&self) -> Option<&'static str> {
        match self {
            Self::NotAssigned | Self::NotRequired => None,
            Self::Reserved => Some("Reserved"),
            Self::Expired(_) => Some("Expired"),
            Self::ReservationFailed(_) => Some("Reservation failed"),
        }
    }

    /// Why there is no seat.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Expired(reason) | Self::ReservationFailed(reason) => Some(*reason),
            _ => None,
        }
    }
}

/// What a ledger knows of one assigned module of a holder: enough to tell the [`Status`] at any
/// instant until something changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// The module is mapped to no license.
    NotRequired,
    /// The ledger does not know the module (then there is no license to name) or its license.
    Unknown(Option<LicenseId>),
    /// The module needs this license.
    Licensed {
        /// The license.
        license: LicenseId,
        /// Its end.
        valid_until: Option<Timestamp>,
        /// The holder's part in it.
        seat: Seat,
    },
}

/// Whether a holder has a seat of a license.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Seat {
    /// It has.
    Reserved,
    /// It has none, and all are taken.
    LimitReached,
    /// It has none although one is free: a state that no operation leaves behind.
    Unavailable,
}

/// All that a ledger knows of one holder, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standings {
    /// The ledger's clock: no instant before it is ever judged.
    pub(crate) clock: Timestamp,
    pub(crate) limited_edition: bool,
    pub(crate) active: bool,
    pub(crate) active_until: Option<Timestamp>,
    /// In order of the module.
    pub(crate) modules: Box<[(Module, Standing)]>,
}

impl Standings {
    /// What a ledger at `clock` knows of a holder that may be inactive and has these modules.
    pub fn new(
        clock: Timestamp,
        limited_edition: bool,
        active: bool,
        active_until: Option<Timestamp>,
        modules: impl IntoIterator<Item = (Module, Standing)>,
    ) -> Self {
        let mut modules: Vec<_> = modules.into_iter().collect();
        modules.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self {
            clock,
            limited_edition,
            active,
            active_until,
            modules: modules.into(),
        }
    }

    /// The assigned modules in order, each with what the ledger knows of it.
    pub fn modules(&self) -> impl ExactSizeIterator<Item = (&Module, &Standing)> {
        self.modules
            .iter()
            .map(|(module, standing)| (module, standing))
    }

    /// What the ledger knows of `module`; nothing where it is not assigned.
    pub fn standing(&self, module: &Module) -> Option<&Standing> {
        let found = name::find(&self.modules, module.as_str(), |(known, _)| known.as_str())?;
        Some(&found.1)
    }

    /// The status of `module` at `now`: a pure function, so the answer changes at the very instant
    /// of an expiry, whether or not anything ticked.
    ///
    /// The first of these that is true decides: not assigned, no license needed, module or license
    /// unknown, limited edition, license past its end, holder inactive, seat held, all seats taken,
    /// anything else.
    pub fn status(&self, module: &Module, now: Timestamp) -> Status {
        match self.standing(module) {
            None => Status::NotAssigned,
            Some(standing) => self.judge(standing, now),
        }
    }

    pub(crate) fn judge(&self, standing: &Standing, now: Timestamp) -> Status {
        let now = now.max(self.clock);
        let past = |end: Option<Timestamp>| end.is_some_and(|end| now >= end);
        match standing {
            Standing::NotRequired => Status::NotRequired,
            Standing::Unknown(_) => Status::ReservationFailed(Reason::Unavailable),
            Standing::Licensed { .. } if self.limited_edition => {
                Status::Expired(Reason::LimitedEdition)
            }
            Standing::Licensed { valid_until, .. } if past(*valid_until) => {
                Status::Expired(Reason::ValidUntil)
            }
            Standing::Licensed { .. } if !self.active || past(self.active_until) => {
                Status::ReservationFailed(Reason::KeyDisabled)
            }
            Standing::Licensed { seat, .. } => match seat {
                Seat::Reserved => Status::Reserved,
                Seat::LimitReached => Status::ReservationFailed(Reason::LimitReached),
                Seat::Unavailable => Status::ReservationFailed(Reason::Unavailable),
            },
        }
    }
}

/// A license with who uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LicenseUse {
    /// The license.
    pub license: License,
    /// How many hold a seat.
    pub used: u64,
    /// How many wait for one.
    pub waiting: u64,
}

impl LicenseUse {
    /// A license with the numbers of those who hold a seat of it and of those who wait.
    pub fn new(license: License, used: u64, waiting: u64) -> Self {
        Self {
            license,
            used,
            waiting,
        }
    }
}

/// A ledger's licenses and modules, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overview {
    /// The ledger's clock.
    pub clock: Timestamp,
    /// Whether limited edition is on.
    pub limited_edition: bool,
    /// The last event's number, 0 where there is none.
    pub seq: u64,
    /// In order of the id.
    pub licenses: Vec<LicenseUse>,
    /// In order of the module, each with the license it needs.
    pub modules: Vec<(Module, Option<LicenseId>)>,
}

impl Overview {
    /// What a ledger at `clock` with `seq` events holds.
    pub fn new(
        clock: Timestamp,
        limited_edition: bool,
        seq: u64,
        licenses: Vec<LicenseUse>,
        modules: Vec<(Module, Option<LicenseId>)>,
    ) -> Self {
        Self {
            clock,
            limited_edition,
            seq,
            licenses,
            modules,
        }
    }
}

/// Who holds the seats of a license, and who waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Line {
    /// Those who hold a seat and since when, the oldest reservation first.
    pub reserved: Vec<(Holder, Timestamp)>,
    /// Those who wait and since when, the first in line first.
    pub waiting: Vec<(Holder, Timestamp)>,
}

impl Line {
    /// Those who hold a seat, the oldest reservation first, and those who wait, in line order.
    pub fn new(reserved: Vec<(Holder, Timestamp)>, waiting: Vec<(Holder, Timestamp)>) -> Self {
        Self { reserved, waiting }
    }
}

/// A holder as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderState {
    /// Who.
    pub holder: Holder,
    /// Whether it is enabled.
    pub active: bool,
    /// Until when it is active.
    pub active_until: Option<Timestamp>,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl HolderState {
    /// A holder's state as a backend reads it back.
    pub fn new(
        holder: Holder,
        active: bool,
        active_until: Option<Timestamp>,
        revoked: bool,
    ) -> Self {
        Self {
            holder,
            active,
            active_until,
            revoked,
        }
    }
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
#[async_trait]
pub trait LicenseLedger: Send + Sync + 'static {
    /// Lets the time pass until now, makes one change, and answers with the events of both.
    async fn apply(
        &self,
        operation: Operation,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError>;

    /// All that is known of one holder. One that the ledger does not know has no modules and is
    /// active. `carried` are the modules that the key's own record carries; a ledger that keeps
    /// assignments itself ignores them.
    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError>;

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

    async fn standings(
        &self,
        holder: &Holder,
        carried: &[Module],
    ) -> Result<Standings, BackendError> {
        (**self).standings(holder, carried).await
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
