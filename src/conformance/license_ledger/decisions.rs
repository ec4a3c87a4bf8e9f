//! What was decided where the requirements leave it open.

use Seats::{Limited, Unlimited};

use super::*;
use crate::license_ledger::{KeyEvent, Reason};

/// Unassigned and assigned again, a holder is last in line.
pub async fn assigned_anew_is_last_in_line(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "unassign, then assign again: back of the line";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B", "C"]).await;
    scene.make(unassign("B", &["launcher"])).await;
    scene.assign_all(&["B"]).await;
    scene.line_is("A | C,B").await;
    scene.make(unassign("A", &["launcher"])).await;
    scene.assign_all(&["A"]).await;
    scene.line_is("C | B,A").await;
}

/// Assigning an assigned module is a no-op, the place in line stays.
pub async fn assigned_twice_keeps_its_place(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "assigning an assigned module is a no-op";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B", "C"]).await;
    scene.says(assign("B", &["launcher"]), &[]).await;
    scene.line_is("A | B,C").await;
    let expected = ["assigned B free", "no nothing for B's free: Unavailable"];
    scene
        .says(assign("B", &["launcher", "free"]), &expected)
        .await;
    scene.line_is("A | B,C").await;
}

/// A place is that of the earliest assignment which needs the license.
pub async fn place_is_that_of_the_earliest_assignment(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "demand is placed by the earliest assign_seq";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(0).await;
    scene.make(map("playout", "lic")).await;
    scene.make(assign("A", &["playout"])).await;
    scene.assign_all(&["B", "A"]).await;
    scene.line_is("| A,B").await;
    scene.make(unassign("A", &["playout"])).await;
    scene.line_is("| B,A").await;
}

/// Several modules in one call keep the order given.
pub async fn modules_of_one_call_keep_their_order(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "several modules in one call keep argument order, among changes, removals, \
                reservations and failures alike";
    let mut scene = Scene::new(ledger, clock, rule);
    for (module, license, seats) in [("m1", "l1", 1), ("m2", "l2", 0), ("m3", "l3", 1)] {
        scene.make(map(module, license)).await;
        scene.make(set(license, Limited(seats), None)).await;
    }
    let expected = [
        "assigned A m3",
        "assigned A m2",
        "assigned A m0",
        "assigned A m1",
        "reserved l3 for A: Assigned",
        "reserved l1 for A: Assigned",
        "no l2 for A's m2: LimitReached",
        "no nothing for A's m0: Unavailable",
    ];
    scene
        .says(assign("A", &["m3", "m2", "m0", "m1"]), &expected)
        .await;
    scene.make(assign("B", &["m1", "m3"])).await;
    let expected = [
        "unassigned A m1",
        "unassigned A m3",
        "took l1 from A: Unassigned",
        "took l3 from A: Unassigned",
        "reserved l1 for B: SeatFreed",
        "reserved l3 for B: SeatFreed",
    ];
    scene.says(unassign("A", &["m1", "m3"]), &expected).await;
}

/// A disabled key's seat is freed, its place stays; enabling joins the line and evicts nobody.
pub async fn enabling_evicts_nobody(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "enabling joins the line and never evicts";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B", "C"]).await;
    scene.make(set_active("A", false)).await;
    scene.make(set_active("A", true)).await;
    scene.line_is("B | A,C").await;
    scene.make(set_active("C", false)).await;
    scene.line_is("B | A").await;
    scene.make(set("lic", Limited(2), None)).await;
    let expected = ["enabled C", "no lic for C's launcher: LimitReached"];
    scene.says(set_active("C", true), &expected).await;
    scene.make(set_active("B", false)).await;
    scene.make(set("lic", Limited(3), None)).await;
    let expected = ["enabled B", "reserved lic for B: Enabled"];
    scene.says(set_active("B", true), &expected).await;
    scene.line_is("A,C,B |").await;
}

/// A key that expires frees its seat at the tick, keeps its place, and can be given a new end.
pub async fn expired_key_keeps_its_place(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "expired key: its seat is freed by the tick, assignments and place stay";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B", "C"]).await;
    scene.make(set_active_until("A", Some(10))).await;
    scene.set_clock(10);
    let expected = [
        "expired A",
        "took lic from A: KeyExpired",
        "reserved lic for B: SeatFreed",
    ];
    scene.says(Operation::Tick, &expected).await;
    scene.line_is("B | C").await;
    let expected = [
        r#"changed A ["expires_at"]"#,
        "no lic for A's launcher: LimitReached",
    ];
    scene.says(set_active_until("A", Some(20)), &expected).await;
    scene.line_is("B | A,C").await;
    let expected = [
        r#"changed B ["expires_at"]"#,
        "expired B",
        "took lic from B: KeyExpired",
        "reserved lic for A: SeatFreed",
    ];
    scene.says(set_active_until("B", Some(10)), &expected).await;
    scene.line_is("A | C").await;
}

/// A revoked key loses all, stays known, and is inactive for good.
pub async fn revoked_key_is_inactive_for_good(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "revoked key: assignments and seat gone, the next in line is promoted, for good";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B"]).await;
    scene.make(set_active_until("A", Some(10))).await;
    let expected = [
        "revoked A",
        "took lic from A: KeyRevoked",
        "reserved lic for B: SeatFreed",
    ];
    scene.says(revoke("A"), &expected).await;
    scene.line_is("B |").await;
    scene.status_is("A", "launcher", Status::NotAssigned).await;
    for nothing in [
        assign("A", &["launcher"]),
        set_active("A", true),
        set_active("A", false),
        set_active_until("A", None),
        Operation::Record {
            event: KeyEvent::Created(key("A")),
        },
    ] {
        scene.says(nothing, &[]).await;
    }
    scene.set_clock(10);
    scene.says(Operation::Tick, &[]).await;
    let holders = scene
        .ledger
        .holders(None, 9)
        .await
        .expect("rule 5: holders answers");
    let revoked: Vec<_> = holders
        .iter()
        .map(|known| (known.revoked, known.active))
        .collect();
    assert_eq!(
        revoked,
        [(true, false), (false, true)],
        "{rule}: it stays known as revoked"
    );
}

/// A deleted key is forgotten: made anew it starts from nothing.
pub async fn deleted_key_is_forgotten(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "deleted key: assignments and seat gone, the next in line is promoted";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B", "C"]).await;
    scene.make(set_active_until("A", Some(10))).await;
    scene.says(delete("B"), &["deleted B"]).await;
    scene.line_is("A | C").await;
    let expected = [
        "deleted A",
        "took lic from A: KeyDeleted",
        "reserved lic for C: SeatFreed",
    ];
    scene.says(delete("A"), &expected).await;
    scene.set_clock(10);
    scene.says(Operation::Tick, &[]).await;
    let event = KeyEvent::Created(key("A"));
    scene
        .says(Operation::Record { event }, &["created A"])
        .await;
    scene.assign_all(&["A"]).await;
    scene.line_is("C | A").await;
    scene.make(revoke("A")).await;
    scene.make(delete("A")).await;
    scene.assign_all(&["A"]).await;
    scene.line_is("C | A").await;
}

/// What is changed while a license is expired or in limited edition takes effect at its end.
pub async fn changes_while_expired_apply_at_renewal(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "count or assignment changed while expired: recorded, applied at renewal";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B", "C"]).await;
    scene.make(set("lic", Limited(1), Some(10))).await;
    scene.set_clock(10);
    scene.make(Operation::Tick).await;
    scene
        .says(unassign("A", &["launcher"]), &["unassigned A launcher"])
        .await;
    let expected = ["assigned D launcher", "no lic for D's launcher: ValidUntil"];
    scene.says(assign("D", &["launcher"]), &expected).await;
    scene
        .says(set("lic", Limited(5), Some(10)), &["lic from 1 to 5"])
        .await;
    scene.line_is("| B,C,D").await;
    let expected = [
        "lic from 5 to 2",
        "renewed lic",
        "reserved lic for B: Renewed",
        "reserved lic for C: Renewed",
    ];
    scene
        .says(set("lic", Limited(2), Some(20)), &expected)
        .await;
    scene.line_is("B,C | D").await;
    scene
        .says(set("lic", Limited(2), None), &["validity of lic"])
        .await;
}

/// Access can be configured before the license is there; adding it reserves in line order.
pub async fn license_added_later_reserves_in_line_order(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "license unknown at assignment: allowed; adding the license reserves in line order";
    let mut scene = Scene::new(ledger, clock, rule);
    scene.assign_all(&["C", "A", "B"]).await;
    scene
        .says(map("launcher", "lic"), &["mapped launcher to lic"])
        .await;
    let expected = [
        "added lic with 2",
        "reserved lic for C: LicenseAdded",
        "reserved lic for A: LicenseAdded",
    ];
    scene.says(set("lic", Limited(2), None), &expected).await;
    scene.line_is("C,A | B").await;
    let expected = [
        "removed lic",
        "took lic from C: LicenseRemoved",
        "took lic from A: LicenseRemoved",
    ];
    scene.says(remove("lic"), &expected).await;
    let expected = [
        "added lic with unlimited",
        "reserved lic for C: LicenseAdded",
        "reserved lic for A: LicenseAdded",
        "reserved lic for B: LicenseAdded",
    ];
    scene.says(set("lic", Unlimited, None), &expected).await;
}

/// A failure is written once, where the assignment or the enabling found no seat.
pub async fn failure_is_written_once(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "ReservationFailed is written once, at the assignment that found no seat";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.make(map("playout", "lic")).await;
    scene.assign_all(&["A"]).await;
    let expected = [
        "assigned B launcher",
        "assigned B playout",
        "no lic for B's launcher: LimitReached",
    ];
    scene
        .says(assign("B", &["launcher", "playout"]), &expected)
        .await;
    scene
        .says(
            set("lic", Limited(0), None),
            &["lic from 1 to 0", "took lic from A: CountDecreased"],
        )
        .await;
    scene.says(Operation::Tick, &[]).await;
    scene.make(set_active("C", false)).await;
    let expected = [
        "assigned C launcher",
        "no lic for C's launcher: KeyDisabled",
    ];
    scene.says(assign("C", &["launcher"]), &expected).await;
    let expected = ["enabled C", "no lic for C's launcher: LimitReached"];
    scene.says(set_active("C", true), &expected).await;
}

/// Remapped to another license, a module takes its users along, each at its old place.
pub async fn remapped_module_keeps_its_places(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "remapping a module: demand is recomputed, the place stays the original assign_seq";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.make(map("playout", "old")).await;
    scene.make(set("old", Limited(1), None)).await;
    scene.make(assign("A", &["playout"])).await;
    scene.assign_all(&["B", "C"]).await;
    scene.make(assign("D", &["playout"])).await;
    let expected = ["mapped playout to lic", "took old from A: Remapped"];
    scene.says(map("playout", "lic"), &expected).await;
    scene.line_is("B | A,C,D").await;
    let expected = [
        "mapped launcher to old",
        "took lic from B: Remapped",
        "reserved lic for A: SeatFreed",
        "reserved old for B: Remapped",
    ];
    scene.says(map("launcher", "old"), &expected).await;
    scene.line_is("A | D").await;
    let refused = Status::ReservationFailed(Reason::LimitReached);
    scene.status_is("C", "launcher", refused).await;
}

/// The log names who made each change.
pub async fn each_event_names_its_actor(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "each operation carries its actor; an expiry is the system's";
    let mut scene = Scene::new(ledger, clock, rule);
    let longest = "'".repeat(200);
    for actor in ["system", "key:k1", "O'Neill%_\\\"", &longest] {
        scene.actor = Actor::new(actor).expect("a valid actor");
        let event = KeyEvent::Changed(key("A"), vec!["name".to_owned(), "日本語\n".to_owned()]);
        let events = scene.make(Operation::Record { event }).await;
        assert_eq!(events[0].actor.as_str(), actor, "{rule}");
    }
    scene.log_is_whole().await;
}
