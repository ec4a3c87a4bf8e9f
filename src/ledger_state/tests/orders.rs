//! In what order events are written where one operation or one instant touches several things.

use crate::license_ledger::{
    EventKind, Eviction, Operation, Reason, RemovedCause, ReservedCause, Seats,
};

use super::{
    Scenario, admin, assigned, at, count_changed, deleted, disabled, enabled, failed_on,
    key_expired, license, license_expired, mapped, removed_from, reserved_on, unassigned,
};

/// `m1` needs `z`, `m2` needs `a`, one seat each.
fn with_two_licenses() -> Scenario {
    let mut ledger = Scenario::empty(Eviction::OldestFirst);
    ledger.map("m1", Some("z"));
    ledger.map("m2", Some("a"));
    ledger.set_license("z", Seats::Limited(1), None);
    ledger.set_license("a", Seats::Limited(1), None);
    ledger
}

#[test]
fn changes_come_first_then_removals_then_reservations() {
    let mut ledger = with_two_licenses();
    assert_eq!(
        ledger.assign_all("A", &["m1", "m2"]),
        [
            assigned("A", "m1"),
            assigned("A", "m2"),
            reserved_on("z", "A", ReservedCause::Assigned),
            reserved_on("a", "A", ReservedCause::Assigned),
        ]
    );
    ledger.assign_all("B", &["m2", "m1"]);
    assert_eq!(
        ledger.unassign_all("A", &["m2", "m1"]),
        [
            unassigned("A", "m2"),
            unassigned("A", "m1"),
            removed_from("a", "A", RemovedCause::Unassigned),
            removed_from("z", "A", RemovedCause::Unassigned),
            reserved_on("a", "B", ReservedCause::SeatFreed),
            reserved_on("z", "B", ReservedCause::SeatFreed),
        ],
        "in order of the arguments"
    );
}

#[test]
fn failures_come_last_in_order_of_the_modules() {
    let mut ledger = with_two_licenses();
    ledger.map("free", None);
    ledger.map("m3", Some("z"));
    ledger.map("m4", Some("later"));
    ledger.map("m5", Some("later"));
    ledger.assign_all("A", &["m1"]);
    let modules = ["m5", "nowhere", "m3", "free", "m2", "m1", "m4", "m3"];
    let mut events = vec![];
    events.extend(modules[..7].iter().map(|module| assigned("B", module)));
    events.extend([
        reserved_on("a", "B", ReservedCause::Assigned),
        failed_on("B", "m5", Some("later"), Reason::Unavailable),
        failed_on("B", "nowhere", None, Reason::Unavailable),
        failed_on("B", "m3", Some("z"), Reason::LimitReached),
        failed_on("B", "m4", Some("later"), Reason::Unavailable),
    ]);
    assert_eq!(
        ledger.assign_all("B", &modules),
        events,
        "one for each license, and one for each module of an unknown one"
    );
}

#[test]
fn only_modules_that_the_call_assigned_can_fail() {
    let mut ledger = with_two_licenses();
    ledger.map("m3", Some("z"));
    ledger.assign_all("A", &["m1", "m2"]);
    ledger.assign_all("B", &["m1"]);
    assert_eq!(
        ledger.assign_all("B", &["m1", "m2"]),
        [
            assigned("B", "m2"),
            failed_on("B", "m2", Some("a"), Reason::LimitReached),
        ]
    );
    assert_eq!(
        ledger.assign_all("B", &["m3"]),
        [
            assigned("B", "m3"),
            failed_on("B", "m3", Some("z"), Reason::LimitReached),
        ],
        "a new assignment that finds no seat is told, though its holder waits already"
    );
    assert_eq!(
        ledger.assign_all("A", &["m3"]),
        [assigned("A", "m3")],
        "its holder has the seat"
    );
}

#[test]
fn failure_tells_the_first_reason_of_the_status_table() {
    let mut ledger = with_two_licenses();
    ledger.set_license("a", Seats::Limited(0), Some(0));
    ledger.set_active("A", false);
    ledger.set_license("z", Seats::Limited(0), None);
    assert_eq!(
        ledger.assign_all("A", &["m1", "m2"])[2..],
        [
            failed_on("A", "m1", Some("z"), Reason::KeyDisabled),
            failed_on("A", "m2", Some("a"), Reason::ValidUntil),
        ]
    );
    ledger.set_limited_edition(true);
    assert_eq!(
        ledger.assign_all("B", &["m1", "m2", "nowhere"])[3..],
        [
            failed_on("B", "m1", Some("z"), Reason::LimitedEdition),
            failed_on("B", "m2", Some("a"), Reason::LimitedEdition),
            failed_on("B", "nowhere", None, Reason::Unavailable),
        ]
    );
}

#[test]
fn what_concerns_a_whole_holder_follows_its_assignments() {
    let mut ledger = with_two_licenses();
    ledger.assign_all("A", &["m1", "m2"]);
    ledger.assign_all("B", &["m2", "m1", "nowhere"]);
    assert_eq!(
        ledger.set_active("A", false),
        [
            disabled("A"),
            removed_from("z", "A", RemovedCause::KeyDisabled),
            removed_from("a", "A", RemovedCause::KeyDisabled),
            reserved_on("z", "B", ReservedCause::SeatFreed),
            reserved_on("a", "B", ReservedCause::SeatFreed),
        ]
    );
    ledger.set_active("B", false);
    ledger.set_license("z", Seats::Limited(0), None);
    assert_eq!(
        ledger.set_active("B", true),
        [
            enabled("B"),
            reserved_on("a", "B", ReservedCause::Enabled),
            failed_on("B", "m1", Some("z"), Reason::LimitReached),
            failed_on("B", "nowhere", None, Reason::Unavailable),
        ]
    );
    ledger.set_license("z", Seats::Limited(1), None);
    assert_eq!(
        ledger.delete("B"),
        [
            deleted("B"),
            removed_from("a", "B", RemovedCause::KeyDeleted),
            removed_from("z", "B", RemovedCause::KeyDeleted),
        ]
    );
}

#[test]
fn limited_edition_goes_through_the_licenses_in_order_of_their_bytes() {
    let mut ledger = with_two_licenses();
    ledger.assign_all("A", &["m1", "m2"]);
    assert_eq!(
        ledger.set_limited_edition(true),
        [
            EventKind::LimitedEditionChanged { enabled: true },
            removed_from("a", "A", RemovedCause::LimitedEdition),
            removed_from("z", "A", RemovedCause::LimitedEdition),
        ]
    );
    assert_eq!(
        ledger.set_limited_edition(false)[1..],
        [
            reserved_on("a", "A", ReservedCause::LimitedEditionEnded),
            reserved_on("z", "A", ReservedCause::LimitedEditionEnded),
        ]
    );
}

#[test]
fn remapping_settles_the_old_license_before_the_new() {
    let mut ledger = with_two_licenses();
    ledger.set_license("z", Seats::Limited(2), None);
    ledger.set_license("a", Seats::Limited(2), None);
    ledger.map("m3", Some("z"));
    ledger.assign_all("B", &["m1"]);
    ledger.assign_all("A", &["m1"]);
    ledger.assign_all("C", &["m3"]);
    assert_eq!(
        ledger.map("m1", Some("a")),
        [
            mapped("m1", Some("a")),
            removed_from("z", "B", RemovedCause::Remapped),
            removed_from("z", "A", RemovedCause::Remapped),
            reserved_on("z", "C", ReservedCause::SeatFreed),
            reserved_on("a", "B", ReservedCause::Remapped),
            reserved_on("a", "A", ReservedCause::Remapped),
        ],
        "the oldest reservation first, then in line order"
    );
}

#[test]
fn license_set_with_both_changes_tells_the_count_then_the_validity() {
    let mut ledger = Scenario::with_seats(1);
    let validity = |end| EventKind::ValidityChanged {
        license: license("lic"),
        valid_until: Some(at(end)),
    };
    ledger.assign("A");
    assert_eq!(
        ledger.at(5).set_license("lic", Seats::Limited(2), Some(5)),
        [
            count_changed(1, 2),
            validity(5),
            license_expired("lic"),
            removed_from("lic", "A", RemovedCause::LicenseExpired),
        ]
    );
    assert_eq!(
        ledger.set_license("lic", Seats::Limited(2), Some(4)),
        [validity(4)],
        "it was expired already"
    );
    assert_eq!(
        ledger.set_license("lic", Seats::Limited(3), Some(6)),
        [
            count_changed(2, 3),
            EventKind::LicenseRenewed {
                license: license("lic"),
                valid_until: Some(at(6)),
            },
            reserved_on("lic", "A", ReservedCause::Renewed),
        ]
    );
}

#[test]
fn expiries_at_one_instant_come_in_order_of_the_id_and_license_before_holder() {
    let mut ledger = Scenario::with_seats(1);
    for id in ["same", "b"] {
        ledger.set_license(id, Seats::Limited(1), Some(10));
    }
    for holder in ["same", "a", "c"] {
        ledger.set_active_until(holder, Some(10));
    }
    ledger.set_active_until("later-instant", Some(11));
    assert_eq!(
        ledger.at(20).tick(),
        [
            key_expired("a"),
            license_expired("b"),
            key_expired("c"),
            license_expired("same"),
            key_expired("same"),
            key_expired("later-instant"),
        ]
    );
}

#[test]
fn what_expires_at_the_same_instant_gets_no_seat_and_loses_its_own_in_its_turn() {
    let mut ledger = with_two_licenses();
    ledger.set_license("z", Seats::Limited(2), None);
    for holder in ["h1", "h2", "h3", "h4"] {
        ledger.assign_all(holder, &["m1"]);
    }
    for holder in ["h1", "h2", "h3"] {
        ledger.set_active_until(holder, Some(10));
    }
    assert_eq!(ledger.line_of("z"), "R h1,h2 · W h3,h4");
    assert_eq!(
        ledger.at(10).tick(),
        [
            key_expired("h1"),
            removed_from("z", "h1", RemovedCause::KeyExpired),
            reserved_on("z", "h4", ReservedCause::SeatFreed),
            key_expired("h2"),
            removed_from("z", "h2", RemovedCause::KeyExpired),
            key_expired("h3"),
        ],
        "h3, next in line, expires at that instant itself"
    );
    assert_eq!(ledger.line_of("z"), "R h4 · W none");
}

#[test]
fn license_that_expires_at_the_same_instant_gives_no_seat() {
    let mut ledger = with_two_licenses();
    for holder in ["h1", "h2"] {
        ledger.assign_all(holder, &["m1"]);
    }
    ledger.set_license("z", Seats::Limited(1), Some(10));
    ledger.set_active_until("h1", Some(10));
    assert_eq!(
        ledger.at(10).tick(),
        [
            key_expired("h1"),
            removed_from("z", "h1", RemovedCause::KeyExpired),
            license_expired("z"),
        ],
        "h2 is not promoted for an instant that never was"
    );
    ledger.set_license("z", Seats::Limited(1), None);
    assert_eq!(ledger.line_of("z"), "R h2 · W none");
}

#[test]
fn license_expires_during_limited_edition_too() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("A");
    ledger.set_license("lic", Seats::Limited(1), Some(10));
    ledger.set_limited_edition(true);
    assert_eq!(ledger.at(10).tick(), [license_expired("lic")]);
    assert_eq!(
        ledger.set_limited_edition(false),
        [EventKind::LimitedEditionChanged { enabled: false }],
        "limited edition ended, the license did too"
    );
}

#[test]
fn expiries_are_the_systems_and_what_follows_an_operation_is_its_actors() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B", "C"]);
    ledger.set_active_until("A", Some(10));
    let told = ledger.log.len();
    ledger.at(15).unassign("B");
    let seen: Vec<_> = ledger.log[told..]
        .iter()
        .map(|event| (event.at.unix_seconds(), event.actor.as_str()))
        .collect();
    let (expiry, operation) = ((10, "system"), (15, "admin"));
    assert_eq!(
        seen,
        [expiry, expiry, expiry, operation, operation, operation],
        "expired, removed, promoted; unassigned, removed, promoted"
    );
}

#[test]
fn listings_are_in_order_and_cut_at_their_limit() {
    let mut ledger = Scenario::with_seats(2);
    ledger.assign_each(&["D", "B", "C", "A"]);
    let page = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(super::name);
        let holders = ledger.state.holders(after.as_ref(), limit);
        holders
            .iter()
            .map(|known| known.holder.to_string())
            .collect()
    };
    assert_eq!(page(None, 2), ["A", "B"]);
    assert_eq!(page(Some("B"), 9), ["C", "D"]);
    assert_eq!(page(Some("BB"), 1), ["C"], "after a name that is not there");
    assert_eq!(page(Some("D"), 9), [] as [&str; 0]);

    let line = ledger.state.line(&license("lic"), 1).unwrap();
    assert_eq!(line.reserved, [(super::name("D"), at(0))]);
    assert_eq!(line.waiting, [(super::name("C"), at(0))]);
}

#[test]
fn lines_tell_since_when_each_holds_or_waits() {
    let mut ledger = Scenario::with_seats(1);
    ledger.at(1).assign("A");
    ledger.at(2).assign("B");
    ledger.at(3).unassign("A");
    ledger.at(4).assign("A");
    let line = ledger.state.line(&license("lic"), 9).unwrap();
    assert_eq!(
        line.reserved,
        [(super::name("B"), at(3))],
        "since it was promoted"
    );
    assert_eq!(
        line.waiting,
        [(super::name("A"), at(4))],
        "since it was assigned"
    );
}

#[test]
fn clock_is_the_latest_time_that_was_told() {
    let mut ledger = Scenario::with_seats(1);
    ledger.at(30).tick();
    ledger.state.apply(&Operation::Tick, &admin(), at(20));
    assert_eq!(ledger.state.clock(), at(30));
    assert_eq!(ledger.state.overview().clock, at(30));
}
