//! The part of a ledger that some operations can touch: what a database hands to the state machine,
//! and what it gets back.
//!
//! A database keeps a ledger in tables whose rows are the types below. To apply operations it reads
//! an [`Excerpt`] as a [`Reach`] asks for it, lets the state machine work on that, and writes the
//! [`Delta`]. So there is one algorithm, and what it takes depends on what an operation touches, not
//! on how many holders there are.

use std::collections::BTreeMap;
#[cfg(feature = "sqlite")]
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    ledger_state::{Assignment, Expiring, HolderEntry, LedgerState, Place},
    license_ledger::{
        Actor, Eviction, Holder, KeyEvent, License, LicenseEvent, LicenseId, Module, Operation,
    },
};

/// What to read of a ledger for some operations, in words that a query understands.
///
/// The full holders are those in `holders`, those whose end comes until `now`, and all users of
/// `users_of`. The licenses are those in `licenses`, those whose end comes until `now`, those that
/// the full holders' modules and `modules` are mapped to, and all where `all_licenses` is set. Then
///
/// 1. of each full holder: its row, its assignments and its places,
/// 2. of each module that one of them is assigned or that is in `modules` or `users_of`: its row,
/// 3. of each license: its row, the number of its reservations,
/// 4. of the places with a seat, from the end where evictions begin: all where the license ends
///    until `now`, where `resized` ends it until then or until the clock, and of those in `licenses`
///    (or of all with `all_licenses`) where `emptied` is set; of that in `resized` otherwise as many
///    as are beyond its new seats and as there are full holders, if there are any beyond,
/// 5. of the places that wait, in order: as many as there are `operations` and twice as many as
///    there are full holders; of that in `resized` as many more as its new seats exceed those taken
///    (none count as taken where all of its seats are read); with `all_licenses` of each as many
///    more as its seats exceed those taken; without a limit all,
/// 6. of the holders of those places: their rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Reach {
    /// Microseconds. Nothing: where there are operations the database's own time.
    pub(crate) now: Option<i64>,
    pub(crate) operations: usize,
    pub(crate) holders: Vec<Holder>,
    pub(crate) modules: Vec<Module>,
    pub(crate) licenses: Vec<LicenseId>,
    pub(crate) users_of: Option<Module>,
    pub(crate) all_licenses: bool,
    /// Every reservation of `licenses` goes, or of all with `all_licenses`.
    pub(crate) emptied: bool,
    /// One of `licenses` as it is to be.
    pub(crate) resized: Option<LicenseRow>,
}

/// A part of a ledger, row by row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Excerpt {
    /// Until when it was asked for, in microseconds.
    pub(crate) now: Option<i64>,
    /// Microseconds.
    pub(crate) clock: i64,
    pub(crate) seq: u64,
    pub(crate) limited_edition: bool,
    /// Grows with every writing.
    pub(crate) ops: u64,
    /// The first end after the later of clock and `now`, of a holder or a license, in microseconds:
    /// for those who remember what they read.
    #[serde(default)]
    pub(crate) next_end: Option<i64>,
    /// The full holders.
    pub(crate) holders: Vec<HolderRow>,
    /// Those who only stand in a line.
    pub(crate) others: Vec<HolderRow>,
    pub(crate) assignments: Vec<AssignmentRow>,
    pub(crate) modules: Vec<ModuleRow>,
    pub(crate) licenses: Vec<LicenseRow>,
    /// How many seats are taken of each license, known or not.
    pub(crate) used: Vec<(LicenseId, u64)>,
    /// Licenses that nobody waits for, where that was asked before their lines are read.
    #[serde(default)]
    pub(crate) idle: Vec<LicenseId>,
    /// A full holder's may be here twice: as its own and as one of a line.
    pub(crate) places: Vec<PlaceRow>,
}

/// A holder that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HolderRow {
    pub(crate) holder: Holder,
    pub(crate) enabled: bool,
    pub(crate) active_until: Option<i64>,
    pub(crate) revoked: bool,
}

/// A module that a holder is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AssignmentRow {
    pub(crate) holder: Holder,
    pub(crate) module: Module,
    pub(crate) seq: u64,
    pub(crate) at: i64,
}

/// A module that is known, and the license it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModuleRow {
    pub(crate) module: Module,
    pub(crate) license: Option<LicenseId>,
}

/// A license that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LicenseRow {
    pub(crate) license: LicenseId,
    /// Without a limit where there is no number.
    pub(crate) seats: Option<u32>,
    pub(crate) valid_until: Option<i64>,
}

/// A holder in the line for a license.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlaceRow {
    pub(crate) license: LicenseId,
    pub(crate) holder: Holder,
    /// Its earliest assignment that needs the license.
    pub(crate) seq: u64,
    pub(crate) at: i64,
    /// The number of its reservation and since when it has it; nothing while it waits.
    pub(crate) seat: Option<u64>,
    pub(crate) seat_at: Option<i64>,
}

/// What operations changed: rows to write, by their keys, and keys of rows that are gone.
/// Kinds of which there are none are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Delta {
    pub(crate) clock: i64,
    pub(crate) seq: u64,
    pub(crate) limited_edition: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) holders: Vec<HolderRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) holders_gone: Vec<Holder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) assignments: Vec<AssignmentRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) assignments_gone: Vec<(Holder, Module)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) modules: Vec<ModuleRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) licenses: Vec<LicenseRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) licenses_gone: Vec<LicenseId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) places: Vec<PlaceRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) places_gone: Vec<(LicenseId, Holder)>,
}

/// What operations did to an excerpt.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Those of each operation.
    pub(crate) events: Vec<Vec<LicenseEvent>>,
    pub(crate) delta: Delta,
    #[cfg(any(feature = "postgres", test))]
    pub(crate) after: LedgerState,
}

impl Reach {
    /// What these operations can touch, which happen until `now`. Where there are several, each is
    /// one that [`is_of_one_holder`].
    pub(crate) fn of<'a>(
        operations: impl IntoIterator<Item = &'a Operation>,
        now: Option<Timestamp>,
    ) -> Self {
        let mut reach = Self {
            now: now.map(Timestamp::unix_micros),
            ..Self::default()
        };
        for operation in operations {
            reach.operations += 1;
            reach.add(operation);
        }
        reach
    }

    /// What there is to know of these holders.
    pub(crate) fn about(holders: impl IntoIterator<Item = Holder>) -> Self {
        Self {
            holders: holders.into_iter().collect(),
            ..Self::default()
        }
    }

    fn add(&mut self, operation: &Operation) {
        match operation {
            Operation::Assign { holder, modules } | Operation::Unassign { holder, modules } => {
                self.holders.push(holder.clone());
                self.modules.extend_from_slice(modules);
            }
            Operation::DeleteKey { holder }
            | Operation::RevokeKey { holder }
            | Operation::SetActive { holder, .. }
            | Operation::SetActiveUntil { holder, .. } => self.holders.push(holder.clone()),
            Operation::SetLicense { license } | Operation::SetLicenseIf { license, .. } => {
                self.licenses.push(license.id.clone());
                self.resized = Some(LicenseRow::of(license));
            }
            Operation::RemoveLicense { license: id }
            | Operation::RemoveLicenseIf {
                expected: License { id, .. },
            } => {
                self.licenses.push(id.clone());
                self.emptied = true;
            }
            Operation::MapModule { module, license } => {
                self.users_of = Some(module.clone());
                self.licenses.extend(license.clone());
            }
            Operation::SetLimitedEdition { enabled } => {
                self.all_licenses = true;
                self.emptied = *enabled;
            }
            Operation::Record {
                event: KeyEvent::Created(key),
            } => self.holders.push(Holder::from(key)),
            Operation::Record { .. } | Operation::Tick => {}
        }
    }
}

/// How many places of a license's line are to be read.
#[cfg(any(feature = "sqlite", test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Those with a seat, from the end where evictions begin.
    pub(crate) reserved: u64,
    /// Those that wait, in order.
    pub(crate) waiting: u64,
}

#[cfg(any(feature = "sqlite", test))]
impl Reach {
    /// Sentences 4 and 5, for databases that read the lines one by one: `excerpt` has all the rest.
    pub(crate) fn moves(&self, excerpt: &Excerpt, license: &LicenseId, used: u64) -> Moves {
        let row = excerpt.licenses.iter().find(|row| row.license == *license);
        let resized = self.resized.as_ref().filter(|row| row.license == *license);
        let clock = self.now.unwrap_or(excerpt.clock).max(excerpt.clock);
        let ended = |row: &LicenseRow| row.valid_until.is_some_and(|end| end <= clock);
        // What ended before the clock has no seats left to lose.
        let named = self.all_licenses || self.licenses.contains(license);
        let emptied = row.is_some_and(ended) || resized.is_some_and(ended) || self.emptied && named;
        let kept = if emptied { 0 } else { used };
        let seats = match resized {
            Some(row) => Some(row.seats),
            None => row.filter(|_| self.all_licenses).map(|row| row.seats),
        };
        let more = match seats {
            None => 0,
            Some(None) => u64::MAX,
            Some(Some(seats)) => u64::from(seats).saturating_sub(kept),
        };
        let full = excerpt.holders.len() + self.holders.len();
        Moves {
            reserved: match resized.and_then(|row| row.seats) {
                _ if emptied => used,
                // Some of the oldest may be full holders', whose seats go to others before.
                Some(seats) if used > u64::from(seats) => used - u64::from(seats) + full as u64,
                Some(_) | None => 0,
            },
            waiting: match excerpt.idle.contains(license) {
                true => 0,
                false => more.saturating_add((self.operations + 2 * full) as u64),
            },
        }
    }
}

/// Whether an operation is about one holder, so that it can share an excerpt with others like it.
pub(crate) fn is_of_one_holder(operation: &Operation) -> bool {
    !matches!(
        operation,
        Operation::SetLicense { .. }
            | Operation::SetLicenseIf { .. }
            | Operation::RemoveLicense { .. }
            | Operation::RemoveLicenseIf { .. }
            | Operation::MapModule { .. }
            | Operation::SetLimitedEdition { .. }
    )
}

impl Excerpt {
    /// Applies operations, each at its time, and answers with the events of each and what changed.
    pub(crate) fn apply<'a>(
        &self,
        eviction: Eviction,
        operations: impl IntoIterator<Item = (&'a Operation, &'a Actor, Timestamp)>,
    ) -> Applied {
        let before = self.state(eviction);
        let mut after = before.clone();
        let events = operations
            .into_iter()
            .map(|(operation, actor, now)| after.apply(operation, actor, now))
            .collect();
        Applied {
            events,
            delta: Delta::between(&before, &after),
            #[cfg(any(feature = "postgres", test))]
            after,
        }
    }

    /// The events that an operation would have of which all that is here was read.
    pub(crate) fn plan(&self, eviction: Eviction, operation: &Operation) -> Vec<LicenseEvent> {
        let mut state = self.state(eviction);
        state.apply(operation, &Actor::system(), self.instant())
    }

    /// When operations take place of which all that is here was read.
    pub(crate) fn instant(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.now.unwrap_or(self.clock))
    }

    /// Adds places of lines with their holders.
    #[cfg(feature = "sqlite")]
    pub(crate) fn add(&mut self, places: Vec<(PlaceRow, HolderRow)>) {
        let full: BTreeSet<_> = self.holders.iter().map(|row| &row.holder).collect();
        // All places of a full holder are here already.
        let places = places.into_iter();
        let of_others = places.filter(|(place, _)| !full.contains(&place.holder));
        let (places, others): (Vec<_>, Vec<_>) = of_others.unzip();
        self.places.extend(places);
        self.others.extend(others);
    }

    /// The state machine with what is here, and nothing else.
    pub(crate) fn state(&self, eviction: Eviction) -> LedgerState {
        let mut state = LedgerState::new(eviction);
        state.clock = Timestamp::from_unix_micros(self.clock);
        state.seq = self.seq;
        state.limited_edition = self.limited_edition;
        for row in &self.modules {
            state
                .modules
                .insert(row.module.clone(), row.license.clone());
        }
        for row in &self.licenses {
            let license = row.license();
            if let Some(end) = license.valid_until.filter(|end| *end > state.clock) {
                let expiring = Expiring::License(license.id.clone());
                state.expiries.insert((end, expiring), ());
            }
            state.licenses.insert(license.id.clone(), license);
        }
        for row in &self.holders {
            let entry = row.entry();
            let end = entry.active_until.filter(|_| !entry.revoked);
            if let Some(end) = end.filter(|end| *end > state.clock) {
                let expiring = Expiring::Holder(row.holder.clone());
                state.expiries.insert((end, expiring), ());
            }
            state.holders.insert(row.holder.clone(), entry);
        }
        for row in &self.others {
            state.holders.insert(row.holder.clone(), row.entry());
        }
        for row in &self.assignments {
            let entry = state.holders.get_or_insert(&row.holder);
            entry.assigned.insert(row.module.clone(), row.assignment());
            let users = state.users.entry(row.module.clone()).or_default();
            users.insert(row.holder.clone(), ());
        }
        for (license, used) in &self.used {
            let line = state.lines.entry(license.clone()).or_default();
            line.reserved_elsewhere = usize::try_from(*used).unwrap_or(usize::MAX);
        }
        for row in &self.places {
            let at = Timestamp::from_unix_micros(row.at);
            let assignment = Assignment { seq: row.seq, at };
            let entry = state.holders.get_or_insert(&row.holder);
            if entry.places.contains_key(&row.license) {
                continue;
            }
            let place = Place {
                assignment,
                seat: row.seat,
            };
            entry.places.insert(row.license.clone(), place);
            let line = state.lines.entry(row.license.clone()).or_default();
            match row.seat {
                Some(seat) => {
                    let since = row.seat_at.map_or(at, Timestamp::from_unix_micros);
                    line.reserved.insert(seat, (row.holder.clone(), since));
                    line.reserved_elsewhere = line.reserved_elsewhere.saturating_sub(1);
                }
                None => line.waiting.insert(row.seq, (row.holder.clone(), at)),
            }
        }
        state
    }
}

impl HolderRow {
    pub(super) fn of(holder: &Holder, entry: &HolderEntry) -> Self {
        Self {
            holder: holder.clone(),
            enabled: entry.enabled,
            active_until: entry.active_until.map(Timestamp::unix_micros),
            revoked: entry.revoked,
        }
    }

    fn entry(&self) -> HolderEntry {
        HolderEntry {
            enabled: self.enabled,
            active_until: self.active_until.map(Timestamp::from_unix_micros),
            revoked: self.revoked,
            ..HolderEntry::default()
        }
    }
}

impl AssignmentRow {
    pub(super) fn of(holder: &Holder, module: &Module, assignment: Assignment) -> Self {
        Self {
            holder: holder.clone(),
            module: module.clone(),
            seq: assignment.seq,
            at: assignment.at.unix_micros(),
        }
    }

    fn assignment(&self) -> Assignment {
        Assignment {
            seq: self.seq,
            at: Timestamp::from_unix_micros(self.at),
        }
    }
}

impl PlaceRow {
    pub(super) fn of(
        holder: &Holder,
        license: &LicenseId,
        place: Place,
        state: &LedgerState,
    ) -> Self {
        let reserved = place.seat.and_then(|seat| {
            let line = state.lines.get(license)?;
            line.reserved.get(&seat)
        });
        Self {
            license: license.clone(),
            holder: holder.clone(),
            seq: place.assignment.seq,
            at: place.assignment.at.unix_micros(),
            seat: place.seat,
            seat_at: reserved.map(|(_, since)| since.unix_micros()),
        }
    }
}

impl LicenseRow {
    fn of(license: &License) -> Self {
        Self {
            license: license.id.clone(),
            seats: license.seats.into(),
            valid_until: license.valid_until.map(Timestamp::unix_micros),
        }
    }

    pub(crate) fn license(&self) -> License {
        License::new(self.license.clone(), self.seats.into())
            .with_valid_until(self.valid_until.map(Timestamp::from_unix_micros))
    }
}

impl Delta {
    pub(crate) fn between(before: &LedgerState, after: &LedgerState) -> Self {
        let mut delta = Self {
            clock: after.clock.unix_micros(),
            seq: after.seq,
            limited_edition: after.limited_edition,
            ..Self::default()
        };
        let fresh = HolderEntry::default();
        for (holder, entry) in after.holders.iter() {
            let known = before.holders.get(holder);
            let row = HolderRow::of(holder, entry);
            if known.map(|known| HolderRow::of(holder, known)).as_ref() != Some(&row) {
                delta.holders.push(row);
            }
            delta.compare_assignments(holder, known.unwrap_or(&fresh), entry);
            delta.compare_places(holder, known.unwrap_or(&fresh), entry, after);
        }
        for (holder, entry) in before.holders.iter() {
            if after.holders.get(holder).is_none() {
                delta.holders_gone.push(holder.clone());
                delta.compare_assignments(holder, entry, &fresh);
                delta.compare_places(holder, entry, &fresh, after);
            }
        }
        for (module, license) in changed(&before.modules, &after.modules) {
            delta.modules.push(ModuleRow {
                module: module.clone(),
                license: license.clone(),
            });
        }
        for (_, license) in changed(&before.licenses, &after.licenses) {
            delta.licenses.push(LicenseRow::of(license));
        }
        delta.licenses_gone = gone(&before.licenses, &after.licenses).cloned().collect();
        delta
    }

    /// Whether there is more to write than holders, assignments and places.
    #[cfg(feature = "postgres")]
    pub(crate) fn has_more(&self) -> bool {
        let Self {
            holders_gone,
            assignments_gone,
            modules,
            licenses,
            licenses_gone,
            places_gone,
            ..
        } = self;
        let nothing = holders_gone.is_empty()
            && assignments_gone.is_empty()
            && modules.is_empty()
            && licenses.is_empty()
            && licenses_gone.is_empty()
            && places_gone.is_empty();
        !nothing
    }

    /// The same with these events, in one or more pieces of at most `most` rows of a kind, for what is
    /// too much at once. Each piece has the clock and the numbers of the whole; nothing is gone in any.
    pub(crate) fn pieces<'a>(
        &'a self,
        events: &'a [LicenseEvent],
        most: usize,
    ) -> impl Iterator<Item = (Self, &'a [LicenseEvent])> {
        fn piece<T>(rows: &[T], number: usize, most: usize) -> &[T] {
            rows.chunks(most).nth(number).unwrap_or_default()
        }
        let rows = [
            events.len(),
            self.holders.len(),
            self.assignments.len(),
            self.modules.len(),
            self.licenses.len(),
            self.places.len(),
        ];
        let longest = rows.into_iter().max().unwrap_or_default();
        (0..longest.div_ceil(most).max(1)).map(move |number| {
            let delta = Self {
                clock: self.clock,
                seq: self.seq,
                limited_edition: self.limited_edition,
                holders: piece(&self.holders, number, most).to_vec(),
                assignments: piece(&self.assignments, number, most).to_vec(),
                modules: piece(&self.modules, number, most).to_vec(),
                licenses: piece(&self.licenses, number, most).to_vec(),
                places: piece(&self.places, number, most).to_vec(),
                ..Self::default()
            };
            (delta, piece(events, number, most))
        })
    }

    fn compare_assignments(&mut self, holder: &Holder, before: &HolderEntry, after: &HolderEntry) {
        for (module, assignment) in changed(&before.assigned, &after.assigned) {
            let row = AssignmentRow::of(holder, module, *assignment);
            self.assignments.push(row);
        }
        let modules = gone(&before.assigned, &after.assigned);
        self.assignments_gone
            .extend(modules.map(|module| (holder.clone(), module.clone())));
    }

    fn compare_places(
        &mut self,
        holder: &Holder,
        before: &HolderEntry,
        after: &HolderEntry,
        state: &LedgerState,
    ) {
        for (license, place) in changed(&before.places, &after.places) {
            let row = PlaceRow::of(holder, license, *place, state);
            self.places.push(row);
        }
        let licenses = gone(&before.places, &after.places);
        self.places_gone
            .extend(licenses.map(|license| (license.clone(), holder.clone())));
    }
}

/// The entries that are new or other than before.
fn changed<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    after
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value))
}

/// The keys that are no longer there.
fn gone<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    before.keys().filter(|key| !after.contains_key(key))
}
