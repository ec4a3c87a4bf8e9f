//! The cases for a [`LicenseLedger`] that evicts the newest reservation first.
//!
//! They add to those of [`license_ledger`](super::license_ledger), which such a ledger cannot pass:
//! run these on your ledger with that option, and those on your ledger without it.

use std::sync::Arc;

use super::license_ledger::{Scene, set};
use crate::{
    clock::ManualClock,
    license_ledger::{LicenseLedger, Seats::Limited},
};

/// Seats 3; assign A, B, C, D; seats 1: the newest reservations go, and come back in line order.
pub async fn newest_reservation_goes_first(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "which eviction: newest first is an option";
    let mut scene = Scene::new(ledger, clock, rule).newest_first();
    scene = scene.with_seats(3).await;
    scene.assign_all(&["A", "B", "C", "D"]).await;
    let expected = [
        "lic from 3 to 1",
        "took lic from C: CountDecreased",
        "took lic from B: CountDecreased",
    ];
    scene.says(set("lic", Limited(1), None), &expected).await;
    scene.line_is("A | B,C,D").await;
    let expected = ["lic from 1 to 2", "reserved lic for B: CountIncreased"];
    scene.says(set("lic", Limited(2), None), &expected).await;
    scene.line_is("A,B | C,D").await;
}

/// A history with many changes of count, beside the state machine.
pub async fn history_with_newest_first(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "a pseudo-random history, step by step beside the state machine";
    Scene::new(ledger, clock, rule)
        .newest_first()
        .follow(7)
        .await;
}
