//! What the rules decide where their sources leave a question open, decision by decision.

use crate::{
    key_store::KeyId,
    license_ledger::{
        EventKind, Eviction, KeyEvent, License, Operation, Reason, RemovedCause, ReservedCause,
        Seats, Status,
    },
};

use super::{
    Scenario, assigned, at, count_changed, deleted, disabled, enabled, end_changed, failed,
    failed_on, key_expired, license, mapped, name, removed, removed_from, reserved, reserved_on,
    revoked, unassigned,
};

#[test]
fn evicted_holder_queues_at_its_assignment_order() {
    let mut ledger = Scenario::with_seats(3);
    ledger.assign_each(&["A", "B", "C", "D"]);
    ledger.set_seats(1);
    ledger.set_seats(3);
    assert_eq!(ledger.line(), "R C,A,B · W D", "the same three");
}

#[test]
fn renewal_gives_seats_in_line_order() {
    let mut ledger = Scenario::with_seats(2);
    ledger.assign_each(&["A", "B", "C"]);
    ledger.set_license("lic", Seats::Limited(2), Some(10));
    ledger.at(10).tick();
    ledger.set_license("lic", Seats::Limited(2), Some(20));
    assert_eq!(ledger.line(), "R A,B · W C");
}

#[test]
fn disabled_holder_is_freed_at_once_and_enabling_never_evicts() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B"]);
    assert_eq!(
        ledger.set_active("A", false),
        [
            disabled("A"),
            removed("A", RemovedCause::KeyDisabled),
            reserved("B", ReservedCause::SeatFreed),
        ]
    );
    assert_eq!(
        ledger.status("A"),
        Status::ReservationFailed(Reason::KeyDisabled)
    );
    assert_eq!(
        ledger.line(),
        "R B · W none",
        "who is disabled does not wait"
    );
    assert_eq!(
        ledger.set_active("A", true),
        [enabled("A"), failed("A", Reason::LimitReached)]
    );
    assert_eq!(ledger.line(), "R B · W A");
    ledger.assign("C");
    ledger.set_seats(2);
    assert_eq!(ledger.line(), "R B,A · W C", "its place was kept");
}

#[test]
fn enabled_holder_takes_a_free_seat() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("A");
    ledger.set_active("A", false);
    assert_eq!(
        ledger.set_active("A", true),
        [enabled("A"), reserved("A", ReservedCause::Enabled)]
    );
}

#[test]
fn expired_holder_is_freed_by_the_tick_and_keeps_its_place() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B"]);
    assert_eq!(ledger.set_active_until("A", Some(10)), [end_changed("A")]);
    assert_eq!(ledger.line(), "R A · W B");
    assert_eq!(
        ledger.at(10).tick(),
        [
            key_expired("A"),
            removed("A", RemovedCause::KeyExpired),
            reserved("B", ReservedCause::SeatFreed),
        ]
    );
    assert_eq!(
        ledger.set_active_until("A", Some(20)),
        [end_changed("A"), failed("A", Reason::LimitReached)]
    );
    assert_eq!(ledger.line(), "R B · W A");
    ledger.assign("C");
    assert_eq!(
        ledger.unassign("B"),
        [
            unassigned("B", "launcher"),
            removed("B", RemovedCause::Unassigned),
            reserved("A", ReservedCause::SeatFreed),
        ],
        "A was assigned before C"
    );
}

#[test]
fn end_that_is_moved_into_the_past_expires_the_holder_at_once() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("A");
    assert_eq!(
        ledger.at(50).set_active_until("A", Some(50)),
        [
            end_changed("A"),
            key_expired("A"),
            removed("A", RemovedCause::KeyExpired),
        ]
    );
    assert_eq!(
        ledger.set_active_until("A", Some(40)),
        [end_changed("A")],
        "it was expired already"
    );
    assert_eq!(
        ledger.set_active_until("A", None),
        [end_changed("A"), reserved("A", ReservedCause::Enabled)]
    );
    assert_eq!(ledger.set_active_until("A", None), []);
}

#[test]
fn disabled_holder_expires_too_and_needs_both_to_come_back() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("A");
    ledger.set_active("A", false);
    ledger.set_active_until("A", Some(10));
    assert_eq!(ledger.at(10).tick(), [key_expired("A")]);
    assert_eq!(
        ledger.set_active("A", true),
        [enabled("A")],
        "still expired"
    );
    assert_eq!(
        ledger.set_active_until("A", Some(20)),
        [end_changed("A"), reserved("A", ReservedCause::Enabled)]
    );

    ledger.set_active("A", false);
    ledger.at(20).tick();
    assert_eq!(
        ledger.set_active_until("A", None),
        [end_changed("A")],
        "still disabled"
    );
    assert_eq!(
        ledger.set_active("A", true),
        [enabled("A"), reserved("A", ReservedCause::Enabled)]
    );
}

#[test]
fn deleted_holder_is_forgotten_and_the_next_in_line_promoted() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B"]);
    ledger.set_active_until("A", Some(10));
    assert_eq!(
        ledger.delete("A"),
        [
            deleted("A"),
            removed("A", RemovedCause::KeyDeleted),
            reserved("B", ReservedCause::SeatFreed),
        ]
    );
    assert_eq!(ledger.state.holders(None, 9).len(), 1);
    assert_eq!(ledger.delete("A"), []);
    assert_eq!(ledger.at(10).tick(), [], "its end is forgotten too");
    ledger.assign("A");
    assert_eq!(ledger.line(), "R B · W A");
}

#[test]
fn revoked_holder_stays_known_and_is_inactive_for_good() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B"]);
    ledger.set_active_until("A", Some(10));
    assert_eq!(
        ledger.revoke("A"),
        [
            revoked("A"),
            removed("A", RemovedCause::KeyRevoked),
            reserved("B", ReservedCause::SeatFreed),
        ]
    );
    assert_eq!(ledger.status("A"), Status::NotAssigned);
    let known = &ledger.state.holders(None, 1)[0];
    assert_eq!(known.holder, name("A"));
    assert!(known.revoked && !known.active);

    assert_eq!(ledger.revoke("A"), []);
    assert_eq!(ledger.assign("A"), []);
    assert_eq!(ledger.set_active("A", false), []);
    assert_eq!(ledger.set_active("A", true), []);
    assert_eq!(ledger.set_active_until("A", None), []);
    assert_eq!(ledger.at(10).tick(), [], "its end is no expiry any more");
    assert_eq!(ledger.delete("A"), [deleted("A")]);
    assert_eq!(ledger.line(), "R B · W none");
    ledger.assign("A");
    assert_eq!(
        ledger.line(),
        "R B · W A",
        "after the deletion the name is free"
    );
}

#[test]
fn revoking_an_unknown_holder_makes_it_known() {
    let mut ledger = Scenario::with_seats(1);
    assert_eq!(ledger.revoke("A"), [revoked("A")]);
    assert!(ledger.state.holders(None, 1)[0].revoked);
    assert_eq!(ledger.assign("A"), []);
}

#[test]
fn changes_while_expired_are_recorded_and_applied_at_renewal() {
    let mut ledger = Scenario::with_seats(1);
    ledger.set_license("lic", Seats::Limited(1), Some(10));
    ledger.assign("A");
    ledger.at(10).tick();
    assert_eq!(
        ledger.set_license("lic", Seats::Limited(2), Some(10)),
        [count_changed(1, 2)]
    );
    assert_eq!(
        ledger.assign("B"),
        [assigned("B", "launcher"), failed("B", Reason::ValidUntil)]
    );
    assert_eq!(ledger.unassign("A"), [unassigned("A", "launcher")]);
    ledger.assign("C");
    assert_eq!(
        ledger.set_license("lic", Seats::Limited(2), Some(20))[1..],
        [
            reserved("B", ReservedCause::Renewed),
            reserved("C", ReservedCause::Renewed),
        ]
    );
}

#[test]
fn unassigned_then_assigned_again_is_at_the_back_of_the_line() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B", "C"]);
    ledger.unassign("B");
    assert_eq!(ledger.line(), "R A · W C");
    ledger.assign("B");
    assert_eq!(ledger.line(), "R A · W C,B");
    assert_eq!(
        ledger.assign("C"),
        [],
        "assigning an assigned module is a no-op"
    );
    assert_eq!(
        ledger.unassign("Z"),
        [],
        "and so is taking what was not assigned"
    );
    assert_eq!(ledger.line(), "R A · W C,B");
}

#[test]
fn module_mapped_to_no_license_passes() {
    let mut ledger = Scenario::empty(Eviction::OldestFirst);
    assert_eq!(ledger.map("docs", None), [mapped("docs", None)]);
    assert_eq!(
        ledger.assign_all("A", &["docs"]),
        [assigned("A", "docs")],
        "no failure: no seat was looked for"
    );
    assert_eq!(ledger.status_of("A", "docs"), Status::NotRequired);
}

#[test]
fn license_unknown_at_assignment_reserves_in_line_order_when_added() {
    let mut ledger = Scenario::empty(Eviction::OldestFirst);
    ledger.map("launcher", Some("lic"));
    assert_eq!(
        ledger.assign("B"),
        [assigned("B", "launcher"), failed("B", Reason::Unavailable)]
    );
    ledger.assign_each(&["A", "C"]);
    assert_eq!(ledger.line(), "unknown");
    assert_eq!(
        ledger.set_license("lic", Seats::Limited(2), None),
        [
            EventKind::LicenseAdded {
                license: license("lic"),
                seats: Seats::Limited(2),
                valid_until: None,
            },
            reserved("B", ReservedCause::LicenseAdded),
            reserved("A", ReservedCause::LicenseAdded),
        ]
    );
}

#[test]
fn module_unknown_at_assignment_counts_from_then_on_when_mapped() {
    let mut ledger = Scenario::with_seats(1);
    assert_eq!(
        ledger.assign_all("B", &["playout"]),
        [
            assigned("B", "playout"),
            failed_on("B", "playout", None, Reason::Unavailable),
        ]
    );
    ledger.assign("A");
    ledger.map("playout", Some("lic"));
    assert_eq!(ledger.line(), "R A · W B");
    ledger.set_seats(0);
    assert_eq!(ledger.line(), "R none · W B,A", "B was assigned first");
}

#[test]
fn removed_license_takes_all_seats_and_leaves_the_line() {
    let mut ledger = Scenario::with_seats(2);
    ledger.assign_each(&["A", "B", "C"]);
    assert_eq!(
        ledger.remove_license("lic"),
        [
            EventKind::LicenseRemoved {
                license: license("lic"),
            },
            removed("A", RemovedCause::LicenseRemoved),
            removed("B", RemovedCause::LicenseRemoved),
        ]
    );
    assert_eq!(ledger.line(), "unknown");
    ledger.set_license("lic", Seats::Limited(2), None);
    assert_eq!(ledger.line(), "R A,B · W C");
}

#[test]
fn newest_first_is_an_option() {
    let mut ledger = Scenario::with_eviction(Eviction::NewestFirst, 3);
    ledger.assign_each(&["A", "B", "C", "D"]);
    assert_eq!(
        ledger.set_seats(1),
        [
            count_changed(3, 1),
            removed("C", RemovedCause::CountDecreased),
            removed("B", RemovedCause::CountDecreased),
        ]
    );
    assert_eq!(ledger.line(), "R A · W B,C,D");
    assert_eq!(Eviction::default(), Eviction::OldestFirst);
}

#[test]
fn failure_is_written_once_at_the_assignment_or_enabling() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B"]);
    let is_failure = |kind: &&EventKind| matches!(kind, EventKind::ReservationFailed { .. });
    let failures = |ledger: &Scenario| {
        let kinds = ledger.log.iter().map(|event| &event.kind);
        kinds.filter(is_failure).count()
    };
    assert_eq!(failures(&ledger), 1);
    ledger.assign("B");
    ledger.set_seats(0);
    ledger.set_seats(1);
    ledger.set_license("lic", Seats::Limited(1), Some(10));
    ledger.at(10).tick();
    ledger.set_license("lic", Seats::Limited(1), None);
    assert_eq!(failures(&ledger), 1, "no license event writes one");
    ledger.set_active("B", false);
    ledger.set_active("B", true);
    assert_eq!(failures(&ledger), 2);
}

#[test]
fn assignment_to_a_disabled_holder_finds_no_seat() {
    let mut ledger = Scenario::with_seats(1);
    assert_eq!(ledger.set_active("A", false), [disabled("A")]);
    assert_eq!(
        ledger.assign("A"),
        [assigned("A", "launcher"), failed("A", Reason::KeyDisabled)]
    );
    assert_eq!(ledger.line(), "R none · W none");
    assert_eq!(
        ledger.set_active("A", true),
        [enabled("A"), reserved("A", ReservedCause::Enabled)]
    );
}

#[test]
fn remapped_module_brings_its_users_with_their_places() {
    let mut ledger = Scenario::with_seats(1);
    ledger.map("playout", Some("other"));
    ledger.set_license("other", Seats::Limited(2), None);
    ledger.assign_each(&["A", "B"]);
    ledger.assign_all("C", &["playout"]);
    assert_eq!(
        ledger.map("launcher", Some("other")),
        [
            mapped("launcher", Some("other")),
            removed("A", RemovedCause::Remapped),
            reserved_on("other", "A", ReservedCause::Remapped),
        ]
    );
    assert_eq!(ledger.line_of("other"), "R C,A · W B");
    assert_eq!(
        ledger.map("playout", None),
        [
            mapped("playout", None),
            removed_from("other", "C", RemovedCause::Remapped),
            reserved_on("other", "B", ReservedCause::SeatFreed),
        ]
    );
    ledger.map("playout", Some("other"));
    ledger.set_license("other", Seats::Limited(0), None);
    assert_eq!(
        ledger.line_of("other"),
        "R none · W A,B,C",
        "by the original assignments"
    );
}

#[test]
fn created_key_is_known_and_creating_it_again_writes_nothing() {
    let mut ledger = Scenario::empty(Eviction::OldestFirst);
    let key = KeyId::new("A").unwrap();
    let created = Operation::Record {
        event: KeyEvent::Created(key.clone()),
    };
    assert_eq!(
        ledger.apply(created.clone()),
        [EventKind::KeyCreated { holder: name("A") }]
    );
    assert_eq!(ledger.state.holders(None, 9).len(), 1);
    assert_eq!(ledger.apply(created), []);
    let changed = Operation::Record {
        event: KeyEvent::Changed(key, vec!["name".into()]),
    };
    for _ in 0..2 {
        assert_eq!(
            ledger.apply(changed.clone()),
            [EventKind::KeyChanged {
                holder: name("A"),
                changed: vec!["name".into()],
            }],
            "each change is told"
        );
    }
}

#[test]
fn only_what_the_log_tells_makes_a_holder_known() {
    let mut ledger = Scenario::with_seats(1);
    assert_eq!(ledger.assign_all("A", &[]), []);
    assert_eq!(ledger.unassign("A"), []);
    assert_eq!(ledger.delete("A"), []);
    assert_eq!(ledger.set_active("A", true), []);
    assert_eq!(ledger.set_active_until("A", None), []);
    let event = KeyEvent::Regenerated(KeyId::new("A").unwrap());
    ledger.apply(Operation::Record { event });
    assert_eq!(ledger.state.holders(None, 9), []);
    assert_eq!(
        ledger.set_active_until("A", Some(at(9).unix_seconds())),
        [end_changed("A")]
    );
    assert_eq!(ledger.state.holders(None, 9).len(), 1);
}

#[test]
fn license_that_is_not_as_expected_is_left_alone_and_time_passes() {
    let mut ledger = Scenario::with_seats(1);
    ledger.set_license("lic", Seats::Limited(1), Some(10));
    ledger.assign_each(&["A", "B"]);
    ledger.set_active_until("A", Some(5));
    let lic = |seats, end| {
        let license = License::new(license("lic"), Seats::Limited(seats));
        license.with_valid_until(Some(at(end)))
    };
    let mut set = |seconds, expected: License| {
        ledger.at(seconds).apply(Operation::SetLicenseIf {
            license: lic(2, 20),
            expected: Some(expected),
        })
    };
    assert_eq!(set(4, lic(2, 10)), []);
    assert_eq!(set(4, lic(1, 20)), []);
    let passed = [
        key_expired("A"),
        removed("A", RemovedCause::KeyExpired),
        reserved("B", ReservedCause::SeatFreed),
    ];
    assert_eq!(set(5, lic(3, 10)), passed);
    assert_eq!(set(9, lic(1, 10))[0], count_changed(1, 2));
    assert_eq!(set(9, lic(1, 10)), []);
    assert_eq!(ledger.line(), "R B · W none");
    let expected = lic(2, 10);
    assert_eq!(ledger.apply(Operation::RemoveLicenseIf { expected }), []);
    let expected = lic(2, 20);
    let removal = ledger.apply(Operation::RemoveLicenseIf { expected });
    assert_eq!(removal[1..], [removed("B", RemovedCause::LicenseRemoved)]);
}

#[test]
fn license_set_to_what_it_is_writes_nothing() {
    let mut ledger = Scenario::with_seats(1);
    ledger.set_license("lic", Seats::Limited(1), Some(10));
    assert_eq!(ledger.set_license("lic", Seats::Limited(1), Some(10)), []);
    assert_eq!(
        ledger.set_license("lic", Seats::Limited(1), Some(20)),
        [EventKind::ValidityChanged {
            license: license("lic"),
            valid_until: Some(at(20)),
        }]
    );
    assert_eq!(
        ledger.at(10).tick(),
        [],
        "the end that was moved does not come"
    );
}
