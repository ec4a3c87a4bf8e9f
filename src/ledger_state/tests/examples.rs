//! The worked examples of the ledger's rules, 1 to 12, each with its events to the letter.

use crate::{
    key_store::KeyId,
    license_ledger::{
        EventKind, KeyEvent, Operation, Reason, RemovedCause, ReservedCause, Seats, Status,
    },
};

use super::{
    Scenario, assigned, at, count_changed, deleted, disabled, enabled, failed, failed_on, license,
    license_expired, mapped, module, name, removed, reserved, unassigned,
};

const EXPIRED: Status = Status::Expired(Reason::ValidUntil);
const LIMITED_EDITION: Status = Status::Expired(Reason::LimitedEdition);
const LIMIT_REACHED: Status = Status::ReservationFailed(Reason::LimitReached);

fn after_example_1() -> Scenario {
    let mut ledger = Scenario::with_seats(2);
    ledger.assign_each(&["A", "B", "C"]);
    ledger
}

#[test]
fn example_1_two_seats_go_to_the_first_two() {
    let mut ledger = Scenario::with_seats(2);
    let got_seat = |holder| {
        vec![
            assigned(holder, "launcher"),
            reserved(holder, ReservedCause::Assigned),
        ]
    };
    assert_eq!(ledger.assign("A"), got_seat("A"));
    assert_eq!(ledger.assign("B"), got_seat("B"));
    assert_eq!(
        ledger.assign("C"),
        [assigned("C", "launcher"), failed("C", Reason::LimitReached),]
    );
    assert_eq!(ledger.line(), "R A,B · W C");
    assert_eq!(ledger.status("A"), Status::Reserved);
    assert_eq!(ledger.status("C"), LIMIT_REACHED);
}

#[test]
fn example_2_freed_seat_goes_to_the_first_in_line() {
    let mut ledger = after_example_1();
    ledger.assign("D");
    assert_eq!(
        ledger.unassign("A"),
        [
            unassigned("A", "launcher"),
            removed("A", RemovedCause::Unassigned),
            reserved("C", ReservedCause::SeatFreed),
        ]
    );
    assert_eq!(ledger.line(), "R B,C · W D");
}

fn after_example_3() -> Scenario {
    let mut ledger = Scenario::with_seats(3);
    ledger.assign_each(&["A", "B", "C", "D"]);
    assert_eq!(
        ledger.set_seats(1),
        [
            count_changed(3, 1),
            removed("A", RemovedCause::CountDecreased),
            removed("B", RemovedCause::CountDecreased),
        ]
    );
    ledger
}

#[test]
fn example_3_fewer_seats_take_the_oldest_reservations() {
    assert_eq!(after_example_3().line(), "R C · W A,B,D");
}

fn after_example_4() -> Scenario {
    let mut ledger = after_example_3();
    assert_eq!(
        ledger.set_seats(3),
        [
            count_changed(1, 3),
            reserved("A", ReservedCause::CountIncreased),
            reserved("B", ReservedCause::CountIncreased),
        ]
    );
    ledger
}

#[test]
fn example_4_a_dip_gives_the_same_holders_their_seats_back() {
    assert_eq!(after_example_4().line(), "R C,A,B · W D");
}

#[test]
fn example_5_who_was_reserved_again_is_the_newest() {
    let mut ledger = after_example_4();
    assert_eq!(
        ledger.set_seats(1),
        [
            count_changed(3, 1),
            removed("C", RemovedCause::CountDecreased),
            removed("A", RemovedCause::CountDecreased),
        ]
    );
    assert_eq!(ledger.line(), "R B · W A,C,D");
}

fn after_example_6() -> Scenario {
    let mut ledger = Scenario::with_seats(2);
    ledger.set_license("lic", Seats::Limited(2), Some(100));
    ledger.assign_each(&["A", "B", "C"]);

    assert_eq!(ledger.at(99).status("A"), Status::Reserved);
    assert_eq!(
        ["A", "B", "C"].map(|holder| ledger.at(100).status(holder)),
        [EXPIRED; 3],
        "at the very instant, before any tick"
    );
    assert_eq!(
        ledger.tick(),
        [
            license_expired("lic"),
            removed("A", RemovedCause::LicenseExpired),
            removed("B", RemovedCause::LicenseExpired),
        ]
    );
    ledger
}

#[test]
fn example_6_expiry_takes_all_seats_and_no_assignment() {
    let ledger = after_example_6();
    assert_eq!(ledger.line(), "R none · W A,B,C");
    for holder in ["A", "B", "C"] {
        let standings = ledger.state.standings(&name(holder));
        assert!(
            standings.standing(&module("launcher")).is_some(),
            "{holder}"
        );
        assert_eq!(ledger.status(holder), EXPIRED);
    }
}

fn after_example_7() -> Scenario {
    let mut ledger = after_example_6();
    assert_eq!(
        ledger
            .at(150)
            .set_license("lic", Seats::Limited(2), Some(300)),
        [
            EventKind::LicenseRenewed {
                license: license("lic"),
                valid_until: Some(at(300)),
            },
            reserved("A", ReservedCause::Renewed),
            reserved("B", ReservedCause::Renewed),
        ]
    );
    ledger
}

#[test]
fn example_7_renewal_gives_the_seats_in_line_order() {
    let ledger = after_example_7();
    assert_eq!(ledger.line(), "R A,B · W C");
    assert_eq!(ledger.status("A"), Status::Reserved);
}

#[test]
fn example_8_changes_during_limited_edition_take_effect_at_its_end() {
    let mut ledger = after_example_7();
    assert_eq!(
        ledger.set_limited_edition(true),
        [
            EventKind::LimitedEditionChanged { enabled: true },
            removed("A", RemovedCause::LimitedEdition),
            removed("B", RemovedCause::LimitedEdition),
        ]
    );
    assert_eq!(ledger.line(), "R none · W A,B,C");
    assert_eq!(
        ["A", "B", "C"].map(|holder| ledger.status(holder)),
        [LIMITED_EDITION; 3]
    );
    assert_eq!(ledger.set_seats(1), [count_changed(2, 1)]);
    assert_eq!(
        ledger.assign("D"),
        [
            assigned("D", "launcher"),
            failed("D", Reason::LimitedEdition),
        ]
    );
    assert_eq!(
        ledger.set_limited_edition(false),
        [
            EventKind::LimitedEditionChanged { enabled: false },
            reserved("A", ReservedCause::LimitedEditionEnded),
        ]
    );
    assert_eq!(ledger.line(), "R A · W B,C,D");
}

#[test]
fn example_9_no_seat_becomes_as_many_as_wanted() {
    let mut ledger = Scenario::with_seats(0);
    assert_eq!(
        ledger.assign("A"),
        [assigned("A", "launcher"), failed("A", Reason::LimitReached),]
    );
    assert_eq!(ledger.status("A"), LIMIT_REACHED);
    assert_eq!(
        ledger.set_license("lic", Seats::Unlimited, None),
        [
            EventKind::CountChanged {
                license: license("lic"),
                from: Seats::Limited(0),
                to: Seats::Unlimited,
            },
            reserved("A", ReservedCause::CountIncreased),
        ]
    );
    assert_eq!(ledger.line(), "R A · W none");
}

#[test]
fn example_10_a_seat_is_kept_while_one_module_of_its_license_is_assigned() {
    let mut ledger = Scenario::with_seats(1);
    assert_eq!(
        ledger.map("playout", Some("lic")),
        [mapped("playout", Some("lic"))]
    );
    assert_eq!(
        ledger.assign_all("A", &["launcher", "playout"]),
        [
            assigned("A", "launcher"),
            assigned("A", "playout"),
            reserved("A", ReservedCause::Assigned),
        ]
    );
    assert_eq!(
        ledger.assign_all("B", &["playout"]),
        [
            assigned("B", "playout"),
            failed_on("B", "playout", Some("lic"), Reason::LimitReached),
        ]
    );
    assert_eq!(ledger.unassign("A"), [unassigned("A", "launcher")]);
    assert_eq!(ledger.line(), "R A · W B");
    assert_eq!(
        ledger.unassign_all("A", &["playout"]),
        [
            unassigned("A", "playout"),
            removed("A", RemovedCause::Unassigned),
            reserved("B", ReservedCause::SeatFreed),
        ]
    );
    assert_eq!(ledger.line(), "R B · W none");
}

#[test]
fn example_11_disabled_holder_loses_its_seat_and_keeps_its_place() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign_each(&["A", "B", "C"]);
    let regenerated = ledger.apply(Operation::Record {
        event: KeyEvent::Regenerated(KeyId::new("A").unwrap()),
    });
    assert_eq!(
        regenerated,
        [EventKind::KeyRegenerated { holder: name("A") }],
        "the log tells it; it has no consequence"
    );
    assert_eq!(ledger.line(), "R A · W B,C");

    assert_eq!(
        ledger.set_active("A", false),
        [
            disabled("A"),
            removed("A", RemovedCause::KeyDisabled),
            reserved("B", ReservedCause::SeatFreed),
        ]
    );
    assert_eq!(ledger.line(), "R B · W C");
    assert_eq!(
        ledger.set_active("A", true),
        [enabled("A"), failed("A", Reason::LimitReached)]
    );
    assert_eq!(ledger.line(), "R B · W A,C");
    assert_eq!(
        ledger.delete("B"),
        [
            deleted("B"),
            removed("B", RemovedCause::KeyDeleted),
            reserved("A", ReservedCause::SeatFreed),
        ]
    );
    assert_eq!(ledger.line(), "R A · W C");
}

#[test]
fn example_12_at_one_instant_the_earlier_assignment_is_first() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("B");
    ledger.assign("A");
    assert_eq!(ledger.line(), "R B · W A");
    let times: Vec<_> = ledger.log.iter().map(|event| event.at).collect();
    assert!(times.iter().all(|instant| *instant == at(0)));
}
