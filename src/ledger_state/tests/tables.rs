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
            clock: self.clock,
            seq: self.seq,
            limited_edition: self.limited_edition,
            holders: self.holders.values().cloned().collect(),
            others: Vec::new(),
            assignments: self.assignments.values().cloned().collect(),
            modules: self.modules.values().cloned().collect(),
            licenses: self.licenses.values().cloned().collect(),
            used: used.collect(),
            places: self.places.values().cloned().collect(),
        }
    }

    /// The sentences of [`Reach`], one after the other.
    pub(super) fn read(&self, reach: &Reach, eviction: Eviction) -> Excerpt {
        let is_due = |end: Option<i64>| {
            let now = reach.now.map(Timestamp::unix_micros);
            end.is_some_and(|end| end > self.clock && Some(end) <= now)
        };
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

        let mut places: BTreeMap<_, _> = self
            .places
            .iter()
            .filter(|((_, holder), _)| full.contains(holder))
            .collect();
        for id in &licenses {
            let row = self.licenses.get(*id);
            let named = reach.licenses.contains(id);
            let resized = reach.resized.as_ref().filter(|row| row.license == **id);
            let latest = reach.now.map(Timestamp::unix_micros).max(Some(self.clock));
            let ended = |row: &LicenseRow| row.valid_until.is_some() && row.valid_until <= latest;
            let emptied = row.is_some_and(|row| is_due(row.valid_until))
                || resized.is_some_and(ended)
                || (reach.emptied && (named || reach.all_licenses));
            let resized = resized.map(|row| row.seats);
            let used = self.used(id);
            let evicted = match resized {
                _ if emptied => used,
                Some(Some(seats)) => used.saturating_sub(seats.into()),
                _ => 0,
            };
            let kept = if emptied { 0 } else { used };
            let all = row.map(|row| row.seats).filter(|_| reach.all_licenses);
            let more = match resized.or(all) {
                None => 0,
                Some(None) => u64::MAX,
                Some(Some(seats)) => u64::from(seats).saturating_sub(kept),
            };
            let promoted = more.saturating_add((reach.operations + 2 * full.len()) as u64);
            let mut reserved: Vec<_> = self
                .line(id)
                .filter(|(_, row)| row.seat.is_some())
                .collect();
            reserved.sort_by_key(|(_, row)| row.seat);
            if eviction == Eviction::NewestFirst {
                reserved.reverse();
            }
            places.extend(reserved.into_iter().take(evicted as usize));
            let mut waiting: Vec<_> = self
                .line(id)
                .filter(|(_, row)| row.seat.is_none())
                .collect();
            waiting.sort_by_key(|(_, row)| row.seq);
            places.extend(waiting.into_iter().take(promoted as usize));
        }
        let others: BTreeSet<_> = places
            .keys()
            .map(|(_, holder)| holder)
            .filter(|holder| !full.contains(holder))
            .collect();
        let row = |holder: &Holder| self.holders.get(holder).cloned();
        let used = licenses.iter().map(|id| ((*id).clone(), self.used(id)));
        Excerpt {
            clock: self.clock,
            seq: self.seq,
            limited_edition: self.limited_edition,
            holders: full.iter().filter_map(|holder| row(holder)).collect(),
            others: others.into_iter().filter_map(row).collect(),
            used: used.collect(),
            licenses: licenses
                .iter()
                .filter_map(|id| self.licenses.get(*id).cloned())
                .collect(),
            places: places.into_values().cloned().collect(),
            assignments,
            modules,
        }
    }

    fn line(&self, license: &LicenseId) -> impl Iterator<Item = (&(LicenseId, Holder), &PlaceRow)> {
        let rows = self.places.iter();
        rows.filter(move |(_, row)| row.license == *license)
    }

    fn used(&self, license: &LicenseId) -> u64 {
        self.line(license)
            .filter(|(_, row)| row.seat.is_some())
            .count() as u64
    }

    pub(super) fn write(&mut self, delta: Delta) {
        (self.clock, self.seq) = (delta.clock, delta.seq);
        self.limited_edition = delta.limited_edition;
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
