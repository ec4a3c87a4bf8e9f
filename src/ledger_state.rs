//! The license ledger as a pure state machine: no I/O, no clock, no randomness.
//!
//! Every operation lets the time pass, makes its change and then settles the seats of each license
//! it touched: seats without demand are dropped, seats beyond the license's number are taken (the
//! oldest reservation first), free seats go to those who wait (the earliest assignment first). The
//! answer is the list of events, and nothing else is changed.
//!
//! ```
//! use tower_api_key::{
//!     Actor, Eviction, Holder, LedgerState, License, Module, Operation, Seats, Status, Timestamp,
//! };
//!
//! let mut ledger = LedgerState::new(Eviction::OldestFirst);
//! let (actor, now) = (Actor::system(), Timestamp::from_unix_seconds(0));
//! let (holder, launcher) = (Holder::new("key-1")?, Module::new("launcher")?);
//! let license = License::new("launcher-license".parse()?, Seats::Limited(1));
//! for operation in [
//!     Operation::MapModule { module: launcher.clone(), license: Some(license.id.clone()) },
//!     Operation::SetLicense { license },
//!     Operation::Assign { holder: holder.clone(), modules: vec![launcher.clone()] },
//! ] {
//!     ledger.apply(&operation, &actor, now);
//! }
//! assert_eq!(ledger.standings(&holder).status(&launcher, now), Status::Reserved);
//! # Ok::<(), tower_api_key::InvalidName>(())
//! ```
//!
//! # Decisions
//!
//! Known holders:
//!
//! 1. A holder is known after its creation was recorded, after its first assignment, after it was
//!    disabled, given an end or revoked; until it is deleted. Recording the creation of a known
//!    holder and deleting an unknown one write nothing; changes and regenerations are always
//!    written, also for unknown holders. Assigning no module makes nobody known.
//! 2. A revoked holder stays known and inactive for good: it has no assignments, and assigning,
//!    enabling or moving its end changes nothing. Its end passing writes nothing. It can only be
//!    deleted.
//! 3. `KeyDeleted` and `KeyRevoked` say by themselves that all assignments are gone: no
//!    `ModuleUnassigned` is written.
//! 4. Moving a holder's end writes `KeyChanged` with `expires_at`; then `KeyExpired` where that
//!    made it expired. An end that passes is written for a disabled holder too: the key did expire.
//! 5. Enabled but expired, or disabled with an end in the future, a holder is not active. Only what
//!    makes it active is an enabling that can find no seat.
//!
//! Time:
//!
//! 6. A tick handles expiries in order of instant, then bytes of the id, a license before a holder
//!    of the same name; each is written at its own instant by the system and settled at once.
//! 7. Of several expiries at one instant each takes only its own seats, in its turn; but nobody gets
//!    a seat of a license, or as a holder, that expires at that instant too.
//! 8. The events of the operation itself are written at the clock: the later of what it was and
//!    `now`. A license that is set when its end has passed is added or changed, then expires, at
//!    the clock.
//!
//! Order inside one operation:
//!
//! 9. All changes; then the removals, license by license; then the reservations, license by license;
//!    then the failures. The licenses come in the order in which the call's modules name them; for
//!    what concerns a whole holder in order of its assignments, for limited edition in order of id
//!    bytes, for a remapped module the old one before the new.
//! 10. Failures come in the order of the modules: one for each license, and one for each module
//!     whose license, or which itself, is unknown. Their reason is the module's status. Only modules
//!     that the call assigned (or that an enabled holder has) can fail.
//! 11. A module named twice in one call counts once.
//!
//! Numbers:
//!
//! 12. One counter numbers all: an assignment's place in line is the number of its `ModuleAssigned`,
//!     a reservation's age that of its `Reserved`. So replaying the log rebuilds both.
//! 13. A removed license, and one that is not known yet, has no seats; its modules' users wait.
//!
//! Expectations:
//!
//! 14. A license is as expected where id, seats and end are the same; whether it has expired, who
//!     holds its seats and limited edition do not matter. It is looked at after the time has passed,
//!     which passes and is written also where the license is not as expected.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use crate::{
    clock::Timestamp,
    license_ledger::{
        Actor, Eviction, Holder, HolderState, License, LicenseEvent, LicenseId, LicenseUse, Line,
        Module, Operation, Overview, Seat, Seats, Standing, Standings,
    },
};

use change::Change;
use index::Index;

pub use from_log::ReplayError;
pub use replay::seats_at;

mod change;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) mod excerpt;
mod from_log;
mod index;
#[cfg(any(feature = "postgres", all(test, feature = "sqlite")))]
pub(crate) mod remembered;
mod replay;
mod settle;

#[cfg(test)]
mod tests;

/// A license ledger: holders, their assignments, licenses, and who holds a seat or waits for one.
///
/// An operation takes O(log n) in the number of holders for each seat and place in line that it
/// changes. The log is not kept here: whoever applies an operation keeps its events.
#[derive(Debug, Clone)]
pub struct LedgerState {
    eviction: Eviction,
    clock: Timestamp,
    seq: u64,
    limited_edition: bool,
    holders: Index<Holder, HolderEntry>,
    /// The modules that were mapped, each with the license it needs.
    modules: BTreeMap<Module, Option<LicenseId>>,
    /// Who is assigned a module, known or not.
    users: BTreeMap<Module, Index<Holder, ()>>,
    licenses: BTreeMap<LicenseId, License>,
    /// Who holds or waits for a license, known or not. None is empty.
    lines: BTreeMap<LicenseId, Queue>,
    /// What is still to expire: all after the clock.
    expiries: Index<(Timestamp, Expiring), ()>,
}

/// What the ledger keeps of one holder.
#[derive(Debug, Clone)]
struct HolderEntry {
    enabled: bool,
    active_until: Option<Timestamp>,
    revoked: bool,
    assigned: BTreeMap<Module, Assignment>,
    /// Its place in each line: only those it is in demand of.
    places: BTreeMap<LicenseId, Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Assignment {
    seq: u64,
    at: Timestamp,
}

/// Where a holder stands in the line for one license.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Its earliest assignment that needs the license.
    assignment: Assignment,
    /// The number of its reservation, where it holds a seat.
    seat: Option<u64>,
}

/// The line for one license. Each is in one of the two, with the instant since when.
#[derive(Debug, Clone, Default)]
struct Queue {
    /// By number of the reservation.
    reserved: Index<u64, (Holder, Timestamp)>,
    /// By number of the earliest assignment.
    waiting: Index<u64, (Holder, Timestamp)>,
    /// How many reservations there are besides: none, but in an excerpt of a ledger.
    reserved_elsewhere: usize,
}

impl Queue {
    /// How many seats are taken.
    fn used(&self) -> usize {
        self.reserved.len() + self.reserved_elsewhere
    }

    fn is_empty(&self) -> bool {
        self.used() == 0 && self.waiting.is_empty()
    }
}

/// What an instant can end. Ordered by the bytes of the id.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expiring {
    License(LicenseId),
    Holder(Holder),
}

impl LedgerState {
    /// An empty ledger, whose clock is at the first instant there is.
    pub fn new(eviction: Eviction) -> Self {
        Self {
            eviction,
            clock: Timestamp::MIN,
            seq: 0,
            limited_edition: false,
            holders: Index::default(),
            modules: BTreeMap::new(),
            users: BTreeMap::new(),
            licenses: BTreeMap::new(),
            lines: BTreeMap::new(),
            expiries: Index::default(),
        }
    }

    pub(crate) fn eviction(&self) -> Eviction {
        self.eviction
    }

    /// Decides anew which reservation goes first from now on.
    pub(crate) fn set_eviction(&mut self, eviction: Eviction) {
        self.eviction = eviction;
    }

    /// Lets the time pass until `now`, makes one change on behalf of `actor`, and answers with the
    /// events of both, in order.
    ///
    /// A `now` before the ledger's clock counts as the clock. What changes nothing writes nothing.
    pub fn apply(
        &mut self,
        operation: &Operation,
        actor: &Actor,
        now: Timestamp,
    ) -> Vec<LicenseEvent> {
        let system = Actor::system();
        let mut change = Change::new(self, &system);
        change.tick(now);
        change.actor = actor;
        change.make(operation);
        change.events
    }

    /// The events that [`apply`](Self::apply) would answer with on behalf of the system.
    ///
    /// It takes a copy of the whole ledger, and so time and memory in proportion to it.
    pub fn plan(&self, operation: &Operation, now: Timestamp) -> Vec<LicenseEvent> {
        self.clone().apply(operation, &Actor::system(), now)
    }

    /// The latest time it was told.
    pub fn clock(&self) -> Timestamp {
        self.clock
    }

    /// The number of the last event, 0 where there is none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// All that is known of one holder. One that is not known has no modules and is active.
    pub fn standings(&self, holder: &Holder) -> Standings {
        let Some(entry) = self.holders.get(holder) else {
            return Standings::new(self.clock, self.limited_edition, true, None, []);
        };
        let modules = entry
            .assigned
            .keys()
            .map(|module| (module.clone(), self.standing(entry, module)));
        Standings::new(
            self.clock,
            self.limited_edition,
            entry.enabled && !entry.revoked,
            entry.active_until,
            modules,
        )
    }

    /// The first of these modules that is not known; nothing where all are.
    pub fn first_unknown<'m>(&self, modules: &'m [Module]) -> Option<&'m Module> {
        let mut modules = modules.iter();
        modules.find(|module| !self.modules.contains_key(*module))
    }

    /// Licenses and modules, with numbers of those who hold a seat and those who wait.
    pub fn overview(&self) -> Overview {
        let licenses = self.licenses.values().map(|license| {
            let line = self.lines.get(&license.id);
            let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
            LicenseUse::new(
                license.clone(),
                count(line.map_or(0, Queue::used)),
                count(line.map_or(0, |line| line.waiting.len())),
            )
        });
        Overview::new(
            self.clock,
            self.limited_edition,
            self.seq,
            licenses.collect(),
            self.modules.clone().into_iter().collect(),
        )
    }

    /// Who holds the seats of a license and who waits, at most `limit` of each; nothing where the
    /// license is unknown.
    pub fn line(&self, license: &LicenseId, limit: usize) -> Option<Line> {
        self.licenses.get(license)?;
        let Some(line) = self.lines.get(license) else {
            return Some(Line::default());
        };
        let first = |index: &Index<u64, (Holder, Timestamp)>| {
            index
                .iter()
                .take(limit)
                .map(|(_, who)| who.clone())
                .collect()
        };
        Some(Line::new(first(&line.reserved), first(&line.waiting)))
    }

    /// The holders in order of their name's bytes, those after `after`, at most `limit`.
    pub fn holders(&self, after: Option<&Holder>, limit: usize) -> Vec<HolderState> {
        self.holders
            .range(after.map_or(Bound::Unbounded, Bound::Excluded))
            .take(limit)
            .map(|(holder, entry)| {
                HolderState::new(
                    holder.clone(),
                    entry.enabled && !entry.revoked,
                    entry.active_until,
                    entry.revoked,
                )
            })
            .collect()
    }

    /// The earliest instant at which a tick would do something; nothing where none would.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|((instant, _), ())| *instant)
    }

    /// What is known of a module that the holder of `entry` is assigned.
    fn standing(&self, entry: &HolderEntry, module: &Module) -> Standing {
        let license = match self.modules.get(module) {
            None => return Standing::Unknown(None),
            Some(None) => return Standing::NotRequired,
            Some(Some(license)) => license,
        };
        let Some(known) = self.licenses.get(license) else {
            return Standing::Unknown(Some(license.clone()));
        };
        let used = self.lines.get(license).map_or(0, Queue::used);
        let seat = if entry
            .places
            .get(license)
            .is_some_and(|place| place.seat.is_some())
        {
            Seat::Reserved
        } else if used >= seats(known.seats) {
            Seat::LimitReached
        } else {
            Seat::Unavailable
        };
        Standing::Licensed {
            license: license.clone(),
            valid_until: known.valid_until,
            seat,
        }
    }

    /// How many may hold a seat now.
    fn cap(&self, license: &LicenseId) -> usize {
        match self.licenses.get(license) {
            Some(known) if !self.limited_edition && !self.is_past(known.valid_until) => {
                seats(known.seats)
            }
            _ => 0,
        }
    }

    /// Whether `end`, the first instant that is too late, has come.
    fn is_past(&self, end: Option<Timestamp>) -> bool {
        end.is_some_and(|end| self.clock >= end)
    }

    fn is_active(&self, entry: &HolderEntry) -> bool {
        entry.enabled && !entry.revoked && !self.is_past(entry.active_until)
    }

    /// The licenses that modules need, known or not, each once, in order of the modules.
    fn licenses_of<'a>(&self, modules: impl IntoIterator<Item = &'a Module>) -> Vec<LicenseId> {
        let mut seen = BTreeSet::new();
        modules
            .into_iter()
            .filter_map(|module| self.modules.get(module)?.as_ref())
            .filter(|license| seen.insert(*license))
            .cloned()
            .collect()
    }
}

impl HolderEntry {
    /// The assigned modules, the earliest assignment first.
    fn modules_in_order(&self) -> Vec<Module> {
        let mut modules: Vec<_> = self.assigned.iter().collect();
        modules.sort_by_key(|(_, assignment)| assignment.seq);
        modules
            .into_iter()
            .map(|(module, _)| module.clone())
            .collect()
    }
}

impl Default for HolderEntry {
    fn default() -> Self {
        Self {
            enabled: true,
            active_until: None,
            revoked: false,
            assigned: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }
}

impl Expiring {
    fn key(&self) -> (&str, u8) {
        match self {
            Self::License(license) => (license.as_str(), 0),
            Self::Holder(holder) => (holder.as_str(), 1),
        }
    }
}

impl Ord for Expiring {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Expiring {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A number of seats to compare with; without a limit more than there can be holders.
fn seats(seats: Seats) -> usize {
    match seats {
        Seats::Limited(seats) => usize::try_from(seats).unwrap_or(usize::MAX),
        Seats::Unlimited => usize::MAX,
    }
}
