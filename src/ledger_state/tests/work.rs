//! How much an operation looks at, counted in index entries, not in time.
//!
//! An index access counts one, whatever the index holds (it takes O(log n)), and each entry that
//! is iterated over counts one. So the work may depend on what changes, and on nothing else.

use std::sync::LazyLock;

use crate::{
    ledger_state::{LedgerState, index::visits::visits_in},
    license_ledger::{Eviction, License, Operation, Seats},
};

use super::{admin, at, license, module, name};

const SEATS: u32 = 10;
const FEW: u32 = 1_000;

fn holder_name(number: u32) -> String {
    format!("holder-{number:06}")
}

fn set_seats(seats: u32) -> Operation {
    Operation::SetLicense {
        license: License::new(license("lic"), Seats::Limited(seats)),
    }
}

fn assign(holder: &str) -> Operation {
    Operation::Assign {
        holder: name(holder),
        modules: vec![module("launcher")],
    }
}

fn map(to: &str) -> Operation {
    Operation::MapModule {
        module: module("launcher"),
        license: Some(license(to)),
    }
}

static CROWD: LazyLock<LedgerState> = LazyLock::new(|| crowd(100_000));

/// A license with ten seats taken and `waiting` who wait.
fn crowd(waiting: u32) -> LedgerState {
    let mut state = LedgerState::new(Eviction::OldestFirst);
    let mut apply = |operation| {
        state.apply(&operation, &admin(), at(0));
    };
    apply(map("lic"));
    apply(set_seats(SEATS));
    for number in 0..waiting + SEATS {
        apply(assign(&holder_name(number)));
    }
    state
}

/// The operations of which each changes a few seats and places, with how many.
fn small_operations() -> Vec<(u64, Operation)> {
    let holder = |number| name(&holder_name(number));
    let until =
        |end| License::new(license("lic"), Seats::Limited(SEATS)).with_valid_until(Some(at(end)));
    vec![
        (1, assign("newcomer")),
        (10, set_seats(2 * SEATS)),
        (10, set_seats(SEATS)),
        (1, set_seats(SEATS - 1)),
        (1, set_seats(SEATS)),
        (
            2,
            Operation::Unassign {
                holder: holder(30),
                modules: vec![module("launcher")],
            },
        ),
        (
            2,
            Operation::SetActive {
                holder: holder(15),
                active: false,
            },
        ),
        (
            1,
            Operation::SetActive {
                holder: holder(15),
                active: true,
            },
        ),
        (
            1,
            Operation::DeleteKey {
                holder: holder(500),
            },
        ),
        (2, Operation::RevokeKey { holder: holder(29) }),
        (
            0,
            Operation::SetActiveUntil {
                holder: holder(28),
                active_until: Some(at(1)),
            },
        ),
        (2, Operation::Tick),
        (0, Operation::SetLicense { license: until(7) }),
        (10, Operation::Tick),
        (
            10,
            Operation::SetLicense {
                license: until(1_000),
            },
        ),
        (10, Operation::SetLimitedEdition { enabled: true }),
        (10, Operation::SetLimitedEdition { enabled: false }),
        (
            10,
            Operation::RemoveLicense {
                license: license("lic"),
            },
        ),
        (
            10,
            Operation::SetLicense {
                license: until(1_000),
            },
        ),
    ]
}

/// The entries that each operation looks at, one after the other. Each tick lets five seconds pass.
fn visits_of_each(mut state: LedgerState) -> Vec<u64> {
    let mut seconds = 0;
    let mut visits = Vec::new();
    for (_, operation) in small_operations() {
        if operation == Operation::Tick {
            seconds += 5;
        }
        visits.push(visits_in(|| {
            state.apply(&operation, &admin(), at(seconds));
        }));
    }
    visits
}

#[test]
fn work_of_an_operation_does_not_grow_with_those_who_wait() {
    let with_few = visits_of_each(crowd(FEW));
    let with_many = visits_of_each(CROWD.clone());
    assert_eq!(with_many, with_few);
}

#[test]
fn work_of_an_operation_is_proportional_to_the_seats_it_moves() {
    let visits = visits_of_each(crowd(FEW));
    for ((moved, operation), visits) in small_operations().into_iter().zip(visits) {
        assert!(
            visits <= 20 + 5 * moved,
            "{operation:?} moves {moved} and looks at {visits} entries"
        );
    }
}

#[test]
fn reading_one_holder_or_the_head_of_a_line_does_not_grow_either() {
    let reads = |state: &LedgerState| {
        [
            visits_in(|| drop(state.standings(&name(&holder_name(500))))),
            visits_in(|| drop(state.line(&license("lic"), 5))),
            visits_in(|| drop(state.holders(Some(&name(&holder_name(500))), 5))),
            visits_in(|| drop(state.overview())),
            visits_in(|| assert_eq!(state.next_expiry(), None)),
        ]
    };
    assert_eq!(reads(&crowd(FEW)), reads(&CROWD));
    assert!(reads(&crowd(FEW)).iter().all(|visits| *visits <= 10));
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let mut state = crowd(3);
    let mut apply = |operation, seconds| {
        state.apply(&operation, &admin(), at(seconds));
    };
    for number in 0..SEATS + 3 {
        let holder = name(&holder_name(number));
        let active_until = Some(at(10 + i64::from(number % 2) * 100));
        apply(
            Operation::SetActiveUntil {
                holder,
                active_until,
            },
            0,
        );
    }
    apply(Operation::Tick, 10);
    for number in 0..SEATS + 3 {
        let holder = name(&holder_name(number));
        apply(
            match number % 3 {
                0 => Operation::DeleteKey { holder },
                1 => Operation::RevokeKey { holder },
                _ => Operation::Unassign {
                    holder,
                    modules: vec![module("launcher")],
                },
            },
            10,
        );
    }
    apply(Operation::Tick, 200);
    assert!(state.lines.is_empty(), "{:?}", state.lines);
    assert!(state.users.is_empty(), "{:?}", state.users);
    assert!(state.expiries.is_empty(), "{:?}", state.expiries);
    let mut holders = state.holders.iter();
    assert!(holders.all(|(_, entry)| entry.places.is_empty() && entry.assigned.is_empty()));
}

/// The control: what does touch everyone is seen to do so.
#[test]
fn count_of_visits_sees_work_that_touches_everyone() {
    for waiting in [FEW, 2 * FEW] {
        let mut state = crowd(waiting);
        let remapped = visits_in(|| {
            state.apply(&map("other"), &admin(), at(0));
        });
        assert!(remapped > u64::from(waiting), "{remapped} of {waiting}");
        state.apply(&map("lic"), &admin(), at(0));
        let listed = visits_in(|| drop(state.line(&license("lic"), usize::MAX)));
        assert_eq!(listed, u64::from(waiting + SEATS));
    }
}
