//! The rules R1 to R9, each as a story of its own.

use crate::{
    clock::Timestamp,
    key_store::KeyId,
    ledger_state::LedgerState,
    license_ledger::{
        EventKind, Eviction, Holder, KeyEvent, License, Operation, Reason, RemovedCause,
        ReservedCause, Seats, Status,
    },
};

use super::{
    Scenario, admin, assigned, at, count_changed, failed, key_expired, license, license_expired,
    module, name, removed, reserved, snapshot::Snapshot, unassigned,
};

#[test]
fn r1_reading_never_moves_a_seat() {
    let mut ledger = Scenario::with_seats(1);
    ledger.set_license("lic", Seats::Limited(1), Some(100));
    ledger.assign_each(&["A", "B"]);
    ledger.set_active_until("A", Some(50));

    let unread = ledger.state.clone();
    for seconds in [0, 50, 99, 100, 1_000] {
        assert_ne!(ledger.at(seconds).status("B"), Status::Reserved);
    }
    assert_eq!(Snapshot::of(&ledger.state), Snapshot::of(&unread));
    assert_eq!(ledger.line(), "R A · W B");
    assert_eq!(
        ledger.at(60).tick(),
        [
            key_expired("A"),
            removed("A", RemovedCause::KeyExpired),
            reserved("B", ReservedCause::SeatFreed),
        ],
        "only an operation lets the seat move"
    );
}

#[test]
fn r2_oldest_reservation_goes_out_and_earliest_assignment_comes_in() {
    let mut ledger = Scenario::with_seats(2);
    ledger.assign_each(&["A", "B", "C"]);
    ledger.set_active("A", false);
    ledger.set_active("A", true);
    assert_eq!(
        ledger.line(),
        "R B,C · W A",
        "B is the oldest reservation, A the earliest place"
    );
    assert_eq!(
        ledger.set_seats(1),
        [
            count_changed(2, 1),
            removed("B", RemovedCause::CountDecreased)
        ]
    );
    assert_eq!(ledger.line(), "R C · W A,B");
    assert_eq!(
        ledger.set_seats(2),
        [
            count_changed(1, 2),
            reserved("A", ReservedCause::CountIncreased)
        ]
    );
}

#[test]
fn r3_no_license_event_changes_a_place_in_line() {
    let mut ledger = Scenario::with_seats(0);
    ledger.assign_each(&["C", "A", "B"]);
    let line = "R none · W C,A,B";
    assert_eq!(ledger.line(), line);
    ledger.set_seats(2);
    ledger.set_seats(0);
    assert_eq!(ledger.line(), line, "after a count that rose and fell");
    ledger.set_license("lic", Seats::Limited(2), Some(10));
    ledger.at(10).tick();
    assert_eq!(ledger.line(), line, "after an expiry");
    ledger.set_license("lic", Seats::Limited(2), None);
    ledger.set_limited_edition(true);
    assert_eq!(ledger.line(), line, "in limited edition");
    ledger.remove_license("lic");
    ledger.set_limited_edition(false);
    ledger.set_license("lic", Seats::Limited(0), None);
    assert_eq!(ledger.line(), line, "after a removal");
}

#[test]
fn r3_assigning_and_unassigning_change_a_place_in_line() {
    let mut ledger = Scenario::with_seats(0);
    ledger.map("playout", Some("lic"));
    ledger.assign_all("A", &["launcher", "playout"]);
    ledger.assign("B");
    ledger.assign_all("A", &["launcher"]);
    assert_eq!(ledger.line(), "R none · W A,B");
    ledger.unassign("A");
    assert_eq!(
        ledger.line(),
        "R none · W A,B",
        "the second module was assigned before B's"
    );
    ledger.assign("A");
    ledger.unassign_all("A", &["playout"]);
    assert_eq!(
        ledger.line(),
        "R none · W B,A",
        "what is left was assigned after B's"
    );
}

#[test]
fn r4_cap_is_zero_while_expired_or_in_limited_edition() {
    let mut ledger = Scenario::with_seats(1);
    ledger.set_license("lic", Seats::Unlimited, Some(10));
    assert_eq!(
        ledger.at(10).assign("A"),
        [
            license_expired("lic"),
            assigned("A", "launcher"),
            failed("A", Reason::ValidUntil),
        ]
    );
    ledger.set_license("lic", Seats::Limited(7), Some(10));
    assert_eq!(ledger.line(), "R none · W A", "more seats, but expired");
    ledger.set_limited_edition(true);
    ledger.set_license("lic", Seats::Unlimited, None);
    assert_eq!(
        ledger.line(),
        "R none · W A",
        "renewed, but in limited edition"
    );
    ledger.set_limited_edition(false);
    assert_eq!(ledger.line(), "R A · W none");
}

#[test]
fn r5_valid_until_is_exclusive() {
    let mut ledger = Scenario::with_seats(1);
    let end = Timestamp::parse_limit("1970-01-01").unwrap();
    assert_eq!(
        end,
        at(86_400),
        "a bare date means through the end of that day"
    );
    ledger.set_license("lic", Seats::Limited(1), Some(86_400));
    ledger.assign("A");

    ledger.now = Timestamp::from_unix_micros(86_400_000_000 - 1);
    assert_eq!(ledger.tick(), []);
    assert_eq!(ledger.status("A"), Status::Reserved);
    ledger.now = end;
    assert_eq!(ledger.status("A"), Status::Expired(Reason::ValidUntil));
    assert_eq!(ledger.tick()[0], license_expired("lic"));
}

#[test]
fn r5_active_until_is_exclusive_too() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("A");
    ledger.set_active_until("A", Some(100));
    assert_eq!(ledger.at(99).tick(), []);
    assert_eq!(ledger.status("A"), Status::Reserved);
    ledger.at(100);
    assert_eq!(
        ledger.status("A"),
        Status::ReservationFailed(Reason::KeyDisabled)
    );
    assert_eq!(ledger.tick()[0], key_expired("A"));
}

#[test]
fn r6_a_clock_that_steps_back_un_expires_nothing() {
    let mut ledger = Scenario::with_seats(1);
    ledger.set_license("lic", Seats::Limited(1), Some(100));
    ledger.assign("A");
    ledger.at(100).tick();

    ledger.at(50);
    assert_eq!(ledger.status("A"), Status::Expired(Reason::ValidUntil));
    assert_eq!(
        ledger.assign("B"),
        [assigned("B", "launcher"), failed("B", Reason::ValidUntil)]
    );
    assert_eq!(ledger.state.clock(), at(100));
    assert_eq!(ledger.log.last().map(|event| event.at), Some(at(100)));
    assert_eq!(
        ledger.set_license("other", Seats::Limited(1), Some(80)),
        [
            EventKind::LicenseAdded {
                license: license("other"),
                seats: Seats::Limited(1),
                valid_until: Some(at(80)),
            },
            license_expired("other"),
        ],
        "80 has passed, whatever the clock reads"
    );
}

#[test]
fn r7_status_changes_at_the_very_instant_without_a_tick() {
    let mut ledger = Scenario::with_seats(1);
    ledger.set_license("lic", Seats::Limited(1), Some(200));
    ledger.assign_each(&["A", "B"]);
    ledger.set_active_until("A", Some(100));

    let standings = ledger.state.standings(&name("A"));
    let launcher = module("launcher");
    let statuses = [99, 100, 199, 200].map(|now| standings.status(&launcher, at(now)));
    let disabled = Status::ReservationFailed(Reason::KeyDisabled);
    let expired = Status::Expired(Reason::ValidUntil);
    assert_eq!(statuses, [Status::Reserved, disabled, disabled, expired]);
    assert_eq!(ledger.state.clock(), at(0), "nothing ticked");
}

/// Two licenses and two holders with ends, in order: `lic` and `A` at 10, `B` at 20, `zip` at 30.
fn with_four_ends() -> LedgerState {
    let mut ledger = Scenario::with_seats(2);
    ledger.map("playout", Some("zip"));
    ledger.set_license("zip", Seats::Limited(1), Some(30));
    for holder in ["A", "B", "C"] {
        ledger.assign_all(holder, &["launcher", "playout"]);
    }
    ledger.set_license("lic", Seats::Limited(2), Some(10));
    ledger.set_active_until("B", Some(20));
    ledger.set_active_until("A", Some(10));
    ledger.state
}

#[test]
fn r8_lazy_and_eager_ledgers_write_the_same_history() {
    let mut lazy = with_four_ends();
    let mut eager = lazy.clone();
    let operation = Operation::Unassign {
        holder: name("C"),
        modules: vec![module("playout")],
    };
    let late = lazy.apply(&operation, &admin(), at(40));
    let mut early = Vec::new();
    for seconds in 0..40 {
        early.extend(eager.apply(&Operation::Tick, &admin(), at(seconds)));
    }
    early.extend(eager.apply(&operation, &admin(), at(40)));
    assert_eq!(late, early);
    assert_eq!(Snapshot::of(&lazy), Snapshot::of(&eager));

    let first = late[0].seq;
    let seen: Vec<_> = late
        .iter()
        .map(|event| {
            (
                event.seq - first,
                event.at.unix_seconds(),
                event.actor.as_str(),
            )
        })
        .collect();
    let kinds: Vec<_> = late.iter().map(|event| event.kind.clone()).collect();
    let zip = |holder, cause| super::removed_from("zip", holder, cause);
    assert_eq!(
        kinds,
        [
            key_expired("A"),
            removed("A", RemovedCause::KeyExpired),
            zip("A", RemovedCause::KeyExpired),
            super::reserved_on("zip", "B", ReservedCause::SeatFreed),
            license_expired("lic"),
            removed("B", RemovedCause::LicenseExpired),
            key_expired("B"),
            zip("B", RemovedCause::KeyExpired),
            super::reserved_on("zip", "C", ReservedCause::SeatFreed),
            license_expired("zip"),
            zip("C", RemovedCause::LicenseExpired),
            unassigned("C", "playout"),
        ]
    );
    let stamps = [10, 10, 10, 10, 10, 10, 20, 20, 20, 30, 30, 40];
    let expected: Vec<_> = (0..)
        .zip(stamps)
        .map(|(seq, at)| (seq, at, if at == 40 { "admin" } else { "system" }))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn r8_next_expiry_is_the_earliest_instant_at_which_a_tick_does_something() {
    let mut state = with_four_ends();
    for seconds in [10, 20, 30] {
        assert_eq!(state.next_expiry(), Some(at(seconds)));
        assert_eq!(state.apply(&Operation::Tick, &admin(), at(seconds - 1)), []);
        assert!(
            !state
                .apply(&Operation::Tick, &admin(), at(seconds))
                .is_empty()
        );
    }
    assert_eq!(state.next_expiry(), None);
}

#[test]
fn r9_an_operation_done_twice_writes_nothing_the_second_time() {
    let holder = || name("A");
    let id = || license("lic");
    let key = || KeyId::new("A").unwrap();
    let mut ledger = Scenario::empty(Eviction::OldestFirst);
    let license = License::new(id(), Seats::Limited(1));
    let operations = [
        Operation::Record {
            event: KeyEvent::Created(key()),
        },
        Operation::MapModule {
            module: module("launcher"),
            license: Some(id()),
        },
        Operation::SetLicense {
            license: license.clone(),
        },
        Operation::SetLicenseIf {
            license: License::new(id(), Seats::Limited(2)),
            expected: Some(license),
        },
        Operation::Assign {
            holder: holder(),
            modules: vec![module("launcher")],
        },
        Operation::SetActive {
            holder: holder(),
            active: false,
        },
        Operation::SetActive {
            holder: holder(),
            active: true,
        },
        Operation::SetActiveUntil {
            holder: holder(),
            active_until: Some(at(100)),
        },
        Operation::SetLimitedEdition { enabled: true },
        Operation::SetLimitedEdition { enabled: false },
        Operation::Unassign {
            holder: holder(),
            modules: vec![module("launcher")],
        },
        Operation::RevokeKey { holder: holder() },
        Operation::DeleteKey { holder: holder() },
        Operation::RemoveLicense { license: id() },
        Operation::SetLicenseIf {
            license: License::new(id(), Seats::Limited(2)),
            expected: None,
        },
        Operation::RemoveLicenseIf {
            expected: License::new(id(), Seats::Limited(2)),
        },
    ];
    for operation in operations {
        assert_ne!(ledger.apply(operation.clone()), [], "{operation:?}");
        let seq = ledger.state.seq();
        assert_eq!(ledger.apply(operation.clone()), [], "{operation:?} again");
        assert_eq!(ledger.state.seq(), seq);
    }
}

#[test]
fn r9_regenerating_a_key_changes_nothing_but_the_log() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B"]);
    let before = Snapshot::of(&ledger.state);
    for key in ["A", "B", "unknown"] {
        let event = KeyEvent::Regenerated(KeyId::new(key).unwrap());
        let holder: Holder = name(key);
        assert_eq!(
            ledger.apply(Operation::Record { event }),
            [EventKind::KeyRegenerated { holder }]
        );
    }
    let mut after = Snapshot::of(&ledger.state);
    after.overview.seq = before.overview.seq;
    assert_eq!(after, before);
}
