//! Licenses that are changed only where they are as expected.

use Seats::{Limited, Unlimited};

use super::*;

/// A license is added where none is expected, and changed where it is as expected: its seats and
/// its end together.
pub async fn license_is_changed_only_as_expected(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "a license is set only where it is as expected";
    let mut scene = Scene::new(ledger, clock, rule);
    scene.make(map("launcher", "lic")).await;
    scene.assign_all(&["A", "B", "C"]).await;
    let (one, two) = (lic(Limited(1), None), lic(Limited(2), Some(60)));
    for expected in [&one, &two] {
        let absent = set_if(one.clone(), Some(expected.clone()));
        scene.says(absent, &[]).await;
    }
    let added = ["added lic with 1", "reserved lic for A: LicenseAdded"];
    scene.says(set_if(one.clone(), None), &added).await;
    for wrong in [
        None,
        Some(lic(Limited(0), None)),
        Some(lic(Limited(2), None)),
        Some(lic(Unlimited, None)),
        Some(lic(Limited(1), Some(60))),
        Some(License::new(license("LIC"), Limited(1))),
    ] {
        scene.says(set_if(two.clone(), wrong.clone()), &[]).await;
        scene.says(set_if(one.clone(), wrong), &[]).await;
    }
    scene.line_is("A | B,C").await;
    let changed = [
        "lic from 1 to 2",
        "validity of lic",
        "reserved lic for B: CountIncreased",
    ];
    let change = set_if(two.clone(), Some(one.clone()));
    scene.says(change.clone(), &changed).await;
    scene.says(change, &[]).await;
    for wrong in [lic(Limited(2), None), lic(Limited(2), Some(61)), one] {
        scene
            .says(set_if(lic(Limited(0), None), Some(wrong)), &[])
            .await;
    }
    scene
        .says(set_if(two.clone(), Some(two.clone())), &[])
        .await;
    scene.line_is("A,B | C").await;
    let expected = [
        "lic from 2 to 0",
        "validity of lic",
        "took lic from A: CountDecreased",
        "took lic from B: CountDecreased",
    ];
    let fewer = set_if(lic(Limited(0), None), Some(two));
    scene.says(fewer, &expected).await;
    scene.line_is("| A,B,C").await;
    scene.log_is_whole().await;
}

/// A license is removed where it is as expected.
pub async fn license_is_removed_only_as_expected(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "a license is removed only where it is as expected";
    let mut scene = Scene::new(ledger, clock, rule);
    scene.says(remove_if(lic(Limited(2), None)), &[]).await;
    scene = scene.with_seats(2).await;
    scene.assign_all(&["A", "B", "C"]).await;
    for wrong in [
        lic(Limited(1), None),
        lic(Unlimited, None),
        lic(Limited(2), Some(60)),
        License::new(license("LIC"), Limited(2)),
    ] {
        scene.says(remove_if(wrong), &[]).await;
    }
    scene.line_is("A,B | C").await;
    let removed = [
        "removed lic",
        "took lic from A: LicenseRemoved",
        "took lic from B: LicenseRemoved",
    ];
    let remove = remove_if(lic(Limited(2), None));
    scene.says(remove.clone(), &removed).await;
    scene.says(remove, &[]).await;
    scene.log_is_whole().await;
}

/// What expired until now is written also where a license is not as expected; and that it has
/// expired makes it no other license.
pub async fn time_passes_whatever_was_expected(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "time passes before a license is looked at, and is no change of it";
    let mut scene = Scene::new(ledger, clock, rule);
    let expiring = lic(Limited(1), Some(10));
    scene.make(map("launcher", "lic")).await;
    scene.make(set_if(expiring.clone(), None)).await;
    scene.assign_all(&["A", "B"]).await;
    scene.make(set_active_until("A", Some(5))).await;
    scene.set_clock(5);
    let passed = [
        "expired A",
        "took lic from A: KeyExpired",
        "reserved lic for B: SeatFreed",
    ];
    let wrong = set_if(lic(Limited(3), Some(20)), None);
    scene.says(wrong, &passed).await;
    scene.set_clock(10);
    let expired = ["expired lic", "took lic from B: LicenseExpired"];
    scene
        .says(remove_if(lic(Limited(3), Some(10))), &expired)
        .await;
    let renewed = ["renewed lic", "reserved lic for B: Renewed"];
    let renew = set_if(lic(Limited(1), Some(20)), Some(expiring));
    scene.says(renew, &renewed).await;
    scene.set_clock(20);
    let gone = [
        "expired lic",
        "took lic from B: LicenseExpired",
        "removed lic",
    ];
    scene
        .says(remove_if(lic(Limited(1), Some(20))), &gone)
        .await;
    scene.log_is_whole().await;
}

fn lic(seats: Seats, valid_until: Option<i64>) -> License {
    License::new(license("lic"), seats).with_valid_until(valid_until.map(at))
}
