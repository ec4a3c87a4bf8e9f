//! The table of statuses, row by row, and that the rows are asked in their order. Row 1 (no valid
//! key) is answered before the ledger is asked.

use crate::license_ledger::{Reason, Seat, Seats, Standing, Standings, Status};

use super::{Scenario, at, license, module, name};

#[test]
fn row_2_module_that_is_not_assigned() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("A");
    assert_eq!(ledger.status("unknown"), Status::NotAssigned);
    assert_eq!(ledger.status_of("A", "playout"), Status::NotAssigned);
    ledger.unassign("A");
    assert_eq!(ledger.status("A"), Status::NotAssigned);
}

#[test]
fn row_3_module_without_license_needs_no_seat() {
    let mut ledger = Scenario::with_seats(0);
    ledger.map("docs", None);
    ledger.assign_all("A", &["docs"]);
    assert_eq!(ledger.status_of("A", "docs"), Status::NotRequired);
    ledger.set_limited_edition(true);
    assert_eq!(
        ledger.status_of("A", "docs"),
        Status::NotRequired,
        "in limited edition too"
    );
}

#[test]
fn row_4_unknown_module_and_unknown_license_are_unavailable() {
    let mut ledger = Scenario::with_seats(1);
    let unavailable = Status::ReservationFailed(Reason::Unavailable);
    ledger.map("playout", Some("later"));
    ledger.assign_all("A", &["nowhere", "playout", "launcher"]);
    assert_eq!(ledger.status_of("A", "nowhere"), unavailable);
    assert_eq!(ledger.status_of("A", "playout"), unavailable);
    ledger.remove_license("lic");
    ledger.set_limited_edition(true);
    assert_eq!(
        ledger.status("A"),
        unavailable,
        "asked before limited edition"
    );
    let standings = ledger.state.standings(&name("A"));
    assert_eq!(
        standings.standing(&module("nowhere")),
        Some(&Standing::Unknown(None))
    );
    assert_eq!(
        standings.standing(&module("playout")),
        Some(&Standing::Unknown(Some(license("later"))))
    );
}

#[test]
fn row_5_limited_edition_expires_all_licenses() {
    let mut ledger = Scenario::with_seats(1);
    ledger.map("playout", Some("free"));
    ledger.set_license("free", Seats::Unlimited, None);
    ledger.assign_all("A", &["launcher", "playout"]);
    ledger.set_license("lic", Seats::Limited(1), Some(10));
    ledger.at(10).set_limited_edition(true);
    let expired = Status::Expired(Reason::LimitedEdition);
    assert_eq!(
        ledger.status("A"),
        expired,
        "asked before the license's end"
    );
    assert_eq!(
        ledger.status_of("A", "playout"),
        expired,
        "unlimited licenses too"
    );
}

#[test]
fn row_6_license_past_its_end() {
    let mut ledger = Scenario::with_seats(0);
    ledger.assign("A");
    ledger.set_license("lic", Seats::Limited(0), Some(10));
    assert_eq!(
        ledger.at(9).status("A"),
        Status::ReservationFailed(Reason::LimitReached)
    );
    let expired = Status::Expired(Reason::ValidUntil);
    assert_eq!(ledger.at(10).status("A"), expired, "asked before the limit");
    ledger.set_active("A", false);
    assert_eq!(
        ledger.status("A"),
        expired,
        "asked before the holder's activity"
    );
}

#[test]
fn row_7_reservation_passes() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("A");
    assert_eq!(ledger.status("A"), Status::Reserved);
}

#[test]
fn row_7_holder_that_is_not_active_has_no_reservation() {
    let mut ledger = Scenario::with_seats(2);
    let disabled = Status::ReservationFailed(Reason::KeyDisabled);
    ledger.assign_each(&["A", "B"]);
    ledger.set_active("A", false);
    assert_eq!(ledger.status("A"), disabled);
    ledger.set_active_until("B", Some(10));
    assert_eq!(ledger.at(9).status("B"), Status::Reserved);
    assert_eq!(ledger.at(10).status("B"), disabled, "before the tick");
    ledger.tick();
    assert_eq!(ledger.status("B"), disabled, "after the tick");
}

#[test]
fn row_8_all_seats_taken() {
    let mut ledger = Scenario::with_seats(1);
    let limit_reached = Status::ReservationFailed(Reason::LimitReached);
    ledger.assign_each(&["A", "B"]);
    assert_eq!(ledger.status("B"), limit_reached);
    ledger.set_seats(0);
    assert_eq!(ledger.status("A"), limit_reached, "0 of 0 included");
}

#[test]
fn row_9_free_seat_that_a_stale_answer_does_not_give() {
    let standing = Standing::Licensed {
        license: license("lic"),
        valid_until: None,
        seat: Seat::Unavailable,
    };
    let standings = Standings::new(at(0), false, true, None, [(module("launcher"), standing)]);
    assert_eq!(
        standings.status(&module("launcher"), at(0)),
        Status::ReservationFailed(Reason::Unavailable)
    );
}

#[test]
fn row_9_seat_is_unavailable_only_to_a_holder_that_is_not_active() {
    let mut ledger = Scenario::with_seats(1);
    ledger.assign("A");
    ledger.set_active("A", false);
    let standings = ledger.state.standings(&name("A"));
    let Some(Standing::Licensed { seat, .. }) = standings.standing(&module("launcher")) else {
        panic!("{standings:?}");
    };
    assert_eq!(*seat, Seat::Unavailable);
}

#[test]
fn labels_are_those_of_the_seed() {
    let mut ledger = Scenario::with_seats(1);
    ledger.map("docs", None);
    ledger.assign_all("A", &["launcher", "docs"]);
    ledger.assign("B");
    let label = |ledger: &Scenario, holder| ledger.status(holder).label();
    assert_eq!(label(&ledger, "A"), Some("Reserved"));
    assert_eq!(label(&ledger, "B"), Some("Reservation failed"));
    assert_eq!(label(&ledger, "C"), None);
    assert_eq!(ledger.status_of("A", "docs").label(), None);
    ledger.set_limited_edition(true);
    assert_eq!(label(&ledger, "A"), Some("Expired"));
}
