//! A ledger in tables, as a database keeps it, read and written slowly and plainly: what the queries
//! of the backends are to say.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    clock::Timestamp,
    ledger_state::excerpt::{
        AssignmentRow, Delta, Excerpt, HolderRow, LicenseRow, ModuleRow, PlaceRow, Reach,
    },
    license_ledger::{Eviction, Holder, LicenseId, Module},
};

#[derive(Debug, Default)]
pub(super) struct Tables {
    clock: i64,
    seq: u64,
    limited_edition: bool,
    ops: u64,
    holders: BTreeMap<Holder, HolderRow>,
    assignments: BTreeMap<(Holder, Module), AssignmentRow>,
    modules: BTreeMap<Module, ModuleRow>,
    licenses: BTreeMap<LicenseId, LicenseRow>,
    places: BTreeMap<(LicenseId, Holder), PlaceRow>,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            clock: Timestamp::MIN.unix_micros(),
            ..Self::default()
        }
    }

    /// All of it.
    pub(super) fn everything(&self) -> Excerpt {
        let used = self.licenses.keys().map(|id| (id.clone(), self.used(id)));
        Excerpt {
            now: None,
            clock: self.clock,
            seq: self.seq,
            limited_edition: self.limited_edition,
            ops: self.ops,
            next_end: None,
            holders: self.holders.values().cloned().collect(),
            others: Vec::new(),
            assignments: self.assignments.values().cloned().collect(),
            modules: self.modules.values().cloned().collect(),
            licenses: self.licenses.values().cloned().collect(),
            used: used.collect(),
            idle: Vec::new(),
            places: self.places.values().cloned().collect(),
        }
    }

    /// The sentences of [`Reach`], one after the other.
    pub(super) fn read(&self, reach: &Reach, eviction: Eviction) -> Excerpt {
        let is_due =
            |end: Option<i64>| end.is_some_and(|end| end > self.clock && Some(end) <= reach.now);
        let mut full: BTreeSet<&Holder> = reach.holders.iter().collect();
        let due = self.holders.values();
        full.extend(
            due.filter(|row| !row.revoked && is_due(row.active_until))
                .map(|row| &row.holder),
        );
        let users = self.assignments.values();
        full.extend(
            users
                .filter(|row| Some(&row.module) == reach.users_of.as_ref())
                .map(|row| &row.holder),
        );
        let assignments: Vec<_> = self
            .assignments
            .values()
            .filter(|row| full.contains(&row.holder))
            .cloned()
            .collect();
        let mut modules: BTreeSet<&Module> = assignments.iter().map(|row| &row.module).collect();
        modules.extend(reach.modules.iter().chain(&reach.users_of));
        let modules: Vec<_> = modules
            .into_iter()
            .filter_map(|module| self.modules.get(module))
            .cloned()
            .collect();
        let mut licenses: BTreeSet<&LicenseId> = reach.licenses.iter().collect();
        licenses.extend(modules.iter().filter_map(|row| row.license.as_ref()));
        let ends = |row: &&LicenseRow| is_due(row.valid_until) || reach.all_licenses;
        licenses.extend(self.licenses.values().filter(ends).map(|row| &row.license));

        let row = |holder: &Holder| self.holders.get(holder).cloned();
        let active = self.holders.values().filter(|row| !row.revoked);
        let ends = active.filter_map(|row| row.active_until);
        let ends = ends.chain(self.licenses.values().filter_map(|row| row.valid_until));
        let later = reach.now.map_or(self.clock, |now| now.max(self.clock));
        let used = licenses.iter().map(|id| ((*id).clone(), self.used(id)));
        let waits = |id: &LicenseId| {
            let mut line = self.places.values().filter(|row| row.license == *id);
            line.any(|row| row.seat.is_none())
        };
        let idle = licenses.iter().copied().filter(|id| !waits(id));
        let known = licenses.iter().filter_map(|id| self.licenses.get(*id));
        let mut excerpt = Excerpt {
            now: reach.now,
            clock: self.clock,
            seq: self.seq,
            limited_edition: self.limited_edition,
            ops: self.ops,
            next_end: ends.filter(|end| *end > later).min(),
            holders: full.iter().filter_map(|holder| row(holder)).collect(),
            others: Vec::new(),
            used: used.collect(),
            idle: idle.cloned().collect(),
            licenses: known.cloned().collect(),
            places: Vec::new(),
            assignments,
            modules,
        };
        let mut places: BTreeMap<_, _> = self
            .places
            .iter()
            .filter(|((_, holder), _)| full.contains(holder))
            .collect();
        for (license, used) in &excerpt.used {
            let moves = reach.moves(&excerpt, license, *used);
            let line = self.places.iter();
            let (mut reserved, mut waiting): (Vec<_>, Vec<_>) = line
                .filter(|(_, row)| row.license == *license)
                .partition(|(_, row)| row.seat.is_some());
            reserved.sort_by_key(|(_, row)| row.seat);
            if eviction == Eviction::NewestFirst {
                reserved.reverse();
            }
            waiting.sort_by_key(|(_, row)| row.seq);
            places.extend(reserved.into_iter().take(moves.reserved as usize));
            places.extend(waiting.into_iter().take(moves.waiting as usize));
        }
        let others = places.keys().map(|(_, holder)| holder);
        let others: BTreeSet<_> = others.filter(|holder| !full.contains(holder)).collect();
        excerpt.others = others.into_iter().filter_map(row).collect();
        excerpt.places = places.into_values().cloned().collect();
        excerpt
    }

    pub(super) fn knows(&self, holder: &Holder) -> bool {
        self.holders.contains_key(holder)
    }

    fn used(&self, license: &LicenseId) -> u64 {
        let seats = self.places.values().filter(|row| row.seat.is_some());
        seats.filter(|row| row.license == *license).count() as u64
    }

    pub(super) fn write(&mut self, delta: Delta) {
        (self.clock, self.seq) = (delta.clock, delta.seq);
        self.limited_edition = delta.limited_edition;
        self.ops += 1;
        for holder in &delta.holders_gone {
            self.holders.remove(holder).expect("it was there");
        }
        for key in &delta.assignments_gone {
            self.assignments.remove(key).expect("it was there");
        }
        for key in &delta.places_gone {
            self.places.remove(key).expect("it was there");
        }
        for license in &delta.licenses_gone {
            self.licenses.remove(license).expect("it was there");
        }
        for row in delta.holders {
            self.holders.insert(row.holder.clone(), row);
        }
        for row in delta.assignments {
            let key = (row.holder.clone(), row.module.clone());
            self.assignments.insert(key, row);
        }
        for row in delta.modules {
            self.modules.insert(row.module.clone(), row);
        }
        for row in delta.licenses {
            self.licenses.insert(row.license.clone(), row);
        }
        for row in delta.places {
            let key = (row.license.clone(), row.holder.clone());
            self.places.insert(key, row);
        }
    }
}
