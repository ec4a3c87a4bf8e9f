//! A ledger that is kept in tables and read in excerpts is the ledger that is kept whole.

use std::cell::Cell;

use crate::{
    clock::Timestamp,
    ledger_state::{
        LedgerState,
        excerpt::{Excerpt, Reach, is_of_one_holder},
        remembered::Remembered,
    },
    license_ledger::{Actor, Eviction, Holder, License, Module, Operation, Seats},
};

use super::{
    admin, at,
    histories::{History, expect, for_each_history, histories},
    license, module, name,
    snapshot::Snapshot,
    tables::Tables,
};

/// A batch of operations as a backend makes it.
fn batches(operations: &[(Timestamp, Operation)]) -> Vec<&[(Timestamp, Operation)]> {
    let of_one = |step: &(Timestamp, Operation)| is_of_one_holder(&step.1);
    let runs = operations.chunk_by(|a, b| of_one(a) && of_one(b));
    // Of several sizes.
    runs.enumerate()
        .flat_map(|(number, run)| run.chunks(number % 4 + 1))
        .collect()
}

/// A ledger in tables beside one that is whole.
struct Both {
    eviction: Eviction,
    whole: LedgerState,
    tables: Tables,
    remembered: Option<Remembered>,
    /// How many batches were applied to what was remembered.
    recalled: usize,
}

impl Both {
    fn new(eviction: Eviction) -> Self {
        Self {
            eviction,
            whole: LedgerState::new(eviction),
            tables: Tables::new(),
            remembered: None,
            recalled: 0,
        }
    }

    /// What a backend that remembers applies these operations to.
    fn excerpt(&mut self, batch: &[(Timestamp, Operation)]) -> Excerpt {
        let operations = || batch.iter().map(|(_, operation)| operation);
        let latest = batch.iter().map(|(now, _)| *now).max().expect("not empty");
        let remembered = self.remembered.as_ref();
        let recalled = remembered.and_then(|known| known.excerpt(operations(), latest));
        match recalled {
            Some((excerpt, strangers))
                if !strangers.iter().any(|holder| self.tables.knows(holder)) =>
            {
                self.recalled += 1;
                excerpt
            }
            _ => {
                let reach = Reach::of(operations(), Some(latest));
                self.tables.read(&reach, self.eviction)
            }
        }
    }

    fn apply(&mut self, batch: &[(Timestamp, Operation)]) {
        let excerpt = self.excerpt(batch);
        let steps = batch
            .iter()
            .map(|(now, operation)| (operation, ADMIN.get_or_init(admin), *now));
        let applied = excerpt.apply(self.eviction, steps);
        self.remembered = Remembered::after(
            batch.iter().map(|(_, operation)| operation),
            &excerpt,
            &applied.after,
            self.remembered.take(),
        );
        self.tables.write(applied.delta);
        for ((now, operation), events) in batch.iter().zip(applied.events) {
            let expected = self.whole.apply(operation, &admin(), *now);
            assert_eq!(events, expected, "{operation:?} in {batch:?}");
        }
        let state = self.tables.everything().state(self.eviction);
        assert_eq!(
            Snapshot::of(&state),
            Snapshot::of(&self.whole),
            "after {batch:?}"
        );
    }
}

fn play(eviction: Eviction, operations: &[(Timestamp, Operation)]) -> usize {
    let mut both = Both::new(eviction);
    for batch in batches(operations) {
        both.apply(batch);
    }
    both.recalled
}

static ADMIN: std::sync::OnceLock<Actor> = std::sync::OnceLock::new();

/// The same history with more holders and more seats, so that an excerpt leaves something out.
fn among_many(history: &History) -> Vec<(Timestamp, Operation)> {
    let step = |(number, (now, operation)): (usize, &(Timestamp, Operation))| {
        let mut operation = operation.clone();
        match &mut operation {
            Operation::Assign { holder, .. }
            | Operation::Unassign { holder, .. }
            | Operation::DeleteKey { holder }
            | Operation::RevokeKey { holder }
            | Operation::SetActive { holder, .. }
            | Operation::SetActiveUntil { holder, .. } => {
                *holder = name(&format!("{holder}{}", number * 7 % 6));
            }
            Operation::SetLicense { license } | Operation::SetLicenseIf { license, .. } => {
                if let Seats::Limited(seats) = &mut license.seats {
                    *seats = *seats * 2 + (number % 2) as u32;
                }
            }
            _ => {}
        }
        (*now, operation)
    };
    let mut operations: Vec<_> = history.operations.iter().enumerate().map(step).collect();
    expect(&mut operations);
    operations
}

#[test]
fn a_ledger_in_tables_has_the_same_history() {
    for_each_history(histories().div_ceil(10), |history| {
        play(history.eviction, &history.operations);
        play(history.eviction, &among_many(history));
    });
}

/// The same history of a ledger that grows: more holders, many more seats, and of all that is not an
/// assignment or a record little.
fn growing(history: &History) -> Vec<(Timestamp, Operation)> {
    let mut operations = history.operations.clone();
    let mut number = 0;
    operations.retain_mut(|(_, operation)| {
        number += 1;
        match operation {
            Operation::Assign { holder, modules } => {
                *holder = name(&format!("{holder}{}", number / 7));
                // Its license is seldom there.
                modules.retain(|needed| number % 9 == 0 || *needed != module("nodes"));
            }
            Operation::Record { .. } => {}
            Operation::SetLicense { license } | Operation::SetLicenseIf { license, .. } => {
                if let Seats::Limited(seats) = &mut license.seats {
                    *seats *= 9;
                }
                return number < 10 || number % 9 == 0;
            }
            _ => return number < 10 || number % 9 == 0,
        }
        true
    });
    expect(&mut operations);
    operations
}

#[test]
fn what_is_remembered_serves_as_well_as_what_is_read() {
    let (played, recalled) = (Cell::new(0), Cell::new(0));
    for_each_history(histories().div_ceil(5), |history| {
        let operations = growing(history);
        played.set(played.get() + operations.len());
        recalled.set(recalled.get() + play(history.eviction, &operations));
    });
    let (played, recalled) = (played.get(), recalled.get());
    assert!(recalled > played / 40, "{recalled} times of {played}");
}

fn assigned(tables: &mut Tables, holders: usize, seats: u32) {
    let eviction = Eviction::OldestFirst;
    let mut operations = vec![
        Operation::MapModule {
            module: module("launcher"),
            license: Some(license("lic")),
        },
        Operation::SetLicense {
            license: License::new(license("lic"), Seats::Limited(seats)),
        },
    ];
    operations.extend((0..holders).map(|number| Operation::Assign {
        holder: name(&format!("h{number:06}")),
        modules: vec![module("launcher")],
    }));
    for operation in &operations {
        let excerpt = tables.read(&Reach::of([operation], Some(at(0))), eviction);
        let applied = excerpt.apply(eviction, [(operation, &admin(), at(0))]);
        tables.write(applied.delta);
    }
}

#[test]
fn what_is_read_and_written_goes_by_the_seats_that_move() {
    let (mut tables, eviction) = (Tables::new(), Eviction::OldestFirst);
    assigned(&mut tables, 300, 100);
    let holder = |number| -> Holder { name(&format!("h{number:06}")) };
    let modules: Vec<Module> = vec![module("launcher")];
    let set = |seats| Operation::SetLicense {
        license: License::new(license("lic"), Seats::Limited(seats)),
    };
    // Each with the seats that move.
    for (operation, moved) in [
        (set(103), 3),
        (set(93), 10),
        (
            Operation::Unassign {
                holder: holder(10),
                modules: modules.clone(),
            },
            1,
        ),
        (
            Operation::Assign {
                holder: name("new"),
                modules,
            },
            0,
        ),
        (
            Operation::SetActive {
                holder: holder(20),
                active: false,
            },
            1,
        ),
        (Operation::DeleteKey { holder: holder(30) }, 1),
        (Operation::Tick, 0),
    ] {
        let reach = Reach::of([&operation], Some(at(1)));
        let excerpt = tables.read(&reach, eviction);
        let read = excerpt.places.len() + excerpt.holders.len() + excerpt.others.len();
        assert!(read <= 2 * (moved + 5), "{operation:?} reads {read}");
        let delta = excerpt
            .apply(eviction, [(&operation, &admin(), at(1))])
            .delta;
        let written = delta.places.len() + delta.places_gone.len();
        assert!(written <= moved + 2, "{operation:?} writes {written}");
        tables.write(delta);
    }
}
