//! What a process still knows of a ledger in a database after it has written to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    clock::Timestamp,
    ledger_state::{
        HolderEntry, LedgerState,
        excerpt::{AssignmentRow, Excerpt, HolderRow, LicenseRow, ModuleRow, PlaceRow},
    },
    license_ledger::{Holder, KeyEvent, LicenseId, Module, Operation},
};

/// The holders, modules and licenses that were met lately: with them the excerpt for another
/// assignment need not be read.
///
/// All of it is true as long as nobody else has written, which `ops` tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered {
    clock: i64,
    seq: u64,
    limited_edition: bool,
    ops: u64,
    next_end: Option<i64>,
    holders: BTreeMap<Holder, KnownHolder>,
    modules: BTreeMap<Module, Option<LicenseId>>,
    /// Those that nobody waits for, known or not, each with the number of seats taken: who comes
    /// next depends on who waits, and that is not remembered.
    licenses: BTreeMap<LicenseId, (Option<LicenseRow>, u64)>,
}

#[derive(Debug, Clone)]
struct KnownHolder {
    row: HolderRow,
    assignments: Vec<AssignmentRow>,
    places: Vec<PlaceRow>,
}

/// As many holders are remembered: enough for those that are being created at a time.
const HOLDERS: usize = 256;

impl Remembered {
    /// After these operations have led from `excerpt` to `after` and been written; nothing after
    /// others than assignments and records. What was remembered `before` is still true where nothing
    /// was written since.
    pub(crate) fn after<'a>(
        operations: impl IntoIterator<Item = &'a Operation>,
        excerpt: &Excerpt,
        after: &LedgerState,
        before: Option<Self>,
    ) -> Option<Self> {
        let about: Option<Vec<_>> = operations.into_iter().map(about).collect();
        let about: BTreeSet<_> = about?.into_iter().flatten().collect();
        let before = before.filter(|before| before.ops == excerpt.ops);
        let mut known = Self {
            clock: after.clock.unix_micros(),
            seq: after.seq,
            limited_edition: after.limited_edition,
            ops: excerpt.ops + 1,
            next_end: excerpt.next_end,
            ..before.unwrap_or_default()
        };
        for row in &excerpt.modules {
            let license = row.license.clone();
            known.modules.insert(row.module.clone(), license);
        }
        for (license, _) in &excerpt.used {
            known.licenses.remove(license);
            let line = after.lines.get(license);
            if line.is_none_or(|line| line.waiting.is_empty()) {
                let mut rows = excerpt.licenses.iter();
                let row = rows.find(|row| row.license == *license).cloned();
                let used = line.map_or(0, |line| line.used() as u64);
                known.licenses.insert(license.clone(), (row, used));
            }
        }
        if known.holders.len() > HOLDERS {
            known.holders.clear();
        }
        for (holder, entry) in after.holders.iter() {
            known.holders.remove(holder);
            if about.contains(holder) {
                known.meet(holder, entry, after);
            }
        }
        Some(known)
    }

    /// The excerpt to which these operations can be applied at `now`, and the holders that must not
    /// be known then; nothing where the operations depend on more than is remembered.
    pub(crate) fn excerpt<'a>(
        &self,
        operations: impl IntoIterator<Item = &'a Operation>,
        now: Timestamp,
    ) -> Option<(Excerpt, Vec<Holder>)> {
        let now = now.unix_micros();
        if self.next_end.is_some_and(|end| end <= now) {
            return None;
        }
        let (mut holders, mut modules) = (BTreeSet::new(), BTreeSet::new());
        for operation in operations {
            holders.extend(about(operation)?);
            if let Operation::Assign { modules: named, .. } = operation {
                modules.extend(named);
            }
        }
        let mut excerpt = Excerpt {
            now: Some(now),
            clock: self.clock,
            seq: self.seq,
            limited_edition: self.limited_edition,
            ops: self.ops,
            next_end: self.next_end,
            ..Excerpt::default()
        };
        let mut strangers = Vec::new();
        for holder in holders {
            let Some(known) = self.holders.get(&holder) else {
                strangers.push(holder);
                continue;
            };
            modules.extend(known.assignments.iter().map(|row| &row.module));
            excerpt.holders.push(known.row.clone());
            excerpt.assignments.extend_from_slice(&known.assignments);
            excerpt.places.extend_from_slice(&known.places);
        }
        let mut licenses = BTreeSet::new();
        for module in modules {
            let license = self.modules.get(module)?;
            licenses.extend(license);
            excerpt.modules.push(ModuleRow {
                module: module.clone(),
                license: license.clone(),
            });
        }
        for license in licenses {
            let (row, used) = self.licenses.get(license)?;
            excerpt.licenses.extend(row.clone());
            excerpt.used.push((license.clone(), *used));
        }
        Some((excerpt, strangers))
    }

    /// The number of the last event there is.
    #[cfg(feature = "postgres")]
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Remembers a holder, unless it waits for something.
    fn meet(&mut self, holder: &Holder, entry: &HolderEntry, after: &LedgerState) {
        if entry.places.values().any(|place| place.seat.is_none()) {
            return;
        }
        let assignments = entry.assigned.iter();
        let places = entry.places.iter();
        let known = KnownHolder {
            row: HolderRow::of(holder, entry),
            assignments: assignments
                .map(|(module, assignment)| AssignmentRow::of(holder, module, *assignment))
                .collect(),
            places: places
                .map(|(license, place)| PlaceRow::of(holder, license, *place, after))
                .collect(),
        };
        self.holders.insert(holder.clone(), known);
    }
}

/// The holder, if any, that an assignment or a record is about; nothing for other operations.
fn about(operation: &Operation) -> Option<Option<Holder>> {
    match operation {
        Operation::Assign { holder, .. } => Some(Some(holder.clone())),
        Operation::Record {
            event: KeyEvent::Created(key),
        } => Some(Some(Holder::from(key))),
        Operation::Record { .. } => Some(None),
        _ => None,
    }
}
