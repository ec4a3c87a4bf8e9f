//! Rule 9: what would happen, and that asking for it changes nothing. Each case of the suite plans
//! each of its changes before it makes it; these are about plans alone.

use Seats::Limited;

use super::*;
use crate::license_ledger::KeyEvent;

/// Seats 3; assign A, B, C, D; plan seats 1: A and B would lose theirs, and nobody does.
pub async fn plan_names_who_would_lose_and_changes_nothing(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "seats 3; assign A, B, C, D; plan seats 1";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(3).await;
    scene.assign_all(&["A", "B", "C", "D"]).await;
    let fewer = set("lic", Limited(1), None);
    let expected = [
        "lic from 3 to 1",
        "took lic from A: CountDecreased",
        "took lic from B: CountDecreased",
    ];
    assert_eq!(scene.plan(&fewer).await, expected, "{rule}");
    scene.agrees().await;
    scene.tells_nobody(&fewer).await;
    scene.line_is("A,B,C | D").await;
    let more = set("lic", Limited(4), None);
    let expected = ["lic from 3 to 4", "reserved lic for D: CountIncreased"];
    assert_eq!(scene.plan(&more).await, expected, "{rule}, or seats 4");
    scene.line_is("A,B,C | D").await;
    scene.log_is_whole().await;
}

/// What has expired and is not written yet is written by the change, so it belongs to the plan; the
/// plan does not write it.
pub async fn plan_includes_what_has_expired(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "a plan at 10 of what expired at 5: the tick comes first, at its own instant";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(1).await;
    scene.assign_all(&["A", "B"]).await;
    scene.make(set_active_until("A", Some(5))).await;
    scene.set_clock(10);
    let tick = [
        "expired A",
        "took lic from A: KeyExpired",
        "reserved lic for B: SeatFreed",
    ];
    assert_eq!(scene.plan(&Operation::Tick).await, tick, "{rule}");
    let assigned = scene.plan(&assign("C", &["launcher"])).await;
    let failed = [
        "assigned C launcher",
        "no lic for C's launcher: LimitReached",
    ];
    assert_eq!(assigned, [&tick[..], &failed].concat(), "{rule}");
    scene.agrees().await;
    scene.line_is("A | B").await;
    // The clock of the ledger stood still, and one that steps back is still in its past.
    scene.set_clock(4);
    let nothing: [&str; 0] = [];
    assert_eq!(scene.plan(&Operation::Tick).await, nothing, "{rule}");
}

/// Each operation can be planned, twice with the same answer, and nothing is different after it.
pub async fn plan_of_every_operation_changes_nothing(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "rule 9: a plan changes nothing, whatever is planned";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(2).await;
    scene.make(map("playout", "other")).await;
    scene.make(set("other", Seats::Unlimited, Some(60))).await;
    scene.assign_all(&["A", "B", "C"]).await;
    scene.make(assign("A", &["playout"])).await;
    scene.make(set_active("D", false)).await;
    scene.make(assign("D", &["launcher", "playout"])).await;
    scene.set_clock(30);
    let lic = |seats| License::new(license("lic"), seats);
    for operation in [
        assign("E", &["launcher", "playout"]),
        unassign("A", &["playout", "launcher"]),
        delete("A"),
        delete("nobody"),
        revoke("B"),
        set_active("A", false),
        set_active("D", true),
        set_active_until("A", Some(20)),
        set("lic", Limited(0), None),
        set("lic", Limited(3), Some(20)),
        set("new", Limited(1), None),
        set_if(lic(Limited(1)), Some(lic(Limited(2)))),
        set_if(lic(Limited(1)), Some(lic(Limited(3)))),
        set_if(lic(Limited(1)), None),
        remove("other"),
        remove_if(lic(Limited(2))),
        remove_if(lic(Limited(3))),
        map("launcher", "other"),
        map_to_nothing("launcher"),
        limited_edition(true),
        limited_edition(false),
        Operation::Record {
            event: KeyEvent::Created(key("E")),
        },
        Operation::Record {
            event: KeyEvent::Regenerated(key("A")),
        },
        Operation::Tick,
    ] {
        let planned = scene.plan(&operation).await;
        assert_eq!(
            scene.plan(&operation).await,
            planned,
            "{rule}: {operation:?}"
        );
        scene.agrees().await;
        scene.tells_nobody(&operation).await;
    }
    scene.log_is_whole().await;
}

impl<L: LicenseLedger> Scene<L> {
    /// Asserts that a plan is told to nobody.
    async fn tells_nobody(&self, operation: &Operation) {
        let changes = self.ledger.changes();
        // A ledger that many processes use may still have to tell of earlier changes, so this is
        // tried some times.
        for _ in 0..ATTEMPTS {
            let before = changes.stamp();
            self.plan(operation).await;
            let everybody = everybody(&self.model, &self.model, &[]);
            if everybody
                .iter()
                .all(|holder| changes.is_current(holder, before))
            {
                return;
            }
        }
        let rule = self.rule;
        panic!("{rule}; rule 9: plan tells nobody: {operation:?}");
    }
}

const ATTEMPTS: usize = 20;
