//! The twelve worked examples: one license `lic`, one module `launcher`, unless said.

use Seats::{Limited, Unlimited};

use super::*;
use crate::license_ledger::{KeyEvent, Reason};

/// Seats 2; assign A, B, C: the first two get them, the third meets the limit.
pub async fn example_1_first_come_first_served(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let mut scene = Scene::new(ledger, clock, "example 1: seats 2; assign A, B, C");
    scene = scene.with_seats(2).await;
    for holder in ["A", "B"] {
        let expected = [
            format!("assigned {holder} launcher"),
            format!("reserved lic for {holder}: Assigned"),
        ];
        let expected = [expected[0].as_str(), expected[1].as_str()];
        scene.says(assign(holder, &["launcher"]), &expected).await;
    }
    let expected = [
        "assigned C launcher",
        "no lic for C's launcher: LimitReached",
    ];
    scene.says(assign("C", &["launcher"]), &expected).await;
    scene.line_is("A,B | C").await;
    for holder in ["A", "B"] {
        scene.status_is(holder, "launcher", Status::Reserved).await;
    }
    let refused = Status::ReservationFailed(Reason::LimitReached);
    scene.status_is("C", "launcher", refused).await;
}

/// (1), assign D, unassign A: the first in line moves up.
pub async fn example_2_next_in_line_moves_up(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let mut scene = Scene::new(ledger, clock, "example 2: (1), assign D, unassign A");
    scene = scene.with_seats(2).await;
    scene.assign_all(&["A", "B", "C"]).await;
    let expected = [
        "assigned D launcher",
        "no lic for D's launcher: LimitReached",
    ];
    scene.says(assign("D", &["launcher"]), &expected).await;
    let expected = [
        "unassigned A launcher",
        "took lic from A: Unassigned",
        "reserved lic for C: SeatFreed",
    ];
    scene.says(unassign("A", &["launcher"]), &expected).await;
    scene.line_is("B,C | D").await;
}

/// Seats 3; assign A, B, C, D; seats 1: the oldest reservations go, and nobody moves up.
pub async fn example_3_fewer_seats_take_the_oldest_reservations(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let mut scene = Scene::new(
        ledger,
        clock,
        "example 3: seats 3; assign A, B, C, D; seats 1",
    );
    scene = scene.with_seats(3).await;
    scene.assign_all(&["A", "B", "C", "D"]).await;
    scene.dip_to_one().await;
}

/// (3), seats 3: seats come back in line order.
pub async fn example_4_seats_come_back_in_line_order(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let mut scene = Scene::new(ledger, clock, "example 4: (3), seats 3");
    scene = scene.with_seats(3).await;
    scene.assign_all(&["A", "B", "C", "D"]).await;
    scene.dip_to_one().await;
    scene.back_to_three().await;
}

/// (4), seats 1: the reservation that is older now goes first, whatever the place in line.
pub async fn example_5_age_is_that_of_the_reservation(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let mut scene = Scene::new(ledger, clock, "example 5: (4), seats 1");
    scene = scene.with_seats(3).await;
    scene.assign_all(&["A", "B", "C", "D"]).await;
    scene.dip_to_one().await;
    scene.back_to_three().await;
    let expected = [
        "lic from 3 to 1",
        "took lic from C: CountDecreased",
        "took lic from A: CountDecreased",
    ];
    scene.says(set("lic", Limited(1), None), &expected).await;
    scene.line_is("B | A,C,D").await;
}

/// Seats 2, valid_until 100; assign A, B, C: at 100 all are expired, before and after the tick.
pub async fn example_6_license_expires(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "example 6: seats 2, valid_until 100; assign A, B, C; ask at 99 and 100; tick 100";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_expiry().await;
    scene.expire().await;
}

/// (6), at 150 valid_until 300: the same holders get their seats back.
pub async fn example_7_license_is_renewed(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let mut scene = Scene::new(ledger, clock, "example 7: (6), at 150 valid_until 300");
    scene = scene.with_expiry().await;
    scene.expire().await;
    scene.renew().await;
}

/// (7), limited edition on; seats 1; assign D; off.
pub async fn example_8_limited_edition(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "example 8: (7), limited edition on; seats 1; assign D; off";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_expiry().await;
    scene.expire().await;
    scene.renew().await;
    let expected = [
        "limited edition true",
        "took lic from A: LimitedEdition",
        "took lic from B: LimitedEdition",
    ];
    scene.says(limited_edition(true), &expected).await;
    scene.line_is("| A,B,C").await;
    for holder in ["A", "B", "C"] {
        let expired = Status::Expired(Reason::LimitedEdition);
        scene.status_is(holder, "launcher", expired).await;
    }
    scene
        .says(set("lic", Limited(1), Some(300)), &["lic from 2 to 1"])
        .await;
    let expected = [
        "assigned D launcher",
        "no lic for D's launcher: LimitedEdition",
    ];
    scene.says(assign("D", &["launcher"]), &expected).await;
    let expected = [
        "limited edition false",
        "reserved lic for A: LimitedEditionEnded",
    ];
    scene.says(limited_edition(false), &expected).await;
    scene.line_is("A | B,C,D").await;
}

/// Seats 0; assign A; seats unlimited.
pub async fn example_9_no_seats_then_any_number(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let mut scene = Scene::new(
        ledger,
        clock,
        "example 9: seats 0; assign A; seats unlimited",
    );
    scene = scene.with_seats(0).await;
    let expected = [
        "assigned A launcher",
        "no lic for A's launcher: LimitReached",
    ];
    scene.says(assign("A", &["launcher"]), &expected).await;
    let refused = Status::ReservationFailed(Reason::LimitReached);
    scene.status_is("A", "launcher", refused).await;
    let expected = [
        "lic from 0 to unlimited",
        "reserved lic for A: CountIncreased",
    ];
    scene.says(set("lic", Unlimited, None), &expected).await;
    scene.line_is("A |").await;
    scene.status_is("A", "launcher", Status::Reserved).await;
}

/// Launcher and playout both on `lic`, seats 1: the seat goes with the last of them.
pub async fn example_10_two_modules_share_a_seat(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "example 10: launcher and playout on lic, seats 1; A both, B playout; unassign A \
                launcher; unassign A playout";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.make(map("playout", "lic")).await;
    let expected = [
        "assigned A launcher",
        "assigned A playout",
        "reserved lic for A: Assigned",
    ];
    scene
        .says(assign("A", &["launcher", "playout"]), &expected)
        .await;
    let expected = ["assigned B playout", "no lic for B's playout: LimitReached"];
    scene.says(assign("B", &["playout"]), &expected).await;
    scene
        .says(unassign("A", &["launcher"]), &["unassigned A launcher"])
        .await;
    scene.line_is("A | B").await;
    let expected = [
        "unassigned A playout",
        "took lic from A: Unassigned",
        "reserved lic for B: SeatFreed",
    ];
    scene.says(unassign("A", &["playout"]), &expected).await;
    scene.line_is("B |").await;
}

/// Seats 1; assign A, B, C; regenerate A; disable A; enable A; delete B.
pub async fn example_11_life_of_a_key(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "example 11: seats 1; assign A, B, C; regenerate A; disable A; enable A; delete B";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B", "C"]).await;
    let event = KeyEvent::Regenerated(key("A"));
    scene
        .says(Operation::Record { event }, &["regenerated A"])
        .await;
    scene.line_is("A | B,C").await;
    let expected = [
        "disabled A",
        "took lic from A: KeyDisabled",
        "reserved lic for B: SeatFreed",
    ];
    scene.says(set_active("A", false), &expected).await;
    scene.line_is("B | C").await;
    let expected = ["enabled A", "no lic for A's launcher: LimitReached"];
    scene.says(set_active("A", true), &expected).await;
    scene.line_is("B | A,C").await;
    let expected = [
        "deleted B",
        "took lic from B: KeyDeleted",
        "reserved lic for A: SeatFreed",
    ];
    scene.says(delete("B"), &expected).await;
    scene.line_is("A | C").await;
}

/// Seats 1; at the same instant assign B, then A: the order of the calls decides, no timestamp.
pub async fn example_12_order_is_no_timestamp(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "example 12: seats 1; at the same instant assign B, then A";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["B", "A"]).await;
    scene.line_is("B | A").await;
    scene.make(set("lic", Limited(0), None)).await;
    scene.line_is("| B,A").await;
}

impl<L: LicenseLedger> Scene<L> {
    /// Assigns `launcher` to each, in this order.
    pub(in crate::conformance) async fn assign_all(&mut self, holders: &[&str]) {
        for holder in holders {
            self.make(assign(holder, &["launcher"])).await;
        }
    }

    async fn dip_to_one(&mut self) {
        let expected = [
            "lic from 3 to 1",
            "took lic from A: CountDecreased",
            "took lic from B: CountDecreased",
        ];
        self.says(set("lic", Limited(1), None), &expected).await;
        self.line_is("C | A,B,D").await;
    }

    async fn back_to_three(&mut self) {
        let expected = [
            "lic from 1 to 3",
            "reserved lic for A: CountIncreased",
            "reserved lic for B: CountIncreased",
        ];
        self.says(set("lic", Limited(3), None), &expected).await;
        self.line_is("C,A,B | D").await;
    }

    /// `lic` has two seats until second 100; A, B, C are assigned.
    async fn with_expiry(mut self) -> Self {
        self = self.with_seats(0).await;
        self.make(set("lic", Limited(2), Some(100))).await;
        self.assign_all(&["A", "B", "C"]).await;
        self
    }

    async fn expire(&mut self) {
        self.set_clock(99);
        self.status_is("A", "launcher", Status::Reserved).await;
        self.set_clock(100);
        for tick in [false, true] {
            if tick {
                let expected = [
                    "expired lic",
                    "took lic from A: LicenseExpired",
                    "took lic from B: LicenseExpired",
                ];
                self.says(Operation::Tick, &expected).await;
                self.line_is("| A,B,C").await;
            }
            for holder in ["A", "B", "C"] {
                let expired = Status::Expired(Reason::ValidUntil);
                self.status_is(holder, "launcher", expired).await;
            }
        }
    }

    async fn renew(&mut self) {
        self.set_clock(150);
        let expected = [
            "renewed lic",
            "reserved lic for A: Renewed",
            "reserved lic for B: Renewed",
        ];
        self.says(set("lic", Limited(2), Some(300)), &expected)
            .await;
        self.line_is("A,B | C").await;
    }
}
