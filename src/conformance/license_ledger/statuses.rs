//! What a request gets, row by row.

use Seats::{Limited, Unlimited};

use super::*;
use crate::license_ledger::Reason;

const UNAVAILABLE: Status = Status::ReservationFailed(Reason::Unavailable);
const LIMIT_REACHED: Status = Status::ReservationFailed(Reason::LimitReached);
const KEY_DISABLED: Status = Status::ReservationFailed(Reason::KeyDisabled);
const LIMITED_EDITION: Status = Status::Expired(Reason::LimitedEdition);
const VALID_UNTIL: Status = Status::Expired(Reason::ValidUntil);

/// Row 2: a module that is not assigned, to whom the ledger knows or does not.
pub async fn module_that_is_not_assigned(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "row 2: module not assigned: NotAssigned";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(9).await;
    scene.make(map_to_nothing("free")).await;
    scene.assign_all(&["A"]).await;
    for (holder, module) in [("A", "free"), ("A", "unknown"), ("nobody", "launcher")] {
        scene.status_is(holder, module, Status::NotAssigned).await;
    }
    scene.make(unassign("A", &["launcher"])).await;
    scene.status_is("A", "launcher", Status::NotAssigned).await;
}

/// Row 3: a module that is mapped to no license needs no seat, in limited edition neither.
pub async fn module_without_license_needs_no_seat(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "row 3: the module is mapped to no license: NotRequired";
    let mut scene = Scene::new(ledger, clock, rule);
    scene.make(map_to_nothing("free")).await;
    scene
        .says(assign("A", &["free"]), &["assigned A free"])
        .await;
    scene.status_is("A", "free", Status::NotRequired).await;
    scene.make(limited_edition(true)).await;
    scene.status_is("A", "free", Status::NotRequired).await;
    scene.make(limited_edition(false)).await;
    scene.make(map("free", "lic")).await;
    scene.status_is("A", "free", UNAVAILABLE).await;
    scene.make(map_to_nothing("free")).await;
    scene.status_is("A", "free", Status::NotRequired).await;
}

/// Row 4: the ledger does not know the module or its license; that comes before limited edition.
pub async fn unknown_module_or_license_is_unavailable(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "row 4: the ledger does not know the module or its license: Unavailable";
    let mut scene = Scene::new(ledger, clock, rule);
    let expected = [
        "assigned A launcher",
        "no nothing for A's launcher: Unavailable",
    ];
    scene.says(assign("A", &["launcher"]), &expected).await;
    scene.status_is("A", "launcher", UNAVAILABLE).await;
    scene
        .says(map("launcher", "lic"), &["mapped launcher to lic"])
        .await;
    scene.status_is("A", "launcher", UNAVAILABLE).await;
    let expected = [
        "assigned B launcher",
        "no lic for B's launcher: Unavailable",
    ];
    scene.says(assign("B", &["launcher"]), &expected).await;
    scene.make(limited_edition(true)).await;
    scene.status_is("A", "launcher", UNAVAILABLE).await;
    scene.make(set("lic", Limited(1), None)).await;
    scene.status_is("A", "launcher", LIMITED_EDITION).await;
    scene.make(remove("lic")).await;
    scene.status_is("A", "launcher", UNAVAILABLE).await;
}

/// Row 5: limited edition expires every license, unlimited ones too, and comes before their end.
pub async fn limited_edition_expires_every_license(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "row 5: limited edition (unlimited licenses too): Expired(LimitedEdition)";
    let mut scene = Scene::new(ledger, clock, rule);
    scene.make(map("launcher", "lic")).await;
    scene.make(map("playout", "past")).await;
    scene.make(set("lic", Unlimited, None)).await;
    scene.make(set("past", Unlimited, Some(-1))).await;
    scene.make(assign("A", &["launcher", "playout"])).await;
    scene.status_is("A", "launcher", Status::Reserved).await;
    scene.status_is("A", "playout", VALID_UNTIL).await;
    let expected = ["limited edition true", "took lic from A: LimitedEdition"];
    scene.says(limited_edition(true), &expected).await;
    for module in ["launcher", "playout"] {
        scene.status_is("A", module, LIMITED_EDITION).await;
    }
}

/// Row 6: past its end a license is expired, whoever asks.
pub async fn license_past_its_end_is_expired(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "row 6: now >= valid_until: Expired(ValidUntil)";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B"]).await;
    scene.make(set_active("B", false)).await;
    scene.make(set("lic", Limited(1), Some(10))).await;
    scene.set_clock(10);
    for holder in ["A", "B"] {
        scene.status_is(holder, "launcher", VALID_UNTIL).await;
    }
    scene.make(Operation::Tick).await;
    for holder in ["A", "B"] {
        scene.status_is(holder, "launcher", VALID_UNTIL).await;
    }
}

/// Row 8: used ≥ cap, 0 of 0 included.
pub async fn taken_seats_are_the_limit_reached(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "rows 7 and 8: a reservation, else used >= cap (0 of 0 included): LimitReached";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(0).await;
    scene.assign_all(&["A", "B"]).await;
    scene.status_is("A", "launcher", LIMIT_REACHED).await;
    scene.make(set("lic", Limited(1), None)).await;
    scene.status_is("A", "launcher", Status::Reserved).await;
    scene.status_is("B", "launcher", LIMIT_REACHED).await;
    scene.make(set("lic", Limited(u32::MAX), None)).await;
    scene.status_is("B", "launcher", Status::Reserved).await;
}

/// A holder that is disabled, or past its own end, is told so whatever the seats.
pub async fn inactive_holder_has_no_seat(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "disabled or expired key: its seat is freed; ReservationFailed(KeyDisabled)";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(9).await;
    scene.assign_all(&["A", "B"]).await;
    let expected = ["disabled A", "took lic from A: KeyDisabled"];
    scene.says(set_active("A", false), &expected).await;
    scene.status_is("A", "launcher", KEY_DISABLED).await;
    scene
        .says(
            set_active_until("B", Some(10)),
            &[r#"changed B ["expires_at"]"#],
        )
        .await;
    scene.status_is("B", "launcher", Status::Reserved).await;
    scene.set_clock(10);
    scene.status_is("B", "launcher", KEY_DISABLED).await;
    let expected = ["expired B", "took lic from B: KeyExpired"];
    scene.says(Operation::Tick, &expected).await;
    scene.status_is("B", "launcher", KEY_DISABLED).await;
    scene.line_is("|").await;
}
