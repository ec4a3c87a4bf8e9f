//! A ledger that is kept in tables and read in excerpts is the ledger that is kept whole.

use crate::{
    clock::Timestamp,
    ledger_state::{
        LedgerState,
        excerpt::{Reach, is_of_one_holder},
    },
    license_ledger::{Actor, Eviction, Holder, License, Module, Operation, Seats},
};

use super::{
    admin, at,
    histories::{History, for_each_history, histories},
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

fn play(eviction: Eviction, operations: &[(Timestamp, Operation)]) {
    let (mut whole, mut tables) = (LedgerState::new(eviction), Tables::new());
    for batch in batches(operations) {
        let latest = batch.iter().map(|(now, _)| *now).max().expect("not empty");
        let reach = Reach::of(batch.iter().map(|(_, operation)| operation), Some(latest));
        let excerpt = tables.read(&reach, eviction);
        let steps = batch
            .iter()
            .map(|(now, operation)| (operation, ADMIN.get_or_init(admin), *now));
        let (events, delta) = excerpt.apply(eviction, steps);
        tables.write(delta);
        for ((now, operation), events) in batch.iter().zip(events) {
            let expected = whole.apply(operation, &admin(), *now);
            assert_eq!(events, expected, "{operation:?} in {batch:?}");
        }
        let state = tables.everything().state(eviction);
        assert_eq!(
            Snapshot::of(&state),
            Snapshot::of(&whole),
            "after {batch:?}"
        );
    }
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
            Operation::SetLicense { license } => {
                if let Seats::Limited(seats) = &mut license.seats {
                    *seats = *seats * 2 + (number % 2) as u32;
                }
            }
            _ => {}
        }
        (*now, operation)
    };
    history.operations.iter().enumerate().map(step).collect()
}

#[test]
fn a_ledger_in_tables_has_the_same_history() {
    for_each_history(histories().div_ceil(10), |history| {
        play(history.eviction, &history.operations);
        play(history.eviction, &among_many(history));
    });
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
        let (_, delta) = excerpt.apply(eviction, [(operation, &admin(), at(0))]);
        tables.write(delta);
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
        let (_, delta) = excerpt.apply(eviction, [(&operation, &admin(), at(1))]);
        let written = delta.places.len() + delta.places_gone.len();
        assert!(written <= moved + 2, "{operation:?} writes {written}");
        tables.write(delta);
    }
}
